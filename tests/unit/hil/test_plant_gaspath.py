"""The gas path against its sources and against sense."""

from __future__ import annotations

import itertools

import pytest

from hil.plant.gaspath import (
    Demand,
    Engine,
    Inlet,
    State,
    character_of,
    egt_of,
    fuel_of,
    n1_of,
    n2_of,
    thrust_of,
)

STATIC = Inlet(static_k=288.15, static_pa=101_325.0, mach=0.0, tas_m_s=0.0)
CRUISE = Inlet(static_k=248.5, static_pa=46_560.0, mach=0.6, tas_m_s=190.0)
DT_S = 1 / 30


def run(engine: Engine, seconds: float, inlet: Inlet, demand: Demand, loss: float = 0) -> State:
    for _ in range(round(seconds / DT_S)):
        engine.step(DT_S, inlet, demand, loss)
    return engine.state


def started(esn: str, inlet: Inlet = STATIC, n1: float = 21.5) -> Engine:
    engine = Engine(esn, 288.15)
    for _ in range(round(60 / DT_S)):
        s = engine.state
        engine.step(DT_S, inlet, Demand(n1=n1, starter=s.n2 < 55, fuel=s.n2 > 21 or s.lit))
    return engine


@pytest.mark.parametrize(
    ("n1c", "kg_s"), [(20.0, 0.114), (52.0, 0.290), (88.6, 0.792), (95.0, 0.946)]
)
def test_fuel_flow_meets_the_icao_databank(n1c: float, kg_s: float) -> None:
    # ICAO engine emissions databank, CFM56-3B-1: idle, approach, climb-out, take-off
    assert fuel_of(n1c) / 3600 == pytest.approx(kg_s, rel=1e-3)


@pytest.mark.parametrize(("n1c", "share"), [(20, 0.07), (52, 0.30), (88.6, 0.85), (95, 1.0)])
def test_thrust_follows_the_databank_settings(n1c: float, share: float) -> None:
    rated_lb = 20_100  # CFM56-3B-1: 89.41 kN
    assert thrust_of(n1c, STATIC) / rated_lb == pytest.approx(share, abs=0.04)


def test_n1_of_inverts_n2_of() -> None:
    for n1 in range(21, 105):
        assert n1_of(n2_of(n1)) == pytest.approx(n1)


def test_egt_fuel_and_thrust_grow_with_n1() -> None:
    for a, b in itertools.pairwise(range(20, 105)):
        assert egt_of(a, 0.5) < egt_of(b, 0.5)
        assert fuel_of(a) < fuel_of(b)
        assert thrust_of(a, CRUISE) < thrust_of(b, CRUISE)


def test_a_start_lights_after_fuel_peaks_hot_and_settles_at_idle() -> None:
    engine, peak_k = Engine("X1", 288.15), 0.0
    for _ in range(round(70 / DT_S)):
        s = engine.state
        fuel = s.n2 > 21 or s.lit
        s = engine.step(DT_S, STATIC, Demand(n1=21.5, starter=s.n2 < 55, fuel=fuel))
        peak_k = max(peak_k, s.egt_k)
    assert 820 < peak_k < 998  # start limit of the CFM56-3 is 725 Cel
    assert 58 < engine.state.n2 < 64
    assert 450 < engine.state.egt_k - 273.15 < 550


def test_without_fuel_the_engine_never_lights() -> None:
    s = run(Engine("X1", 288.15), 60, STATIC, Demand(n1=21.5, starter=True))
    assert not s.lit and s.fuel_kg_h == 0 and s.n2 < 30


def test_cut_off_ends_fuel_at_once_and_spools_down_in_a_minute() -> None:
    engine = started("X1")
    s = engine.step(DT_S, STATIC, Demand())
    assert s.fuel_kg_h == 0 and not s.lit and s.n2 > 50
    s = run(engine, 10, STATIC, Demand())
    assert 20 < s.n2 < 40
    s = run(engine, 50, STATIC, Demand())
    assert s.n2 < 2 and s.oil_psi < 5


def test_a_point_of_efficiency_costs_eight_to_twelve_degrees_at_cruise() -> None:
    demand = Demand(n1=80.0, fuel=True, bleed=True)
    engine = started("X1")
    healthy = run(engine, 120, CRUISE, demand)
    worn = run(engine, 60, CRUISE, demand, loss=1.0)
    assert 8 < worn.egt_k - healthy.egt_k < 12
    assert 1.005 < worn.fuel_kg_h / healthy.fuel_kg_h < 1.01
    assert worn.n1 == pytest.approx(healthy.n1, abs=0.05)
    assert worn.n2 < healthy.n2


def test_bleed_and_anti_ice_cost_egt_and_fuel() -> None:
    engine = started("X1")
    plain = run(engine, 60, CRUISE, Demand(n1=80.0, fuel=True))
    bled = run(engine, 30, CRUISE, Demand(n1=80.0, fuel=True, bleed=True, anti_ice=True))
    assert bled.egt_k > plain.egt_k + 10
    assert bled.fuel_kg_h > 1.01 * plain.fuel_kg_h


def test_the_thermocouple_lags_the_gas() -> None:
    engine = started("X1")
    run(engine, 60, STATIC, Demand(n1=40.0, fuel=True))
    before = engine.state.egt_k
    soon = run(engine, 0.5, STATIC, Demand(n1=90.0, fuel=True)).egt_k
    later = run(engine, 20, STATIC, Demand(n1=90.0, fuel=True)).egt_k
    assert later - before > 200 and soon - before < 0.3 * (later - before)


def test_engines_differ_by_serial_number_and_by_nothing_else() -> None:
    assert character_of("894101") == character_of("894101")
    assert character_of("894101") != character_of("894102")
    one, same = started("894101").state, started("894101").state
    assert one == same


def test_reverse_thrust_is_negative() -> None:
    engine = started("X1")
    assert run(engine, 10, STATIC, Demand(n1=60.0, fuel=True, reverse=1.0)).thrust_lb < 0
