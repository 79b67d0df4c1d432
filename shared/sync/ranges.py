"""A set of sequence numbers, kept as ranges.

In: ints and half-open ranges [low, high). Out: membership, watermark, what is missing, coverage.
Always holds: ranges are sorted, not empty, and neither overlap nor touch, so memory follows
the number of gaps and not the number of records.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from shared.envelope import SEQ_MAX
from shared.errors import Rejected
from shared.messages import RANGES_MAX, Coverage

Range = tuple[int, int]


class RangeSet:
    """Ints as sorted half-open ranges; every operation costs O(log n) plus what it touches."""

    __slots__ = ("_highs", "_lows")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._lows: list[int] = []
        self._highs: list[int] = []
        for low, high in ranges:
            self.add_range(low, high)

    def add(self, value: int) -> None:
        self.add_range(value, value + 1)

    def add_range(self, low: int, high: int) -> None:
        """Add [low, high); an empty range adds nothing."""
        if low >= high:
            return
        lows, highs = self._lows, self._highs
        first = bisect_left(highs, low)  # the first range that ends at or after `low`
        last = bisect_right(lows, high)  # behind the last range that begins at or before `high`
        if first < last:
            low, high = min(low, lows[first]), max(high, highs[last - 1])
        lows[first:last], highs[first:last] = [low], [high]

    def remove_range(self, low: int, high: int) -> None:
        """Take [low, high) out; it need not be in."""
        if low >= high:
            return
        lows, highs = self._lows, self._highs
        first = bisect_right(highs, low)
        last = bisect_left(lows, high)
        if first >= last:
            return
        kept = [(lows[first], low), (high, highs[last - 1])]
        kept = [(a, b) for a, b in kept if a < b]
        lows[first:last] = [a for a, _ in kept]
        highs[first:last] = [b for _, b in kept]

    def contains(self, value: int) -> bool:
        at = bisect_right(self._lows, value) - 1
        return at >= 0 and value < self._highs[at]

    __contains__ = contains

    def touches(self, value: int) -> bool:
        """True when adding `value` would not make one range more."""
        at = bisect_left(self._highs, value)
        return at < len(self._lows) and self._lows[at] <= value + 1

    def up_to(self, start: int = 0) -> int:
        """Watermark: the lowest int at or above `start` that is not in the set."""
        at = bisect_right(self._lows, start) - 1
        return self._highs[at] if at >= 0 and start < self._highs[at] else start

    def missing(self, low: int, high: int) -> list[Range]:
        """The ranges of [low, high) that are not in the set, lowest first."""
        gaps: list[Range] = []
        at = bisect_right(self._highs, low)
        while low < high:
            if at == len(self._lows) or self._lows[at] >= high:
                gaps.append((low, high))
                break
            if self._lows[at] > low:
                gaps.append((low, self._lows[at]))
            low = self._highs[at]
            at += 1
        return gaps

    def within(self, low: int, high: int) -> list[Range]:
        """The ranges of [low, high) that are in the set, lowest first."""
        parts: list[Range] = []
        at = bisect_right(self._highs, low)
        while at < len(self._lows) and self._lows[at] < high:
            parts.append((max(low, self._lows[at]), min(high, self._highs[at])))
            at += 1
        return parts

    def union(self, other: RangeSet) -> RangeSet:
        both = self.copy()
        for low, high in other:
            both.add_range(low, high)
        return both

    def intersection(self, other: RangeSet) -> RangeSet:
        few, many = (self, other) if self.range_count <= other.range_count else (other, self)
        return RangeSet(part for low, high in few for part in many.within(low, high))

    def copy(self) -> RangeSet:
        other = RangeSet()
        other._lows, other._highs = self._lows.copy(), self._highs.copy()
        return other

    def to_coverage(self, max_ranges: int = RANGES_MAX) -> Coverage:
        """Watermark from 0 and the lowest `max_ranges` ranges above it; the rest is left out."""
        up_to = self.up_to(0)
        first = bisect_right(self._highs, up_to)
        pairs = zip(self._lows[first:], self._highs[first:], strict=True)
        return Coverage(up_to, [pair for pair, _ in zip(pairs, range(max_ranges), strict=False)])

    @staticmethod
    def from_coverage(coverage: Coverage, where: str = "coverage") -> RangeSet:
        """The set a coverage names; Rejected when it is out of bounds or out of order."""
        if len(coverage.ranges) > RANGES_MAX:
            raise Rejected(f"{len(coverage.ranges)} ranges, over the cap of {RANGES_MAX}", where)
        end = coverage.up_to
        for low, high in coverage.ranges:
            if not end <= low < high:
                raise Rejected("ranges overlap or are out of order", where)
            end = high
        if coverage.up_to < 0 or end > SEQ_MAX + 1:
            raise Rejected("a sequence number is out of range", where)
        return RangeSet([(0, coverage.up_to), *coverage.ranges])

    @property
    def range_count(self) -> int:
        return len(self._lows)

    @property
    def size(self) -> int:
        """How many ints are in the set."""
        return sum(self._highs) - sum(self._lows)

    @property
    def end(self) -> int:
        """One above the highest int in the set; 0 when it is empty."""
        return self._highs[-1] if self._highs else 0

    def __iter__(self) -> Iterator[Range]:
        return iter(list(zip(self._lows, self._highs, strict=True)))

    def __bool__(self) -> bool:
        return bool(self._lows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RangeSet):
            return NotImplemented
        return self._lows == other._lows and self._highs == other._highs

    __hash__ = None  # type: ignore[assignment]  # it is mutable

    def __repr__(self) -> str:
        return f"RangeSet({list(self)})"
