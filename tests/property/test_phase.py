"""Phase, flight and gate over any sequence of inputs: nothing raises, and unknown is unsafe."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.flight.evidence import Witness
from edge.flight.flights import Counters, FlightMachine
from edge.flight.phase import LOST_S, PhaseInputs, PhaseMachine, PhaseState
from edge.update.gate import Gate, GateDecision, GateInputs, GateRule, Observation
from shared.phases import Confidence, Phase
from shared.quality import Quality
from tests.unit.edge.flight.recordings import POSSIBLE

S = 1_000_000_000
FLAGS = ("wow_left", "wow_right", "on_ground")
NUMBERS = tuple(
    f.name for f in fields(PhaseInputs)
    if f.name not in (*FLAGS, "engines", "unpowered", "has_speed")
)  # fmt: skip

flags = st.sampled_from([None, True, False])
numbers = st.one_of(
    st.none(), st.just(0.0), st.floats(-1e6, 1e6), st.sampled_from([30.0, 120.0, 250.0, 36_000.0]),
    st.floats(allow_nan=True, allow_infinity=True),
)  # fmt: skip
anything = st.builds(
    PhaseInputs, **dict.fromkeys(FLAGS, flags), **dict.fromkeys(NUMBERS, numbers),
    engines=st.sampled_from([(), (1,), (1, 2), (1, 2, 3, 4)]),
    unpowered=st.sampled_from([(), (1,), (1, 2)]), has_speed=st.booleans(),
)  # fmt: skip
steps = st.integers(-20 * S, 40 * S) | st.sampled_from([S // 5, S, 3 * S])
held = st.lists(st.tuples(anything, st.integers(1, 60), st.sampled_from([0.2, 1.0])), max_size=8)

STAND = PhaseInputs(
    wow_left=True, wow_right=True, altitude_ft=400.0, airspeed_kt=0.0, ground_speed_kt=0.0,
    vertical_speed_fpm=0.0, radio_height_ft=0.0, n1_1=0.0, n1_2=0.0, n2_1=0.0, n2_2=0.0,
)  # fmt: skip


def at_the_stand() -> GateInputs:
    """Everything that the gate reads itself says yes: only the phase can keep it shut."""
    true = ("wow_left", "wow_right", "parking_brake", "external_power", "fuel_cutoff_1",
            "fuel_cutoff_2")  # fmt: skip
    zero = ("ground_speed_kt", "battery_only", "n2_1", "n2_2", "oil_pressure_1", "oil_pressure_2",
            "altitude_ft", "airspeed_kt")  # fmt: skip
    good = {role: Observation(1.0, Quality.GOOD, 0) for role in true}
    return GateInputs(**good, **{role: Observation(0.0, Quality.GOOD, 0) for role in zero})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(steps, anything), max_size=60))
def test_nothing_raises_whatever_comes_at_whatever_time(
    looks: list[tuple[int, PhaseInputs]],
) -> None:
    machine, flights, now_ns, phases = PhaseMachine(), FlightMachine(None, Counters(), 0), 0, []
    gate = Gate(GateRule(dwell_s=1.0))
    for step_ns, inputs in looks:
        now_ns += step_ns
        state = machine.step(now_ns, inputs)
        flights.step(state, now_ns)
        decision = gate.step(
            now_ns, at_the_stand(), state.phase, state.confidence, state.contradictions
        )
        phases.append(state.phase)
        assert not decision.open or state.confidence is Confidence.HIGH
        times = [getattr(flights.period.oooi, f"{name}_ns") for name in ("out", "off", "on", "in")]
        marked = [at for at in times if at is not None]
        assert marked == sorted(marked)
    for before, after in pairwise(phases):
        if before is not after and Phase.UNKNOWN not in (before, after):
            assert after in POSSIBLE[before]


def watched(
    legs: list[tuple[PhaseInputs, int, float]],
) -> list[tuple[float, PhaseInputs, PhaseState, GateDecision]]:
    """Each input held for so many looks."""
    machine, gate, now_s = PhaseMachine(), Gate(GateRule(dwell_s=2.0)), 0.0
    seen = []
    for inputs, looks, step_s in legs:
        for _ in range(looks):
            now_s += step_s
            now_ns = round(now_s * S)
            state = machine.step(now_ns, inputs)
            decision = gate.step(
                now_ns, at_the_stand(), state.phase, state.confidence, state.contradictions
            )
            seen.append((now_s, inputs, state, decision))
    return seen


@settings(max_examples=60, deadline=None)
@given(held)
def test_the_gate_is_never_open_while_anything_says_air_or_moving(
    legs: list[tuple[PhaseInputs, int, float]],
) -> None:
    for _, seen, state, decision in watched([(STAND, 80, 0.2), *legs, (STAND, 10, 0.2)]):
        if not decision.open:
            continue
        assert state.phase is Phase.PARKED and not state.contradictions
        assert seen.wow_left and seen.wow_right and seen.on_ground is not False
        assert seen.ground_speed_kt is not None and abs(seen.ground_speed_kt) < 4
        assert not (seen.airspeed_kt is not None and abs(seen.airspeed_kt) > 60)
        assert not (seen.radio_height_ft is not None and seen.radio_height_ft > 100)
        assert not (seen.altitude_ft is not None and seen.altitude_ft > 16_000)
        cores = [getattr(seen, f"n2_{n}") for n in seen.engines]
        assert not any(core is not None and 20 < core < float("inf") for core in cores)


def test_the_gate_does_open_at_the_stand_or_the_property_above_says_nothing() -> None:
    assert watched([(STAND, 80, 0.2)])[-1][3].open


@settings(max_examples=40, deadline=None)
@given(held, st.sampled_from([("wow_left", "wow_right", "on_ground"), FLAGS + NUMBERS]))
def test_unknown_comes_within_its_bound_when_the_evidence_is_gone(
    legs: list[tuple[PhaseInputs, int, float]], gone: tuple[str, ...]
) -> None:
    blind = replace(STAND, **dict.fromkeys(FLAGS + NUMBERS))
    if len(gone) == len(FLAGS):  # speeds that prove neither ground nor air
        blind = replace(blind, airspeed_kt=90.0, ground_speed_kt=90.0)
    seen = watched([(STAND, 80, 0.2), *legs, (blind, round((LOST_S + 1) * 5), 0.2)])
    assert seen[-1][2].phase is Phase.UNKNOWN
    assert seen[-1][2].confidence is Confidence.NONE and not seen[-1][3].open


@settings(max_examples=40, deadline=None)
@given(anything, st.integers(0, 300))
def test_one_look_depends_on_nothing_but_what_was_seen(inputs: PhaseInputs, t_s: int) -> None:
    first, second = Witness().look(t_s * S, inputs), Witness().look(t_s * S, inputs)
    assert first == second


@settings(max_examples=60, deadline=None)
@given(held)
def test_high_confidence_needs_two_gears_and_no_contradiction(
    legs: list[tuple[PhaseInputs, int, float]],
) -> None:
    for _, seen, state, _ in watched(legs):
        if state.confidence is Confidence.HIGH:
            assert seen.wow_left is seen.wow_right is state.on_ground
            assert not state.contradictions and state.phase is not Phase.UNKNOWN
