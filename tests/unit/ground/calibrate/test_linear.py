"""Runs of a parent become state spaces and thermal networks that follow what did not fit them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import cont2discrete, dlsim, tf2ss

from ground.calibrate.linear import reduce_to_state_space, reduce_to_thermal_rc
from shared.behaviour.dynamics import Parameter, Port
from shared.behaviour.model import Model, faults, run
from shared.behaviour.thermal import HeatSource, ThermalLink, ThermalNode, ThermalRc
from shared.errors import Rejected

Float64 = npt.NDArray[np.float64]


def steps(n: int, seed: int, held: int = 40) -> Float64:
    levels = np.random.default_rng(seed).normal(0, 1, n // held + 1)
    levels[0] = 0.0  # at rest
    return np.repeat(levels, held)[:n]


def two_lags(u: Float64, v: Float64) -> Float64:
    """3 / (8 s + 1)(2 s + 1) of u, and 1 / (5 s + 1) of v, by scipy."""
    found = []
    for num, den, x in (([3.0], [16.0, 10.0, 1.0], u), ([1.0], [5.0, 1.0], v)):
        system = cont2discrete(tf2ss(num, den), 1.0, "zoh")
        found.append(dlsim(system, x)[1][:, 0])
    return np.asarray(found[0] + found[1])


def test_state_space_of_three_lags_is_found_with_their_poles() -> None:
    u, v = steps(1500, 1), steps(1500, 2)
    y = 500 + two_lags(u, v)
    made = reduce_to_state_space({"u": 80 + u, "v": v}, {"y": y}, {"y": 1e-6})
    assert len(made.behaviour.a) == 3 and made.error["y"] < 1e-6
    poles = sorted(np.linalg.eigvals(np.array(made.behaviour.a)).real)
    np.testing.assert_allclose(poles, sorted(np.exp(-1 / np.array([8.0, 2.0, 5.0]))), atol=1e-6)
    # and as the behaviour aboard runs it
    ports = (Port(name="u", unit="1", valid=(70, 90)), Port(name="v", unit="1", valid=(-5, 5)))
    model = Model(made.behaviour, ports, (Port(name="y", unit="1", valid=(0, 1e3)),), 1.0, 1)
    assert faults(model) == []
    found = run(model, np.column_stack([80 + u, v])[:, None, :])[:, 0, 0]
    np.testing.assert_allclose(found, y, atol=1e-5)


def test_order_is_the_lowest_that_is_good_enough() -> None:
    u, v = steps(1500, 1), steps(1500, 2)
    y = two_lags(u, v)
    made = reduce_to_state_space({"u": u, "v": v}, {"y": y}, {"y": 1.0})
    assert len(made.behaviour.a) < 3 and made.error["y"] <= 1.0


def test_run_that_is_too_short_or_has_holes_is_refused() -> None:
    u = steps(1500, 1)
    with pytest.raises(Rejected, match="50 rows"):
        reduce_to_state_space({"u": u[:50]}, {"y": u[:50]}, {"y": 1.0})
    with pytest.raises(Rejected, match="without a number"):
        reduce_to_state_space({"u": u}, {"y": np.where(u > 2, np.nan, u)}, {"y": 1.0})


def test_thermal_network_gets_the_numbers_of_its_parent() -> None:
    def network(capacity: float, inside: float, outside: float) -> ThermalRc:
        return ThermalRc(
            nodes=(
                ThermalNode(name="core", capacity=Parameter(value=capacity, unit="J/K", source="t"), initial=20.0),
                ThermalNode(name="case", capacity=Parameter(value=900.0, unit="J/K", source="t"), initial=20.0),
            ),
            links=(
                ThermalLink(between=("core", "case"), resistance=Parameter(value=inside, unit="K/W", source="t")),
                ThermalLink(between=("case", "air"), resistance=Parameter(value=outside, unit="K/W", source="t")),
            ),
            sources=(HeatSource(input="power", node="core"),), boundaries=("air",),
            outputs={"core_t": "core", "case_t": "case"},
        )  # fmt: skip

    ports = (
        (Port(name="power", unit="W", valid=(0, 100)), Port(name="air", unit="Cel", valid=(-40, 60))),
        tuple(Port(name=x, unit="Cel", valid=(-60, 300)) for x in ("core_t", "case_t")),
    )  # fmt: skip
    inputs = np.column_stack([30 + 10 * steps(400, 3), 20 + 5 * steps(400, 4)])
    truth = run(Model(network(400.0, 0.5, 1.5), *ports, 0.2, 1), inputs[:, None, :])[:, 0]
    made = reduce_to_thermal_rc(network(200.0, 1.0, 1.0), ports, 0.2, inputs, truth)
    assert max(made.error.values()) < 1e-3
    assert made.behaviour.nodes[0].capacity.value == pytest.approx(400.0, rel=1e-3)
    values = [x.resistance.value for x in made.behaviour.links]
    assert values == pytest.approx([0.5, 1.5], rel=1e-3)
