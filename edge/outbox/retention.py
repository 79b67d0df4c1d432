"""Which records go when the outbox is over its size.

In: the oldest records of each stream. Out: those to evict now. Always holds: safe records go
first; then bulk before reports before the few records that tell what happened, oldest first;
an alert goes only when nothing else but drop records is left, and drop records that the ground
does not have never go, since they are all that is left of what went. They are folded instead: many
into few that name the same ranges without hashes, so that they do not take the room of alerts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby

from shared.envelope import SEQ_MAX
from shared.messages import Drop
from shared.sync.ranges import Range, RangeSet

ORDER = ("block", "kpi", "report", "state", "audit", "manifest", "alert")
"""Classes in the order in which records that are not safe are given up."""

REASON = "outbox full"
FOLDED = "folded"
"""Of a drop record that names drop records: others name what they named, without hashes."""
SEVERAL = "several reasons"
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


def fold(
    folded: Iterable[tuple[Candidate, Drop]], epoch: str,
    dropped: Callable[[str, str], RangeSet] | None = None,
) -> list[Drop]:  # fmt: skip
    """Drop records without hashes, for what `folded` name and for `folded` themselves.

    One a range of neighbours with one reason. dropped: all that is dropped of (epoch, stream);
    where it is given, neighbours are joined whatever their reasons, over what lies between them if
    that is dropped as well, and the reason of what was joined is SEVERAL. epoch: the current one.
    """
    ranges: dict[tuple[str, str, str], RangeSet] = {}
    for record, drop in folded:
        named = (drop.epoch or record.epoch, drop.stream, drop.reason)
        ranges.setdefault(named, RangeSet()).add_range(drop.low, drop.high)
        itself = (record.epoch, record.stream, FOLDED)
        ranges.setdefault(itself, RangeSet()).add(record.seq)
    if dropped is not None:
        ranges = _joined(ranges, dropped)
    return [
        Drop(DROP_VERSION, stream, low, high, [], reason, "" if of == epoch else of)
        for (of, stream, reason), named_ranges in ranges.items()
        for low, high in named_ranges
    ]


def _joined(
    ranges: dict[tuple[str, str, str], RangeSet], dropped: Callable[[str, str], RangeSet]
) -> dict[tuple[str, str, str], RangeSet]:
    """The same, or more that is dropped, in fewer ranges."""
    by_stream: dict[tuple[str, str], list[tuple[Range, str]]] = {}
    for (epoch, stream, reason), named in ranges.items():
        by_stream.setdefault((epoch, stream), []).extend((part, reason) for part in named)
    joined: dict[tuple[str, str, str], RangeSet] = {}
    for (epoch, stream), parts in by_stream.items():
        everything = list(RangeSet(part for part, _ in parts).union(dropped(epoch, stream)))
        runs: dict[int, list[tuple[Range, str]]] = {}
        for part, reason in parts:
            runs.setdefault(bisect_right(everything, (part[0], SEQ_MAX + 1)), []).append(
                (part, reason)
            )
        for run in runs.values():
            named, reasons = RangeSet(part for part, _ in run), {reason for _, reason in run}
            low, high = next(iter(named))[0], named.end
            one = len(reasons) == 1 and named.range_count == 1
            reason = reasons.pop() if one else SEVERAL
            joined.setdefault((epoch, stream, reason), RangeSet()).add_range(low, high)
    return joined
