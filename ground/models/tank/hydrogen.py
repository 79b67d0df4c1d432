"""Para-hydrogen: the saturated liquid as tables, the vapour from CoolProp itself.

In: temperatures, densities, internal energies. Out: the properties a tank's balances need.
Always holds: liquid properties are those of the saturated liquid (a tank at a few bar; compression
is neglected), so internal energy alone tells a layer's temperature. Vapour properties are CoolProp's
equation of state, also a little below saturation, where the vapour is metastable.

Source: CoolProp 8.0.0, ParaHydrogen: J. W. Leachman et al., J. Phys. Chem. Ref. Data 38(3), 2009.
One call costs 1 to 3 microseconds; the 15 liquid layers are looked up at once in tables of 1,024
points, interpolated linearly (error in density and energy under 1e-5, see the test).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ground.models.model import Float64

FLUID, LIBRARY = "ParaHydrogen", "CoolProp==8.0.0"
LIQUID_K = (14.0, 31.0)
"""Triple point 13.80 K, critical point 32.94 K; the ends are left out."""
VAPOUR_K = (14.0, 300.0)
POINTS = 1_024


@dataclass(frozen=True, eq=False)
class Saturated:
    """Along the saturation line, each [POINTS] over `kelvin`."""

    kelvin: Float64
    pressure_pa: Float64
    density: Float64
    """Of the liquid, kg/m3; `energy` and `enthalpy` too are the liquid's, J/kg."""
    energy: Float64
    enthalpy: Float64
    vapour_enthalpy: Float64
    conductivity: Float64
    """Of the liquid, W/(m.K)."""


@cache
def saturated() -> Saturated:
    """The tables, made once a process."""
    import CoolProp.CoolProp as coolprop

    state = coolprop.AbstractState("HEOS", FLUID)
    rows = []
    kelvin = np.linspace(*LIQUID_K, POINTS)
    for t in kelvin:
        state.update(coolprop.QT_INPUTS, 1.0, float(t))
        vapour = state.hmass()
        state.update(coolprop.QT_INPUTS, 0.0, float(t))
        rows.append(
            (state.p(), state.rhomass(), state.umass(), state.hmass(), vapour, state.conductivity())
        )
    return Saturated(kelvin, *np.array(rows).T)


class Vapour:
    """One parcel of vapour; not shared between threads."""

    def __init__(self) -> None:
        import CoolProp.CoolProp as coolprop

        self._state: Any = coolprop.AbstractState("HEOS", FLUID)
        self._state.specify_phase(coolprop.iphase_gas)
        self._inputs = coolprop.DmassT_INPUTS
        self.kelvin = 30.0
        self.density = self.pressure_pa = self.enthalpy = self.energy = 0.0

    def at_energy(self, density: float, energy: float) -> None:
        """Find the temperature by Newton's method from the last one; it moves little in a step."""
        for _ in range(30):
            self._state.update(self._inputs, density, self.kelvin)
            short = energy - self._state.umass()
            step = short / self._state.cvmass()
            self.kelvin = min(
                max(self.kelvin + min(max(step, -5.0), 5.0), VAPOUR_K[0]), VAPOUR_K[1]
            )
            if abs(step) < 1e-6:
                break
        self._read(density)

    def at_temperature(self, density: float, kelvin: float) -> None:
        self.kelvin = kelvin
        self._read(density)

    def at_pressure(self, pressure_pa: float, kelvin: float) -> float:
        """Density, kg/m3."""
        import CoolProp.CoolProp as coolprop

        self._state.update(coolprop.PT_INPUTS, pressure_pa, kelvin)
        density = float(self._state.rhomass())
        self.at_temperature(density, kelvin)
        return density

    def _read(self, density: float) -> None:
        self._state.update(self._inputs, density, self.kelvin)
        self.density = density
        self.pressure_pa, self.enthalpy = self._state.p(), self._state.hmass()
        self.energy = self._state.umass()

    @property
    def conductivity(self) -> float:
        return float(self._state.conductivity())

    @property
    def isentropic_exponent(self) -> float:
        return float(self._state.cpmass() / self._state.cvmass())
