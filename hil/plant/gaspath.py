"""The gas path of one 20,000 lbf two-spool turbofan (CFM56-3 class, under a FADEC).

In: inlet conditions, N1 command, starter, fuel, bleed, anti-ice, health that was lost.
Out: N1, N2, EGT, fuel flow, thrust, oil and vibration. Always holds: the same inputs give the
same outputs; an engine's own character comes from its serial number and nothing else.

Where the numbers come from:
- Steady N2, EGT, fuel flow and thrust from corrected N1 40 % up: the deck, which is NASA's
  pyCycle (hil/plant/deck.py), with this engine's health.
- Below, where pyCycle's maps end: at ground idle (corrected N1 22 % and less) fuel flow of the
  ICAO engine emissions databank, CFM56-3B-1 (0.114 kg/s), thrust by the momentum balance of one
  mixed stream, EGT 487 Cel (assumption); in between a smooth blend into the deck (assumption).
- Exponents of theta at idle (EGT 0.93, fuel flow 0.6): assumption, inside the published 0.84 to
  1.0 and 0.5 to 0.7.
- How engines of a type differ: efficiencies by up to 0.4 % and flow capacities by up to 0.5 %
  each, evenly drawn, the EGT harness by 0.3 % (assumptions: EGT of new engines of one type then
  scatters by some 10 K at take-off, as acceptance-test spreads of 10 to 20 K suggest).
- Transients, bleed and anti-ice at idle, oil, vibration, starts: assumptions from flight-manual
  figures.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import msgspec
import numpy as np

from hil.plant.deck import HEALTH, load_deck

T_ISA_K: Final = 288.15
P_ISA_PA: Final = 101_325.0
N1_GROUND_IDLE: Final = 21.5
N1_FLIGHT_IDLE: Final = 31.0
N2_LIT_MIN: Final = 58.0  # below it the engine is still starting
N_LBF: Final = 4.4482216
_N1_IDLE: Final = 22.0  # up to it what `egt_of`, `fuel_of` and `thrust_of` say counts alone
_N1_RATED: Final = 95.0
_FLOW_RATED_KG_S: Final = 297.0
_CP: Final = 1005.0
_RAM: Final = 0.2857  # (gamma - 1) / gamma of air
_FAN_EFFICIENCY: Final = 0.89
_REVERSE: Final = -0.40  # share of forward thrust that a cascade reverser gives, assumption
# Cubic through the four databank points, kg/h against corrected N1 (see the docstring).
_FUEL: Final = np.polyfit([20.0, 52.0, 88.6, 95.0], [410.4, 1044.0, 2851.2, 3405.6], 3)
_F3, _F2, _F1, _F0 = (float(c) for c in _FUEL)


Health = Mapping[str, float]
"""Relative changes of components by name (hil.plant.deck.HEALTH), fractions."""
SOUND: Final[Health] = MappingProxyType({})


@dataclass(frozen=True)
class Character:
    """What makes one engine differ from its type. Spreads: the module's docstring."""

    health: Health
    egt: float
    """Factor of the thermocouple harness on EGT in K."""
    oil_psi: float
    oil_qt: float
    vibration: float
    spool: float
    probe_s: float
    start_k: float


