"""Moves a liquid hydrogen tank through time: stratified liquid, saturated surface, ullage.

In: a `Tank`, its state at the start, inputs as columns [n] a fixed time apart. Out: columns [n] of
pressure, levels, temperatures, vent flow, and what crossed the boundary.
Always holds: mass and energy are conserved to the arithmetic; the vent has hysteresis; from the row
where a zone leaves the range of its properties, or the tank runs dry or full, the outputs are NaN
and `why` says which.

Integrated by Heun's method in steps of `STEP_S` at most. The balances and their sources are in
`ground/models/tank/balance.py`; compared with NASA's K-Site tests in
`tests/unit/ground/models/test_tank.py`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from ground.models.model import Float64
from ground.models.tank.balance import FILL, SHARES, Balance, Rates, State, Stopped
from ground.models.tank.evenly import OutOfTable
from ground.models.tank.hydrogen import Vapour, saturated
from ground.models.tank.tank import Tank
from shared.errors import Rejected

STEP_S = 20.0
CHANGE_MAX = 0.003
"""Of the ullage's mass and energy in a step: an open vent is followed in shorter ones."""
ROWS_MAX = 200_000  # of one call; an assumption that bounds its time to minutes


@dataclass(frozen=True, eq=False)
class Inputs:
    """Each [n]. draw_kg_s: liquid to the engine; pressurant_kg_s: warm gas into the ullage;
    ambient_pa: what the vent blows against."""

    heat_w: Float64
    draw_kg_s: Float64
    pressurant_kg_s: Float64
    ambient_pa: Float64


@dataclass(frozen=True, eq=False)
class Run:
    """Each [n], at each row's moment; crossed_*: summed since the start, into the tank."""

    pressure_pa: Float64
    fill: Float64
    level_m: Float64
    liquid_kg: Float64
    vapour_kg: Float64
    surface_k: Float64
    bulk_k: Float64
    ullage_k: Float64
    boiloff_kg_s: Float64
    vent_kg_s: Float64
    energy_j: Float64
    crossed_j: Float64
    crossed_kg: Float64
    why: str
    """Empty, or why it stopped speaking."""


_COLUMNS = [x.name for x in dataclasses.fields(Run) if x.name != "why"]


def at_rest(tank: Tank, pressure_pa: float, fill: float, ullage_k: float | None = None) -> State:
    """Everything saturated at `pressure_pa`, but an ullage at `ullage_k` where that is given."""
    table = saturated()
    low, high = float(table.pressure_pa[0]), float(table.pressure_pa[-1])
    if not low <= pressure_pa <= high:
        raise Rejected(f"pressure {pressure_pa:g} Pa", tank.name, f"{low:.0f} to {high:.0f} Pa")
    if not FILL[0] <= fill <= FILL[1]:
        raise Rejected(f"fill {fill:g}", tank.name, f"{FILL[0]:g} to {FILL[1]:g}")
    kelvin = float(np.interp(pressure_pa, table.pressure_pa, table.kelvin))
    volume = tank.geometry.volume_m3
    liquid = fill * volume * float(np.interp(kelvin, table.kelvin, table.density))
    energy = float(np.interp(kelvin, table.kelvin, table.energy))
    vapour = Vapour()
    warm = kelvin + 0.01 if ullage_k is None else ullage_k
    if not kelvin < warm <= 150.0:
        raise Rejected(f"ullage at {warm:g} K", tank.name, f"above {kelvin:.2f} K, at most 150 K")
    mass = vapour.at_pressure(pressure_pa, warm) * (1.0 - fill) * volume
    return State(liquid, liquid * SHARES * energy, mass, mass * vapour.energy, False, vapour)


def simulate(tank: Tank, start: State, inputs: Inputs, step_s: float) -> Run:
    """Rows of `inputs` are `step_s` apart, each held until the next; `start` is not changed."""
    given = np.column_stack(
        [inputs.heat_w, inputs.draw_kg_s, inputs.pressurant_kg_s, inputs.ambient_pa]
    ).tolist()
    if not 0 < len(given) <= ROWS_MAX or not 0.0 < step_s <= 3600.0:
        what = f"{len(given)} rows of {step_s:g} s"
        raise Rejected(what, tank.name, f"1 to {ROWS_MAX} rows of at most 3600 s")
    balance, x = Balance(tank), start.copied()
    rows = np.full((len(given), len(_COLUMNS)), np.nan)
    crossed_j = crossed_kg = 0.0
    why = ""
    for i, row in enumerate(given):
        try:
            rows[i] = *_row(x, balance.rates(x, *row)), crossed_j, crossed_kg
            x, joules, kilograms = _through(balance, x, row, step_s)
        except Stopped as stop:
            why = f"row {i}: {stop}"
            break
        except OutOfTable:
            why = f"row {i}: liquid, pressure or level is outside the tables of hydrogen"
            break
        except ValueError as error:  # CoolProp's way to say that there is no such state
            why = f"row {i}: no such state of hydrogen: {str(error)[:120]}"
            break
        crossed_j, crossed_kg = crossed_j + joules, crossed_kg + kilograms
    return Run(**dict(zip(_COLUMNS, rows.T, strict=True)), why=why)


def _through(
    balance: Balance, x: State, row: list[float], step_s: float
) -> tuple[State, float, float]:
    """The state `step_s` later, and J and kg that came in meanwhile."""
    left, joules, kilograms = step_s, 0.0, 0.0
    while left > 1e-9:
        _switch_vent(balance.tank, x)
        now = balance.rates(x, *row)
        pace = max(abs(now.vapour_kg) / x.vapour_kg, abs(now.vapour_j / x.vapour_j))
        h = min(left, STEP_S, CHANGE_MAX / max(pace, 1e-9))
        then = balance.rates(x.moved(h, now), *row)
        x = x.moved(h / 2.0, now, then)
        joules += h / 2.0 * (now.crossed_j + then.crossed_j)
        kilograms += h / 2.0 * (now.crossed_kg + then.crossed_kg)
        left -= h
    return x, joules, kilograms


def _switch_vent(tank: Tank, x: State) -> None:
    """Hysteresis: opens at one pressure, closes at a lower one."""
    kpa = x.vapour.pressure_pa / 1000.0
    x.vent_open = kpa > tank.vent_close_kpa if x.vent_open else kpa >= tank.vent_open_kpa


def _row(x: State, now: Rates) -> tuple[float, ...]:
    pressure, fill, level, kelvin, ullage, boiloff, vent = now.seen
    bulk = float(np.sum(kelvin * SHARES))
    energy = float(x.energy_j.sum()) + x.vapour_j
    return (
        pressure, fill, level, x.liquid_kg, x.vapour_kg, float(kelvin[-1]), bulk, ullage, boiloff,
        vent, energy,
    )  # fmt: skip
