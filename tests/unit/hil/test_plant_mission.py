"""Missions and conditions are data that hold together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.plant.mission import FULL, HOP, Degradation, Frame, Place, draw_conditions, mission_named
from shared.errors import Rejected


@given(
    st.floats(-60, 60), st.floats(-170, 170), st.floats(0, 360), st.floats(-3e5, 3e5),
    st.floats(-3e5, 3e5),
)  # fmt: skip
def test_a_frame_comes_back_to_the_same_point(
    lat: float, lon: float, heading: float, along: float, right: float
) -> None:
    frame = Frame(Place(lat, lon, heading))
    assert frame.local(*frame.geodetic((along, right))) == pytest.approx((along, right), abs=1e-3)


@given(st.integers(0, 2**31 - 1))
def test_conditions_of_a_seed_stay_in_their_ranges_and_come_back(seed: int) -> None:
    c = draw_conditions(seed)
    assert c == draw_conditions(seed)
    assert -10 <= c.isa_dev_k <= 15
    assert 18_000 <= c.cruise_ft <= 24_000
    assert c.single_pack in (0, 1, 2)


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(Rejected, match="out of range"):
        draw_conditions(seed)


def test_an_unknown_mission_is_refused_with_those_there_are() -> None:
    with pytest.raises(Rejected) as refused:
        mission_named("loop")
    assert "full" in refused.value.remedy and "hop" in refused.value.remedy


def test_a_headwind_brings_the_destination_nearer_but_not_that_of_a_hop() -> None:
    slow = min((draw_conditions(s) for s in range(50)), key=lambda c: c.cruise_kt - c.wind_aloft_kt)
    fast = max((draw_conditions(s) for s in range(50)), key=lambda c: c.cruise_kt - c.wind_aloft_kt)
    assert FULL.fit(slow).arrival[0] < FULL.fit(fast).arrival[0]
    assert HOP.fit(slow) is HOP


def test_a_degradation_is_a_ramp_that_ends_at_its_percent() -> None:
    d = Degradation(percent=3, ramp_s=240)
    assert [d.percent_at(t) for t in (-1, 0, 120, 240, 1000)] == [0, 0, 1.5, 3, 3]


@pytest.mark.parametrize(
    "wrong",
    [{"engine": 3}, {"percent": -9}, {"percent": 9}, {"ramp_s": 0}, {"after_s": -1},
     {"parameter": "hpc"}],
)  # fmt: skip
def test_a_degradation_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Rejected):
        Degradation(**wrong)  # type: ignore[arg-type]  # wrong on purpose
