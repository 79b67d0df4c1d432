"""The gas path of one 20,000 lbf two-spool turbofan (CFM56-3 class, under a FADEC).

In: inlet conditions, N1 command, starter, fuel, bleed, anti-ice, lost compressor efficiency.
Out: N1, N2, EGT, fuel flow, thrust, oil and vibration. Always holds: the same inputs give the
same outputs; an engine's own character comes from its serial number and nothing else.

Where the numbers come from:
- Fuel flow against thrust: ICAO engine emissions databank, CFM56-3B-1: 0.946, 0.792, 0.290 and
  0.114 kg/s at 100, 85, 30 and 7 % of rated thrust, here at corrected N1 of 95, 88.6, 52 and
  20 % (assumption: these N1 give those thrusts in the momentum balance below).
- Thrust: momentum balance of one mixed stream, 297 kg/s and fan pressure ratio 1.65 at corrected
  N1 95 %, which gives 89.4 kN static: the rated thrust.
- EGT against corrected N1: assumption; 487 Cel at ground idle, 840 Cel at take-off, ISA.
- Exponents of theta (EGT 0.93, fuel flow 0.6): assumption, inside the published 0.84 to 1.0 and
  0.5 to 0.7.
- Compressor efficiency: with a choked turbine the temperature behind it follows compressor work,
  so one point of 85 raises it by 1.18 % at constant flow; the core then passes about 1 % less
  for the same fan. Left over, at constant N1: EGT +1.05 % (10 K at cruise), fuel flow +0.7 %,
  N2 -0.15 % a point (the last two assumptions of that size).
- Bleed, anti-ice, oil, vibration, starts: assumptions from flight-manual figures.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

T_ISA_K: Final = 288.15
P_ISA_PA: Final = 101_325.0
N1_GROUND_IDLE: Final = 21.5
N1_FLIGHT_IDLE: Final = 31.0
N2_LIT_MIN: Final = 58.0  # below it the engine is still starting
_N1_RATED: Final = 95.0
_FLOW_RATED_KG_S: Final = 297.0
_CP: Final = 1005.0
_RAM: Final = 0.2857  # (gamma - 1) / gamma of air
_FAN_EFFICIENCY: Final = 0.89
_REVERSE: Final = -0.40  # share of forward thrust that a cascade reverser gives, assumption
_KG_H_LB_S: Final = 0.45359237 * 3600
# Cubic through the four databank points, kg/h against corrected N1 (see the docstring).
_FUEL: Final = np.polyfit([20.0, 52.0, 88.6, 95.0], [410.4, 1044.0, 2851.2, 3405.6], 3)
_F3, _F2, _F1, _F0 = (float(c) for c in _FUEL)


@dataclass(frozen=True)
class Character:
    """What makes one engine differ from its type. Spreads are assumptions of fleet scatter."""

    egt: float
    """Factor on the EGT rise with N1, and `egt_slope` a tilt over N1."""
    egt_slope: float
    fuel: float
    n2: float
    oil_psi: float
    oil_qt: float
    vibration: float
    spool: float
    probe_s: float
    start_k: float


def character_of(esn: str) -> Character:
    """The character of a serial number."""
    digest = hashlib.sha256(b"tailtwin-engine:" + esn.encode()).digest()
    u = [2 * b / 255 - 1 for b in digest[:10]]
    return Character(
        egt=1 + 0.010 * u[0],
        egt_slope=0.004 * u[1],
        fuel=1 + 0.012 * u[2],
        n2=1 + 0.004 * u[3],
        oil_psi=3.0 * u[4],
        oil_qt=17.0 + 1.5 * u[5],
        vibration=0.6 + 0.3 * u[6],
        spool=1 + 0.10 * u[7],
        probe_s=1.8 + 0.3 * u[8],
        start_k=890 + 25 * u[9],
    )


class Inlet(msgspec.Struct, frozen=True, gc=False):
    """Air in front of the engine."""

    static_k: float
    static_pa: float
    mach: float
    tas_m_s: float

    @property
    def total_k(self) -> float:
        return self.static_k * (1 + 0.2 * self.mach**2)

    @property
    def total_pa(self) -> float:
        return float(self.static_pa * (1 + 0.2 * self.mach**2) ** 3.5)


class Demand(msgspec.Struct, frozen=True, gc=False):
    """What the aircraft asks of the engine. `n1` is a mechanical N1 in %."""

    n1: float = 0.0
    starter: bool = False
    fuel: bool = False
    bleed: bool = False
    anti_ice: bool = False
    reverse: float = 0.0
    """Reverser position, 0 stowed to 1 deployed."""


class State(msgspec.Struct, frozen=True, gc=False):
    """What the engine does now."""

    n1: float = 0.0
    n2: float = 0.0
    egt_k: float = 288.0
    """As the thermocouples give it."""
    metal_k: float = 288.0
    fuel_kg_h: float = 0.0
    thrust_lb: float = 0.0
    oil_psi: float = 0.0
    oil_k: float = 288.0
    oil_qt: float = 17.0
    vibration: float = 0.0
    lit: bool = False
    fuel_s: float = 0.0
    """How long fuel has been on."""


def n2_of(n1c: float) -> float:
    """Corrected N2 that belongs to a corrected N1, steady, %."""
    return float(60 + 39 * (max(n1c - 20, 0.0) / 77) ** 0.75)


def n1_of(n2c: float) -> float:
    """Inverse of `n2_of`; below idle, what a turning core drags along."""
    if n2c < 60:
        return float(20 * (max(n2c, 0.0) / 60) ** 1.6)
    return float(20 + 77 * ((n2c - 60) / 39) ** (1 / 0.75))


def fuel_of(n1c: float) -> float:
    """Fuel flow over delta and theta^0.6, steady, kg/h."""
    return ((_F3 * n1c + _F2) * n1c + _F1) * n1c + _F0


def egt_of(n1c: float, mach: float) -> float:
    """EGT over theta^0.93, steady, K."""
    x = max(n1c - 20, 0.0) / 75
    return float((760 + 353 * x**1.8) * (1 - 0.03 * mach))


def thrust_of(n1c: float, inlet: Inlet) -> float:
    """Net thrust, lbf: momentum balance of one mixed stream."""
    x = n1c / _N1_RATED
    theta, delta = inlet.total_k / T_ISA_K, inlet.total_pa / P_ISA_PA
    flow = _FLOW_RATED_KG_S * (0.06 + 0.94 * x) * delta / math.sqrt(theta)
    fan = 1 + 0.65 * x * x
    nozzle = fan * inlet.total_pa / inlet.static_pa
    jet_k = inlet.total_k * (1 + (fan**_RAM - 1) / _FAN_EFFICIENCY)
    jet_m_s = math.sqrt(max(2 * _CP * jet_k * (1 - nozzle**-_RAM), 0.0))
    return flow * (jet_m_s - inlet.tas_m_s) / 4.4482216


def _clip(value: float, low: float, high: float) -> float:
    return low if value < low else high if value > high else value


class Engine:
    """One engine; `step` advances it and returns its new state."""

    def __init__(self, esn: str, ambient_k: float) -> None:
        self.esn, self.character = esn, character_of(esn)
        warm = 0.5 * (ambient_k + 290)
        self.state = State(
            egt_k=ambient_k, metal_k=ambient_k, oil_k=warm, oil_qt=self.character.oil_qt
        )

    def step(self, dt_s: float, inlet: Inlet, demand: Demand, hpc_loss: float = 0.0) -> State:
        """Advance by `dt_s`; `hpc_loss` in points of efficiency."""
        s = self.state
        fuel_s = s.fuel_s + dt_s if demand.fuel else 0.0
        lit = demand.fuel and (s.lit or (fuel_s > 2.5 and s.n2 > 15))
        n1, n2, n2_rate = self._spools(dt_s, inlet, demand, lit, hpc_loss)
        root = math.sqrt(inlet.total_k / T_ISA_K)
        gas_k, fuel_kg_h = self._burn(inlet, demand, lit, n1, n2, n2_rate, hpc_loss)
        metal_to, metal_s = (0.6 * gas_k, 60.0) if lit else (inlet.static_k, 400.0)
        metal_k = s.metal_k + (metal_to - s.metal_k) * dt_s / metal_s
        egt_to = gas_k if lit else metal_k
        egt_k = s.egt_k + (egt_to - s.egt_k) * dt_s / self.character.probe_s
        thrust_lb = thrust_of(n1 / root, inlet) if lit and n2 > N2_LIT_MIN else 0.0
        thrust_lb *= 1 + (_REVERSE - 1) * demand.reverse
        oil_psi, oil_k, oil_qt = self._oil(dt_s, inlet, n2)
        peak = 0.5 * math.exp(-(((n1 - 67) / 5) ** 2))  # a bending mode of the fan, assumption
        self.state = State(
            n1=n1,
            n2=n2,
            egt_k=egt_k,
            metal_k=metal_k,
            fuel_kg_h=fuel_kg_h,
            thrust_lb=thrust_lb,
            oil_psi=oil_psi,
            oil_k=oil_k,
            oil_qt=oil_qt,
            vibration=self.character.vibration * (1.3 * (n1 / 100) ** 2 + peak),
            lit=lit,
            fuel_s=fuel_s,
        )
        return self.state

    def _spools(
        self, dt_s: float, inlet: Inlet, demand: Demand, lit: bool, hpc_loss: float
    ) -> tuple[float, float, float]:
        """(N1, N2, dN2/dt) after the step, %, %, %/s."""
        s, c = self.state, self.character
        root = math.sqrt(inlet.total_k / T_ISA_K)
        own = c.n2 * (1 - 0.0015 * hpc_loss) * root
        if lit and s.n2 >= N2_LIT_MIN:
            to = n2_of(demand.n1 / root) * own
            share = _clip((s.n2 - 60) / 35, 0, 1)
            lag_s = (2.2 - 1.5 * share) * c.spool
            rate = _clip((to - s.n2) / lag_s, -3 - 6 * share, 1.8 + 8 * share)
        elif lit:
            rate = 1.6 + (1.2 * (1 - s.n2 / 60) if demand.starter else 0.0)
        elif demand.starter:
            rate = 2.6 * c.spool * (1 - s.n2 / 27)
        else:
            rate = -s.n2 / 14 - (0.15 if s.n2 > 0.3 else 0)
        n2 = max(s.n2 + rate * dt_s, 0.0)
        n1_to = n1_of(n2 / own) * root
        lag_s = 0.5 if n1_to > s.n1 or lit else 14.0
        return max(s.n1 + (n1_to - s.n1) * dt_s / lag_s, 0.0), n2, rate

    def _burn(
        self, inlet: Inlet, demand: Demand, lit: bool, n1: float, n2: float, n2_rate: float,
        hpc_loss: float,
    ) -> tuple[float, float]:  # fmt: skip
        """(gas temperature behind the turbine in K, fuel flow in kg/h)."""
        c = self.character
        if not lit:
            return inlet.static_k, 160.0 if demand.fuel else 0.0
        theta, delta = inlet.total_k / T_ISA_K, inlet.total_pa / P_ISA_PA
        n1c = n1 / math.sqrt(theta)
        tilt = 1 + c.egt_slope * (n1c - 80) / 30
        gas_k = egt_of(n1c, inlet.mach) * theta**0.93 * c.egt * tilt
        gas_k *= 1 + 0.0105 * hpc_loss + 0.012 * demand.bleed + 0.008 * demand.anti_ice
        fuel = fuel_of(n1c) * delta * theta**0.6 * c.fuel
        fuel *= 1 + 0.007 * hpc_loss + 0.010 * demand.bleed + 0.007 * demand.anti_ice
        if n2 < N2_LIT_MIN:  # a start: hot and lean of air at first
            share = _clip((n2 - 38) / 20, 0, 1)
            return c.start_k + (gas_k - c.start_k) * share, 180 + (fuel - 180) * share
        return gas_k * (1 + 0.006 * n2_rate), max(fuel * (1 + 0.03 * n2_rate), 0.4 * fuel)

    def _oil(self, dt_s: float, inlet: Inlet, n2: float) -> tuple[float, float, float]:
        """(oil pressure in psi, temperature in K, quantity in qt)."""
        s, c = self.state, self.character
        thick = 1 + 0.0025 * (353 - s.oil_k)
        psi_to = (12 + 0.5 * n2 + c.oil_psi) * thick * _clip(n2 / 25, 0, 1)
        k_to, k_s = (333 + 0.42 * n2 + 0.2 * (inlet.total_k - T_ISA_K), 150.0)
        if n2 < 20:
            k_to, k_s = inlet.static_k, 900.0
        qt_to = c.oil_qt - 0.03 * n2  # oil in the sumps while running
        return (
            s.oil_psi + (psi_to - s.oil_psi) * dt_s / 0.8,
            s.oil_k + (k_to - s.oil_k) * dt_s / k_s,
            s.oil_qt + (qt_to - s.oil_qt) * dt_s / 25,
        )
