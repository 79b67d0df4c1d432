"""The gas path against its sources and against sense."""

from __future__ import annotations

import pytest

from hil.plant.gaspath import (
    N_LBF,
    SOUND,
    Demand,
    Engine,
    Health,
    Inlet,
    State,
    character_of,
    fuel_of,
    n1_of,
    n2_of,
)

STATIC = Inlet(static_k=288.15, static_pa=101_325.0, mach=0.0, tas_m_s=0.0)
CRUISE = Inlet(static_k=248.5, static_pa=46_560.0, mach=0.6, tas_m_s=190.0)
DT_S = 1 / 30


def run(
    engine: Engine, seconds: float, inlet: Inlet, demand: Demand, lost: Health = SOUND
) -> State:
    for _ in range(round(seconds / DT_S)):
        engine.step(DT_S, inlet, demand, lost)
    return engine.state


def started(esn: str, inlet: Inlet = STATIC, n1: float = 21.5) -> Engine:
    engine = Engine(esn, 288.15)
    for _ in range(round(60 / DT_S)):
        s = engine.state
        engine.step(DT_S, inlet, Demand(n1=n1, starter=s.n2 < 55, fuel=s.n2 > 21 or s.lit))
    return engine


def test_idle_fuel_flow_meets_the_icao_databank() -> None:
    # ICAO engine emissions databank, CFM56-3B-1: idle
    assert fuel_of(20.0) / 3600 == pytest.approx(0.114, rel=1e-3)
    settled = Engine("X1", 288.15).steady(20.0, STATIC, Demand())
    assert settled.fuel_kg_h == pytest.approx(fuel_of(20.0))


def test_rated_thrust_is_that_of_a_cfm56_3() -> None:
    # type certificate data sheet, CFM56-3B-1: 20,100 lbf; this engine is rated at N1 95 %
    settled = Engine("X1", 288.15).steady(95.0, STATIC, Demand())
    assert settled.thrust_n / N_LBF == pytest.approx(20_100, rel=0.02)
    assert 93 < settled.n2 < 99
    assert 780 < settled.egt_k - 273.15 < 880


def test_n1_of_inverts_n2_of() -> None:
    for n1 in range(21, 105):
        assert n1_of(n2_of(n1)) == pytest.approx(n1)


@pytest.mark.parametrize("inlet", [STATIC, CRUISE])
def test_everything_grows_with_n1_where_the_deck_speaks(inlet: Inlet) -> None:
    engine = Engine("X1", 288.15)
    for low in range(40, 104):
        a, b = (engine.steady(float(n), inlet, Demand()) for n in (low, low + 1))
        assert a.n2 < b.n2 and a.egt_k < b.egt_k
        assert a.fuel_kg_h < b.fuel_kg_h and a.thrust_n < b.thrust_n


@pytest.mark.parametrize("inlet", [STATIC, CRUISE])
def test_idle_blends_into_the_deck_without_a_step(inlet: Inlet) -> None:
    engine, demand = Engine("X1", 288.15), Demand(bleed=True)
    for k in range(2150, 4500):
        a, b = (engine.steady(n / 100, inlet, demand) for n in (k, k + 1))
        assert abs(b.egt_k - a.egt_k) < 0.2 and abs(b.fuel_kg_h - a.fuel_kg_h) < 0.5
        assert 0 < b.n2 - a.n2 < 0.03 and abs(b.thrust_n - a.thrust_n) < 30


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


def test_a_percent_of_compressor_efficiency_costs_egt_and_fuel_at_cruise() -> None:
    demand = Demand(n1=80.0, fuel=True, bleed=True)
    engine = started("X1")
    healthy = run(engine, 120, CRUISE, demand)
    worn = run(engine, 60, CRUISE, demand, {"hpc_eff": -0.01})
    assert 4 < worn.egt_k - healthy.egt_k < 12
    assert 1.003 < worn.fuel_kg_h / healthy.fuel_kg_h < 1.012
    assert worn.n1 == pytest.approx(healthy.n1, abs=0.1)


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
