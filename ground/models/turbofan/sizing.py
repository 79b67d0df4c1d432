"""The design point: from an engine type's numbers to the scalars of its maps and nozzles.

In: `EngineData`. Out: `Scales`. Always holds: at the design point the off-design cycle gives back
exactly these numbers (tests/unit/ground/models/test_turbofan.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from ground.models.turbofan.engine import CompressorScale, EngineData, Scales
from ground.models.turbofan.gas import Float64, load_gas
from ground.models.turbofan.maps import Map, load_maps
from ground.models.turbofan.parts import (
    P_REF_PA,
    T_REF_K,
    Stream,
    burned,
    compressed,
    expanded,
    jet,
    lost,
    standard_pressure,
    standard_temperature,
    tapped,
)

_ROUNDS: Final = 6
"""Thrust is proportional to airflow but for the shaft power: each round gains two digits."""
_SECANTS: Final = 10


def size(data: EngineData) -> Scales:
    """Airflow for the design thrust, and all scalars at it."""
    airflow = 100.0
    for _ in range(_ROUNDS):
        scales = _run(data, airflow)
        airflow *= data.design.scale * data.design.thrust_n / scales.thrust_n
    return _run(data, airflow)


def _run(data: EngineData, airflow: float) -> Scales:
    gas, maps, d, loss, bleed = load_gas(), load_maps(), data.design, data.loss, data.bleed
    one = np.ones(1)
    altitude = one * d.altitude_ft
    p_out, t_static = standard_pressure(altitude), standard_temperature(altitude)
    cp = gas.cp(t_static)
    flight = d.mach * np.sqrt(cp / (cp - gas.air.r) * gas.air.r * t_static)
    h0 = gas.h(t_static) + flight**2 / 2
    t0 = gas.t_of_h(h0, t_static * (1 + 0.2 * d.mach**2))
    p0 = p_out * np.exp((gas.phi(t0) - gas.phi(t_static)) / gas.air.r)
    s2 = Stream(one * airflow, t0, p0 * loss.ram_recovery, h0)

    s21 = compressed(gas, s2, d.fan.pr * one, d.fan.eff * one)
    core = s2.w / (1.0 + d.bpr)
    s22 = Stream(core, s21.t, s21.p * (1 - loss.duct4), s21.h)
    s24 = compressed(gas, s22, d.lpc.pr * one, d.lpc.eff * one)
    s25 = lost(s24, loss.duct6)
    s3 = compressed(gas, s25, d.hpc.pr * one, d.hpc.eff * one)
    taps = tapped(gas, bleed, s25, s3, bleed.customer_design)
    s4 = burned(gas, taps.main, d.t4_k * one, loss.burner)

    eff = d.hpt.eff * one
    need = taps.power + d.scale * d.shaft_power_w
    hpt_pr = _pr(lambda pr: expanded(gas, s4, pr, eff, taps.cool3, taps.cool4)[1], need)
    s44, _ = expanded(gas, s4, hpt_pr, eff, taps.cool3, taps.cool4)
    s45 = lost(s44, loss.duct11)
    lp_need = s2.w * (s21.h - s2.h) + core * (s24.h - s22.h)
    lpt_eff = d.lpt.eff * one
    lpt_pr = _pr(lambda pr: expanded(gas, s45, pr, lpt_eff, taps.cool1, taps.cool2)[1], lp_need)
    s5, _ = expanded(gas, s45, lpt_pr, lpt_eff, taps.cool1, taps.cool2)
    s7 = lost(s5, loss.duct13)
    core_jet = jet(gas, s7, p_out)
    s17 = Stream((s2.w - core) * (1 - bleed.bypass), s21.t, s21.p * (1 - loss.duct15), s21.h)
    bypass_jet = jet(gas, s17, p_out)
    core_area, bypass_area = s7.mass / core_jet.flux, s17.mass / bypass_jet.flux
    thrust = (
        s7.mass * core_jet.speed * loss.core_cv + (core_jet.p - p_out) * core_area
        + s17.mass * bypass_jet.speed * loss.bypass_cv + (bypass_jet.p - p_out) * bypass_area
        - s2.w * flight
    )  # fmt: skip
    return Scales(
        fan=_compressor(maps["fan"], s2, d.n1_rpm, d.fan.pr, d.fan.eff),
        lpc=_compressor(maps["lpc"], s22, d.n1_rpm, d.lpc.pr, d.lpc.eff),
        hpc=_compressor(maps["hpc"], s25, d.n2_rpm, d.hpc.pr, d.hpc.eff),
        hpt=_turbine(maps["hpt"], s4, d.n2_rpm, hpt_pr, d.hpt.eff),
        lpt=_turbine(maps["lpt"], s45, d.n1_rpm, lpt_pr, d.lpt.eff),
        core_area_m2=float(core_area[0]), bypass_area_m2=float(bypass_area[0]),
        airflow_kg_s=airflow, thrust_n=float(thrust[0]),
    )  # fmt: skip


def _pr(power_of: Callable[[Float64], Float64], need: Float64) -> Float64:
    """Pressure ratio that gives the power, by secants in its logarithm."""
    x, before = np.log([4.0]), np.log([3.0])
    miss_before = power_of(np.exp(before)) / need - 1.0
    for _ in range(_SECANTS):
        miss = power_of(np.exp(x)) / need - 1.0
        if abs(float(miss[0])) < 1e-14 or miss == miss_before:
            break
        x, before, miss_before = x - miss * (x - before) / (miss - miss_before), x, miss
    return np.asarray(np.exp(x))


def corrected_flow(s: Stream) -> Float64:
    """W sqrt(theta) / delta, kg/s."""
    return np.asarray(s.mass * np.sqrt(s.t / T_REF_K) / (s.p / P_REF_PA))


def referred_flow(s: Stream) -> Float64:
    """W sqrt(T) / p of a turbine's entry, kg sqrt(K) / (s Pa)."""
    return np.asarray(s.mass * np.sqrt(s.t) / s.p)


def _compressor(of: Map, s: Stream, rpm: float, pr: float, eff: float) -> CompressorScale:
    speed, line = of.defaults["NcMap"], of.defaults["RlineMap"]
    flow_map, pr_map, eff_map = (float(v) for v in of.read(np.array(speed), np.array(line)))
    return CompressorScale(
        speed=float((rpm / np.sqrt(s.t / T_REF_K))[0]) / speed, pr=(pr - 1) / (pr_map - 1),
        eff=eff / eff_map, flow=float(corrected_flow(s)[0]) / flow_map,
    )  # fmt: skip


def _turbine(of: Map, s: Stream, rpm: float, pr: Float64, eff: float) -> CompressorScale:
    speed, line = of.defaults["NpMap"], of.defaults["PRmap"]
    flow_map, eff_map = (float(v) for v in of.read(np.array(speed), np.array(line)))
    return CompressorScale(
        speed=float((rpm / np.sqrt(s.t))[0]) / speed, pr=(float(pr[0]) - 1) / (line - 1),
        eff=eff / eff_map, flow=float(referred_flow(s)[0]) / flow_map,
    )  # fmt: skip
