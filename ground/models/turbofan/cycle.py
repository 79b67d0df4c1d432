"""The cycle off its design point: seven unknowns in, seven imbalances out, for all points at once.

In: an engine type, inlets, health, and unknowns [7, ...]. Out: residuals [7, ...] and what the
engine then gives. Always holds: nothing is remembered between calls; element i of every output
depends on element i of every input and on nothing else.

Unknowns (STATE): R-lines of fan, booster and HPC, corrected N2 over design, T4 over T2, map
pressure ratios of HPT and LPT. Balances: flow through HPC, HPT and LPT, power of both shafts,
area of both nozzles. pyCycle balances the same with W, BPR, FAR and both speeds as unknowns; here
N1 is given, so fan R-line and N1 give W, and the booster's R-line the bypass ratio.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ground.models.turbofan.engine import HEALTH, CompressorScale, EngineType
from ground.models.turbofan.gas import Float64, Gas, load_gas
from ground.models.turbofan.maps import Map, load_maps
from ground.models.turbofan.parts import (
    P_REF_PA,
    T_REF_K,
    Stream,
    burned,
    compressed,
    expanded,
    jet,
    standard_pressure,
)
from ground.models.turbofan.sizing import referred_flow

STATE: Final = ("fan_line", "lpc_line", "hpc_line", "n2c", "t4_t2", "hpt_pr", "lpt_pr")
K: Final = len(STATE)
LOW: Final = np.array([0.6, 0.6, 0.6, 0.35, 2.0, 1.2, 1.02])
HIGH: Final = np.array([3.6, 3.6, 3.6, 1.25, 8.0, 9.0, 9.0])
"""Walls for the search; wider than any map."""
CELSIUS_K: Final = 273.15
KG_S_KG_H: Final = 3600.0


@dataclass(frozen=True, eq=False)
class Inlet:
    """What stands at the fan, and what the aircraft asks. All float64 [n]."""

    n1_rpm: Float64
    t: Float64
    p: Float64
    h: Float64
    p_out: Float64
    flight_m_s: Float64
    customer: Float64
    """Fraction of HPC flow that the aircraft takes, anti-ice included."""
    n1c: Float64
    """Corrected N1, % of full speed."""
    mach: Float64


def inlet_of(
    engine: EngineType, n1: Float64, mach: Float64, altitude_ft: Float64, tat_c: Float64,
    bleed: Float64, anti_ice: Float64,
) -> Inlet:  # fmt: skip
    """Total state at the fan from what the aircraft measures (TAT probe recovery taken as 1)."""
    gas, data = load_gas(), engine.data
    p_out = standard_pressure(altitude_ft)
    t = tat_c + CELSIUS_K
    h = gas.h(t)
    static = gas.static(t, h, mach)
    flight = np.sqrt(2.0 * np.maximum(h - gas.h(static), 0.0))
    p = p_out * np.exp((gas.phi(t) - gas.phi(static)) / gas.air.r) * data.loss.ram_recovery
    return Inlet(
        n1_rpm=n1 / 100 * data.full_speed.n1_rpm, t=t, p=p, h=h, p_out=p_out, flight_m_s=flight,
        customer=data.bleed.customer * bleed + data.bleed.anti_ice * anti_ice,
        n1c=n1 / np.sqrt(t / T_REF_K), mach=mach,
    )  # fmt: skip


def multipliers(health: Mapping[str, Float64 | float]) -> dict[str, Float64 | float]:
    """1 + h for every name of HEALTH."""
    return {name: 1.0 + health.get(name, 0.0) for name in HEALTH}


@dataclass(frozen=True, eq=False)
class Run:
    """What the engine gives at those unknowns."""

    residuals: Float64
    n2_rpm: Float64
    t45: Float64
    fuel_kg_s: Float64
    thrust_n: Float64
    t3: Float64
    p3: Float64
    t4: Float64
    airflow: Float64
    bypass_ratio: Float64
    inlet: Stream
    customer: Stream
    exhaust: Stream
    bypass: Stream
    """Core and bypass at their nozzles."""


def _compressor(
    gas: Gas, of: Map, scale: CompressorScale, s: Stream, rpm: Float64, line: Float64,
    eff: Float64 | float, flow: Float64 | float,
) -> tuple[Stream, Float64]:  # fmt: skip
    """Its exit, and the air in kg/s that the map takes."""
    speed = rpm / np.sqrt(s.t / T_REF_K) / scale.speed
    flow_map, pr_map, eff_map = of.read(speed, line)
    corrected = np.maximum(flow_map, 1e-3) * (scale.flow * flow)
    pr = np.maximum((pr_map - 1.0) * scale.pr + 1.0, 1.00001)  # pyCycle's lower bound
    out = compressed(gas, s, pr, np.maximum(eff_map, 0.05) * (scale.eff * eff))
    return out, corrected * (s.p / P_REF_PA) / np.sqrt(s.t / T_REF_K)


def _turbine(
    gas: Gas, of: Map, scale: CompressorScale, s: Stream, rpm: Float64, pr_map: Float64,
    eff: Float64 | float, flow: Float64 | float, first: Stream, last: Stream,
) -> tuple[Stream, Float64, Float64]:  # fmt: skip
    """Its exit, its power, and its flow imbalance."""
    flow_map, eff_map = of.read(rpm / np.sqrt(s.t) / scale.speed, pr_map)
    pr = (pr_map - 1.0) * scale.pr + 1.0
    out, power = expanded(gas, s, pr, np.maximum(eff_map, 0.05) * (scale.eff * eff), first, last)
    return out, power, flow_map * (scale.flow * flow) / referred_flow(s) - 1.0


def run(
    engine: EngineType, at: Inlet, health: Mapping[str, Float64 | float], state: Float64
) -> Run:
    """One pass through the engine. `health` holds multipliers; `state` is [7, ..., n]."""
    gas, maps, data, scales = load_gas(), load_maps(), engine.data, engine.scales
    loss, bleed, k = data.loss, data.bleed, health
    fan_line, lpc_line, hpc_line, n2c, t4_t2, hpt_pr, lpt_pr = state
    none = 0.0 * fan_line
    s2 = Stream(none, at.t + none, at.p + none, at.h + none)
    n2_rpm = n2c * design_n2c(engine) * np.sqrt(s2.t / T_REF_K)

    s21, w2 = _compressor(
        gas, maps["fan"], scales.fan, s2, at.n1_rpm, fan_line, k["fan_eff"], k["fan_flow"]
    )
    s22 = Stream(none, s21.t, s21.p * (1 - loss.duct4), s21.h)
    s24, core = _compressor(
        gas, maps["lpc"], scales.lpc, s22, at.n1_rpm, lpc_line, k["lpc_eff"], k["lpc_flow"]
    )
    s25 = Stream(core, s24.t, s24.p * (1 - loss.duct6), s24.h)
    s3, w_hpc = _compressor(
        gas, maps["hpc"], scales.hpc, s25, n2_rpm, hpc_line, k["hpc_eff"], k["hpc_flow"]
    )
    rise = s3.h - s25.h
    cool1, cool2, customer = (
        _bled(gas, s25, s3, core * fraction, work)
        for fraction, work in (
            (bleed.cool1, bleed.cool1_work), (bleed.cool2, bleed.cool2_work),
            (at.customer, bleed.customer_work),
        )
    )  # fmt: skip
    left = (
        1.0 - bleed.cool1 * (1 - bleed.cool1_work) - bleed.cool2 * (1 - bleed.cool2_work)
        - at.customer * (1 - bleed.customer_work)
    )  # fmt: skip
    hpc_power = core * rise * left
    w3 = core * (1.0 - bleed.cool1 - bleed.cool2 - at.customer)
    cool3 = Stream(w3 * bleed.cool3, s3.t, s3.p, s3.h)
    cool4 = Stream(w3 * bleed.cool4, s3.t, s3.p, s3.h)
    s31 = Stream(w3 * (1.0 - bleed.cool3 - bleed.cool4), s3.t, s3.p, s3.h)
    s4 = burned(gas, s31, t4_t2 * s2.t, loss.burner)

    s44, hpt_power, hpt_flow = _turbine(
        gas, maps["hpt"], scales.hpt, s4, n2_rpm, hpt_pr, k["hpt_eff"], k["hpt_flow"], cool3, cool4
    )
    s45 = Stream(s44.w, s44.t, s44.p * (1 - loss.duct11), s44.h, s44.f)
    s5, lpt_power, lpt_flow = _turbine(
        gas, maps["lpt"], scales.lpt, s45, at.n1_rpm, lpt_pr, k["lpt_eff"], k["lpt_flow"],
        cool1, cool2,
    )  # fmt: skip
    lp_power = w2 * (s21.h - s2.h) + core * (s24.h - s22.h)

    s7 = Stream(s5.w, s5.t, s5.p * (1 - loss.duct13), s5.h, s5.f)
    s17 = Stream((w2 - core) * (1 - bleed.bypass), s21.t, s21.p * (1 - loss.duct15), s21.h)
    core_jet, bypass_jet = jet(gas, s7, at.p_out), jet(gas, s17, at.p_out)
    thrust = (
        s7.mass * core_jet.speed * loss.core_cv
        + (core_jet.p - at.p_out) * scales.core_area_m2
        + s17.mass * bypass_jet.speed * loss.bypass_cv
        + (bypass_jet.p - at.p_out) * scales.bypass_area_m2
        - w2 * at.flight_m_s
    )
    residuals = np.stack(
        [
            w_hpc / core - 1.0,
            hpt_flow,
            lpt_flow,
            (hpc_power + data.design.scale * data.design.shaft_power_w) / hpt_power - 1.0,
            lp_power / lpt_power - 1.0,
            core_jet.flux * scales.core_area_m2 / s7.mass - 1.0,
            bypass_jet.flux * scales.bypass_area_m2 / s17.mass - 1.0,
        ]
    )
    fuel = s31.w * s4.f if s4.f is not None else none
    return Run(
        residuals=residuals, n2_rpm=n2_rpm, t45=s45.t, fuel_kg_s=fuel, thrust_n=thrust,
        t3=s3.t, p3=s3.p, t4=s4.t, airflow=w2, bypass_ratio=w2 / core - 1.0,
        inlet=Stream(w2, s2.t, s2.p, s2.h), customer=customer, exhaust=s7, bypass=s17,
    )  # fmt: skip


def design_n2c(engine: EngineType) -> float:
    """Corrected N2 at the design point, rpm: the unit of the unknown `n2c`."""
    d = engine.data.design
    fan = engine.scales.fan.speed * load_maps()["fan"].defaults["NcMap"]
    return d.n2_rpm * fan / d.n1_rpm


def _bled(gas: Gas, before: Stream, after: Stream, w: Float64, work: float) -> Stream:
    """Air taken part way through a compressor."""
    h = before.h + work * (after.h - before.h)
    guess = before.t + work * (after.t - before.t)
    return Stream(w, gas.t_of_h(h, guess), after.p, h)
