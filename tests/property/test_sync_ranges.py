"""RangeSet against a plain set of ints."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shared.sync.ranges import RangeSet

small = st.integers(0, 60)
steps = st.lists(st.tuples(st.sampled_from(["add", "remove"]), small, small), max_size=40)


def build(moves: list[tuple[str, int, int]]) -> tuple[RangeSet, set[int]]:
    ranges, plain = RangeSet(), set()
    for kind, low, high in moves:
        if kind == "add":
            ranges.add_range(low, high)
            plain |= set(range(low, high))
        else:
            ranges.remove_range(low, high)
            plain -= set(range(low, high))
    return ranges, plain


def ints(ranges: list[tuple[int, int]]) -> set[int]:
    return {value for low, high in ranges for value in range(low, high)}


@given(steps, small, small)
def test_ranges_behave_like_a_set(moves: list[tuple[str, int, int]], low: int, high: int) -> None:
    ranges, plain = build(moves)
    pairs = list(ranges)
    assert ints(pairs) == plain
    assert all(a < b for a, b in pairs)
    assert all(b < c for (_, b), (c, _) in pairwise(pairs))
    assert ranges.size == len(plain)
    assert ranges.end == (max(plain) + 1 if plain else 0)
    assert all((value in ranges) == (value in plain) for value in range(62))
    assert ints(ranges.missing(low, high)) == set(range(low, high)) - plain
    assert ints(ranges.within(low, high)) == set(range(low, high)) & plain
    assert ranges.up_to(low) == next(v for v in range(low, 200) if v not in plain)
    grown = ranges.copy()
    grown.add(low)
    assert ranges.touches(low) == (grown.range_count <= ranges.range_count)


@given(steps, steps)
def test_union_and_intersection(
    one: list[tuple[str, int, int]], two: list[tuple[str, int, int]]
) -> None:
    (a, plain_a), (b, plain_b) = build(one), build(two)
    assert ints(list(a.union(b))) == plain_a | plain_b
    assert ints(list(a.intersection(b))) == plain_a & plain_b


@given(steps, st.integers(0, 8))
def test_coverage_is_a_lowest_first_part_of_the_set(
    moves: list[tuple[str, int, int]], max_ranges: int
) -> None:
    ranges, plain = build(moves)
    whole = RangeSet.from_coverage(ranges.to_coverage())
    assert whole == ranges
    part = ranges.to_coverage(max_ranges)
    named = ints(list(RangeSet.from_coverage(part)))
    assert named <= plain
    assert len(part.ranges) <= max_ranges
    assert not named or named == {v for v in plain if v <= max(named)}
