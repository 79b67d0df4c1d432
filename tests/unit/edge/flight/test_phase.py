"""The phase and flight machines, driven second by second."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edge.flight.flights import Counters, FlightMachine, Transition
from edge.flight.phase import PhaseInputs, PhaseMachine, PhaseState
from shared.phases import Confidence, Phase

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
    """5 looks a second; altitude goes on with the vertical speed from that of the first leg."""
    t_ns = start_s * S
    altitude_ft = legs[0][0].altitude_ft
    for inputs, seconds in legs:
        for _ in range(seconds * 5):
            t_ns += S // 5
            if altitude_ft is not None:
                altitude_ft += (inputs.vertical_speed_fpm or 0.0) / 300
                if inputs.wow_left and inputs.ground_speed_kt != CRUISE.ground_speed_kt:
                    altitude_ft = 0.0
                if inputs.altitude_ft is not None:
                    inputs = replace(inputs, altitude_ft=altitude_ft)
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


def test_missing_evidence_is_low_confidence_and_contradictions_are_named() -> None:
    for broken, name in (
        (replace(CRUISE, wow_left=None), None),
        (replace(CRUISE, wow_left=True), "weight_on_wheels_disagrees"),
        (replace(CRUISE, wow_left=True, wow_right=True), "ground: weight_on_wheels; air: fast alt"),
    ):
        machine = PhaseMachine()
        last = list(fly(machine, [(CRUISE, 60), (broken, 60)]))[-1][1]
        assert (last.phase, last.confidence) == (Phase.CRUISE, Confidence.LOW)
        assert name is None or last.contradictions[0].startswith(name)


def test_evidence_that_stands_one_against_one_is_unknown_after_a_while() -> None:
    slow_air = replace(PARKED, wow_left=False, wow_right=False, radio_height_ft=None)
    for good, broken in ((PARKED, slow_air), (TAXI, replace(slow_air, ground_speed_kt=15.0))):
        machine = PhaseMachine()
        assert phases(fly(machine, [(good, 60), (broken, 5)]))[-1] is not Phase.UNKNOWN
        assert phases(fly(machine, [(broken, 15)], 65))[-1] is Phase.UNKNOWN


def test_parked_needs_engines_known_to_be_stopped() -> None:
    blind = replace(PARKED, n1_1=None, n1_2=None, n2_1=None, n2_2=None)
    assert phases(fly(PhaseMachine(), [(blind, 900)])) == [Phase.UNKNOWN]
    unpowered = replace(blind, unpowered=(1, 2))
    assert phases(fly(PhaseMachine(), [(unpowered, 60)]))[-1] is Phase.PARKED
    assert phases(fly(PhaseMachine(), [(replace(unpowered, unpowered=(1,)), 60)])) == [
        Phase.UNKNOWN
    ]


def test_a_rejected_takeoff_goes_back_to_taxi_and_a_go_around_climbs_again() -> None:
    rejected = [(PARKED, 20), (TAXI, 20), (ROLL, 10), (ROLLOUT, 5), (TAXI, 20)]
    assert phases(fly(PhaseMachine(), rejected))[-2:] == [Phase.TAKEOFF, Phase.TAXI_OUT]
    around = [(DESCENT, 60), (APPROACH, 60), (replace(CLIMB, radio_height_ft=900.0), 60)]
    assert phases(fly(PhaseMachine(), around))[-2:] == [Phase.APPROACH, Phase.CLIMB]


def test_flags_that_never_settle_do_not_keep_it_in_the_air() -> None:
    def flapping(inputs: PhaseInputs, times: int) -> list[tuple[PhaseInputs, int]]:
        up = replace(inputs, wow_left=False, wow_right=False)
        return [(inputs, 1), (up, 1)] * times

    legs = [(DESCENT, 60), (APPROACH, 60), *flapping(ROLLOUT, 5), *flapping(TAXI, 40)]
    states = [state for _, state in fly(PhaseMachine(), legs)]
    assert states[-1].phase is Phase.TAXI_IN
    assert "weight_on_wheels_flaps" in states[-1].contradictions


def test_parked_that_is_suddenly_in_the_air_looks_again() -> None:
    assert phases(fly(PhaseMachine(), [(PARKED, 30), (CLIMB, 60)])) == [
        Phase.UNKNOWN, Phase.PARKED, Phase.UNKNOWN, Phase.CLIMB,
    ]  # fmt: skip


def test_four_engines_and_engines_known_by_their_fans_alone() -> None:
    four = replace(PARKED, engines=(1, 2, 3, 4), n2_3=0.0, n2_4=0.0)
    assert phases(fly(PhaseMachine(), [(four, 30)]))[-1] is Phase.PARKED
    for odd in (replace(four, n2_4=60.0), replace(four, n2_3=None)):
        assert Phase.PARKED not in phases(fly(PhaseMachine(), [(odd, 60)]))
    fans = replace(PARKED, n2_1=None, n2_2=None)
    assert phases(fly(PhaseMachine(), [(fans, 30)]))[-1] is Phase.PARKED
    assert Phase.PARKED not in phases(fly(PhaseMachine(), [(replace(fans, n1_2=22.0), 60)]))


def test_what_an_inertial_speed_drifts_at_the_stand_is_the_type_s_affair() -> None:
    drifting = replace(PARKED, ground_speed_kt=6.0)
    legs = [(PARKED, 30), (drifting, 600)]
    assert phases(fly(PhaseMachine(), legs))[-1] is Phase.TAXI_OUT
    assert phases(fly(PhaseMachine(drift_kt=8.0), legs))[-1] is Phase.PARKED
    flown = [*LEGS[:-1], (replace(drifting, ground_speed_kt=5.0), 60)]
    assert phases(fly(PhaseMachine(drift_kt=8.0), flown)) == FLOWN
    moving = replace(PARKED, ground_speed_kt=9.0)
    assert (
        phases(fly(PhaseMachine(drift_kt=8.0), [(PARKED, 30), (moving, 5)]))[-1] is Phase.TAXI_OUT
    )


def transitions(
    legs: list[tuple[PhaseInputs, int]], machine: FlightMachine, start_s: int = 0
) -> list[Transition]:
    found = (machine.step(state, t_ns) for t_ns, state in fly(PhaseMachine(), legs, start_s))
    return [transition for transition in found if transition]


def test_a_flight_opens_at_off_block_and_closes_at_in_without_the_brake() -> None:
    machine = FlightMachine(None, Counters(), 0)
    out, landed = transitions(LEGS, machine)
    assert (out.why, out.closed.kind, out.opened.kind) == ("off-block", "ground", "flight")
    assert (landed.why, landed.opened.kind, landed.closed.serial) == ("in", "ground", 1)
    times = landed.closed.oooi
    assert times.out_ns and times.off_ns and times.on_ns and times.in_ns
    assert times.out_ns < times.off_ns < times.on_ns < times.in_ns
    assert (
        abs(times.off_ns - (30 + 60 + 60 + 30) * S) <= 1 * S
    )  # when it lifted off, not when that was sure


def test_a_landing_that_nobody_saw_does_not_make_one_flight_of_two() -> None:
    machine = FlightMachine(None, Counters(), 0)
    transitions(LEGS[:6], machine)
    again = FlightMachine(machine.period, machine.counters, 0)  # it comes back on the next taxi out
    off, landed = transitions([(TAXI, 60), *LEGS[3:]], again, start_s=9000)
    assert (off.why, off.closed.serial, off.opened.serial) == ("next off", 1, 2)
    assert off.closed.oooi.on_ns is None and off.opened.oooi.off_ns == off.at_ns - 2 * S
    assert (landed.why, landed.closed.serial) == ("in", 2)


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
    (landed,) = transitions([(PARKED, 30)], again, start_s=2000)
    assert landed.why == "in" and landed.closed.oooi.on_ns == machine.period.oooi.on_ns


def test_a_tow_and_a_rejected_takeoff_are_ground_events() -> None:
    tow = [(PARKED, 30), (replace(PARKED, ground_speed_kt=6.0), 60), (PARKED, 30)]
    rejected = [(PARKED, 30), (TAXI, 20), (ROLL, 10), (ROLLOUT, 5), (TAXI, 20), (PARKED, 30)]
    for legs in (tow, rejected):
        _, back = transitions(legs, FlightMachine(None, Counters(), 0))
        assert back.closed.kind == "ground" and back.closed.oooi.off_ns is None
