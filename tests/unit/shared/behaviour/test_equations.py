"""The unit check and the other refusals of `differential-equation`, each by name and place."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shared.behaviour.equations import DifferentialEquation, StateVariable, System
from shared.behaviour.examine import examine
from shared.behaviour.faults import Fault
from shared.behaviour.grammar import parse_equation
from shared.behaviour.model import Model
from shared.errors import Rejected
from tests.fakes.graphs import held, number, play, port

INPUTS = (port("I", "A", -10, 10), port("T", "Cel", -20, 60))
OUTPUTS = (port("y", "V", -100, 100),)
GOOD = DifferentialEquation(
    states=(
        StateVariable(name="q", unit="C", initial=1.0, valid=(0, 2)),
        StateVariable(name="Tc", unit="Cel", initial=20.0, valid=(-20, 90)),
    ),
    parameters={"R": number(0.1, "Ohm"), "tau": number(5.0, "s"), "k": number(0.01, "1/K"),
                "m": number(5.0, "min"), "ms": number(1.0, "mV"), "Q": number(2.0, "C")},
    equations=("dq/dt = -I", "dTc/dt = (T - Tc) / tau", "y = I * R * exp(k * (Tc - 25 [Cel]))"),
)  # fmt: skip


def faults_with(*equations: str, **changes: Any) -> list[Fault]:
    """Faults of GOOD with its equations of the same target replaced, others added."""
    targets = [parse_equation(x, "test").target for x in equations]
    kept = [x for x in GOOD.equations if parse_equation(x, "test").target not in targets]
    changed = msgspec.structs.replace(GOOD, equations=(*kept, *equations), **changes)
    return System(changed, INPUTS, OUTPUTS).faults


def test_good_model_has_no_fault() -> None:
    assert faults_with() == []


@pytest.mark.parametrize(
    ("equation", "kind", "words"),
    [
        ("y = I", "unit", "y, is V; the right side is A"),
        ("y = I * R + I", "unit", "I * R in A.Ohm and I in A"),
        ("y = I * R + ms", "unit", "differ by 1000"),
        ("y = ms", "unit", "0.001 times as large"),
        ("y = I * R + 1", "unit", "1 without a unit"),
        ("y = min(I * R, tau)", "unit", "and tau in s"),
        ("y = exp(I) * I * R", "argument", "exp of I, which is in A"),
        ("y = sin(k) * I * R", "argument", "sin of k"),
        ("y = log(k * (Tc - T) + tau / m) * I * R", "unit", "differ by"),
        ("y = I * R * exp(0.01 * (Tc - T))", "argument", "coefficient is per kelvin"),
        ("y = I * R * 2 ^ tau", "argument", "an exponent in s"),
        ("y = I * R * (I / 1 [A]) ^ (Q / 1 [C])", "", ""),
        ("y = I * R * tau ^ (Q / 1 [C])", "argument", "to a power that varies"),
        ("y = I * R * sqrt(tau ^ 2) / tau", "", ""),
        ("y = I * R * k * T", "temperature", "T in Cel is a point on a scale"),
        ("y = I * R * exp(-T)", "temperature", "-T means nothing"),
        ("y = I * R * (1 + k * (Tc - 25))", "temperature", "25 without a unit"),
        ("y = I * R * k * (T + Tc)", "temperature", "T in Cel + Tc in Cel"),
        ("y = I * R * k * (kelvin(T) - Tc)", "temperature", "kelvin(T) in K - Tc in Cel"),
        ("y = I * R * k * kelvin(kelvin(T))", "temperature", "takes Cel, not K"),
        ("y = I * R * k * (T + 273.15 [K])", "temperature", "point on a scale"),
        ("y = I * R * k * (celsius(kelvin(T) + 1 [K]) - Tc)", "", ""),
        ("y = I * R * k * abs(T - Tc)", "", ""),
        ("y = I * R * k * (max(T, Tc, 0 [Cel]) - Tc)", "", ""),
        ("y = max(I * R, 0)", "", ""),
        ("y = I * R * (tau + 0) / tau", "", ""),
        ("y = I * R * t", "unknown name", "time is no name here"),
        ("y = I * R * gain", "unknown name", "'gain' names nothing"),
        ("dq/dt = -I / Q", "unit", "is C/s; the right side is A/C"),
        ("dq/dt = -I * tau", "time unit", "they differ by a time"),
        ("dq/dt = -Q / m", "time unit", "m is in min, and d/dt is per s"),
        ("dTc/dt = (T - Tc) / m", "time unit", "m is in min"),
        ("dTc/dt = T / tau", "temperature", "T / tau means nothing"),
        ("dz/dt = I", "unknown name", "'z' is no state"),
        ("q = I", "name", "a state: its equation is dq/dt"),
        ("R = 1 [Ohm]", "name", "'R' is an input or a parameter"),
    ],
)
def test_fault_is_named_with_its_place(equation: str, kind: str, words: str) -> None:
    found = faults_with(equation)
    if not kind:
        assert found == []
        return
    first = next(x for x in found if x.kind == kind)
    assert words in f"{first.what} {first.remedy}"
    assert first.place.startswith("equation ")


def test_every_fault_is_told_not_only_the_first() -> None:
    found = faults_with("y = exp(I) * zeta + T", "dTc/dt = T")
    assert [x.kind for x in found] == ["argument", "unknown name", "temperature", "temperature"]


def test_state_or_output_without_equation_is_named() -> None:
    bare = msgspec.structs.replace(GOOD, equations=GOOD.equations[:1])
    found = {(x.kind, x.place) for x in System(bare, INPUTS, OUTPUTS).faults}
    assert found == {("no equation", "state Tc"), ("no equation", "output y")}


def test_two_equations_of_one_state_and_loops_are_refused() -> None:
    twice = msgspec.structs.replace(GOOD, equations=(*GOOD.equations, "dq/dt = I"))
    assert "has two equations" in System(twice, INPUTS, OUTPUTS).faults[0].what
    found = faults_with("a = b * 2", "b = c + I", "c = a")
    assert [x.what for x in found if x.kind == "loop"] == ["a uses b uses c uses a"]


def test_definitions_stand_in_any_order() -> None:
    assert faults_with("y = half * 2", "half = whole / 2", "whole = I * R") == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parameters": {**GOOD.parameters, "exp": number(1.0)}}, "cannot stand in an equation"),
        ({"parameters": {**GOOD.parameters, "q": number(1.0)}}, "named twice"),
        ({"parameters": {**GOOD.parameters, "R": number(0.1, "ohm")}}, "not UCUM"),
        ({"parameters": {**GOOD.parameters, "R": number((1.0, 2.0), "Ohm")}}, "2 values for 1"),
        ({"parameters": {**GOOD.parameters, "R": number(float("nan"), "Ohm")}}, "finite"),
        ({"parameters": {**GOOD.parameters, "R": msgspec.structs.replace(number(1, "Ohm"), source=" ")}},
         "no source"),
        ({"states": (msgspec.structs.replace(GOOD.states[0], initial=3.0), GOOD.states[1])}, "not in"),
        ({"equations": (*GOOD.equations, "y2 = __import__('os')")}, "not of the grammar"),
        ({"equations": ("dq/dt = 1",) * 65}, "65 equations"),
    ],
)  # fmt: skip
def test_bad_declaration_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    changed = msgspec.structs.replace(GOOD, **changes)
    text = "; ".join(str(x) for x in System(changed, INPUTS, OUTPUTS).faults)
    assert words in text


@pytest.mark.parametrize(
    ("text", "words"),
    [("y = x ** 2", "a power is ^"), ("y = foo(2)", "one of exp, log"), ("y = min(1)", "takes 2 to 4"),
     ("y = (x", "')' is missing"), ("y = x y", "follows nothing"), ("y = 2 [mAh]", "write 'mA.h'"),
     ("y = 2 [m", "not closed"), ("y x = 2", "'=' is missing"), ("dx/dy = 2", "dNAME/dt"),
     ("y = " + "(" * 40 + "x" + ")" * 40, "nested too deep"), ("y = " + "1+" * 200 + "1", "too many"),
     ("y = 1e999", "too large"), ("y = " + "x" * 600, "at most 512")],
)  # fmt: skip
def test_text_outside_the_grammar_is_refused(text: str, words: str) -> None:
    with pytest.raises(Rejected) as refused:
        parse_equation(text, "equation 1")
    assert words in str(refused.value)
    assert refused.value.where.startswith("equation 1")


def nonlinear(equation: str, **changes: Any) -> Model:
    """One state x of 1 in -1 to 1, one input u."""
    kind = DifferentialEquation(
        states=(StateVariable(name="x", unit="1", initial=0.5, valid=(-1, 1)),),
        parameters={"r": number(1.0, "1/s")}, equations=(equation, "y = x"), **changes,
    )  # fmt: skip
    return Model(kind, (port("u"),), (port("y"),), 10.0)


@pytest.mark.parametrize(
    ("model", "kind", "words"),
    [
        (nonlinear("dx/dt = r * sqrt(x)"), "range", "is no number at x = -"),
        (nonlinear("dx/dt = r / x"), "range", "is no number"),
        (nonlinear("dx/dt = r * x * (1 + 0.1 * x^2)"), "unstable", "declare growth_per_s_max"),
        (nonlinear("dx/dt = r * x"), "unstable", "grows by 1 1/s"),
        (nonlinear("dx/dt = -r * 99 * sin(x)"), "step", "substeps = "),
        (nonlinear("dx/dt = -r * 9999 * sin(x)"), "step", "raise rate_hz"),
        (nonlinear("dx/dt = -r * 100 * sin(x)", substeps=64), "size", "nodes"),
    ],
)
def test_step_is_judged_before_a_graph_is_made(model: Model, kind: str, words: str) -> None:
    found = examine(model)
    assert found.compiled is None
    assert [x.kind for x in found.faults] == [kind]
    assert words in f"{found.faults[0].what} {found.faults[0].remedy}"


def test_growth_that_is_declared_is_accepted() -> None:
    assert not examine(nonlinear("dx/dt = r * 0.1 * (x - x^3)", growth_per_s_max=0.1)).faults


def test_clamped_state_stays_in_its_range() -> None:
    kind = DifferentialEquation(
        states=(StateVariable(name="x", unit="1", initial=0.5, valid=(0, 1), clamp=True),),
        parameters={"r": number(1.0, "1/s")}, equations=("dx/dt = r * u", "y = x"),
    )  # fmt: skip
    got, _ = play(Model(kind, (port("u"),), (port("y"),), 10.0), held([(1.0,), (-1.0,)], 80))
    assert (got.max(), got[-1, 0, 0]) == (1.0, 0.0)


def test_same_declaration_compiles_to_the_same_bytes() -> None:
    model = Model(GOOD, INPUTS, OUTPUTS, 1.0)
    first, again = examine(model), examine(model)
    assert first.compiled is not None
    assert first.compiled == again.compiled
