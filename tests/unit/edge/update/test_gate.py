"""The gate: every condition on its own, the dwell, and the proof that any one of them shuts it."""

from __future__ import annotations

import ast
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge.update.gate as gate_module
from edge.update.gate import GATE_ROLES, Gate, GateInputs, GateRule, Observation
from shared.phases import Confidence, Phase
from shared.quality import Quality, Reason, code
from shared.signals import ROLES

S = 1_000_000_000
HIGH = Confidence.HIGH
STAND = {
    "wow_left": 1, "wow_right": 1, "ground_speed_kt": 0.4, "parking_brake": 1,
    "external_power": 1, "apu_power": 0, "battery_only": 0, "fuel_cutoff_1": 1, "fuel_cutoff_2": 1,
    "n2_1": 0.0, "n2_2": 0.0, "oil_pressure_1": 0.5, "oil_pressure_2": 0.0,
    "eec_power_1": 1, "eec_power_2": 1, "altitude_ft": 430.0, "airspeed_kt": 30.0,
}  # fmt: skip
OTHER_ENGINES = {
    f"{role}_{n}": STAND[f"{role}_1"]
    for role in ("fuel_cutoff", "n2", "oil_pressure", "eec_power")
    for n in (3, 4)
}
NOT_NEEDED_AT_THE_STAND = {"apu_power", "eec_power_1", "eec_power_2"}
NEEDED = sorted(set(STAND) - NOT_NEEDED_AT_THE_STAND)
NO_DATA = code(Quality.NO_DATA, Reason.UNPOWERED)
BROKEN = {
    "missing": Observation(),
    "stale": Observation(1.0, Quality.GOOD, 3 * S),
    "from the future": Observation(1.0, Quality.GOOD, -1),
    "bad": Observation(1.0, code(Quality.BAD, Reason.FAILURE), 0),
    "suspect": Observation(1.0, code(Quality.SUSPECT, Reason.RATE), 0),
    "no data": Observation(None, NO_DATA, 0),
    "good without a value": Observation(None, Quality.GOOD, 0),
    "not a number": Observation(float("nan"), Quality.GOOD, 0),
    "infinite": Observation(float("-inf"), Quality.GOOD, 0),
}
WRONG = {
    "wow_left": 0, "wow_right": 0, "ground_speed_kt": 3.1, "parking_brake": 0, "external_power": 0,
    "battery_only": 1, "fuel_cutoff_1": 0, "fuel_cutoff_2": 0, "n2_1": 5.1, "n2_2": 60.0,
    "oil_pressure_1": 10.5, "oil_pressure_2": 45.0, "altitude_ft": 16001.0, "airspeed_kt": 61.0,
}  # fmt: skip


