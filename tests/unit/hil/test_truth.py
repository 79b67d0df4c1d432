"""The comparison that every run rests on: it must see each kind of fault."""

from __future__ import annotations

import numpy as np
import pytest

from hil.truth import Comparison, Truth, Window, compare

T = np.arange(10, dtype=np.int64) * 100
RAW = np.arange(10, dtype=np.int64) + 5
TRUTH = Truth(["A", "B"], np.repeat([0, 1], 10), np.tile(T, 2), np.tile(RAW, 2))
GROUP_OF = {"A": "air", "B": "nav"}


def judge(lake: dict[str, tuple[np.ndarray, np.ndarray]], *outages: Window) -> Comparison:
    return compare(TRUTH, lake, list(outages), GROUP_OF)


def test_the_same_samples_are_exact() -> None:
    assert judge({"A": (T, RAW), "B": (T, RAW)}) == Comparison(20, 20, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("lake_a", "found"),
    [
        ((T[1:], RAW[1:]), {"lost": 1}),
        ((np.append(T, T[-1]), np.append(RAW, RAW[-1])), {"twice": 1}),
        ((np.append(T, 5000), np.append(RAW, 1)), {"extra": 1}),
        ((T, np.where(T == 300, 0, RAW)), {"altered": 1}),
    ],
)
def test_each_fault_is_counted_as_what_it_is(
    lake_a: tuple[np.ndarray, np.ndarray], found: dict[str, int]
) -> None:
    seen = judge({"A": lake_a, "B": (T, RAW)})
    faults = {name: getattr(seen, name) for name in ("lost", "extra", "twice", "altered")}
    assert {name: n for name, n in faults.items() if n} == found
    assert not seen.is_exact


def test_an_outage_excuses_only_its_own_group_and_only_inside() -> None:
    hole = (T < 300) | (T > 600)
    lake = {"A": (T[hole], RAW[hole]), "B": (T[hole], RAW[hole])}
    seen = judge(lake, Window("air", 200, 700))
    assert (seen.lost, seen.in_outage) == (4, 4)
    seen = judge(lake, Window("air", 300, 600), Window("nav", 200, 700))
    assert (seen.lost, seen.in_outage) == (2, 6)


def test_a_signal_that_was_never_published_is_extra() -> None:
    assert judge({"A": (T, RAW), "B": (T, RAW), "X": (T, RAW)}).extra == 10
