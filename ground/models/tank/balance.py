"""What a hydrogen tank does at a moment: the balances of liquid, surface and ullage.

In: a state and what acts on it. Out: its rates of change, and what crosses the tank's boundary.
Always holds: what leaves one zone enters the next, in mass and in energy.

Method: the liquid is `LAYERS` layers of fixed share of its mass, thin below the surface; the surface
is saturated at the ullage's pressure and evaporates or condenses what heat it gets from both sides
(interface balance as in S. Z. S. Al Ghafri et al., Energies 15(3), 2022, and G. Petitpas,
LLNL-TR-750685, 2018); wall heat goes by area, and a share of the wetted wall's rises in the boundary
layer to the surface. The wall's own heat capacity is left out: aluminium at 20 K holds about 1 % of
what its liquid does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ground.models.model import Float64
from ground.models.tank.evenly import Evenly
from ground.models.tank.hydrogen import Vapour, saturated
from ground.models.tank.tank import Tank

LAYERS = 12
_GROWTH = 1.25  # each layer below the surface is thicker by this
SHARES = (lambda w: w[::-1] / w.sum())(_GROWTH ** np.arange(LAYERS))
"""Of the liquid's mass, from the bottom up."""
_BELOW = np.cumsum(SHARES)[:-1]
OVERTURN = 30.0  # a layer warmer than the one above mixes so much faster: an assumption
EVEN_OUT_S = 100.0
"""No two layers even out faster than this: an assumption that keeps a step of 20 s stable."""
FILL = (0.05, 0.97)
"""Volume share of liquid inside which the model speaks."""


class Stopped(Exception):
    """The model has nothing to say from here on."""


@dataclass
class State:
    """energy_j: of each liquid layer [LAYERS], bottom first; vapour_j: of the ullage."""

    liquid_kg: float
    energy_j: Float64
    vapour_kg: float
    vapour_j: float
    vent_open: bool = False
    vapour: Vapour = field(default_factory=Vapour)

    def moved(self, h: float, *rates: Rates) -> State:
        """After `h` seconds of the sum of `rates`; the parcel is shared, a starting point only."""
        return State(
            self.liquid_kg + h * sum(r.liquid_kg for r in rates),
            self.energy_j + h * sum(r.energy_j for r in rates),
            self.vapour_kg + h * sum(r.vapour_kg for r in rates),
            self.vapour_j + h * sum(r.vapour_j for r in rates),
            self.vent_open,
            self.vapour,
        )

    def copied(self) -> State:
        vapour = Vapour()
        vapour.at_temperature(self.vapour.density, self.vapour.kelvin)
        parts = self.liquid_kg, self.energy_j.copy(), self.vapour_kg, self.vapour_j
        return State(*parts, self.vent_open, vapour)


@dataclass(frozen=True, eq=False)
class Rates:
    """Per second; crossed_*: into the tank."""

    liquid_kg: float
    energy_j: Float64
    vapour_kg: float
    vapour_j: float
    crossed_j: float
    crossed_kg: float
    seen: tuple[float, float, float, Float64, float, float, float]
    """Pressure Pa, fill, level m, layers' K, ullage K, boil-off and vent flow kg/s."""


