"""Differential equations: the graph against scipy's solve_ivp, the grammar, the step's stability.

Stated error, in each state's valid range: the model's own `error_per_step` times the steps
(damped systems forget, so that bounds the sum), plus 2e-6 for float32.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from shared.behaviour.dimensions import render
from shared.behaviour.equations import DifferentialEquation, StateVariable
from shared.behaviour.examine import examine
from shared.behaviour.faults import Fault
from shared.behaviour.grammar import (
    FUNCTIONS,
    Binary,
    Call,
    Name,
    Negated,
    Node,
    Number,
    parse_equation,
    parse_expression,
)  # fmt: skip
from shared.behaviour.integrate import value_of
from shared.behaviour.model import Model, dynamics, run
from shared.behaviour.stability import amplification, examine_step
from shared.errors import Rejected
from tests.fakes.graphs import held, number, play, port

ROUNDING = 2e-6
STEPS = 60


def state(name: str, unit: str, low: float, high: float, first: float) -> StateVariable:
    return StateVariable(name=name, unit=unit, initial=first, valid=(low, high))


def pendulum(k: float, c: float) -> tuple[DifferentialEquation, Any]:
    model = DifferentialEquation(
        states=(state("x", "rad", -4, 4, 1.0), state("v", "rad/s", -8, 8, 0.0)),
        parameters={"k": number(k, "1/s2"), "c": number(c, "1/s")},
        equations=("dx/dt = v", "dv/dt = -k * sin(x) - c * v + k * u", "y = x"),
        growth_per_s_max=k**0.5,  # upside down it does fall
    )
    return model, lambda x, u: [x[1], -k * np.sin(x[0]) - c * x[1] + k * u[0]]


def tank(a: float, area: float) -> tuple[DifferentialEquation, Any]:
    model = DifferentialEquation(
        states=(state("h", "m", 0.05, 4, 1.0),),
        parameters={"a": number(a, "m2"), "area": number(40 * area, "m2"), "q": number(a, "m3/s")},
        equations=("out = a * sqrt(2 * 9.80665 [m/s2] * max(h, 0.01 [m]))",
                   "dh/dt = (q * (2 + u) - out) / area", "y = h"),
    )  # fmt: skip
    return model, lambda x, u: [
        (a * (2 + u[0]) - a * np.sqrt(2 * 9.80665 * max(x[0], 0.01))) / (40 * area)
    ]


def radiator(c: float, e: float) -> tuple[DifferentialEquation, Any]:
    sigma = 5.670374e-8
    model = DifferentialEquation(
        states=(state("T", "Cel", -50, 300, 100.0),),
        parameters={"C": number(100 * c, "J/K"), "e": number(e, "m2"), "p": number(50.0, "W"),
                    "sigma": number(sigma, "W/(m2.K4)")},
        equations=("dT/dt = (p * (1 + u) - sigma * e * (kelvin(T)^4 - 250 [K] ^ 4)) / C", "y = kelvin(T)"),
    )  # fmt: skip
    return model, lambda x, u: [
        (50 * (1 + u[0]) - sigma * e * ((x[0] + 273.15) ** 4 - 250.0**4)) / (100 * c)
    ]


FAMILIES = {"pendulum": pendulum, "tank": tank, "radiator": radiator}


@pytest.mark.parametrize("family", sorted(FAMILIES))
@settings(max_examples=12, deadline=None)
@given(a=st.floats(0.2, 2), b=st.floats(0.2, 2), rate_hz=st.floats(10, 30),
       levels=st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=4))  # fmt: skip
def test_graph_agrees_with_solve_ivp(
    family: str, a: float, b: float, rate_hz: float, levels: list[float]
) -> None:
    kind, rates = FAMILIES[family](a, b)
    unit = {"pendulum": "rad", "tank": "m", "radiator": "K"}[family]
    model = Model(kind, (port("u"),), (port("y", unit, -1e3, 1e3),), rate_hz)
    figures = examine(model).figures
    assert figures is not None, examine(model).faults
    assert figures.stability.method == "rk4"
    rows = held([(x,) for x in levels], STEPS)
    _, last = play(model, rows)
    x = np.array([s.initial for s in kind.states], float)
    for row in rows[:, 0]:
        step = solve_ivp(lambda _t, y, u=row: rates(y, u), (0, 1 / rate_hz), x, "DOP853",
                         rtol=1e-11, atol=1e-12)  # fmt: skip
        x = step.y[:, -1]
    spans = np.array([s.valid[1] - s.valid[0] for s in kind.states])
    bound = (figures.stability.error_per_step * STEPS + ROUNDING) * spans
    assert np.all(np.abs(last["state"][0] - x) <= bound), (last["state"][0] - x) / spans


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 50), st.floats(-1, 1), st.floats(0.5, 20))
def test_linear_equations_are_stepped_exactly_however_stiff(
    tau: float, gain: float, r: float
) -> None:
    """A fast and a slow lag in line, one instance with numbers of its own."""
    kind = DifferentialEquation(
        states=(state("x", "V", -9, 9, 1.0), state("T", "Cel", -90, 90, 20.0)),
        parameters={"tau": number((tau / 1000, tau), "s"), "g": number(gain, "1")},
        equations=("dx/dt = (g * u - x) / tau", "dT/dt = (x * 5 [K/V] - (T - T0)) / (10 * tau)"),
    )
    ports = (port("u", "V"), port("T0", "Cel", -50, 50))
    model = Model(kind, ports, (port("x", "V"), port("T", "Cel", -90, 90)), r, 2)
    assert examine(model).figures.stability.method == "exact"  # type: ignore[union-attr]
    rows = held([(1.0, 20.0), (-1.0, -5.0)], 40, instances=2)
    got, _ = play(model, rows)
    for e, t in enumerate((tau / 1000, tau)):
        x = np.array([1.0, 20.0])
        for i, (u, t0) in enumerate(rows[:, e]):
            assert got[i, e] == pytest.approx(x, abs=90 * ROUNDING)
            a = np.array([[-1 / t, 0], [0.5 / t, -0.1 / t]])
            rest = np.linalg.solve(a, -np.array([gain * u / t, 0.1 * t0 / t]))
            values, vectors = np.linalg.eig(a)
            x = rest + vectors @ (np.exp(values / r) * np.linalg.solve(vectors, x - rest))


def test_halving_the_step_divides_the_error_by_sixteen() -> None:
    kind, rates = pendulum(2.0, 0.3)
    errors = []
    for rate_hz in (4.0, 8.0):
        model = Model(kind, (port("u"),), (port("y", "rad"),), rate_hz)
        steps = int(5 * rate_hz)
        found = run(model, held([(0.2,)], steps + 1))[-1, 0, 0]
        wanted = solve_ivp(
            lambda _t, y: rates(y, [np.float32(0.2)]),
            (0, 5),
            [1, 0],
            "DOP853",
            rtol=1e-12,
            atol=1e-13,
        )
        errors.append(abs(found - wanted.y[0, -1]))
    assert 12 < errors[0] / errors[1] < 22


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 60), st.integers(1, 4))
def test_step_too_long_is_refused_and_the_step_it_names_would_do(
    rate: float, substeps: int
) -> None:
    """A decay with a cubic, at 5 Hz: eigenvalues from -rate to -1.3 rate."""

    def of(count: int) -> Model:
        kind = DifferentialEquation(
            states=(state("x", "1", -1, 1, 1.0),), parameters={"r": number(rate, "1/s")},
            equations=("dx/dt = -r * (x + 0.1 * x^3) + r * u", "y = x"), substeps=count,
        )  # fmt: skip
        return Model(kind, (port("u"),), (port("y", high=3, low=-3),), 5.0)

    def faults_of(count: int) -> list[Fault]:
        return examine_step(of(count), dynamics(of(count)))[1]

    fastest, found = 1.3 * rate / 5, faults_of(substeps)
    if amplification(np.array([-fastest / substeps + 0j]))[0] > 1 + 1e-6:
        assert "outside the region of stability" in found[0].what
    if not found:
        outputs = run(of(substeps), held([(1.0,), (-1.0,)], 100))
        assert np.abs(outputs).max() < 1.2
        return
    assert [x.kind for x in found] == ["step"]
    advice = re.match(r"substeps = (\d+) would do", found[0].remedy)
    if advice:
        assert not faults_of(int(advice[1]))
    else:
        assert "raise rate_hz" in found[0].remedy and faults_of(64)


def test_explicit_step_beyond_stability_does_blow_up() -> None:
    """Why it is refused."""
    kind = DifferentialEquation(
        states=(state("x", "1", -1, 1, 1.0),), parameters={"r": number(30.0, "1/s")},
        equations=("dx/dt = -r * (x + 0.1 * x^3)", "y = x"),
    )  # fmt: skip
    model = Model(kind, (port("u"),), (port("y"),), 5.0)
    (fault,) = examine(model).faults
    assert "outside the region of stability" in fault.what
    with np.errstate(all="ignore"):
        assert not np.abs(run(model, held([(0.0,)], 30))).max() < 10


names = st.sampled_from(["a", "b", "Long_name2"])
leaves: st.SearchStrategy[Node] = st.one_of(
    st.builds(Name, names),
    st.floats(0.0078125, 100).map(lambda x: Number(round(x * 128) / 128)),
)


def branches(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    one = st.sampled_from([k for k, v in FUNCTIONS.items() if v[0] == 1])
    two = st.sampled_from([k for k, v in FUNCTIONS.items() if v[0] == 2])
    return st.one_of(
        st.builds(Negated, inner),
        st.builds(Binary, st.sampled_from("+-*/^"), inner, inner),
        st.builds(Call, one, st.tuples(inner)),
        st.builds(Call, two, st.lists(inner, min_size=2, max_size=4).map(tuple)),
    )


expressions = st.recursive(leaves, branches, max_leaves=12)


@settings(max_examples=150, deadline=None)
@given(expressions)
def test_what_is_rendered_parses_to_the_same_tree(node: Node) -> None:
    text = render(node)
    assume(len(text) <= 512)
    assert parse_expression(text, "here") == node


@settings(max_examples=150, deadline=None)
@given(expressions)
def test_values_are_those_of_the_rules_of_arithmetic(node: Node) -> None:
    """Python reads the same text by the same rules of precedence; only a test may ask it to."""
    text = render(node)
    assume(len(text) <= 512)
    known = {"a": 0.75, "b": 2.5, "Long_name2": -1.25}
    functions = {"kelvin": lambda x: x + 273.15, "celsius": lambda x: x - 273.15,
                 "min": lambda *x: np.min(x), "max": lambda *x: np.max(x), "exp": np.exp,
                 "log": np.log, "sqrt": np.sqrt, "abs": abs, "sin": np.sin, "cos": np.cos,
                 "tanh": np.tanh}  # fmt: skip
    numbers = {k: np.float64(v) for k, v in known.items()}
    spelled = re.sub(r"(?<![\w.])[\d.]+", r"F(\g<0>)", text).replace("^", "**")
    with np.errstate(all="ignore"):
        wanted = eval(spelled, {"F": np.float64}, numbers | functions)  # noqa: S307  # our own text
        got = value_of(parse_expression(text, "here"), numbers)
    assume(np.isfinite(wanted) and np.isreal(wanted))
    assert got == pytest.approx(wanted, rel=1e-12)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.text("dxyt=+-*/^(),[]. 0123456789e", max_size=60)))
def test_any_text_parses_or_is_refused_with_its_place(text: str) -> None:
    try:
        found = parse_equation(text, "here")
    except Rejected as error:
        place = error.where
    else:
        place = "here, column 0"
        assert "=" in text and found.target
    assert place.startswith("here, column ") or len(text) > 512


words = st.sampled_from(
    [*"+-*/^(),=[]", "x", "y", "a", "u", "dx/dt =", "y =", "z =", "0", "1e300", "25", "12", "[Cel]",
     "[K]", "[mA.h]", "[Ym12]", *FUNCTIONS]
)  # fmt: skip
sentences = st.lists(st.lists(words, max_size=14).map(" ".join), max_size=5)


@settings(max_examples=200, deadline=None)
@given(sentences, st.sampled_from(["1", "K", "Cel", "Ym", "mA.h", "[lb_av]6"]))
def test_any_equations_are_examined_without_a_crash(texts: list[str], unit: str) -> None:
    """Random words of the grammar: faults or a graph, and faults that stay short."""
    kind = DifferentialEquation(
        states=(state("x", unit, -1, 1, 0.5),), parameters={"a": number(0.0, "V")},
        equations=tuple(texts),
    )  # fmt: skip
    found = examine(Model(kind, (port("u", unit),), (port("y", unit),), 1.0))
    assert (found.compiled is None) == bool(found.faults)
    assert all(len(str(x)) < 3000 for x in found.faults)


@settings(max_examples=15, deadline=None)
@given(expressions, expressions)
def test_any_model_is_accepted_or_refused_and_an_accepted_one_plays(right: Node, out: Node) -> None:
    """Powers of powers, roots of negatives, quotients by zero: `b` is 0."""
    rate, value = render(right), render(out)
    assume(max(len(rate), len(value)) < 400 and "kelvin" not in rate + value)
    assume("celsius" not in rate + value)
    kind = DifferentialEquation(
        states=(state("a", "1", -1, 1, 0.5),), parameters={"b": number(0.0), "r": number(0.1, "1/s")},
        equations=(f"da/dt = r * ({rate})", f"y = {value}"), growth_per_s_max=5.0,
    )  # fmt: skip
    model = Model(kind, (port("Long_name2"),), (port("y", low=-1e9, high=1e9),), 4.0)
    found = examine(model)
    assert (found.compiled is None) == bool(found.faults)
    if found.compiled is not None:
        got, _ = play(model, held([(0.5,), (-0.5,)], 20))
        assert np.isfinite(got).all()


def test_units_that_square_themselves_stay_bounded() -> None:
    """64 equations, each the square of the one before: text and powers would double each time."""
    texts = [
        "z0 = x * x",
        *(f"z{i} = z{i - 1} * z{i - 1}" for i in range(1, 60)),
        "dx/dt = 0",
        "y = x",
    ]
    kind = DifferentialEquation(states=(state("x", "V", -1, 1, 0.5),), equations=tuple(texts))
    found = examine(Model(kind, (port("u"),), (port("y", "V"),), 1.0)).faults
    assert "beyond any size" in str(found[0]) and all(len(str(x)) < 3000 for x in found)


@settings(max_examples=60, deadline=None)
@given(expressions)
def test_graph_of_an_expression_is_its_value_in_float32(node: Node) -> None:
    assume(len(render(node)) <= 400)
    kind = DifferentialEquation(states=(), equations=(f"y = u * ({render(node)})",), parameters={
        k: number(v) for k, v in {"b": 2.5, "Long_name2": -1.25}.items()})  # fmt: skip
    model = Model(kind, (port("u"), port("a")), (port("y"),), 1.0)
    assume("kelvin" not in render(node) and "celsius" not in render(node))
    rows = np.array([[[0.5, 0.75]]])
    with np.errstate(all="ignore"):
        wanted = run(model, rows, np.float32)[0, 0, 0]
        assume(np.isfinite(wanted) and 1e-30 < abs(wanted) < 1e30)
        got, _ = play(model, rows)
        again = run(model, rows)[0, 0, 0]
    # Of a sum that cancels or a sine of a large number float32 keeps little; both then differ, or
    # agree by chance: then numbers that are a millionth larger show it.
    assume(abs(again - wanted) <= 1e-5 * abs(wanted))
    near = msgspec.structs.replace(kind, parameters={
        k: number(v * (1 + 1e-6)) for k, v in {"b": 2.5, "Long_name2": -1.25}.items()})  # fmt: skip
    with np.errstate(all="ignore"):
        moved = run(Model(near, (port("u"), port("a")), (port("y"),), 1.0), rows * (1 + 1e-6))
    assume(abs(moved[0, 0, 0] - again) <= 2e-5 * abs(again))
    assert dynamics(model).kind == "differential-equation"
    assert got[0, 0, 0] == pytest.approx(again, rel=1e-4)