def good(value: float) -> Observation:
    return Observation(float(value), Quality.GOOD, S // 10)


def inputs(**changes: float | Observation) -> GateInputs:
    seen = {role: good(value) for role, value in STAND.items()}
    for role, change in changes.items():
        seen[role] = change if isinstance(change, Observation) else good(change)
    return GateInputs(**seen)


def opened(phase: Phase = Phase.PARKED, rule: GateRule | None = None, **changes: object) -> bool:
    """Whether a gate opens that sees this for longer than its dwell."""
    gate = Gate(rule or GateRule(dwell_s=2.0))
    seen = inputs(**changes)  # type: ignore[arg-type]
    return [gate.step(t * S, seen, phase, HIGH).open for t in range(4)][-1]


def codes(**changes: float | Observation) -> set[str]:
    return {r.code for r in Gate(GateRule()).step(0, inputs(**changes), Phase.PARKED, HIGH).reasons}


def test_opens_at_the_stand_after_the_dwell_and_not_before() -> None:
    gate = Gate(GateRule(dwell_s=3.0))
    decisions = [gate.step(t * S, inputs(), Phase.PARKED, HIGH) for t in range(5)]
    assert [d.open for d in decisions] == [False, False, False, True, True]
    assert [d.dwell_left_s for d in decisions] == [3.0, 2.0, 1.0, 0.0, 0.0]
    assert [r.code for r in decisions[1].reasons] == ["dwell"]
    assert decisions[4].since_ns == 3 * S and not decisions[4].reasons


def test_every_role_of_the_gate_is_a_role_that_signal_sets_can_bind() -> None:
    assert set(GATE_ROLES) <= set(ROLES)
    assert set(GATE_ROLES) == set(STAND) | set(OTHER_ENGINES)


def test_shut_when_nothing_was_ever_seen() -> None:
    decision = Gate(GateRule()).step(0, GateInputs(), Phase.UNKNOWN)
    assert not decision.open
    assert {"phase", "missing", "no_power"} <= {r.code for r in decision.reasons}


@pytest.mark.parametrize("role", NEEDED)
@pytest.mark.parametrize("how", BROKEN)
def test_shut_when_a_needed_input_proves_nothing(role: str, how: str) -> None:
    assert opened()
    assert not opened(**{role: BROKEN[how]})


@pytest.mark.parametrize("role", WRONG)
def test_shut_when_one_condition_is_false(role: str) -> None:
    assert not opened(**{role: WRONG[role]})


@pytest.mark.parametrize("role", ["wow_left", "parking_brake", "battery_only", "fuel_cutoff_1"])
@pytest.mark.parametrize("value", [0.5, 2.0, -1.0])
def test_shut_when_a_discrete_is_neither_true_nor_false(role: str, value: float) -> None:
    assert not opened(**{role: value})


@pytest.mark.parametrize("phase", [p for p in Phase if p is not Phase.PARKED])
def test_shut_in_every_phase_but_parked(phase: Phase) -> None:
    assert not opened(phase)


@pytest.mark.parametrize(
    ("external", "apu", "battery", "expected"),
    [
        (e, a, b, bool((e == 1 or a == 1) and b == 0))
        for e in (0, 1, None)
        for a in (0, 1, None)
        for b in (0, 1, None)
    ],
)
def test_power_needs_one_proved_source_and_proof_against_battery_alone(
    external: int | None, apu: int | None, battery: int | None, expected: bool
) -> None:
    seen = {
        role: good(v) if v is not None else Observation(None, NO_DATA, 0)
        for role, v in zip(
            ("external_power", "apu_power", "battery_only"), (external, apu, battery), strict=True
        )
    }
    assert opened(**seen) is expected


def test_disagreeing_weight_on_wheels_is_named() -> None:
    assert "wow_disagree" in codes(wow_left=0)
    assert "wow_disagree" not in codes(wow_left=0, wow_right=0)


SILENT = [Observation(None, NO_DATA, 0), Observation(), Observation(0.0, Quality.GOOD, 9 * S)]


@pytest.mark.parametrize("silence", SILENT)
@pytest.mark.parametrize(
    ("eec", "expected"),
    [
        (good(0), True),
        (good(1), False),
        (Observation(), False),
        (Observation(0.0, Quality.GOOD, 9 * S), False),
        (Observation(0.0, code(Quality.SUSPECT, Reason.STUCK), 0), False),
        (Observation(None, NO_DATA, 0), False),
        (good(0.5), False),
    ],
)
def test_silence_of_a_core_counts_only_with_proof_that_its_eec_is_unpowered(
    silence: Observation, eec: Observation, expected: bool
) -> None:
    assert opened(n2_2=silence, eec_power_2=eec) is expected


def test_an_unpowered_eec_excuses_neither_a_turning_core_nor_a_bad_value() -> None:
    assert not opened(eec_power_1=0, n2_1=60.0)
    assert not opened(eec_power_1=0, n2_1=Observation(0.0, code(Quality.BAD, Reason.FAILURE), 0))


def test_an_unpowered_eec_excuses_no_sensor_that_it_does_not_feed() -> None:
    silent = Observation(None, NO_DATA, 0)
    assert not opened(eec_power_1=0, oil_pressure_1=silent)
    assert not opened(eec_power_1=0, fuel_cutoff_1=silent)
    rule = GateRule(dwell_s=2.0, eec_sources=("n2", "oil_pressure"))
    assert opened(rule=rule, eec_power_1=0, oil_pressure_1=silent)


def test_the_proof_for_one_engine_says_nothing_of_the_other() -> None:
    assert not opened(eec_power_1=0, n2_2=Observation(None, NO_DATA, 0))


def test_a_signal_set_may_ask_for_fresher_inputs_but_not_for_older_ones() -> None:
    for given_ns, expected in ((S // 20, False), (S, True), (60 * S, True)):
        gate = Gate(GateRule(dwell_s=1.0), {"wow_left": given_ns})
        assert [gate.step(t * S, inputs(), Phase.PARKED, HIGH).open for t in (0, 1)][-1] is expected
    old = inputs(wow_left=Observation(1.0, Quality.GOOD, 4 * S))
    gate = Gate(GateRule(dwell_s=1.0), {"wow_left": 60 * S})
    assert not [gate.step(t * S, old, Phase.PARKED, HIGH).open for t in (0, 1)][-1]


def test_one_violation_shuts_an_open_gate_at_once_and_starts_the_dwell_again() -> None:
    gate = Gate(GateRule(dwell_s=2.0))
    seen = [inputs()] * 3 + [inputs(parking_brake=0)] + [inputs()] * 3
    decisions = [gate.step(t * S, s, Phase.PARKED, HIGH) for t, s in enumerate(seen)]
    assert [d.open for d in decisions] == [False, False, True, False, False, False, True]
    assert decisions[3].since_ns == 3 * S
    assert decisions[3].dwell_left_s == 2.0


def test_time_that_nobody_watched_does_not_count_as_dwell() -> None:
    gate = Gate(GateRule(dwell_s=2.0, step_gap_max_s=3.0))
    gate.step(0, inputs(), Phase.PARKED, HIGH)
    decision = gate.step(60 * S, inputs(), Phase.PARKED, HIGH)
    assert not decision.open
    assert [r.code for r in decision.reasons] == ["not_watched"]
    assert [gate.step(t * S, inputs(), Phase.PARKED, HIGH).open for t in (61, 62, 63)] == [
        False, False, True,
    ]  # fmt: skip


def test_a_flight_clock_that_goes_back_shuts_an_open_gate() -> None:
    gate = Gate(GateRule(dwell_s=1.0))
    assert [gate.step(t * S, inputs(), Phase.PARKED, HIGH).open for t in (10, 11)] == [False, True]
    decision = gate.step(10 * S, inputs(), Phase.PARKED, HIGH)
    assert not decision.open and decision.reasons[0].code == "clock_back"


def test_a_refusal_carries_its_figures() -> None:
    (reason,) = Gate(GateRule()).step(0, inputs(ground_speed_kt=12.5), Phase.PARKED, HIGH).reasons
    assert (reason.code, reason.role, reason.value, reason.limit) == (
        "moving", "ground_speed_kt", 12.5, 3.0,
    )  # fmt: skip
    assert "12.5 kt" in reason.text and "at most 3" in reason.text


@pytest.mark.parametrize("confidence", [Confidence.LOW, Confidence.NONE])
def test_low_confidence_in_the_phase_shuts_it_whatever_else_holds(confidence: Confidence) -> None:
    gate = Gate(GateRule(dwell_s=1.0))
    decisions = [gate.step(t * S, inputs(), Phase.PARKED, confidence) for t in range(4)]
    assert [r.code for d in decisions for r in d.reasons] == ["low_confidence"] * 4


def test_a_caller_that_says_nothing_of_confidence_gets_a_shut_gate() -> None:
    assert not any(Gate(GateRule(dwell_s=1.0)).step(t * S, inputs(), Phase.PARKED).open
                   for t in range(4))  # fmt: skip


def test_what_contradicts_is_a_reason_by_name() -> None:
    gate = Gate(GateRule())
    (reason,) = gate.step(0, inputs(), Phase.PARKED, HIGH, ("speeds_disagree",)).reasons
    assert reason.code == "contradiction" and "speeds_disagree" in reason.text


def test_four_engines_must_all_be_proved_stopped() -> None:
    rule = GateRule(dwell_s=2.0, engines=(1, 2, 3, 4))
    assert not opened(rule=rule)
    assert opened(rule=rule, **OTHER_ENGINES)
    assert not opened(rule=rule, **{**OTHER_ENGINES, "n2_4": 60.0})


def test_an_engine_that_is_bound_must_be_stopped_whatever_the_rule_names() -> None:
    assert opened(**OTHER_ENGINES)
    for role, value in (("fuel_cutoff_3", 0), ("n2_4", 18.0), ("oil_pressure_3", 30.0)):
        assert not opened(**{**OTHER_ENGINES, role: value})


def test_negative_speed_is_speed_and_depth_is_no_stand() -> None:
    assert not opened(ground_speed_kt=-8.0)
    assert not opened(altitude_ft=-3001.0)
    assert opened(altitude_ft=-1200.0)


@pytest.mark.parametrize(
    "data",
    [{"dwell": 3}, {"dwell_s": 0}, {"dwell_s": -1.0}, {"engines": []}, {"power": ["battery"]},
     {"still": []}, {"n2_max_percent": float("nan")}, {"ground_speed_max_kt": 30.0}],
)  # fmt: skip
def test_a_rule_with_an_unknown_or_senseless_key_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(data, GateRule)


def test_the_module_has_no_clock_and_no_io() -> None:
    tree = ast.parse(Path(gate_module.__file__).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [a.name for a in node.names] if isinstance(node, ast.Import)
            else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    assert imported == {"__future__", "collections", "typing", "msgspec", "shared"}


# -- properties

qualities = st.integers(0, 255)
ages = st.one_of(st.integers(-S, 10 * S), st.just(1 << 62))
values = st.one_of(
    st.none(), st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 1.0])
)
observations = st.builds(Observation, values, qualities, ages)


def violates(role: str, seen: Observation) -> bool:
    """Independent of the code under test: what the contract calls a violation, role by role."""
    value = seen.value
    if seen.quality != 0 or not 0 <= seen.age_ns < 3 * S or value is None or value != value:
        return True
    if role in ("wow_left", "wow_right", "parking_brake", "fuel_cutoff_1", "fuel_cutoff_2",
                "external_power"):  # fmt: skip
        return value != 1.0
    if role == "battery_only":
        return value != 0.0
    low, high = {
        "ground_speed_kt": (-3, 3), "n2_1": (-5, 5), "n2_2": (-5, 5), "oil_pressure_1": (-10, 10),
        "oil_pressure_2": (-10, 10), "altitude_ft": (-3000, 16000), "airspeed_kt": (-60, 60),
    }[role]  # fmt: skip
    return not low <= value <= high


@given(st.sampled_from(NEEDED), observations)
def test_any_single_violated_condition_shuts_the_gate(role: str, seen: Observation) -> None:
    assert opened(**{role: seen}) is not violates(role, seen)


@given(st.lists(st.tuples(st.integers(0, 5 * S), st.booleans()), max_size=40))
def test_open_means_that_everything_held_and_was_watched_for_the_whole_dwell(
    steps: list[tuple[int, bool]],
) -> None:
    gate, now, held_since, last = Gate(GateRule(dwell_s=4.0)), 0, None, None
    for wait_ns, holds in steps:
        now += wait_ns
        watched = last is None or now - last <= 3 * S
        held_since = (now if held_since is None else held_since) if holds and watched else None
        last = now
        seen = inputs() if holds else inputs(wow_left=0)
        is_open = gate.step(now, seen, Phase.PARKED, HIGH).open
        assert is_open is (held_since is not None and now - held_since >= 4 * S)
