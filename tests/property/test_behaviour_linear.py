"""Linear kinds against scipy: the exact step, the conversion, the graph.

Stated error: the graph stays within 2e-6 of the largest sum of products that make up an output,
over 200 steps (the worst of 900 draws was 6.6e-7).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.signal import cont2discrete, tf2ss

from shared.behaviour.exact import exponential_minus_one
from shared.behaviour.linear import Entry, StateSpace, TransferFunction
from shared.behaviour.model import Model
from shared.behaviour.thermal import HeatSource, ThermalLink, ThermalNode, ThermalRc
from tests.fakes.graphs import held, number, play, port

ERROR = 2e-6
STEPS = 200
seeds = st.integers(0, 2**32 - 1)


def rows_of(matrix: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(x) for x in row) for row in np.atleast_2d(matrix))


def by_scipy(a: Any, b: Any, c: Any, d: Any, first: Any, rate_hz: float, u: Any) -> tuple[Any, Any]:
    """(outputs, their largest sum of products) with scipy's zero-order hold."""
    ad, bd, *_ = cont2discrete((a, b, c, d), 1 / rate_hz, method="zoh")
    x, found, size = np.array(first, float), [], []
    for now in u:
        found.append(c @ x + d @ now)
        size.append(np.abs(c) @ np.abs(x) + np.abs(d) @ np.abs(now))
        x = ad @ x + bd @ now
    return np.array(found), np.max(size)


