"""The turbofan as an engine: its design point, its balances, its signs, its manners with bad input.

Golden numbers of the design point are pyCycle's own regression values
(example_cycles/tests/benchmark_hbtf.py, chemistry by CEA).
"""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from ground.models.model import FullFidelity
from ground.models.turbofan import newton
from ground.models.turbofan.cycle import inlet_of, multipliers, run
from ground.models.turbofan.engine import HEALTH, EngineType, load_engine_type
from ground.models.turbofan.gas import Float64
from ground.models.turbofan.parent import TurbofanModel
from ground.models.turbofan.parts import standard_temperature
from ground.models.turbofan.sizing import size
from ground.models.turbofan.solve import (
    BAD_INPUT,
    NOT_CONVERGED,
    OK,
    OUT_OF_RANGE,
    Points,
    Solution,
    sensitivities,
    solve,
)
from ground.models.turbofan.start import start_table
from shared.errors import Rejected

LB_S, LBF, HP = 0.45359237, 4.4482216, 745.69987
OUTPUTS = ("n2", "egt", "ff", "thrust", "t3_k", "p3_pa", "t4_k", "airflow_kg_s", "bypass_ratio")


@pytest.fixture(scope="module")
def engine() -> EngineType:
    return load_engine_type()


def points(
    n1c: Float64 | float, mach: Float64 | float, altitude: Float64 | float, isa: float = 0.0,
    bleed: Float64 | float = 1.0, anti_ice: Float64 | float = 0.0,
) -> Points:  # fmt: skip
    """By corrected N1, in a standard atmosphere and `isa` beyond."""
    wide = np.broadcast_arrays(*(np.atleast_1d(np.float64(v)) for v in (n1c, mach, altitude)))
    n1c, mach, altitude = wide
    total = (standard_temperature(altitude) + isa) * (1 + 0.2 * mach**2)
    share = [np.full(len(mach), v, dtype=np.float64) for v in (bleed, anti_ice)]
    return Points(n1c * np.sqrt(total / 288.15), mach, altitude, total - 273.15, *share)


def some(n: int, seed: int = 7) -> Points:
    """Points all over the envelope."""
    rng = np.random.default_rng(seed)
    return points(rng.uniform(50, 100, n), rng.uniform(0, 0.75, n), rng.uniform(0, 39_000, n), 5.0)


def worn(n: int) -> dict[str, Float64]:
    rng = np.random.default_rng(3)
    return {name: rng.uniform(-0.02, 0.005, n) for name in HEALTH}


def rows(of: Points, at: np.ndarray) -> Points:
    return Points(*(c[at] for c in of.arrays()))


def test_the_design_point_is_pycycles(engine: EngineType) -> None:
    data = msgspec.structs.replace(
        engine.data, design=msgspec.structs.replace(engine.data.design, scale=1.0)
    )
    scales = size(data)
    assert scales.airflow_kg_s / LB_S == pytest.approx(344.303, rel=5e-4)
    assert 1 + 5 * scales.hpt.pr == pytest.approx(3.61475, rel=5e-4)  # HPT PR, map at 6.0
    assert 1 + 5 * scales.lpt.pr == pytest.approx(4.3656305, rel=5e-4)
    assert scales.thrust_n / LBF == pytest.approx(5900.0, rel=1e-6)


def test_off_design_at_the_design_point_gives_it_back(engine: EngineType) -> None:
    d, full = engine.data.design, engine.data.full_speed
    static = standard_temperature(np.array(d.altitude_ft))
    at = Points(
        *(np.array([v]) for v in (
            100 * d.n1_rpm / full.n1_rpm, d.mach, d.altitude_ft, 246.8896 - 273.15, 1.0, 0.0
        ))
    )  # fmt: skip
    assert static * (1 + 0.2 * d.mach**2) == pytest.approx(246.9, abs=0.1)  # of a real gas
    inlet = inlet_of(engine, *at.arrays())
    inlet = newton.Inlet(
        **{**vars(inlet), "customer": np.array([engine.data.bleed.customer_design])}
    )
    matched = newton.match(
        engine, inlet, multipliers({}), start_table(engine)(inlet.n1c, inlet.mach)[0]
    )
    assert matched.done.all()
    found = run(engine, inlet, multipliers({}), matched.states)
    assert found.n2_rpm == pytest.approx(d.n2_rpm, rel=1e-4)
    assert found.thrust_n == pytest.approx(d.scale * d.thrust_n, rel=1e-3)
    assert found.t4 == pytest.approx(d.t4_k, rel=1e-4)
    assert found.bypass_ratio == pytest.approx(d.bpr, rel=1e-4)
    assert found.t3 == pytest.approx(1276.47613 / 1.8, rel=1e-4)  # pyCycle's Tt3
    tsfc = found.fuel_kg_s / LB_S * 3600 / (found.thrust_n / LBF)
    assert tsfc == pytest.approx(0.63071997, rel=1e-3)


