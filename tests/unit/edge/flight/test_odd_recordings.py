"""Odd recordings: each is the example, edited; what phase, flight and gate make of it."""

from __future__ import annotations

import pytest

from shared.phases import AIRBORNE, Confidence, Phase
from tests.unit.edge.flight.recordings import (
    APPROACH,
    BLOCK,
    CRUISE,
    DESCENT,
    END,
    OFF,
    ON,
    OUT,
    TAXI_IN,
    edit,
    frozen,
    only,
    rows,
    run,
)

FLOWN = [
    Phase.PARKED, Phase.TAXI_OUT, Phase.TAKEOFF, Phase.CLIMB, Phase.CRUISE, Phase.DESCENT,
    Phase.APPROACH, Phase.LANDING, Phase.TAXI_IN, Phase.PARKED,
]  # fmt: skip
AIR = {"wow_left": 0.0, "wow_right": 0.0}
GROUND = {"wow_left": 1.0, "wow_right": 1.0}
IDLE = {"n1_1": 20.0, "n1_2": 20.0, "n2_1": 60.0, "n2_2": 60.0}


def near(value: float | None, expected: float, by: float = 3.0) -> bool:
    return value is not None and abs(value - expected) <= by


def test_the_example_is_flown_as_it_was() -> None:
    story = run(rows())
    assert story.known == FLOWN
    (out, off, on, at_stand), expected = story.times(), (OUT, OFF, ON, BLOCK)
    assert all(near(a, b) for a, b in zip((out, off, on, at_stand), expected, strict=True))
    assert not story.opened(OUT, BLOCK) and story.opened(BLOCK)
    high = sum(state.confidence is Confidence.HIGH for state in story.states)
    assert high > 0.9 * (END - 30)  # not while engines are started at the stand


@pytest.mark.parametrize("height", [0.0, None])
def test_weight_on_wheels_that_reads_air_at_power_up_opens_no_flight(height: float | None) -> None:
    story = run(edit(rows(), 0, 60, radio_height_ft=height, **AIR))
    assert set(story.phases[: story.phases.index(Phase.PARKED)]) == {Phase.UNKNOWN}
    assert story.known == FLOWN and len(story.flights) == 1
    assert not story.opened(0, 90)


def test_weight_on_wheels_that_reads_air_at_power_down_opens_no_flight() -> None:
    some = edit(rows(), END - 120, END, radio_height_ft=None, **AIR)
    story = run(edit(some, END - 100, END, ground_speed_kt=None, airspeed_kt=None))
    assert story.known == FLOWN and len(story.flights) == 1 and story.last is not None
    assert story.last.kind == "ground" and story.phase_at(END - 1) is Phase.UNKNOWN
    assert story.opened(0, END - 120) and not story.opened(END - 120)


@pytest.mark.parametrize("one", [True, False])
def test_on_jacks_is_never_airborne_and_never_lets_the_gate_open(one: bool) -> None:
    air = {"wow_left": 0.0} if one else AIR
    for height in (0.0, None):
        story = run(edit(rows(0, OUT), 0, OUT, radio_height_ft=height, **air))
        assert not story.opened() and not story.flights
        assert not set(story.phases) & {*AIRBORNE, Phase.TAKEOFF, Phase.LANDING}


def test_flags_that_say_ground_at_cruise_change_nothing_but_the_confidence() -> None:
    for last in (CRUISE + 160, DESCENT):
        story = run(edit(rows(), CRUISE + 60, last, **GROUND))
        assert story.known == FLOWN
        assert near(story.times()[2], ON)
        assert {s.confidence for s in story.states[CRUISE + 60 : last]} == {Confidence.LOW}
        assert "weight_on_wheels" in story.states[CRUISE + 70].contradictions[0]


def test_a_single_flag_that_says_ground_at_cruise_changes_nothing() -> None:
    some = [{**row, "on_ground": row["wow_left"]} for row in rows()]
    some = only(some, "altitude_ft", "ground_speed_kt", "on_ground")
    story = run(edit(some, CRUISE + 60, CRUISE + 160, on_ground=1.0))
    assert Phase.LANDING not in {s.phase for s in story.states[:APPROACH]}
    assert near(story.times()[2], ON, by=12.0)  # the rate from altitude lags behind touch-down


