"""Closure: what the ground holds of a period, against what the aircraft says it recorded.

In: a manifest, and for each stream what is held, dropped and marked. Out: state, counts and
every gap by name. Pure.
Always holds: `complete` only when no gap at all is known: no record missing, dropped, forked
or unreadable, no outage of the recorder.

`records_missing` counts records that were not received, are forks or cannot be read. Dropped
ones are not missing (the aircraft said so, by hash) but stay gaps, with cause `dropped: …`; or
`thinned: …` where a block is held that keeps some of the record's readings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from shared.messages import Gap, Manifest, PartStream
from shared.sync.ranges import RangeSet

GAPS_MAX = 1000
"""Beyond it the last gap stands for the rest (assumption: a person reads the first ones)."""

SEVERAL_REASONS = "several reasons"
"""Of a drop record that was folded from some of other reasons (edge/outbox/retention.py)."""

CAUSES = {"fork": "fork", "no_set": "unreadable: signal set unknown", "corrupt": "unreadable"}


@dataclass(frozen=True, slots=True)
class Holding:
    """One stream of one epoch. marked: (seq, mark) of records that are held but not trusted.
    kept: by seq, 1 of how many readings a block keeps that is held in its place."""

    held: RangeSet
    dropped: Sequence[tuple[int, int, str]] = ()
    marked: Sequence[tuple[int, str]] = ()
    kept: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """The fields of a closure that the comparison decides."""

    state: Literal["open", "complete", "gaps", "abandoned"]
    records: int
    records_missing: int
    gaps: list[Gap]


NOTHING = Holding(RangeSet())


def compare(manifest: Manifest, holdings: Mapping[tuple[str, str], Holding]) -> Finding:
    """holdings: by (epoch, stream); a stream that is not there holds nothing."""
    gaps: list[Gap] = []
    total = missing = 0
    for part in _merged(manifest.parts):
        holding = holdings.get((part.epoch, part.stream), NOTHING)
        part_gaps = _record_gaps(part, holding)
        total += part.high - part.low - sum(gap.missing for gap in part_gaps)
        missing += sum(
            g.missing for g in part_gaps if not g.cause.startswith(("dropped", "thinned"))
        )
        gaps += part_gaps
    gaps += [
        Gap("outage", outage.group, start_ns=outage.start_ns, end_ns=outage.end_ns,
            missing=outage.missing, cause=outage.cause)
        for outage in manifest.outages
    ]  # fmt: skip
    return Finding("gaps" if gaps else "complete", total, missing, bounded(gaps))


def _merged(parts: Iterable[PartStream]) -> list[PartStream]:
    """Parts of one stream that overlap count once."""
    by_stream: dict[tuple[str, str], RangeSet] = {}
    for part in parts:
        ranges = by_stream.setdefault((part.epoch, part.stream), RangeSet())
        ranges.add_range(part.low, part.high)
    return [
        PartStream(epoch, stream, low, high)
        for (epoch, stream), ranges in by_stream.items()
        for low, high in ranges
    ]


def _record_gaps(part: PartStream, holding: Holding) -> list[Gap]:
    def gap(low: int, high: int, cause: str) -> Gap:
        return Gap("records", part.stream, part.epoch, low, high, missing=high - low, cause=cause)

    open_ranges = RangeSet(holding.held.missing(part.low, part.high))
    gaps = []
    for low, high, cause in [*_thinned(part, holding), *_dropped(holding)]:
        for a, b in open_ranges.within(low, high):
            gaps.append(gap(a, b, cause))
            open_ranges.remove_range(a, b)
    gaps += [gap(low, high, "not received") for low, high in open_ranges]
    by_cause: dict[str, RangeSet] = {}
    for seq, mark in holding.marked:
        if part.low <= seq < part.high:
            by_cause.setdefault(CAUSES.get(mark, mark), RangeSet()).add(seq)
    gaps += [gap(low, high, cause) for cause, seqs in by_cause.items() for low, high in seqs]
    return sorted(gaps, key=lambda g: g.low)


def _thinned(part: PartStream, holding: Holding) -> list[tuple[int, int, str]]:
    by_share: dict[int, RangeSet] = {}
    for seq, every in holding.kept.items():
        if part.low <= seq < part.high:
            by_share.setdefault(every, RangeSet()).add(seq)
    return [
        (low, high, f"thinned: 1 of {every} readings kept")
        for every, seqs in by_share.items()
        for low, high in seqs
    ]


def _dropped(holding: Holding) -> list[tuple[int, int, str]]:
    """One range a run of one reason, however many drop records name it and in whatever order they
    came: an aircraft folds those that it has no ack for. Where two differ, the one that knows more.
    """
    by_reason: dict[str, RangeSet] = {}
    for low, high, reason in holding.dropped:
        by_reason.setdefault(reason, RangeSet()).add_range(low, high)
    return [
        (low, high, f"dropped: {reason}")
        for reason in sorted(by_reason, key=lambda reason: (reason == SEVERAL_REASONS, reason))
        for low, high in by_reason[reason]
    ]


def bounded(gaps: list[Gap], count_max: int = GAPS_MAX) -> list[Gap]:
    """At most count_max gaps; the last one stands for what was left out."""
    if len(gaps) <= count_max:
        return gaps
    kept, rest = gaps[: max(0, count_max - 1)], gaps[max(0, count_max - 1) :]
    missing = sum(max(0, gap.missing) for gap in rest)
    return [*kept, Gap(rest[0].kind, "*", missing=missing, cause=f"{len(rest)} further gaps")]