def test_mass_and_energy_that_go_in_come_out(engine: EngineType) -> None:
    at = inlet_of(engine, *some(60).arrays())
    k = multipliers(worn(60))
    states = newton.match(engine, at, k, *start_table(engine)(at.n1c, at.mach)).states
    r = run(engine, at, k, states)
    bypass = r.bypass.w / (1 - engine.data.bleed.bypass)
    air_out = r.exhaust.w + bypass + r.customer.w
    assert air_out == pytest.approx(r.airflow, rel=1e-7)
    assert r.exhaust.mass - r.exhaust.w == pytest.approx(r.fuel_kg_s, rel=1e-7)
    taken = engine.data.design.scale * engine.data.design.shaft_power_w
    energy_out = (
        r.exhaust.w * r.exhaust.h + bypass * r.bypass.h + r.customer.w * r.customer.h + taken
    )
    heat = r.fuel_kg_s * 44.8e6  # the size that an error is measured against
    assert np.abs(energy_out - r.airflow * r.inlet.h).max() / heat.min() < 1e-6


def test_everything_grows_with_n1(engine: EngineType) -> None:
    for mach, altitude in ((0.0, 0.0), (0.3, 3000.0), (0.6, 20_000.0), (0.78, 35_000.0)):
        found = solve(engine, points(np.arange(62.0, 104.0, 2.0), mach, altitude))
        assert found.ok.all()
        for name in ("n2", "egt", "ff", "thrust", "t3_k", "p3_pa", "airflow_kg_s"):
            assert (np.diff(getattr(found, name)) > 0).all(), (name, mach)


def test_a_lost_point_of_compressor_efficiency_costs_heat_and_fuel(engine: EngineType) -> None:
    at = points(np.array([70.0, 85.0, 95.0]), 0.5, 15_000.0)
    good = solve(engine, at)
    for name, kelvin in (("hpc_eff", 6), ("hpt_eff", 6), ("lpt_eff", 1), ("lpc_eff", 1)):
        bad = solve(engine, at, {name: -0.02})
        assert (bad.egt > good.egt + kelvin).all(), name
        assert (bad.ff > good.ff).all(), name
    s = sensitivities(engine, at, parameters=("hpc_eff", "hpc_flow"))
    assert set(s) == {"hpc_eff", "hpc_flow"}
    assert (s["hpc_eff"]["egt"] < -0.3).all()
    assert (s["hpc_eff"]["ff"] < -0.3).all()
    assert (s["hpc_flow"]["n2"] < 0).all()  # more capacity: slower for the same flow


def test_sensitivities_are_the_slopes_that_two_solutions_show(engine: EngineType) -> None:
    at = points(np.array([66.0, 87.0]), 0.4, 9000.0)
    worn_out = {"hpc_eff": np.array([-0.01, -0.02]), "fan_flow": 0.004}
    slopes = sensitivities(engine, at, worn_out, ("lpt_flow", "hpc_eff"))
    assert list(slopes) == ["lpt_flow", "hpc_eff"]
    low, high = (
        solve(engine, at, {**worn_out, "hpc_eff": worn_out["hpc_eff"] + by})
        for by in (-0.002, 0.002)
    )
    egt = np.log((high.egt + 273.15) / (low.egt + 273.15)) / 0.004
    assert slopes["hpc_eff"]["egt"] == pytest.approx(egt, rel=1e-6)


def test_bleed_and_anti_ice_cost_heat(engine: EngineType) -> None:
    at = [points(88.0, 0.3, 5000.0, 0.0, bleed, ice) for bleed, ice in ((0, 0), (1, 0), (1, 1))]
    egt = [float(solve(engine, p).egt[0]) for p in at]
    assert egt[0] + 5 < egt[1]
    assert egt[1] + 1 < egt[2]