@pytest.mark.parametrize(("seconds", "period"), [(4, 2), (10, 2), (10, 3), (40, 2), (40, 4)])
def test_flags_that_flap_in_the_flare_make_one_landing(seconds: int, period: int) -> None:
    def flap(i: int) -> float:
        return float(i % period < (period + 1) // 2)

    some = edit(rows(), ON - 4, ON - 4 + seconds, wow_left=flap, wow_right=flap)
    story = run(some)
    assert len(story.flights) == 1 and story.known.count(Phase.LANDING) <= 1
    assert Phase.CLIMB not in {s.phase for s in story.states[APPROACH:]}
    # later the longer it flaps: at last it is the speed that says it
    assert near(story.times()[2], ON, by=5.0 + min(seconds, 30))


def test_flags_that_say_ground_through_the_climb_do_not_hide_it() -> None:
    story = run(edit(rows(), 0, OFF + 120, **GROUND))
    assert Phase.CLIMB in story.known and Phase.LANDING not in {
        s.phase for s in story.states[: CRUISE]
    }  # fmt: skip
    _, off, on, _ = story.times()
    assert near(off, OFF, by=20.0) and near(on, ON)


def test_a_flag_on_the_approach_at_140_kt_is_no_landing() -> None:
    some = [{**row, "on_ground": row["wow_left"]} for row in rows()]
    some = only(some, "altitude_ft", "ground_speed_kt", "airspeed_kt", "vertical_speed_fpm",
                "on_ground")  # fmt: skip
    story = run(edit(some, APPROACH + 100, APPROACH + 160, on_ground=1.0))
    assert Phase.LANDING not in {s.phase for s in story.states[: ON - 20]}
    assert near(story.times()[2], ON, by=8.0)


@pytest.mark.parametrize("role", [
    "altitude_ft", "airspeed_kt", "ground_speed_kt", "vertical_speed_fpm", "radio_height_ft",
    "n1_1", "n1_2", "n2_1", "n2_2", "wow_left", "wow_right",
])  # fmt: skip
def test_one_input_missing_for_good_leaves_the_flight_whole(role: str) -> None:
    story = run(edit(rows(), 0, END, **{role: None}))
    assert len(story.flights) == 1
    _, off, on, _ = story.times()
    assert near(off, OFF, 4.0) and near(on, ON, 4.0)
    if role in ("altitude_ft", "airspeed_kt", "ground_speed_kt", "wow_left", "wow_right"):
        assert not story.opened()


@pytest.mark.parametrize("at", [40, OUT + 20, OFF + 10, CRUISE + 100, APPROACH + 100])
@pytest.mark.parametrize("role", [
    "altitude_ft", "airspeed_kt", "ground_speed_kt", "vertical_speed_fpm", "radio_height_ft",
])  # fmt: skip
def test_one_frozen_input_that_stays_good_invents_no_landing_and_no_opening(
    role: str, at: int
) -> None:
    story = run(frozen(rows(), at, role))
    assert not story.opened(OUT + 10, BLOCK - 5)
    landed = [i for i, s in enumerate(story.states) if s.phase is Phase.LANDING]
    assert all(ON - 3 <= i <= TAXI_IN + 200 for i in landed)
    airborne = [s.airborne for s in story.states[OFF + 60 : ON - 5]]
    assert False not in airborne
    taxied = {s.phase for s in story.states[OUT + 5 : OFF - 30]}
    assert taxied <= {Phase.TAXI_OUT, Phase.PARKED, Phase.UNKNOWN}


@pytest.mark.parametrize("role", ["wow_left", "wow_right"])
@pytest.mark.parametrize("at", [40, CRUISE])
def test_a_frozen_gear_keeps_the_gate_shut_or_is_overruled(role: str, at: int) -> None:
    story = run(frozen(rows(), at, role))
    assert not story.opened(OUT, BLOCK)
    assert len(story.flights) == 1
    if at == CRUISE:
        assert not story.opened(BLOCK)


def test_everything_frozen_at_the_stand_but_the_flags_is_no_reason_to_stay_open() -> None:
    numbers = ("altitude_ft", "airspeed_kt", "ground_speed_kt", "vertical_speed_fpm")
    story = run(frozen(rows(), 100, *numbers))
    assert not story.opened(OUT + 10, BLOCK)


def test_a_go_around_is_one_flight() -> None:
    some = rows(0, ON - 30) + rows(OFF + 20, OFF + 200) + rows(APPROACH - 60)
    story = run(some)
    assert len(story.flights) == 1
    assert story.known[6:10] == [Phase.APPROACH, Phase.CLIMB, Phase.DESCENT, Phase.APPROACH]
    assert near(story.times()[2], ON - 30 + 180 + ON - APPROACH + 60)


def test_a_touch_and_go_is_one_flight_whose_on_is_the_last() -> None:
    some = rows(0, ON + 6) + rows(OFF - 8, OFF + 200) + rows(APPROACH - 60)
    story = run(some)
    assert story.known[6:9] == [Phase.APPROACH, Phase.LANDING, Phase.CLIMB]
    assert len(story.flights) == 1
    assert near(story.times()[1], OFF)
    assert near(story.times()[2], ON + 6 + 208 + ON - APPROACH + 60)


def test_a_rejected_take_off_is_taxi_again_and_marks_no_off() -> None:
    stop = [{**row, **IDLE} for row in reversed(rows(OFF - 20, OFF - 10))]
    taxi = rows(OUT + 40, OUT + 100)
    story = run(rows(0, OFF - 10) + stop + taxi + rows(OUT + 40))
    assert story.known[:5] == [*FLOWN[:3], Phase.TAXI_OUT, Phase.TAKEOFF]
    assert len(story.flights) == 1
    assert near(story.times()[1], OFF - 10 + 10 + 60 + OFF - OUT - 40)
    back = run(rows(0, OFF - 10) + stop + taxi + rows(TAXI_IN + 60))
    assert back.known == [*FLOWN[:3], Phase.TAXI_OUT, Phase.PARKED] and not back.flights


def test_a_tow_is_a_ground_event() -> None:
    story = run(edit(rows(0, OUT - 60) * 4, 100, 200, ground_speed_kt=5.0))
    assert not story.flights and Phase.TAXI_OUT in story.known
    assert {turn.closed.kind for turn in story.turns} == {"ground"}
    assert not story.opened(100, 210)


def test_a_hot_turnaround_is_two_flights_and_the_gate_stays_shut() -> None:
    wait = [{**row, **IDLE, "ground_speed_kt": 0.0} for row in rows(TAXI_IN, TAXI_IN + 100)] * 6
    story = run(rows(0, TAXI_IN + 30) + wait + rows(OUT + 30))
    assert len(story.flights) == 2
    assert story.turns[1].why == "next off"
    assert story.times(0)[2:] == (ON, None)
    out, off, on, at_stand = story.times(1)
    assert out is None and None not in (off, on, at_stand)
    assert not story.opened(OUT, TAXI_IN + 30 + 600)


def test_parked_with_one_engine_running_is_not_parked() -> None:
    some = edit(rows(BLOCK + 60), 0, 600, n2_1=60.0, n1_1=20.0, eec_power_1=1.0)
    story = run(some)
    assert Phase.PARKED not in story.phases and not story.opened()


def test_a_recording_that_starts_airborne_says_so() -> None:
    for first, phase in ((OFF + 60, Phase.CLIMB), (CRUISE + 60, Phase.CRUISE),
                         (DESCENT + 60, Phase.DESCENT), (APPROACH + 60, Phase.APPROACH)):  # fmt: skip
        story = run(rows(first))
        assert story.known[0] is phase and story.phases[0] is Phase.UNKNOWN
        out, off, on, at_stand = story.times()
        assert out is None and off is None and near(on, ON - first)
        assert near(at_stand, BLOCK - first)
        assert story.turns[0].why.startswith("first seen in")


@pytest.mark.parametrize("jump", [7200.0, -3600.0, -2.0])
@pytest.mark.parametrize("at", [100, CRUISE + 100, TAXI_IN + 20])
def test_a_jump_of_the_aircraft_s_time_keeps_phases_and_the_order_of_times(
    jump: float, at: int
) -> None:
    events = [i + (jump if i >= at else 0.0) for i in range(END)]
    story = run(rows(), events_s=events)
    assert story.known == FLOWN  # the flight clock does not jump
    assert len(story.flights) == 1


@pytest.mark.parametrize("jump", [5.0, 7200.0, -3600.0])
@pytest.mark.parametrize("at", [CRUISE + 100, BLOCK + 120])
def test_time_that_nobody_watched_shuts_the_gate_and_proves_no_phase(jump: float, at: int) -> None:
    story = run(rows(), times_s=[5000 + i + (jump if i >= at else 0.0) for i in range(END)])
    assert not story.opened(at, at + 30)
    assert (story.phase_at(at) is Phase.UNKNOWN) is (abs(jump) > 10)
    assert len(story.flights) == 1


AT_THE_STAND = [
    (AIR, {"wow_left", "wow_right", "phase_or_contradiction"}),
    ({"wow_left": 0.0}, {"wow_left", "wow_disagree", "contradiction", "low_confidence"}),
    ({"wow_right": None}, {"no_data", "low_confidence"}),
    ({"ground_speed_kt": 5.0}, {"moving"}),
    ({"ground_speed_kt": None}, {"no_data", "low_confidence"}),
    ({"ground_speed_kt": 250.0}, {"moving", "contradiction", "low_confidence"}),
    ({"airspeed_kt": 250.0}, {"contradicts", "contradiction", "low_confidence"}),
    ({"altitude_ft": 36_000.0}, {"contradicts", "contradiction", "low_confidence"}),
    ({"radio_height_ft": 500.0}, {"contradiction", "low_confidence"}),
    ({"n2_1": 60.0, "eec_power_1": 1.0}, {"engine_runs"}),
    ({"n2_1": None, "eec_power_1": 1.0}, {"no_data", "low_confidence"}),
    ({"fuel_cutoff_2": 0.0}, {"fuel_cutoff_2"}),
    ({"parking_brake": 0.0}, {"parking_brake"}),
    ({"external_power": 0.0, "apu_power": 0.0}, {"no_power"}),
    ({"battery_only": 1.0}, {"battery_only"}),
]  # fmt: skip


@pytest.mark.parametrize(("odd", "codes"), AT_THE_STAND, ids=lambda x: " ".join(sorted(x)))
def test_an_open_gate_shuts_at_once_with_its_reasons(
    odd: dict[str, float | None], codes: set[str]
) -> None:
    at = END - BLOCK - 30
    story = run(edit(rows(BLOCK), at, END, **odd))
    assert story.gates[at - 1] and not story.opened(at)
    told = story.reasons[at]
    told |= {"phase_or_contradiction"} if told & {"phase", "contradiction"} else set()
    assert codes <= told


SUBSETS = {
    "ADS-B": ("altitude_ft", "ground_speed_kt"),
    "ADS-B with air data": ("altitude_ft", "ground_speed_kt", "airspeed_kt", "vertical_speed_fpm"),
    "altitude and airspeed": ("altitude_ft", "airspeed_kt"),
    "weight on wheels and ground speed": ("wow_left", "wow_right", "ground_speed_kt"),
    "weight on wheels": ("wow_left", "wow_right"),
    "one gear": ("wow_left",),
    "airspeed": ("airspeed_kt",),
    "ground speed": ("ground_speed_kt",),
    "radio height and ground speed": ("radio_height_ft", "ground_speed_kt"),
    "no gears": ("altitude_ft", "airspeed_kt", "ground_speed_kt", "n2_1", "n2_2", "n1_1", "n1_2"),
    "cores": ("n2_1", "n2_2"),
    "altitude": ("altitude_ft",),
    "nothing": (),
}  # fmt: skip


@pytest.mark.parametrize("name", SUBSETS)
def test_any_subset_works_and_opens_nothing(name: str) -> None:
    story = run(only(rows(), *SUBSETS[name]))
    assert not story.opened()
    assert (
        Confidence.HIGH not in {s.confidence for s in story.states} or "wow_left" in SUBSETS[name]
    )
    flies = name not in ("cores", "nothing")
    assert len(story.flights) == int(flies)
    if flies and name != "altitude":  # which says that it flies, but not from when to when
        _, off, on, _ = story.times()
        flags = "wow_left" in SUBSETS[name]
        assert near(off, OFF, 3.0 if flags else 40.0), off
        assert near(on, ON, 3.0 if flags else 25.0), on
        if "ground_speed_kt" in SUBSETS[name] and name != "ground speed":
            assert story.known[-1] is Phase.TAXI_IN
    if "altitude_ft" in SUBSETS[name] and len(SUBSETS[name]) > 1:
        air = [p for p in story.known if p in AIRBORNE]
        assert air[:3] == [Phase.CLIMB, Phase.CRUISE, Phase.DESCENT]


def test_cores_alone_say_whether_engines_run_and_nothing_else() -> None:
    story = run(only(rows(), "n2_1", "n2_2"))
    assert set(story.phases) == {Phase.UNKNOWN}
    assert story.states[CRUISE].engines_running is True


def test_a_recording_without_engines_is_parked_after_standing_still_for_long() -> None:
    some = only(rows() + rows(END - 10, END - 9) * 400, *SUBSETS["ADS-B"])
    story = run(some)
    assert story.known[-1] is Phase.PARKED and story.states[-1].confidence is Confidence.LOW
    assert near(story.times()[3], BLOCK, 6.0)
