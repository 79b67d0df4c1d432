"""Fits one type of cell to discharges: its shape is shared, its health is each discharge's own.

In: discharges. Out: a `Cell` of health 1 and each discharge's `Health`.
Always holds: the cell is the full-fidelity model of `ground/models/battery`; health is two
factors, on capacity and on all resistances; a discharge that is not given takes no part.

Method: least squares of voltage and temperature over all discharges at once; every column of the
Jacobian is one more cell in the stack that the model moves, so that a step costs one simulation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ground.models.battery.cell import BOUNDS, Cell, load_cell
from ground.models.battery.simulate import simulate
from ground.prognostics.discharges import AMBIENT_CEL, Discharge, Float64
from shared.errors import Rejected

STEP_S, END_MAX_S = 10.0, 4200.0
VOLT_SCALE, KELVIN_SCALE = 0.02, 1.0  # of the residuals: the size of a good fit, assumptions
NUDGE = 1e-4
DISCHARGES_MIN = 3
EMPTY_V = -2.0
"""knee_v, not fitted: puts charge 0 near 1.5 V, below any cut-off, so that every curve crosses it."""
SHARED = {
    "knee_rate": 60.0, "ocv_0_v": 3.4, "ocv_1_v": 0.5, "ocv_2_v": -0.4, "ocv_3_v": 0.7,
    "r0_ohm": 0.07, "r0_empty_ohm": 0.1, "r0_empty_rate": 15.0, "r1_ohm": 0.02, "tau1_s": 40.0,
    "r2_ohm": 0.03, "tau2_s": 400.0, "heat_capacity_j_per_k": 40.0, "heat_resistance_k_per_w": 15.0,
}  # fmt: skip
"""What is fitted, and from where it starts: orders of size of an 18650 of 2 Ah, assumptions."""
RESISTANCES = ("r0_ohm", "r0_empty_ohm", "r1_ohm", "r2_ohm")
NOMINAL_AH = 2.0


@dataclass(frozen=True)
class Health:
    """Factors of one discharge: logarithms, so that 0 is the cell type's own."""

    capacity: float = 0.0
    resistance: float = 0.0


@dataclass(frozen=True, eq=False)
class CellFit:
    """healths: in the order of the discharges."""

    cell: Cell
    healths: tuple[Health, ...]
    voltage_rmse_mv: float
    temperature_rmse_k: float


@dataclass(frozen=True, eq=False)
class Curves:
    """What a stack does under its constant currents: time [n], voltage and temperature [n, m]."""

    time_s: Float64
    voltage: Float64
    temperature: Float64

    def end_s(self, cutoff_v: Float64) -> Float64:
        """When each falls through its cut-off, [m]; NaN if it never does."""
        below = self.voltage < cutoff_v
        at = np.maximum(below.argmax(axis=0), 1)
        column = np.arange(self.voltage.shape[1])
        low, high = self.voltage[at, column], self.voltage[at - 1, column]
        share = np.clip((high - cutoff_v) / np.where(high > low, high - low, np.inf), 0, 1)
        ends: Float64 = np.where(below.any(axis=0), self.time_s[at - 1] + share * STEP_S, np.nan)
        return ends


def curves(cell: Cell, discharges: Sequence[Discharge], healths: Float64) -> Curves:
    """Of each discharge with its health [m, 2] on the cell, as long as any might take."""
    rows = 1 + int(np.ceil(END_MAX_S / STEP_S))
    factor = np.exp(np.asarray(healths, float))
    aged = cell.replaced(
        capacity_ah=cell.capacity_ah * factor[:, 0],
        **{name: getattr(cell, name) * factor[:, 1] for name in RESISTANCES},
    )
    current = np.tile([x.current_a for x in discharges], (rows, 1))
    run = simulate(aged, current, STEP_S, AMBIENT_CEL,
                   cell_temperature_c=np.array([x.rest_cel for x in discharges]))  # fmt: skip
    return Curves(STEP_S * np.arange(rows, dtype=np.float64), run.voltage, run.temperature)


def renamed(cell: Cell, name: str, source: str) -> Cell:
    """The same numbers under another name."""
    return dataclasses.replace(cell, name=name, source=source)


