"""The phase and flight machines, driven second by second."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edge.flight.flights import Counters, FlightMachine, Transition
from edge.flight.phase import PhaseInputs, PhaseMachine, PhaseState
from shared.phases import Phase

S = 1_000_000_000
PARKED = PhaseInputs(
    wow_left=True, wow_right=True, altitude_ft=0, airspeed_kt=0, ground_speed_kt=0,
    vertical_speed_fpm=0, radio_height_ft=0, n1_1=0, n1_2=0, n2_1=0, n2_2=0,
)  # fmt: skip
IDLE = replace(PARKED, n1_1=20.0, n1_2=20.0, n2_1=60.0, n2_2=60.0)
TAXI = replace(IDLE, ground_speed_kt=15.0)
ROLL = replace(IDLE, ground_speed_kt=120.0, airspeed_kt=120.0, n1_1=92.0, n1_2=92.0)
AIR = replace(
    ROLL, wow_left=False, wow_right=False, ground_speed_kt=250.0, airspeed_kt=250.0,
    altitude_ft=8000.0, radio_height_ft=None,
)  # fmt: skip
CLIMB = replace(AIR, vertical_speed_fpm=2000.0)
CRUISE = replace(AIR, vertical_speed_fpm=0.0, altitude_ft=20000.0)
DESCENT = replace(AIR, vertical_speed_fpm=-1500.0)
APPROACH = replace(DESCENT, radio_height_ft=1500.0, vertical_speed_fpm=-700.0, airspeed_kt=138.0)
ROLLOUT = replace(IDLE, ground_speed_kt=110.0, airspeed_kt=110.0)
LEGS = [
    (PARKED, 30), (IDLE, 60), (TAXI, 60), (ROLL, 30), (CLIMB, 300), (CRUISE, 120),
    (DESCENT, 200), (APPROACH, 120), (ROLLOUT, 20), (TAXI, 60), (IDLE, 20), (PARKED, 60),
]  # fmt: skip
FLOWN = [
    Phase.UNKNOWN, Phase.PARKED, Phase.TAXI_OUT, Phase.TAKEOFF, Phase.CLIMB, Phase.CRUISE,
    Phase.DESCENT, Phase.APPROACH, Phase.LANDING, Phase.TAXI_IN, Phase.PARKED,
]  # fmt: skip


def fly(
    machine: PhaseMachine, legs: list[tuple[PhaseInputs, int]], start_s: int = 0
) -> Iterator[tuple[int, PhaseState]]:
    t_ns = start_s * S
    for inputs, seconds in legs:
        for _ in range(seconds * 5):
            t_ns += S // 5
            yield t_ns, machine.step(t_ns, inputs)


def phases(states: Iterator[tuple[int, PhaseState]]) -> list[Phase]:
    seen: list[Phase] = []
    for _, state in states:
        if not seen or seen[-1] is not state.phase:
            seen.append(state.phase)
    return seen


def test_a_flight_goes_through_every_phase_once() -> None:
    assert phases(fly(PhaseMachine(), LEGS)) == FLOWN


def test_a_daemon_may_start_in_any_phase() -> None:
    for inputs, expected in [
        (PARKED, Phase.PARKED), (TAXI, Phase.TAXI_OUT), (ROLL, Phase.TAKEOFF),
        (CLIMB, Phase.CLIMB), (CRUISE, Phase.CRUISE), (DESCENT, Phase.DESCENT),
        (APPROACH, Phase.APPROACH), (ROLLOUT, Phase.LANDING),
    ]:  # fmt: skip
        assert phases(fly(PhaseMachine(), [(inputs, 30)])) == [Phase.UNKNOWN, expected]


def test_a_restart_after_landing_is_taxi_in() -> None:
    machine = PhaseMachine()
    machine.remember_landing(True)
    assert phases(fly(machine, [(TAXI, 30)])) == [Phase.UNKNOWN, Phase.TAXI_IN]


def test_missing_or_contradicting_evidence_is_unknown_after_a_while() -> None:
    for broken in (
        replace(CRUISE, wow_left=None),
        replace(CRUISE, wow_left=True),  # the two gears disagree
        replace(CRUISE, wow_left=True, wow_right=True),  # on the ground at 250 kt
    ):
        machine = PhaseMachine()
        assert phases(fly(machine, [(CRUISE, 60), (broken, 5)]))[-1] is Phase.CRUISE
        assert phases(fly(machine, [(broken, 15)], 65))[-1] is Phase.UNKNOWN


def test_parked_needs_engines_known_to_be_stopped() -> None:
    blind = replace(PARKED, n2_1=None, n2_2=None)
    assert phases(fly(PhaseMachine(), [(blind, 60)])) == [Phase.UNKNOWN]
    unpowered = replace(blind, engine_1_unpowered=True, engine_2_unpowered=True)
    assert phases(fly(PhaseMachine(), [(unpowered, 60)]))[-1] is Phase.PARKED


def test_a_rejected_takeoff_goes_back_to_taxi_and_a_go_around_climbs_again() -> None:
    rejected = [(PARKED, 20), (TAXI, 20), (ROLL, 10), (ROLLOUT, 5), (TAXI, 20)]
    assert phases(fly(PhaseMachine(), rejected))[-2:] == [Phase.TAKEOFF, Phase.TAXI_OUT]
    around = [(DESCENT, 60), (APPROACH, 60), (replace(CLIMB, radio_height_ft=900.0), 60)]
    assert phases(fly(PhaseMachine(), around))[-2:] == [Phase.APPROACH, Phase.CLIMB]


def transitions(legs: list[tuple[PhaseInputs, int]], machine: FlightMachine) -> list[Transition]:
    found = (machine.step(state, t_ns) for t_ns, state in fly(PhaseMachine(), legs))
    return [transition for transition in found if transition]


def test_a_flight_opens_at_off_block_and_closes_at_in_without_the_brake() -> None:
    machine = FlightMachine(None, Counters(), 0)
    out, landed = transitions(LEGS, machine)
    assert (out.why, out.closed.kind, out.opened.kind) == ("off-block", "ground", "flight")
    assert (landed.why, landed.opened.kind, landed.closed.serial) == ("in", "ground", 1)
    times = landed.closed.oooi
    assert times.out_ns and times.off_ns and times.on_ns and times.in_ns
    assert times.out_ns < times.off_ns < times.on_ns < times.in_ns
    assert abs(times.off_ns - (30 + 60 + 60 + 30) * S) <= 3 * S


def test_a_restart_in_flight_goes_on_with_the_same_period() -> None:
    machine = FlightMachine(None, Counters(), 0)
    transitions(LEGS[:6], machine)
    again = FlightMachine(machine.period, machine.counters, 0)
    assert transitions([(CRUISE, 60)], again) == []
    assert again.period == machine.period


def test_started_in_flight_opens_a_flight_whose_out_and_off_are_not_known() -> None:
    machine = FlightMachine(None, Counters(leg=6), 0)
    (opened,) = transitions([(CRUISE, 60)], machine)
    assert opened.opened.serial == 7
    assert opened.opened.oooi.out_ns is None and opened.opened.oooi.off_ns is None


def test_power_cut_before_in_closes_the_flight_at_the_next_start() -> None:
    machine = FlightMachine(None, Counters(), 0)
    transitions(LEGS[:10], machine)  # stops in taxi in
    again = FlightMachine(machine.period, machine.counters, 0)
    (landed,) = transitions([(PARKED, 30)], again)
    assert landed.why == "in" and landed.closed.oooi.on_ns == machine.period.oooi.on_ns


def test_a_tow_and_a_rejected_takeoff_are_ground_events() -> None:
    tow = [(PARKED, 30), (replace(PARKED, ground_speed_kt=6.0), 60), (PARKED, 30)]
    rejected = [(PARKED, 30), (TAXI, 20), (ROLL, 10), (ROLLOUT, 5), (TAXI, 20), (PARKED, 30)]
    for legs in (tow, rejected):
        _, back = transitions(legs, FlightMachine(None, Counters(), 0))
        assert back.closed.kind == "ground" and back.closed.oooi.off_ns is None