def stable(rng: np.random.Generator, n: int, rate_hz: float) -> Any:
    """A matrix with time constants from a third of a step to 300 steps, some oscillating."""
    blocks, at = np.zeros((n, n)), 0
    while at < n:
        decay = -rate_hz * 10 ** rng.uniform(-2.5, 0.5)
        if at + 1 < n and rng.random() < 0.5:
            turn = abs(decay) * rng.uniform(0.1, 3)
            blocks[at : at + 2, at : at + 2] = [[decay, turn], [-turn, decay]]
            at += 2
        else:
            blocks[at, at] = decay
            at += 1
    mix = np.eye(n) + 0.3 * rng.normal(size=(n, n)) / np.sqrt(n)
    return mix @ blocks @ np.linalg.inv(mix)


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(1, 6), st.integers(1, 3), st.integers(1, 3))
def test_state_space_agrees_with_scipy(seed: int, n: int, m: int, p: int) -> None:
    rng = np.random.default_rng(seed)
    rate_hz = 10 ** rng.uniform(-0.5, 1.5)
    a, b = stable(rng, n, rate_hz), rng.normal(size=(n, m)) * rate_hz
    c, d = rng.normal(size=(p, n)), rng.normal(size=(p, m))
    first = np.float32(rng.normal(size=n)).astype(float)
    kind = StateSpace(a=rows_of(a), b=rows_of(b), c=rows_of(c), d=rows_of(d), initial=tuple(first))
    ins, outs = ([port(f"{k}{i}", high=1e6) for i in range(x)] for k, x in (("u", m), ("y", p)))
    u = held(rng.uniform(-1, 1, size=(7, m)), STEPS)
    got, _ = play(Model(kind, tuple(ins), tuple(outs), rate_hz), u)
    wanted, size = by_scipy(a, b, c, d, first, rate_hz, u[:, 0])
    np.testing.assert_allclose(got[:, 0], wanted, rtol=0, atol=ERROR * size)


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(1, 4), st.booleans())
def test_transfer_function_agrees_with_scipy(seed: int, order: int, proper: bool) -> None:
    """Two inputs to one output, each with poles and zeros of its own."""
    rng = np.random.default_rng(seed)
    rate_hz, entries, parts = 10.0, [], []
    for i in range(2):
        poles = -rate_hz * 10 ** rng.uniform(-2, 0.3, size=order)
        zeros = -rate_hz * 10 ** rng.uniform(-2, 0.3, size=order - proper)
        num, den = np.atleast_1d(np.poly(zeros)) * rng.normal(), np.poly(poles)
        entries.append(Entry(input=f"u{i}", output="y", num=tuple(num), den=tuple(den)))
        parts.append(tf2ss(num, den))
    u = held(rng.uniform(-1, 1, size=(5, 2)), STEPS)
    model = Model(
        TransferFunction(entries=tuple(entries)), (port("u0"), port("u1")),
        (port("y", high=1e9),), rate_hz,
    )  # fmt: skip
    got, _ = play(model, u)
    wanted, size = np.zeros(STEPS), 0.0
    for i, (a, b, c, d) in enumerate(parts):
        found, most = by_scipy(a, b, c, d, np.zeros(len(a)), rate_hz, u[:, 0, i : i + 1])
        wanted, size = wanted + found[:, 0], size + most
    np.testing.assert_allclose(got[:, 0, 0], wanted, rtol=0, atol=ERROR * size)


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(1, 5))
def test_thermal_network_agrees_with_scipy_and_settles_at_its_boundary(seed: int, n: int) -> None:
    """Random trees of nodes with cross links; two instances with capacities of their own."""
    rng = np.random.default_rng(seed)
    capacities = 10 ** rng.uniform(0, 3, size=(n, 2))
    links = [
        ((f"n{i}", f"n{rng.integers(i)}" if i else "amb"), 10 ** rng.uniform(-1, 1))
        for i in range(n)
    ]
    if n > 2:
        links.append(((f"n{n - 1}", "n0"), 2.0))
    kind = ThermalRc(
        nodes=tuple(
            ThermalNode(name=f"n{i}", capacity=number(tuple(x), "J/K"), initial=20.0)
            for i, x in enumerate(capacities)
        ),
        links=tuple(ThermalLink(between=x, resistance=number(r, "K/W")) for x, r in links),
        sources=(HeatSource(input="heat", node="n0", share=0.5),),
        boundaries=("amb",),
        outputs={"hot": "n0", "far": f"n{n - 1}"},
    )
    ports = (port("heat", "W", 0, 50), port("amb", "Cel", -40, 60))
    outs = (port("hot", "Cel", -100, 1000), port("far", "Cel", -100, 1000))
    u = held([(30, 20), (0, -10), (50, 40)], STEPS, instances=2)
    got, _ = play(Model(kind, ports, outs, 2.0, 2), u)
    for e in range(2):
        a, b = np.zeros((n, n)), np.zeros((n, 2))
        for (here, there), r in links:
            i = int(here[1:])
            a[i, i] -= 1 / r / capacities[i, e]
            if there == "amb":
                b[i, 1] += 1 / r / capacities[i, e]
            else:
                j = int(there[1:])
                a[i, j] += 1 / r / capacities[i, e]
                a[j, j] -= 1 / r / capacities[j, e]
                a[j, i] += 1 / r / capacities[j, e]
        b[0, 0] = 0.5 / capacities[0, e]
        c = np.eye(n)[[0, n - 1]]
        wanted, size = by_scipy(a, b, c, np.zeros((2, 2)), np.full(n, 20.0), 2.0, u[:, e])
        np.testing.assert_allclose(got[:, e], wanted, rtol=0, atol=ERROR * size)


@settings(max_examples=50, deadline=None)
@given(seeds, st.integers(1, 8), st.floats(-6, 3))
def test_matrix_exponential_agrees_with_scipy(seed: int, n: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    matrix = stable(rng, n, 1.0) * 10**size / 3
    wanted = expm(matrix)
    np.testing.assert_allclose(exponential_minus_one(matrix) + np.eye(n), wanted, rtol=0, atol=1e-9)
    if size < -3:  # here e^M - I by subtraction has lost digits, ours has not
        series = matrix + matrix @ matrix / 2 + matrix @ matrix @ matrix / 6
        np.testing.assert_allclose(exponential_minus_one(matrix), series, rtol=1e-8, atol=1e-15)


def test_slow_state_does_not_stall_in_float32() -> None:
    """A time constant of 2,000,000 steps: each moves 5e-7, of which float32 loses a twentieth."""
    slow = StateSpace(a=((-1 / 40_000,),), b=((0.0,),), c=((1.0,),), initial=(1.0,))
    model = Model(slow, (port("u"),), (port("y"),), 50.0)
    got, _ = play(model, held([(0.0,)], 10_001))
    assert 1 - got[-1, 0, 0] == pytest.approx(-np.expm1(-10_000 / 2e6), rel=1e-4)
