"""The parts of the engine: one function each, over arrays, with no memory.

In: streams at a part's entry. Out: streams at its exit, with power in W or flow in kg/s. Always
holds: enthalpy, entropy and heat are per kg of **air** in the stream (`gas`), so that mixing adds;
what a part does is what pyCycle's element of that name does (noted where it is not obvious).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ground.models.turbofan.engine import Bleed
from ground.models.turbofan.gas import Float64, Gas

T_REF_K: Final = 288.15  # 518.67 degR
P_REF_PA: Final = 101_325.0  # 14.695951 psi

FT_M: Final = 0.3048
_LAPSE: Final = 0.0065  # ISO 2533: K/m below 11 km
_G_R: Final = 9.80665 / 287.05287  # gravity over the gas constant of the standard, K/m
_STILL_J_KG: Final = 200.0
"""Below it (20 m/s) a jet goes on along the tangent, so that a search that wanders into a nozzle
with no pressure over it is still told the way; no solved point is there."""
_TROPOPAUSE_M: Final = 11_000.0


@dataclass(frozen=True, eq=False)
class Stream:
    """A flow at a station, total state."""

    w: Float64
    """Air in it, kg/s; the stream is w (1 + f)."""
    t: Float64
    p: Float64
    h: Float64
    """J per kg of air."""
    f: Float64 | None = None
    """Fuel in a kg of air; None before the burner."""

    @property
    def mass(self) -> Float64:
        return self.w if self.f is None else self.w * (1.0 + self.f)


@dataclass(frozen=True, eq=False)
class Taps:
    """What leaves the compressor: into the burner, into the turbines, to the aircraft."""

    main: Stream
    cool1: Stream
    cool2: Stream
    cool3: Stream
    cool4: Stream
    customer: Stream
    power: Float64
    """That the compressor takes, W: air that leaves part way has had part of the work."""


def standard_pressure(altitude_ft: Float64) -> Float64:
    """Static pressure in Pa of a pressure altitude (ISO 2533, to 20 km)."""
    z = altitude_ft * FT_M
    low = np.minimum(z, _TROPOPAUSE_M)
    t = T_REF_K - _LAPSE * low
    p = P_REF_PA * (t / T_REF_K) ** (_G_R / _LAPSE)
    return np.asarray(p * np.exp(-_G_R / t * (z - low)))


def standard_temperature(altitude_ft: Float64) -> Float64:
    """Static temperature in K of the standard atmosphere, to 20 km."""
    return T_REF_K - _LAPSE * np.minimum(altitude_ft * FT_M, _TROPOPAUSE_M)


def compressed(gas: Gas, s: Stream, pr: Float64, eff: Float64) -> Stream:
    """All of `s` through a compressor of that pressure ratio and adiabatic efficiency."""
    ideal = gas.h(gas.isentropic(s.t, np.log(pr)))
    h = s.h + (ideal - s.h) / eff
    t = gas.t_of_h(h, s.t + (h - s.h) / gas.cp(s.t) * 0.98)
    return Stream(s.w, t, s.p * pr, h)


def tapped(
    gas: Gas, bleed: Bleed, before: Stream, after: Stream, customer: Float64 | float
) -> Taps:
    """Bleeds of the HPC and of its exit, as fractions of what enters each; as pyCycle's.

    Temperatures of `cool2` and `customer` are left at the exit's: nothing asks for them.
    """
    core, rise = before.w, after.h - before.h
    h1, h2, h = (
        before.h + work * rise for work in (bleed.cool1_work, bleed.cool2_work, bleed.customer_work)
    )
    t1 = gas.t_of_h(h1, before.t + bleed.cool1_work * (after.t - before.t))
    cool1 = Stream(core * bleed.cool1, t1, after.p, h1)
    cool2 = Stream(core * bleed.cool2, after.t, after.p, h2)
    away = Stream(core * customer, after.t, after.p, h)
    power = core * rise - sum(s.w * (after.h - s.h) for s in (cool1, cool2, away))
    left = core - cool1.w - cool2.w - away.w

    def of_exit(fraction: float) -> Stream:
        return Stream(left * fraction, after.t, after.p, after.h)

    return Taps(
        of_exit(1.0 - bleed.cool3 - bleed.cool4), cool1, cool2, of_exit(bleed.cool3),
        of_exit(bleed.cool4), away, power,
    )  # fmt: skip


def lost(s: Stream, loss: float) -> Stream:
    """A duct: total pressure falls by that fraction."""
    return Stream(s.w, s.t, s.p * (1.0 - loss), s.h, s.f)


def burned(gas: Gas, s: Stream, t4: Float64, loss: float) -> Stream:
    """Fuel until the exit has `t4`. Fuel enters with enthalpy zero, as pyCycle has it."""
    t4 = t4 + 0.0 * s.t
    rise = gas.h(t4) - s.h
    f = rise / -gas.fuel.enthalpy(t4 * 1e-3)
    return Stream(s.w, t4, s.p * (1.0 - loss), s.h, f)


def expanded(
    gas: Gas, s: Stream, pr: Float64, eff: Float64, first: Stream, last: Stream
) -> tuple[Stream, Float64]:
    """`s` through a turbine, with two cooling flows: at its entry pressure and at its exit's.

    As pyCycle's Turbine with frac_P 1 and 0: the first does work with the same efficiency,
    the last does none; both are mixed in at the exit. Returns the exit and the power in W.
    """
    log_ratio = -np.log(pr)
    f = s.f
    assert f is not None
    drop = s.h - gas.h(gas.isentropic(s.t, log_ratio, f), f)
    drop_first = first.h - gas.h(gas.isentropic(first.t, log_ratio))
    power = eff * (s.w * drop + first.w * drop_first)
    w = s.w + first.w + last.w
    mixed = s.f * s.w / w if s.f is not None else f
    h = (s.w * s.h + first.w * first.h + last.w * last.h - power) / w
    guess = s.t - eff * drop / gas.cp(s.t, f) * 1.05 - 40.0
    return Stream(w, gas.t_of_h(h, guess, mixed), s.p / pr, h, mixed), power


@dataclass(frozen=True, eq=False)
class Jet:
    """What leaves a convergent nozzle."""

    flux: Float64
    """kg/(s m2) through its throat."""
    speed: Float64
    p: Float64


def jet(gas: Gas, s: Stream, p_out: Float64) -> Jet:
    """Choked where the back pressure is below the sonic one, else expanded to it."""
    mass = 1.0 if s.f is None else 1.0 + s.f
    phi = gas.phi(s.t, s.f)
    r = gas.r(s.f)
    sonic = gas.sonic(s.t, s.h, s.f)
    p_sonic = s.p * np.exp((gas.phi(sonic, s.f) - phi) / r)
    log_ratio = np.log(np.maximum(p_out, p_sonic) / s.p)
    choked = p_sonic > p_out
    t = np.where(choked, sonic, gas.isentropic(s.t, log_ratio, s.f, phi))
    p = np.where(choked, p_sonic, p_out)
    drop = (s.h - gas.h(t, s.f)) / mass
    root = np.sqrt(2.0 * np.maximum(drop, _STILL_J_KG))
    speed = root - np.maximum(_STILL_J_KG - drop, 0.0) / root
    return Jet(p * mass / (r * t) * speed, speed, p)