def fit_cell(discharges: Sequence[Discharge], name: str, source: str) -> CellFit:
    """Rejected when there are too few of them to tell shape from health."""
    if len(discharges) < DISCHARGES_MIN:
        raise Rejected(f"{len(discharges)} discharges", name, f"want {DISCHARGES_MIN}")
    from scipy.optimize import least_squares  # here: it costs 60 MB where only `curves` is wanted

    problem = _Problem(discharges, name, source)
    first, low, high = problem.bounds()
    found = least_squares(
        problem.residuals, first, jac=problem.jacobian, bounds=(low, high), x_scale="jac",
        max_nfev=40, ftol=1e-6,
    )  # fmt: skip
    cell, healths = problem.split(found.x)
    residual = problem.residuals(found.x)[:-2]
    volts, kelvin = np.split(residual, 2)
    return CellFit(
        cell, tuple(Health(*map(float, row)) for row in healths),
        1000 * VOLT_SCALE * float(np.sqrt(np.mean(volts**2))),
        KELVIN_SCALE * float(np.sqrt(np.mean(kelvin**2))),
    )  # fmt: skip


class _Problem:
    """Unknowns: the logarithms or values of SHARED, then two of health a discharge."""

    def __init__(self, discharges: Sequence[Discharge], name: str, source: str) -> None:
        self.discharges = list(discharges)
        numbers = load_cell().replaced(
            capacity_ah=NOMINAL_AH, knee_v=EMPTY_V, entropy_v_per_k=0.0, reference_cel=AMBIENT_CEL,
            fade=0.0, growth=0.0, cutoff_v=min(x.cutoff_v for x in discharges), current_max_a=4.0,
        )  # fmt: skip
        self.base = renamed(numbers, name, source)

    def bounds(self) -> tuple[Float64, Float64, Float64]:
        """(start, low, high)."""
        low = [BOUNDS[k][0] for k in SHARED] + [-1.0, -2.0] * len(self.discharges)
        high = [BOUNDS[k][1] for k in SHARED] + [1.0, 2.0] * len(self.discharges)
        first = [*SHARED.values()] + [0.0, 0.0] * len(self.discharges)
        return np.array(first), np.array(low), np.array(high)

    def split(self, x: Float64) -> tuple[Cell, Float64]:
        """(cell, healths [discharges, 2])."""
        shared = dict(zip(SHARED, map(float, x), strict=False))
        return self.base.replaced(**shared), x[len(SHARED) :].reshape(-1, 2)

    def residuals(self, x: Float64) -> Float64:
        missed: Float64 = self._stacked(x[None])[0]
        return missed

    def jacobian(self, x: Float64) -> Float64:
        """All healths of one kind are nudged together: a discharge depends on its own only."""
        count, shared = len(self.discharges), len(SHARED)
        nudges = NUDGE * np.maximum(np.abs(x), 0.1)
        many = np.repeat(x[None], 1 + shared + 2, axis=0)
        for i in range(shared):
            many[1 + i, i] += nudges[i]
        for kind in range(2):
            many[1 + shared + kind, shared + kind :: 2] += nudges[shared + kind :: 2]
        whole = self._stacked(many)
        out = np.zeros((whole.shape[1], len(x)))
        out[:, :shared] = ((whole[1 : 1 + shared] - whole[0]) / nudges[:shared, None]).T
        owner = self._owners()
        for kind in range(2):
            change = (whole[1 + shared + kind] - whole[0])[: len(owner)]
            for i in range(count):
                column = shared + 2 * i + kind
                mine = owner == i
                out[: len(owner)][mine, column] = change[mine] / nudges[column]
            out[len(owner) + kind, shared + kind :: 2] = 1.0
        return out

    def _owners(self) -> Float64:
        """Discharge of each residual but the last two."""
        one = np.repeat(np.arange(len(self.discharges)), [len(x.time_s) for x in self.discharges])
        return np.concatenate([one, one]).astype(float)

    def _stacked(self, many: Float64) -> Float64:
        """Residuals [k, n] of k vectors of unknowns at once."""
        count, shared = len(self.discharges), len(SHARED)
        numbers = {k: np.repeat(many[:, i], count) for i, k in enumerate(SHARED)}
        healths = many[:, shared:].reshape(len(many) * count, 2)
        found = curves(self.base.replaced(**numbers), self.discharges * len(many), healths)
        rows = []
        for k in range(len(many)):
            volts, kelvin = [], []
            for i, x in enumerate(self.discharges):
                column = k * count + i
                volts.append(
                    np.interp(x.time_s, found.time_s, found.voltage[:, column]) - x.voltage
                )
                kelvin.append(
                    np.interp(x.time_s, found.time_s, found.temperature[:, column]) - x.temperature
                )
            # mean health is 0: else capacity and health could trade places
            pinned = healths[k * count : (k + 1) * count].sum(axis=0)
            rows.append(np.concatenate(
                [np.concatenate(volts) / VOLT_SCALE, np.concatenate(kelvin) / KELVIN_SCALE, pinned]
            ))  # fmt: skip
        return np.stack(rows)
