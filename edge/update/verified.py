"""Messages between the recorder and the children that know TUF: requests and their answers.

In: nothing. Out: frozen types, without tuf's memory.
Always holds: a `VerifiedBundle` is a file that offline keys signed for this aircraft and both
repositories agree on; bytes that are not yet that have no type here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from signing.verify import (
    BUNDLE_BYTES_MAX,
    Aircraft,
    AttestationPolicy,
    counters,
    set_id,
)

MESSAGE_BYTES_MAX = 256 * 1024
BUNDLES_MAX = 32
"""Bundles of one set."""
SOURCES_MAX = 8
Kind = Literal["rejected", "unreachable", "corrupt", "expired"]
DEADLINE_S = 120.0  # assumption: a bundle is below 1 MB, the stand's link far above 100 kbit/s
STEP_S = 60.0  # assumption: no single file takes longer on such a link


class FetchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Fetch what the director says `aircraft` should run.

    folder: of our trust, `state/tuf`. sources: as `open_source` takes them, tried in order.
    target: an image path that has to be in the set; empty, whatever the director says is taken.
    releases: by counter (see `counters`), what nothing new may fall behind. held: sha-256 to file
    of what is aboard and was verified. ground_time_ns: wall time from a proved source; bus_utc_ns: as
    the bus says.
    """

    folder: str
    sources: Annotated[tuple[str, ...], Meta(min_length=1, max_length=SOURCES_MAX)]
    aircraft: Aircraft
    target: str = ""
    releases: dict[str, int] = {}
    held: dict[str, str] = {}
    attestation: AttestationPolicy = AttestationPolicy()
    deadline_s: float = DEADLINE_S
    step_s: float = STEP_S
    bytes_max: int = BUNDLE_BYTES_MAX
    ground_time_ns: int | None = None
    bus_utc_ns: int | None = None
    staging_may_be_memory: bool = False


class VerifiedBundle(msgspec.Struct, frozen=True, kw_only=True, tag="bundle"):
    """A bundle that TUF, both repositories, applicability, the release counter and its attestation
    all let through. path: its file. Of a calibration also what it is made from: parent: the verified
    file, parent_sha256, parent_release."""

    target: str
    name: str
    release: int
    sha256: str
    length: int
    path: str
    parent: str = ""
    parent_sha256: str = ""
    parent_release: int = 0

    @property
    def counters(self) -> dict[str, int]:
        """What of it nothing newer may fall behind."""
        return counters(self.name, self.release, self.parent_sha256, self.parent_release)

    @property
    def file(self) -> Path:
        return Path(self.path)


class VerifiedSet(msgspec.Struct, frozen=True, kw_only=True, tag="set"):
    """Everything that this aircraft should run now. rollback_of: the id of a set that is to be
    left for the last known good one; empty when none is. source: where it came from. withdrawn:
    sha-256 of what is held and no longer signed, by newer metadata that verified whole."""

    bundles: tuple[VerifiedBundle, ...]
    rollback_of: str = ""
    source: str = ""
    withdrawn: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return set_id(self.bundles)


class FetchFailure(msgspec.Struct, frozen=True, kw_only=True, tag="failure"):
    """Why there is no set: what, where, and what to do.

    kind: whose fault, as in `shared.errors`. code: for machines. may_pass: trying again later may
    help, be it only because one source of several did not answer. withdrawn: as of a
    `VerifiedSet`, where the session learned it before it failed.
    """

    kind: Kind
    code: str
    text: str
    may_pass: bool = False
    withdrawn: tuple[str, ...] = ()


FetchAnswer = VerifiedSet | FetchFailure


class RecheckBundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One bundle of a live set. target: its image path. path: its file in the slot. is_muted: it
    does not run, so that nothing about it stands against the others."""

    target: str
    release: int
    sha256: str
    path: str = ""
    is_muted: bool = False


class RecheckRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Are these still what offline keys signed? folder: of our trust, `state/tuf`."""

    folder: str
    bundles: tuple[RecheckBundle, ...]
    attestation: AttestationPolicy = AttestationPolicy()
