"""Everything aboard that is neither airframe nor engine: power, bleed, ice, fuel, cabin.

In: motion, engines, the pilot's levers. Out: `Services`, thirty times a second. Always holds: at
most one of external power, APU and battery-only is true; an EEC has power while its engine is
started or turns by itself; fuel burnt has left a tank.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from hil.plant.autopilot import DT_S, Motion, clip
from hil.plant.gaspath import State
from hil.plant.mission import Conditions, Mission
from hil.plant.stage import Levers, Stage

LB_KG: Final = 0.45359237
_EEC_N2_MIN: Final = 12.0  # the EEC's own alternator carries it above about 15 % N2, less to hold
_TANK_LB: Final = 10_000.0  # wing tanks are filled first


class Services(msgspec.Struct, frozen=True, gc=False):
    """What the systems do now; pairs are (left or engine 1, right or engine 2)."""

    external_power: bool
    apu_power: bool
    battery_only: bool
    adiru_air: bool
    adiru_inertial: bool
    eec: tuple[bool, bool]
    bleed: tuple[bool, bool]
    anti_ice: tuple[bool, bool]
    duct_psi: tuple[float, float]
    tanks_lb: tuple[float, float, float]
    cabin_ft: float
    cabin_psi: float
    ac_v: tuple[float, float]
    dc_v: float


class Systems:
    """The systems of one flight."""

    def __init__(self, mission: Mission, conditions: Conditions) -> None:
        self._mission, self._conditions = mission, conditions
        wing = min(0.5 * conditions.fuel_lb, _TANK_LB)
        self._tanks = [wing, wing, conditions.fuel_lb - 2 * wing]
        self._cabin_ft = 0.0
        self._duct = [0.0, 0.0]
        self._ac = [115.0, 115.0]

    def step(
        self, m: Motion, engines: tuple[State, State], levers: Levers, stage: Stage, stage_s: float
    ) -> Services:
        """Advance by 1/30 s."""
        generators = [e.n2 > 56 for e in engines]
        external = levers.external_power
        self._burn(engines)
        bleed = self._bleed(m, engines, stage, stage_s)
        cabin_psi = self._pressurise(m)
        for i, e in enumerate(engines):
            cart = 32.0 if any(levers.starter) else 0.0
            duct = (16 + 0.28 * e.n2 if bleed[i] else 0.0) or cart
            self._duct[i] += (duct - self._duct[i]) * DT_S / 1.5
            volts = 115.0 if external or any(generators) else 0.0
            volts -= 1.5 * levers.starter[i]
            self._ac[i] += (volts - self._ac[i]) * DT_S / 0.3
        cold = m.t_s > 0 and self._total_cel(m) < 10
        cloud = 5_000 < m.altitude_ft < 14_000 and self._conditions.anti_ice and cold
        powered = [e.n2 > _EEC_N2_MIN or levers.starter[i] for i, e in enumerate(engines)]
        return Services(
            external_power=external,
            apu_power=False,
            battery_only=not external and not any(generators),
            adiru_air=m.t_s >= self._mission.adiru_s[0],
            adiru_inertial=m.t_s >= self._mission.adiru_s[1],
            eec=(powered[0], powered[1]),
            bleed=bleed,
            anti_ice=(cloud and engines[0].n2 > 56, cloud and engines[1].n2 > 56),
            duct_psi=(self._duct[0], self._duct[1]),
            tanks_lb=(self._tanks[0], self._tanks[1], self._tanks[2]),
            cabin_ft=self._cabin_ft,
            cabin_psi=cabin_psi,
            ac_v=(self._ac[0], self._ac[1]),
            dc_v=28.0 if external or any(generators) else 24.5,
        )

    def _total_cel(self, m: Motion) -> float:
        static = 288.15 + self._conditions.isa_dev_k - 0.0019812 * m.altitude_ft
        return static + m.tas_m_s**2 / 2010 - 273.15

    def _burn(self, engines: tuple[State, State]) -> None:
        """The centre tank feeds first, then each wing its engine."""
        for i, engine in enumerate(engines):
            tank = 2 if self._tanks[2] > 1 else i
            self._tanks[tank] -= engine.fuel_kg_h / LB_KG / 3600 * DT_S

    def _bleed(
        self, m: Motion, engines: tuple[State, State], stage: Stage, stage_s: float
    ) -> tuple[bool, bool]:
        """Packs: off for starts, off below 1,500 ft in a bleeds-off take-off, one off by seed."""
        off = stage <= Stage.START or (
            self._conditions.bleeds_off_takeoff
            and Stage.LINE_UP <= stage <= Stage.CLIMB
            and m.height_ft < 1500
        )
        single = stage is Stage.CRUISE and 40 < stage_s < 120 and self._mission.clean
        one = [
            not off and e.n2 > 56 and not (single and self._conditions.single_pack == i + 1)
            for i, e in enumerate(engines)
        ]
        return one[0], one[1]

    def _pressurise(self, m: Motion) -> float:
        """Differential pressure, psi; the cabin follows at 500 ft/min at most."""
        to_ft = clip(0.29 * (m.altitude_ft - 500), 0.0, 8_000.0)
        self._cabin_ft += clip(to_ft - self._cabin_ft, -500 / 60 * DT_S, 500 / 60 * DT_S)
        return _psi(self._cabin_ft) - _psi(m.altitude_ft)


def _psi(altitude_ft: float) -> float:
    """Pressure of the standard atmosphere (troposphere)."""
    return 14.696 * math.pow(1 - 6.8756e-6 * altitude_ft, 5.2559)
