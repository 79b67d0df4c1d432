"""Messages between the recorder and the children that know TUF: requests and their answers.

In: nothing. Out: frozen types, without tuf's memory.
Always holds: a `VerifiedBundle` is a file that offline keys signed for this aircraft; bytes that
are not yet that have no type here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from signing.verify import BUNDLE_BYTES_MAX, Aircraft, Applicability

MESSAGE_BYTES_MAX = 256 * 1024
Kind = Literal["rejected", "unreachable", "corrupt", "expired"]
DEADLINE_S = 120.0  # assumption: a bundle is below 1 MB, the stand's link far above 100 kbit/s


class FetchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Fetch `target` from the repository at `url` for `aircraft`.

    folder: of this repository's trust, `state/tuf/image`. releases: per name, the release that
    nothing may fall behind. ground_time_ns: wall time from a proved source, or None.
    """

    folder: str
    url: str
    target: str
    aircraft: Aircraft
    releases: dict[str, int] = {}
    deadline_s: float = DEADLINE_S
    bytes_max: int = BUNDLE_BYTES_MAX
    ground_time_ns: int | None = None


class RecheckRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Are these still what offline keys signed? bundles: (target path, release, sha-256)."""

    folder: str
    bundles: tuple[tuple[str, int, str], ...]


class VerifiedBundle(msgspec.Struct, frozen=True, kw_only=True, tag="verified"):
    """A bundle that TUF, applicability and the release counter all let through."""

    target: str
    name: str
    release: int
    sha256: str
    length: int
    path: str
    applicability: Applicability

    @property
    def file(self) -> Path:
        return Path(self.path)


class FetchFailure(msgspec.Struct, frozen=True, kw_only=True, tag="failure"):
    """Why there is no bundle. kind: whose fault, as in `shared.errors`. code: for machines."""

    kind: Kind
    code: str
    text: str


FetchAnswer = VerifiedBundle | FetchFailure
