"""Which records go when the outbox is over its size.

In: the oldest records of each stream. Out: those to evict now. Always holds: safe records go
first; then bulk before reports before the few records that tell what happened, oldest first;
an alert goes only when nothing else but drop records is left, and drop records that the ground
does not have never go, since they are all that is left of what went.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from shared.messages import Drop

ORDER = ("block", "kpi", "report", "state", "audit", "manifest", "alert")
"""Classes in the order in which records that are not safe are given up."""

REASON = "outbox full"
DROP_VERSION = 1


@dataclass(frozen=True, slots=True)
class Candidate:
    """A held record. born: its place in the order of appending. safe: the ground has it."""

    epoch: str
    stream: str
    seq: int
    cls: str
    born: int
    size: int
    sha256: bytes
    safe: bool


def choose(candidates: Iterable[Candidate], bytes_over: int, count_max: int) -> list[Candidate]:
    """The records to evict to free `bytes_over`, at most `count_max` of them; maybe too few.

    candidates: of each stream at least its `count_max` oldest safe and oldest unsafe records.
    """
    may_go = [c for c in candidates if c.safe or c.cls in ORDER]
    may_go.sort(key=lambda c: (0 if c.safe else 1 + ORDER.index(c.cls), c.born))
    chosen: list[Candidate] = []
    for candidate in may_go[:count_max]:
        if bytes_over <= 0:
            break
        chosen.append(candidate)
        bytes_over -= candidate.size
    return chosen


def drops(evicted: Iterable[Candidate], epoch: str, reason: str = REASON) -> list[Drop]:
    """Drop records, one a run of neighbours, for those that were not safe.

    epoch: the current one, in which the drop records will be.
    """
    unsafe = sorted((c for c in evicted if not c.safe), key=lambda c: (c.epoch, c.stream, c.seq))
    made: list[Drop] = []
    numbered = enumerate(unsafe)
    for _, group in groupby(
        numbered, lambda pair: (pair[1].epoch, pair[1].stream, pair[1].seq - pair[0])
    ):
        run = [candidate for _, candidate in group]
        first = run[0]
        other = "" if first.epoch == epoch else first.epoch
        hashes = [candidate.sha256 for candidate in run]
        made.append(
            Drop(DROP_VERSION, first.stream, first.seq, run[-1].seq + 1, hashes, reason, other)
        )
    return made
