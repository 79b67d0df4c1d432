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
    Taps,
    burned,
    compressed,
    expanded,
    jet,
    lost,
    standard_pressure,
    tapped,
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


def run(
    engine: EngineType, at: Inlet, health: Mapping[str, Float64 | float], state: Float64
) -> Run:
    """One pass through the engine. `health` holds multipliers; `state` is [7, ..., n]."""
    case = _Case(engine, at, health, load_gas(), load_maps())
    cold = _cold(case, state)
    hot = _hot(case, cold, state)
    return _balanced(case, cold, hot)


@dataclass(frozen=True, eq=False)
class _Case:
    """An engine somewhere: what all its parts need."""

    engine: EngineType
    at: Inlet
    health: Mapping[str, Float64 | float]
    gas: Gas
    maps: Mapping[str, Map]

    def compressor(
        self, name: str, s: Stream, rpm: Float64, line: Float64
    ) -> tuple[Stream, Float64]:
        """Its exit, and the air in kg/s that its map takes."""
        scale: CompressorScale = getattr(self.engine.scales, name)
        root = np.sqrt(s.t / T_REF_K)
        flow_map, pr_map, eff_map = self.maps[name].read(rpm / root / scale.speed, line)
        flow = np.maximum(flow_map, 1e-3) * (scale.flow * self.health[f"{name}_flow"])
        eff = np.maximum(eff_map, 0.05) * (scale.eff * self.health[f"{name}_eff"])
        pr = np.maximum((pr_map - 1.0) * scale.pr + 1.0, 1.00001)  # pyCycle's lower bound
        return compressed(self.gas, s, pr, eff), flow * (s.p / P_REF_PA) / root

    def turbine(
        self, name: str, s: Stream, rpm: Float64, pr_map: Float64, first: Stream, last: Stream
    ) -> tuple[Stream, Float64, Float64]:
        """Its exit, its power, and its flow imbalance."""
        scale: CompressorScale = getattr(self.engine.scales, name)
        flow_map, eff_map = self.maps[name].read(rpm / np.sqrt(s.t) / scale.speed, pr_map)
        flow = flow_map * (scale.flow * self.health[f"{name}_flow"])
        eff = np.maximum(eff_map, 0.05) * (scale.eff * self.health[f"{name}_eff"])
        out, power = expanded(self.gas, s, (pr_map - 1.0) * scale.pr + 1.0, eff, first, last)
        return out, power, flow / referred_flow(s) - 1.0


@dataclass(frozen=True, eq=False)
class _Cold:
    n2_rpm: Float64
    s2: Stream
    s21: Stream
    s25: Stream
    s3: Stream
    taps: Taps
    lp_power: Float64
    hpc_flow: Float64


def _cold(case: _Case, state: Float64) -> _Cold:
    """Fan, booster, HPC and its bleeds. Air flows at the fan and the booster are their maps'."""
    at, loss = case.at, case.engine.data.loss
    fan_line, lpc_line, hpc_line, n2c = state[:4]
    none = 0.0 * fan_line
    inlet = Stream(none, at.t + none, at.p + none, at.h + none)
    n2_rpm = n2c * design_n2c(case.engine) * np.sqrt(inlet.t / T_REF_K)
    s21, w2 = case.compressor("fan", inlet, at.n1_rpm, fan_line)
    s22 = lost(s21, loss.duct4)
    s24, core = case.compressor("lpc", s22, at.n1_rpm, lpc_line)
    s25 = Stream(core, s24.t, s24.p * (1 - loss.duct6), s24.h)
    s3, w_hpc = case.compressor("hpc", s25, n2_rpm, hpc_line)
    return _Cold(
        n2_rpm=n2_rpm, s2=Stream(w2, inlet.t, inlet.p, inlet.h), s21=s21, s25=s25, s3=s3,
        taps=tapped(case.gas, case.engine.data.bleed, s25, s3, at.customer),
        lp_power=w2 * (s21.h - inlet.h) + core * (s24.h - s22.h), hpc_flow=w_hpc / core - 1.0,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Hot:
    s4: Stream
    s45: Stream
    s5: Stream
    powers: tuple[Float64, Float64]
    flows: tuple[Float64, Float64]


def _hot(case: _Case, cold: _Cold, state: Float64) -> _Hot:
    """Burner, HPT and LPT with their cooling."""
    loss, taps = case.engine.data.loss, cold.taps
    t4_t2, hpt_pr, lpt_pr = state[4:]
    s4 = burned(case.gas, taps.main, t4_t2 * cold.s2.t, loss.burner)
    s44, hpt_power, hpt_flow = case.turbine("hpt", s4, cold.n2_rpm, hpt_pr, taps.cool3, taps.cool4)
    s45 = lost(s44, loss.duct11)
    s5, lpt_power, lpt_flow = case.turbine(
        "lpt", s45, case.at.n1_rpm, lpt_pr, taps.cool1, taps.cool2
    )
    return _Hot(s4, s45, s5, (hpt_power, lpt_power), (hpt_flow, lpt_flow))


def _balanced(case: _Case, cold: _Cold, hot: _Hot) -> Run:
    """Nozzles, thrust, and by how much all is out of balance."""
    at, data, scales = case.at, case.engine.data, case.engine.scales
    loss, air = data.loss, cold.s2.w
    core = lost(hot.s5, loss.duct13)
    s21 = cold.s21
    bypass_w = (air - cold.s25.w) * (1 - data.bleed.bypass)
    bypass = Stream(bypass_w, s21.t, s21.p * (1 - loss.duct15), s21.h)
    thrust, jets = -air * at.flight_m_s, []
    for s, area, cv in (
        (core, scales.core_area_m2, loss.core_cv), (bypass, scales.bypass_area_m2, loss.bypass_cv)
    ):  # fmt: skip
        out = jet(case.gas, s, at.p_out)
        thrust = thrust + s.mass * out.speed * cv + (out.p - at.p_out) * area
        jets.append(out.flux * area / s.mass - 1.0)
    taken = data.design.scale * data.design.shaft_power_w
    hpt_power, lpt_power = hot.powers
    powers = ((cold.taps.power + taken) / hpt_power - 1.0, cold.lp_power / lpt_power - 1.0)
    return Run(
        residuals=np.stack([cold.hpc_flow, *hot.flows, *powers, *jets]),
        n2_rpm=cold.n2_rpm, t45=hot.s45.t, fuel_kg_s=hot.s4.mass - hot.s4.w, thrust_n=thrust,
        t3=cold.s3.t, p3=cold.s3.p, t4=hot.s4.t, airflow=air, bypass_ratio=air / cold.s25.w - 1.0,
        inlet=cold.s2, customer=cold.taps.customer, exhaust=core, bypass=bypass,
    )  # fmt: skip


def design_n2c(engine: EngineType) -> float:
    """Corrected N2 at the design point, rpm: the unit of the unknown `n2c`."""
    d = engine.data.design
    fan = engine.scales.fan.speed * load_maps()["fan"].defaults["NcMap"]
    return d.n2_rpm * fan / d.n1_rpm