def test_bad_points_say_why_and_disturb_no_other(engine: EngineType) -> None:
    good = some(40)
    alone = solve(engine, good)
    columns = [c.copy() for c in good.arrays()]
    spoiled = {3: (0, np.nan), 7: (3, np.inf), 11: (0, -5.0), 13: (4, 2.0), 17: (3, 400.0)}
    beyond = {19: (0, 20.0), 23: (1, 1.4), 29: (2, 60_000.0)}
    for row, (column, value) in (spoiled | beyond).items():
        columns[column][row] = value
    found = solve(engine, Points(*columns))
    assert (found.why[list(spoiled)] == BAD_INPUT).all()
    assert (found.why[list(beyond)] == OUT_OF_RANGE).all()
    rest = np.setdiff1d(np.arange(40), [*spoiled, *beyond])
    assert (found.ok == (found.why == OK)).all()
    for name in OUTPUTS:
        assert np.isnan(getattr(found, name)[~found.ok]).all()
        assert np.allclose(getattr(found, name)[rest], getattr(alone, name)[rest], rtol=1e-9)


def test_an_engine_that_cannot_run_does_not_converge_and_the_search_ends(
    engine: EngineType,
) -> None:
    n = 20
    health = {name: np.zeros(n) for name in HEALTH}
    for name in ("hpc_eff", "hpt_eff", "lpt_eff", "fan_eff"):
        health[name][4] = -0.25
    health["hpc_flow"][9] = np.nan
    health["lpt_flow"][11] = 0.6
    found = solve(engine, some(n), health)
    assert found.why[4] == NOT_CONVERGED
    assert found.why[9] == found.why[11] == BAD_INPUT
    assert (np.delete(found.why, [4, 9, 11]) == OK).all()


def test_health_that_no_engine_has_is_refused_by_name(engine: EngineType) -> None:
    with pytest.raises(Rejected, match="hpc_effort"):
        solve(engine, some(2), {"hpc_effort": -0.01})
    with pytest.raises(Rejected, match="no engine type"):
        load_engine_type("../../etc/passwd")


def same(a: Solution, b: Solution, rtol: float) -> bool:
    return all(
        np.allclose(getattr(a, n), getattr(b, n), rtol=rtol, equal_nan=True) for n in OUTPUTS
    ) and bool((a.why == b.why).all())


def test_a_batch_gives_what_its_points_give_one_by_one(engine: EngineType) -> None:
    at, health = some(24), worn(24)
    batch = solve(engine, at, health)
    one = [
        solve(engine, rows(at, np.array([i])), {k: v[[i]] for k, v in health.items()})
        for i in range(24)
    ]
    joined = Solution(
        **{f: np.concatenate([getattr(s, f) for s in one]) for f in (*OUTPUTS, "ok", "why")}
    )
    assert same(batch, joined, 1e-9)


def test_order_and_chunks_change_nothing(
    engine: EngineType, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, health = some(300), worn(300)
    straight = solve(engine, at, health)
    shuffle = np.random.default_rng(1).permutation(300)
    monkeypatch.setattr("ground.models.turbofan.solve.CHUNK", 37)
    mixed = solve(engine, rows(at, shuffle), {k: v[shuffle] for k, v in health.items()})
    back = np.argsort(shuffle)
    again = Solution(**{f: getattr(mixed, f)[back] for f in (*OUTPUTS, "ok", "why")})
    assert same(straight, again, 1e-9)


def test_any_start_that_converges_leads_to_the_same_engine(engine: EngineType) -> None:
    at = inlet_of(engine, *some(50).arrays())
    start, jacobians = start_table(engine)(at.n1c, at.mach)
    near = newton.match(engine, at, multipliers({}), start, jacobians)
    off = start * (1 + np.random.default_rng(2).uniform(-0.04, 0.04, start.shape))
    far = newton.match(engine, at, multipliers({}), off)
    assert near.done.all()
    assert far.done.mean() > 0.9
    assert np.abs(far.states - near.states)[:, far.done].max() < 1e-5


def test_nothing_asked_is_nothing_answered(engine: EngineType) -> None:
    found = solve(engine, rows(some(2), np.zeros(0, dtype=int)))
    assert len(found) == 0


def test_the_same_data_are_the_same_type(engine: EngineType) -> None:
    assert engine is load_engine_type("hbtf_cfm56")
    assert len(engine.sha256) == 64
    assert engine.n1c_valid == (45.0, 105.0)


def test_it_is_a_full_fidelity_model_like_any_other(engine: EngineType) -> None:
    model: FullFidelity = TurbofanModel(engine, {"hpc_eff": -0.01})
    at = some(5)
    names = [port.name for port in model.inputs]
    columns = dict(zip(names, at.arrays(), strict=True))
    found = model.evaluate(columns)
    direct = solve(engine, at, {"hpc_eff": -0.01})
    assert set(found) == {port.name for port in model.outputs}
    assert np.array_equal(found["egt"], direct.egt)
    with pytest.raises(Rejected, match="'tat' is missing"):
        model.evaluate({name: c for name, c in columns.items() if name != "tat"})
