"""Moves a cell, or a stack of cells at once, through a current over time.

In: a `Cell`, current [n] or [n, m] in A (discharge is positive), time steps in s, ambient
temperature in Cel. Out: voltage, charge and temperature of the same shape, at each row's start of
step with its current flowing.
Always holds: the current of a row is held until the next one. Charge is exact; lags and heat move
by their exponentials with resistance and loss held over a substep, so no step is unstable however
long; the error of that splitting falls with the substep, and rows longer than `SUBSTEP_S` are split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ground.models.battery.cell import Cell, Number
from ground.models.model import Float64
from shared.errors import Rejected

SUBSTEP_S = 10.0
"""The longest step taken at once; a test states the error it leaves."""
SUBSTEPS_MAX = 5_000_000  # of one call; an assumption that bounds the time it takes
KELVIN = 273.15


@dataclass(frozen=True, eq=False)
class Run:
    """Each [n], or [n, m] for a stack: V, share of the aged capacity that is left, Cel."""

    voltage: Float64
    soc: Float64
    temperature: Float64
    throughput_ah: Float64
    """Charge moved in all, [] or [m]: what ages the cell."""


def open_circuit_v(cell: Cell, soc: Number) -> Float64:
    """Voltage at rest."""
    curve = cell.ocv_0_v + soc * (cell.ocv_1_v + soc * (cell.ocv_2_v + soc * cell.ocv_3_v))
    return np.asarray(cell.knee_v * np.exp(-cell.knee_rate * soc) + curve)


def aged_capacity_ah(cell: Cell, cycles: Number) -> Float64:
    """Capacity after that many full cycles (charge moved, over twice the capacity when new)."""
    share = 1.0 - cell.fade * np.asarray(cycles, float) ** cell.fade_power
    return np.asarray(cell.capacity_ah * np.maximum(share, 0.05))


def cycles_of(cell: Cell, throughput_ah: Number) -> Float64:
    """Full cycles that so much charge moved is."""
    return np.asarray(throughput_ah / (2.0 * cell.capacity_ah))


def simulate(
    cell: Cell,
    current_a: Float64,
    dt_s: float | Float64,
    temperature_c: float | Float64,
    *,
    soc: Number = 1.0,
    cell_temperature_c: Number | None = None,
    cycles: Number = 0.0,
) -> Run:
    """Voltage, charge and temperature of `cell` under `current_a`.

    current_a: [n], or [n, m] for a stack of m cells; dt_s: s from each row to the next, one number
    or [n]; temperature_c: of the air, one number or [n]. soc, cell_temperature_c, cycles: at the
    start, one number or [m]. Rejected names an argument that is not finite or out of range.
    Charge stops at 0 and 1, as the pack's own electronics would cut it.
    """
    current, steps, ambient = _arguments(cell, current_a, dt_s, temperature_c, cycles)
    shape = np.broadcast_shapes(current.shape[1:], np.shape(cell.capacity_ah), np.shape(soc))
    first_c = ambient[0] if cell_temperature_c is None else cell_temperature_c
    state = _State(cell, shape, soc, first_c, cycles)
    voltage, charge, heat = (np.empty((len(current), *shape)) for _ in range(3))
    with np.errstate(under="ignore"):
        for i in range(len(current)):
            voltage[i], charge[i], heat[i] = state.voltage(current[i]), state.soc, state.celsius
            count = max(1, int(np.ceil(steps[i] / SUBSTEP_S)))
            for _ in range(count):
                state.move(current[i], steps[i] / count, ambient[i])
    moved = np.tensordot(steps, np.abs(current), axes=(0, 0)) / 3600.0
    return Run(voltage, charge, heat, np.asarray(np.broadcast_to(moved, shape)))


class _State:
    """Charge, lag voltages and temperature of all cells of a stack."""

    def __init__(
        self, cell: Cell, shape: tuple[int, ...], soc: Number, celsius: Number, cycles: Number
    ) -> None:
        self.cell = cell
        self.soc = np.broadcast_to(np.asarray(soc, float), shape).copy()
        self.celsius = np.broadcast_to(np.asarray(celsius, float), shape).copy()
        self.fast, self.slow = np.zeros(shape), np.zeros(shape)
        self.coulombs = aged_capacity_ah(cell, cycles) * 3600.0
        self.aged = 1.0 + cell.growth * np.asarray(cycles, float)
        reference_k = np.asarray(cell.reference_cel) + KELVIN
        self._cold = cell.activation_k / reference_k

    def resistances(self) -> tuple[Float64, Float64]:
        """(series resistance, factor on the lags' resistances)."""
        cell = self.cell
        factor = self.aged * np.exp(cell.activation_k / (self.celsius + KELVIN) - self._cold)
        empty = cell.r0_empty_ohm * np.exp(-cell.r0_empty_rate * self.soc)
        return (cell.r0_ohm + empty) * factor, factor

    def voltage(self, current: Float64) -> Float64:
        series, _ = self.resistances()
        return open_circuit_v(self.cell, self.soc) - current * series - self.fast - self.slow

    def move(self, current: Float64, step_s: float, ambient_c: float) -> None:
        cell = self.cell
        series, factor = self.resistances()
        r1, r2 = cell.r1_ohm * factor, cell.r2_ohm * factor
        loss = current**2 * series + self.fast**2 / r1 + self.slow**2 / r2
        loss = loss - current * (self.celsius + KELVIN) * cell.entropy_v_per_k
        rest = ambient_c + loss * cell.heat_resistance_k_per_w
        heat_s = cell.heat_capacity_j_per_k * np.asarray(cell.heat_resistance_k_per_w)
        self.celsius = rest + (self.celsius - rest) * np.exp(-step_s / heat_s)
        # The capacitances stay, so a colder cell's lags are slower by the same factor.
        self.fast = _lag(self.fast, current * r1, step_s / (cell.tau1_s * factor))
        self.slow = _lag(self.slow, current * r2, step_s / (cell.tau2_s * factor))
        self.soc = np.clip(self.soc - current * (step_s / self.coulombs), 0.0, 1.0)


def _lag(value: Float64, rest: Float64, share: Float64) -> Float64:
    return rest + (value - rest) * np.exp(-share)


def _arguments(
    cell: Cell,
    current_a: Float64,
    dt_s: float | Float64,
    temperature_c: float | Float64,
    cycles: Number,
) -> tuple[Float64, Float64, Float64]:
    current = np.asarray(current_a, float)
    where = f"cell {cell.name}"
    if current.ndim not in (1, 2) or not len(current):
        raise Rejected(f"current of shape {current.shape}", where, "give [n] or [n, cells]")
    steps, ambient = (
        np.asarray(x, float) if np.ndim(x) else np.full(len(current), float(x))
        for x in (dt_s, temperature_c)
    )
    checks = {
        "current": (current, -np.max(cell.current_max_a), np.max(cell.current_max_a)),
        "dt_s": (steps, 0.0, 86_400.0),
        "temperature": (ambient, -40.0, 80.0),
        "cycles": (np.asarray(cycles, float), 0.0, 1e5),
    }
    for name, (value, low, high) in checks.items():
        if not ((value >= low) & (value <= high)).all():
            raise Rejected(f"{name} is not in {low:g} to {high:g}", where, "correct the input")
    if steps.shape != (len(current),) or ambient.shape != (len(current),):
        raise Rejected("rows of unequal number", where, "one time step and temperature a row")
    if np.sum(np.ceil(steps / SUBSTEP_S)) > SUBSTEPS_MAX:
        raise Rejected(f"{steps.sum():g} s in all", where, f"at most {SUBSTEPS_MAX} substeps")
    return current, steps, ambient
