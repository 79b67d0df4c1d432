"""The bytes of an update, fetched from a source for python-tuf: unverified, bounded, on deadlines.

In: paths below the source. Out: their bytes.
Always holds: a deadline and a byte budget cover everything a session fetches, and a shorter
deadline each file of it, whatever a peer drips; a target that was cut goes on where it stopped,
in this session or a later one, and what turns out wrong then is fetched whole once.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from tuf.api.exceptions import (
    DownloadError,
    DownloadLengthMismatchError,
    RepositoryError,
    SlowRetrievalError,
)
from tuf.ngclient import FetcherInterface

from edge.update.partial import DIGEST, Partials
from edge.update.sources import NoRange, Source
from shared.clock import Clock
from shared.errors import Unreachable

HASH_BYTES = 1 << 20
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class NoRoom(Unreachable):
    """The disk took no more."""


class BoundedFetcher(FetcherInterface):
    """Reads one source until `deadline_s` from now, `step_s` a file, `bytes_max` in all.

    python-tuf's base URLs are paths below the source: `image/metadata/`, `image/targets/`.
    Raises tuf's DownloadErrors, NoRoom, or another OSError of the disk. partial: the folder for
    downloads that are cut; None keeps none.
    """

    def __init__(
        self,
        source: Source,
        clock: Clock,
        deadline_s: float,
        step_s: float,
        bytes_max: int,
        partial: Path | None = None,
    ) -> None:
        self._source, self._clock = source, clock
        self._end_ns = clock.mono_ns() + round(deadline_s * 1e9)
        self._step_s = step_s
        self._bytes_left = bytes_max
        self._partials = Partials(partial, bytes_max) if partial is not None else None

    def left_s(self) -> float:
        """Of the session; what a next source may take."""
        return (self._end_ns - self._clock.mono_ns()) / 1e9

    @property
    def bytes_left(self) -> int:
        return max(0, self._bytes_left)

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self._pieces(url, 0)

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Metadata: in memory, never in a temporary file."""
        into = io.BytesIO()
        self._copy(url, into, 0, max_length)
        return into.getvalue()

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """A target. python-tuf verifies it inside the `with`; what it refuses is dropped."""
        digest = url.rpartition("/")[2].partition(".")[0]
        if self._partials is None or not DIGEST.match(digest):
            with tempfile.TemporaryFile(buffering=0) as file:
                self._copy(url, file, 0, max_length)
                file.seek(0)
                yield file
            return
        with self._partials.open(digest, max_length) as kept:
            try:
                self._complete(url, kept, digest, max_length)
                kept.seek(0)
                yield cast("IO[bytes]", kept)
            except (RepositoryError, DownloadLengthMismatchError):
                self._partials.drop(digest)
                raise
            except DownloadError:
                with suppress(OSError):
                    os.fsync(kept.fileno())  # the power may go before the next session
                raise
        self._partials.drop(digest)

    def _complete(self, url: str, kept: io.FileIO, digest: str, max_length: int) -> None:
        """Go on with what is kept. When that leads to other bytes than the hash says, once whole."""
        if have := kept.tell():
            try:
                if have < max_length:
                    self._copy(url, kept, have, max_length)
                if _sha256(kept) == digest:
                    return
            except (NoRange, DownloadLengthMismatchError):
                pass
            kept.truncate(0)
            kept.seek(0)
        self._copy(url, kept, 0, max_length)

    def _copy(self, url: str, into: IO[bytes] | io.FileIO, offset: int, max_length: int) -> None:
        """Append from `offset` on. DownloadLengthMismatchError above `max_length` in all."""
        with closing(self._pieces(url, offset)) as pieces:
            for piece in pieces:
                offset += len(piece)
                if offset > max_length:
                    raise DownloadLengthMismatchError(
                        f"{url} is over the {max_length} bytes that were promised"
                    )
                _write(into, piece)

    def _pieces(self, path: str, offset: int) -> Generator[bytes, None, None]:
        """A timer cuts the source at the deadline, whatever a read waits for: a gap timeout alone
        never ends a peer that sends a byte at a time."""
        allowed_s = min(self._step_s, self.left_s())
        end_ns = self._clock.mono_ns() + round(allowed_s * 1e9)
        late = SlowRetrievalError(f"not whole in time from {self._source.name}: {path}")
        if allowed_s <= 0:
            raise late
        cutter = threading.Timer(allowed_s, self._source.cut)
        cutter.daemon = True
        cutter.start()
        try:
            with closing(self._source.read(path, offset)) as pieces:
                for piece in pieces:
                    self._bytes_left -= len(piece)
                    if self._bytes_left < 0:
                        raise DownloadError("this session may fetch no more bytes")
                    if self._clock.mono_ns() >= end_ns:
                        raise late
                    yield piece
            if self._clock.mono_ns() >= end_ns:  # to HTTP without a length a cut is an end
                raise late
        except (DownloadError, OSError) as error:
            if self._clock.mono_ns() >= end_ns and error is not late:
                raise late from error
            raise
        finally:
            cutter.cancel()
            cutter.join()  # so that it does not cut the next read


def _write(into: IO[bytes] | io.FileIO, piece: bytes) -> None:
    view = memoryview(piece)
    try:
        while view:
            view = view[into.write(view) :]
    except OSError as error:
        if error.errno in NO_ROOM:
            raise NoRoom(
                f"no room for the update: {error.strerror}", str(getattr(into, "name", "")),
                "free space in the state folder",
            ) from error  # fmt: skip
        raise


def _sha256(file: io.FileIO) -> str:
    file.seek(0)
    made = hashlib.sha256()
    while piece := file.read(HASH_BYTES):
        made.update(piece)
    return made.hexdigest()