class Balance:
    """Of one tank."""

    def __init__(self, tank: Tank) -> None:
        self.tank, self.shape = tank, tank.geometry
        table = saturated()
        slope = np.gradient(table.energy, table.kelvin)
        thinning = np.gradient(table.density, table.kelvin)
        self.liquid = Evenly(
            table.energy, np.column_stack([table.kelvin, table.density, slope, thinning])
        )
        self.boiling = Evenly(
            np.log(table.pressure_pa),
            np.column_stack([table.kelvin, table.enthalpy, table.vapour_enthalpy]),
        )
        self.filled = Evenly(
            self.shape.volume,
            np.column_stack([self.shape.level, self.shape.surface, self.shape.wetted]),
        )
        self.pressurant = Vapour()

    def rates(
        self, x: State, heat_w: float, draw: float, pressurant: float, ambient_pa: float
    ) -> Rates:
        tank = self.tank
        mass = x.liquid_kg * SHARES
        energy = x.energy_j / mass
        kelvin, density, slope, thinning = self.liquid.rows(energy).T
        each_m3 = mass / density
        volume = float(each_m3.sum())
        fill = volume / self.shape.volume_m3
        if not FILL[0] <= fill <= FILL[1]:
            raise Stopped(f"fill {fill:.3f} is outside {FILL[0]:g} to {FILL[1]:g}")
        level, surface, wetted = self.filled.row(volume)
        gas = x.vapour
        gas.at_energy(x.vapour_kg / (self.shape.volume_m3 - volume), x.vapour_j / x.vapour_kg)
        p = gas.pressure_pa
        hot, boiling_h, vapour_h = self.boiling.row(math.log(p))

        # heat through the wall, by area
        wet_w = heat_w * wetted / self.shape.wall_m2
        dry_w = heat_w - wet_w
        into = wet_w * (1.0 - tank.rise_share) * SHARES
        into[-1] += wet_w * tank.rise_share

        # between layers
        area = volume / level
        thick = each_m3 / area
        capacity = mass * slope
        grip = tank.mixing_m2_s * density * slope
        drop = kelvin[:-1] - kelvin[1:]
        carried = grip[1:] * (2.0 * area) / (thick[1:] + thick[:-1])
        carried = np.where(drop > 0.0, OVERTURN, 1.0) * carried
        carried = np.minimum(carried, np.minimum(capacity[1:], capacity[:-1]) / EVEN_OUT_S)
        up = carried * drop
        into[:-1] -= up
        into[1:] += up

        # the surface: what it gets from above and does not give below, evaporates
        from_gas = tank.surface_w_m2_k * surface * (gas.kelvin - hot) + tank.dry_to_surface * dry_w
        held = min(grip[-1] * surface / (thick[-1] / 2.0), capacity[-1] / EVEN_OUT_S)
        to_liquid = float(held * (hot - kelvin[-1]))
        enthalpy = energy + p / density
        own_h = float(enthalpy[-1])
        # What condenses joins the liquid saturated.
        liquid_h = boiling_h if from_gas < to_liquid else own_h
        boiloff = (from_gas - to_liquid) / (vapour_h - liquid_h)
        into[-1] += to_liquid - boiloff * (liquid_h - own_h)

        # the layers keep their share of the mass: what crosses each boundary downwards
        down = draw - _BELOW * (draw + boiloff)
        crossing = down * np.where(down > 0, enthalpy[1:], enthalpy[:-1])
        into[:-1] += crossing
        into[1:] -= crossing
        into[0] -= draw * enthalpy[0]
        into[-1] -= boiloff * own_h
        change_kg = -(draw + boiloff) * SHARES
        warming = (into - change_kg * enthalpy) / capacity
        work = p * (change_kg - each_m3 * thinning * warming) / density

        vent = self._vent(gas, ambient_pa) if x.vent_open else 0.0
        inflow = 0.0
        if pressurant:
            self.pressurant.at_pressure(p, tank.pressurant_k)
            inflow = pressurant * self.pressurant.enthalpy
        gas_w = dry_w - from_gas + inflow + boiloff * vapour_h - vent * gas.enthalpy
        return Rates(
            -draw - boiloff,
            into - work,
            boiloff + pressurant - vent,
            gas_w + float(work.sum()),
            heat_w + inflow - vent * gas.enthalpy - draw * float(enthalpy[0]),
            pressurant - vent - draw,
            (p, fill, level, kelvin, gas.kelvin, boiloff, vent),
        )

    def _vent(self, gas: Vapour, ambient_pa: float) -> float:
        """kg/s through the open vent: an isentropic nozzle, choked where it must be."""
        area, p = self.tank.vent_area_mm2 * 1e-6, gas.pressure_pa
        if p <= ambient_pa:
            return 0.0
        g = gas.isentropic_exponent
        ratio = max(ambient_pa / p, (2.0 / (g + 1.0)) ** (g / (g - 1.0)))
        speed = 2.0 * g / (g - 1.0) * (ratio ** (2.0 / g) - ratio ** ((g + 1.0) / g))
        return area * math.sqrt(p * gas.density * speed)
