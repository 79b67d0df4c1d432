"""What time it is, as far as this aircraft may believe anybody; pure.

In: the floor, and what each source says: the ground's nonce-signed answer, a root-signed reset, the
machine's own clock, the bus. Out: the time that expiry is judged by, or None; and what may be
remembered as past.
Always holds: a source that is behind the floor decides nothing; without one that is not, there is
no time, so nothing is opened; what is remembered never keeps out metadata that is made later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from edge.update.floor import TIME_NS_MAX

if TYPE_CHECKING:  # pure: no tuf
    from edge.update.trusted import Proof

SKEW_NS = 2 * 86_400 * 10**9
"""A source that is behind the floor by no more is taken for the floor itself. Honest clocks differ by
minutes, but one wrong answer of the ground may push the floor a day ahead, see `proved_ns`. It
gives nobody anything: whoever sets a clock back can set it to the floor as well."""
FLOOR_SPARE = timedelta(days=1)

TimeSource = Literal["ground", "bus", "reset", "wall"]


@dataclass(frozen=True)
class TrustedTime:
    """ns: never behind the floor."""

    ns: int
    source: TimeSource

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.ns // 10**9, UTC)


def trusted_time(
    floor_ns: int,
    *,
    ground_ns: int | None = None,
    bus_ns: int | None = None,
    reset_ns: int | None = None,
    wall_ns: int | None = None,
) -> TrustedTime | None:
    """The first of these that is not behind the floor, in the order ground, reset, wall, bus; None
    when all are. Anybody on the bus can say a time: it only stands in for a clock that is behind.
    """
    said: tuple[tuple[TimeSource, int | None], ...] = (
        ("ground", ground_ns), ("reset", reset_ns), ("wall", wall_ns), ("bus", bus_ns),
    )  # fmt: skip
    for source, ns in said:
        if ns is not None and ns >= floor_ns - SKEW_NS:
            return TrustedTime(max(floor_ns, min(ns, TIME_NS_MAX)), source)
    return None


def proved_ns(ground_ns: int | None, proofs: Sequence[Proof]) -> int:
    """The time that may be remembered as past, ns; 0 when none is proved.

    ground_ns: what the ground said. It may be wrong, and online keys may be stolen, so beside it
    only what offline keys signed counts, and whatever anybody said must not keep out metadata that
    is made later: never past the expiry of the metadata that is trusted now, so that a frozen copy
    of it stays expired, and for offline roles not within a day of it.
    """
    if not proofs:
        return 0
    said = [round(at.timestamp()) * 10**9 for proof in proofs for at in proof.issued]
    ends = [
        *(end for proof in proofs for end in proof.online_ends),
        *(end - FLOOR_SPARE for proof in proofs for end in proof.offline_ends),
    ]
    last_ns = round(min(ends).timestamp()) * 10**9
    return max(0, min(max([ground_ns or 0, *said]), last_ns, TIME_NS_MAX))
