"""Which rows are steady, and how they are cut into windows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.models.deviations import _Filter
from ground.reconcile.windows import LEVEL, STEADY, steady_rows, windows_of

Float64 = npt.NDArray[np.float64]


def columns(n: int, **changed: Float64) -> dict[str, Float64]:
    level = {"n1": 85.0, "mach": 0.64, "altitude": 18_000.0, "tat": 10.0, "bleed": 1.0,
             "anti_ice": 0.0}  # fmt: skip
    return {name: changed.get(name, np.full(n, value)) for name, value in level.items()}


def test_n1_is_judged_as_the_monitor_aboard_judges_it() -> None:
    rng = np.random.default_rng(3)
    n1 = 85 + np.cumsum(rng.normal(0, 0.12, 400))
    n1[150] = np.nan
    memory = _Filter()
    aboard = [memory.is_steady(i * 1_000_000_000, float(x), STEADY) for i, x in enumerate(n1)]
    assert 20 < sum(aboard) < 380, "a test where nothing or all is steady shows nothing"
    assert steady_rows(columns(400, n1=n1)).tolist() == aboard


@pytest.mark.parametrize(
    ("name", "slope", "steady"),
    [("altitude", 40.0, True), ("altitude", 80.0, False), ("mach", 0.0005, True),
     ("mach", 0.002, False), ("tat", 0.05, True), ("tat", 0.2, False)],
)  # fmt: skip
def test_a_climb_is_quasi_steady_and_a_dive_is_not(name: str, slope: float, steady: bool) -> None:
    start = columns(1)[name][0]
    ramp = start + slope * np.arange(60)
    assert bool(steady_rows(columns(60, **{name: ramp}))[-1]) is steady


def test_level_flight_is_stricter_than_a_climb() -> None:
    ramp: Float64 = 18_000 + 10.0 * np.arange(120, dtype=float)
    assert steady_rows(columns(120, altitude=ramp)).any()
    assert not steady_rows(columns(120, altitude=ramp), stability=LEVEL).any()


def test_nothing_is_steady_around_a_bleed_that_moves() -> None:
    bleed = np.where(np.arange(60) < 30, 0.0, 1.0)
    bleed[29] = 0.4
    found = steady_rows(columns(60, bleed=bleed))
    assert found[28] and not found[29:42].any() and found[-1]


def test_short_flights_have_no_steady_rows() -> None:
    assert not steady_rows(columns(5)).any()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), max_size=400), st.integers(5, 60), st.integers(2, 40))
def test_windows_hold_used_rows_only_and_each_is_one_stretch(
    flags: list[bool], window_s: int, windows_max: int
) -> None:
    used = np.array(flags, np.bool_)
    windows = windows_of(used, window_s, windows_max)
    assert not (windows.label >= 0)[~used].any()
    for k in range(len(windows)):
        at = np.flatnonzero(windows.label == k)
        assert len(at) == windows.rows[k] >= 5
        assert (np.diff(at) == 1).all()
    column = np.arange(len(used), dtype=float)
    for k, mean in enumerate(windows.mean(column)):
        assert mean == pytest.approx(column[windows.label == k].mean())
