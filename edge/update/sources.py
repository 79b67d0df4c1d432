"""Where update bytes come from: one shape for the ground, a server and a stick.

In: a source's text, as the profile has it. Out: an open `Source`.
Always holds: nothing is trusted for where it came from; what a source gives is unverified bytes
until TUF has seen them; a source's name never holds a password.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from tuf.api.exceptions import DownloadError

from shared.errors import ConfigError

CHUNK_BYTES = 64 * 1024
GAP_S = 10.0  # assumption: the stand's link answers within this, or is not there
SCHEMES = ("https", "http", "nats", "file")


class NoRange(DownloadError):
    """The source cannot go on from there: ask for the whole file."""


class Source(Protocol):
    """A folder of files somewhere: `image/metadata/timestamp.json`, …"""

    @property
    def name(self) -> str:
        """For records and errors: the address, without a password."""

    def read(self, path: str, offset: int = 0) -> Generator[bytes, None, None]:
        """The file's bytes from `offset` on, in pieces of any size.

        Raises while it is read: DownloadHTTPError 404 when there is no such file, NoRange before
        the first piece when it cannot begin at `offset`, else another DownloadError.
        """

    def cut(self) -> None:
        """From another thread: end the read that runs now, whatever it waits for."""

    def close(self) -> None:
        """Let go of what is open. The next read opens it again."""


def open_source(text: str, ca_file: Path | None = None) -> Source:
    """The source that `text` names; nothing is connected yet. ConfigError for what it is not.

    text: `https://host/tuf`, `http://host:port/tuf`, `file:///media/stick` or
    `nats://user:password@host:port/aero.v1.{operator}.{tail}`. ca_file: whom to trust for
    https instead of the system's.
    """
    scheme = urlsplit(text).scheme
    if scheme in ("https", "http"):
        from edge.update.httpsource import HttpSource

        return HttpSource(text, ca_file)
    if scheme == "file":
        from edge.update.mediasource import MediaSource

        return MediaSource.at(text)
    if scheme == "nats":
        from edge.update.natssource import NatsSource

        return NatsSource.at(text)
    raise ConfigError(
        f"{scheme!r} is no kind of source", "update.sources", f"use one of {', '.join(SCHEMES)}"
    )