def character_of(esn: str) -> Character:
    """The character of a serial number."""
    digest = hashlib.sha256(b"tailtwin-engine:" + esn.encode()).digest()
    u = [2 * b / 255 - 1 for b in digest[:20]]
    spread = [0.004 if name.endswith("eff") else 0.005 for name in HEALTH]
    return Character(
        health={n: s * v for n, s, v in zip(HEALTH, spread, u[10:], strict=True)},
        egt=1 + 0.003 * u[0],
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


class Steady(msgspec.Struct, frozen=True, gc=False):
    """What an engine settles at, corrected to sea level, ISA (theta, delta of the inlet)."""

    n2: float
    egt_k: float
    fuel_kg_h: float
    thrust_n: float


def n2_of(n1c: float) -> float:
    """Corrected N2 that about belongs to a corrected N1, %: the shape of transients."""
    return float(60 + 39 * (max(n1c - 20, 0.0) / 77) ** 0.75)


def n1_of(n2c: float) -> float:
    """Inverse of `n2_of`; below idle, what a turning core drags along."""
    if n2c < 60:
        return float(20 * (max(n2c, 0.0) / 60) ** 1.6)
    return float(20 + 77 * ((n2c - 60) / 39) ** (1 / 0.75))


def fuel_of(n1c: float) -> float:
    """Fuel flow at idle over delta and theta^0.6, kg/h."""
    return ((_F3 * n1c + _F2) * n1c + _F1) * n1c + _F0


def egt_of(n1c: float, mach: float) -> float:
    """EGT at idle over theta^0.93, K."""
    x = max(n1c - 20, 0.0) / 75
    return float((760 + 353 * x**1.8) * (1 - 0.03 * mach))


def thrust_of(n1c: float, inlet: Inlet) -> float:
    """Net thrust at idle, N: momentum balance of one mixed stream."""
    x = n1c / _N1_RATED
    theta, delta = inlet.total_k / T_ISA_K, inlet.total_pa / P_ISA_PA
    flow = _FLOW_RATED_KG_S * (0.06 + 0.94 * x) * delta / math.sqrt(theta)
    fan = 1 + 0.65 * x * x
    nozzle = fan * inlet.total_pa / inlet.static_pa
    jet_k = inlet.total_k * (1 + (fan**_RAM - 1) / _FAN_EFFICIENCY)
    jet_m_s = math.sqrt(max(2 * _CP * jet_k * (1 - nozzle**-_RAM), 0.0))
    return flow * (jet_m_s - inlet.tas_m_s)


def _clip(value: float, low: float, high: float) -> float:
    return low if value < low else high if value > high else value


class Engine:
    """One engine; `step` advances it and returns its new state."""

    def __init__(self, esn: str, ambient_k: float) -> None:
        self.esn, self.character, self._deck = esn, character_of(esn), load_deck()
        warm = 0.5 * (ambient_k + 290)
        self.state = State(
            egt_k=ambient_k, metal_k=ambient_k, oil_k=warm, oil_qt=self.character.oil_qt
        )

    def step(self, dt_s: float, inlet: Inlet, demand: Demand, lost: Health = SOUND) -> State:
        """Advance by `dt_s`; `lost`: health on top of the engine's own character."""
        s = self.state
        fuel_s = s.fuel_s + dt_s if demand.fuel else 0.0
        lit = demand.fuel and (s.lit or (fuel_s > 2.5 and s.n2 > 15))
        n1c = s.n1 / math.sqrt(inlet.total_k / T_ISA_K)
        steady = self.steady(n1c, inlet, demand, lost)
        n1, n2, n2_rate = self._spools(dt_s, inlet, demand, lit, steady.n2 / n2_of(n1c))
        gas_k, fuel_kg_h = self._burn(inlet, demand, lit, n2, n2_rate, steady)
        metal_to, metal_s = (0.6 * gas_k, 60.0) if lit else (inlet.static_k, 400.0)
        metal_k = s.metal_k + (metal_to - s.metal_k) * dt_s / metal_s
        egt_to = gas_k if lit else metal_k
        egt_k = s.egt_k + (egt_to - s.egt_k) * dt_s / self.character.probe_s
        runs = lit and n2 > N2_LIT_MIN
        thrust_n = steady.thrust_n * inlet.total_pa / P_ISA_PA if runs else 0.0
        oil_psi, oil_k, oil_qt = self._oil(dt_s, inlet, n2)
        peak = 0.5 * math.exp(-(((n1 - 67) / 5) ** 2))  # a bending mode of the fan, assumption
        self.state = State(
            n1=n1,
            n2=n2,
            egt_k=egt_k,
            metal_k=metal_k,
            fuel_kg_h=fuel_kg_h,
            thrust_lb=thrust_n / N_LBF * (1 + (_REVERSE - 1) * demand.reverse),
            oil_psi=oil_psi,
            oil_k=oil_k,
            oil_qt=oil_qt,
            vibration=self.character.vibration * (1.3 * (n1 / 100) ** 2 + peak),
            lit=lit,
            fuel_s=fuel_s,
        )
        return self.state

    def steady(self, n1c: float, inlet: Inlet, demand: Demand, lost: Health = SOUND) -> Steady:
        """What this engine settles at for a corrected N1."""
        own = self.character.health
        health = own if not lost else {n: own[n] + lost.get(n, 0.0) for n in own}
        deck, high = self._deck, max(n1c, self._deck.n1c[0])
        bleed = deck.bleed_on * demand.bleed + deck.anti_ice * demand.anti_ice
        above = deck.at(high, inlet.mach, inlet.static_pa, inlet.total_k, bleed, health)
        if n1c >= high:
            return Steady(*above)
        share = _clip((n1c - _N1_IDLE) / (high - _N1_IDLE), 0.0, 1.0)
        share *= share * (3 - 2 * share)
        idle = self._idle(min(n1c, _N1_IDLE), inlet, demand, lost.get("hpc_eff", 0.0))
        return Steady(*(a + (b - a) * share for a, b in zip(idle, above, strict=True)))

    def _idle(
        self, n1c: float, inlet: Inlet, demand: Demand, hpc_eff: float
    ) -> tuple[float, float, float, float]:
        """As the deck answers, below it."""
        theta, delta = inlet.total_k / T_ISA_K, inlet.total_pa / P_ISA_PA
        gas_k = egt_of(n1c, inlet.mach) * theta ** (0.93 - 1)
        gas_k *= 1 - 1.05 * hpc_eff + 0.012 * demand.bleed + 0.008 * demand.anti_ice
        fuel = fuel_of(n1c) * theta ** (0.6 - 0.5)
        fuel *= 1 - 0.7 * hpc_eff + 0.010 * demand.bleed + 0.007 * demand.anti_ice
        return n2_of(n1c), gas_k, fuel, thrust_of(n1c, inlet) / delta

    def _spools(
        self, dt_s: float, inlet: Inlet, demand: Demand, lit: bool, own: float
    ) -> tuple[float, float, float]:
        """(N1, N2, dN2/dt) after the step, %, %, %/s. own: this N2 against `n2_of` its N1."""
        s, c = self.state, self.character
        root = math.sqrt(inlet.total_k / T_ISA_K)
        own *= root
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
        self, inlet: Inlet, demand: Demand, lit: bool, n2: float, n2_rate: float, steady: Steady
    ) -> tuple[float, float]:
        """(gas temperature at the thermocouples in K, fuel flow in kg/h)."""
        c = self.character
        if not lit:
            return inlet.static_k, 160.0 if demand.fuel else 0.0
        theta, delta = inlet.total_k / T_ISA_K, inlet.total_pa / P_ISA_PA
        gas_k = steady.egt_k * theta * c.egt
        fuel = steady.fuel_kg_h * delta * math.sqrt(theta)
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
