"""What an update client keeps over a restart.

In: nothing. Out: frozen values, and the way back from bytes of any version. Always holds: what
cannot be read is nothing: an offer is advice, and the ground repeats it.
"""

from __future__ import annotations

import msgspec

from edge.update.decisions import Origin
from edge.update.offers import KeptOffer


class BackDue(msgspec.Struct, frozen=True, kw_only=True):
    """The set `set_id` is to be left for the last known good one. code: `probation`, `load`,
    `operator`, `withdrawn` or `damaged`."""

    set_id: str
    code: str
    why: str
    origin: Origin = "aircraft"
    by: str = ""


class Awaited(msgspec.Struct, frozen=True, kw_only=True):
    """A set that a technician has to accept."""

    set_id: str
    bundles: tuple[str, ...]


class UpdateMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What outlives a restart. accepted: set id to who did. looked_ns: when a session last told
    what is directed, wall clock."""

    offers: tuple[KeptOffer, ...] = ()
    accepted: dict[str, str] = {}
    awaited: Awaited | None = None
    back: BackDue | None = None
    looked_ns: int = 0


def recall(data: bytes | None) -> UpdateMemory:
    """What was kept, by an earlier version as well, which kept a list of targets."""
    if data is None:
        return UpdateMemory()
    try:
        kept = msgspec.msgpack.decode(data, type=UpdateMemory | list[str])
    except msgspec.DecodeError:
        return UpdateMemory()  # an offer is advice: the ground repeats it
    if isinstance(kept, UpdateMemory):
        return kept
    return UpdateMemory(offers=tuple(KeptOffer(target) for target in kept))
