"""Fits the cell type that ships, and a band that a cell fitted without another one deserves.

In: all discharges. Out: a `DischargeModel`. Always holds: of B0005 everything and of B0006 the
first five discharges take part, and nothing else; the split is `fitting_set` and `held_out`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from ground.models.battery.cell import Cell
from ground.prognostics.cell_fit import SHARED, Health, fit_cell
from ground.prognostics.discharges import Discharge, Discharges, Float64
from ground.prognostics.endurance import (
    SHARES,
    DischargeModel,
    Endurance,
    Prediction,
    Prior,
    cell_numbers,
)

FIT_CELL, SHARED_CELL, SHARED_FIRST, UNSEEN_CELL = "B0005", "B0006", 5, "B0007"
COVERAGE = 0.9
ROWS_WORTH = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0)  # tried on the fitting set, cells crossed
FIRST_SD_MIN = (0.05, 0.1)  # of a new cell, an assumption: two cells do not show a spread
SOURCE = "NASA Battery Data Set, Saha and Goebel 2007"
Say = Callable[[str], None]


def fitting_set(data: Discharges) -> list[Discharge]:
    """What a fit may see."""
    return [*data.of(FIT_CELL), *data.of(SHARED_CELL)[:SHARED_FIRST]]


def held_out(data: Discharges) -> dict[str, list[Discharge]]:
    """What it may not."""
    return {"B0007, unseen cell": data.of(UNSEEN_CELL),
            "B0006, later cycles": data.of(SHARED_CELL)[SHARED_FIRST:]}  # fmt: skip


def fit(data: Discharges, say: Say = lambda _: None) -> DischargeModel:
    """The cell type, how far health moves, and a band from cells that were fitted without each other."""
    used = fitting_set(data)
    by_cell = {name: [x for x in used if x.cell == name] for name in (FIT_CELL, SHARED_CELL)}
    crossed = {}
    for name, others in ((FIT_CELL, SHARED_CELL), (SHARED_CELL, FIT_CELL)):
        found = fit_cell(by_cell[others], "crossed", SOURCE)
        crossed[name] = found.cell, prior_of(by_cell[others], found.healths)
        say(f"{others} alone: {found.voltage_rmse_mv:.1f} mV; judged on {name}")
    whole = fit_cell(used, "nasa_18650", SOURCE)
    say(f"all {len(used)}: {whole.voltage_rmse_mv:.1f} mV, {whole.temperature_rmse_k:.2f} K")
    worth, errors = chosen_worth(by_cell, crossed)
    missed = float(100 * np.abs(errors[:, 1:]).mean())
    say(f"rows worth {worth:g} independent ones: {missed:.2f} % of the end, cells crossed")
    return DischargeModel(
        v=1, source=SOURCE, data_sha256=data.sha256,
        fitted_on=tuple(f"{x.cell}/{x.test}" for x in used),
        cell=cell_numbers(whole.cell, tuple(SHARED)), prior=prior_of(used, whole.healths),
        rows_worth=worth, coverage=COVERAGE,
        band={f"{share:g}": quantile_up(np.abs(errors[:, i])) for i, share in enumerate(SHARES)},
        figures={"fit_voltage_rmse_mv": whole.voltage_rmse_mv, "fit_temperature_rmse_k": whole.temperature_rmse_k,
                 "crossed_end_error_percent": missed, "discharges": float(len(used))},
    )  # fmt: skip


def chosen_worth(
    by_cell: Mapping[str, Sequence[Discharge]], crossed: Mapping[str, tuple[Cell, Prior]]
) -> tuple[float, Float64]:
    """(the best of ROWS_WORTH, relative errors of the end with it [discharge, share]).

    Each cell is predicted with the type and the prior of the other; its first discharge, with
    nothing before it, does not count.
    """
    errors = {
        worth: np.concatenate([
            _relative(by_cell[name], Endurance(cell, prior, worth).in_order(by_cell[name]))[1:]
            for name, (cell, prior) in crossed.items()
        ])
        for worth in ROWS_WORTH
    }  # fmt: skip
    worth = min(errors, key=lambda k: float(np.abs(errors[k][:, 1:]).mean()))
    return worth, errors[worth]


def prior_of(discharges: Sequence[Discharge], healths: Sequence[Health]) -> Prior:
    """First: of the first discharge of each cell; drift and change: a random walk over tests."""
    rows = np.array([(x.capacity, x.resistance) for x in healths])
    same = np.array([a.cell == b.cell for a, b in pairwise(discharges)])
    change = np.diff(rows, axis=0)[same]
    passed = np.diff([x.test for x in discharges])[same].astype(float)
    drift = change.sum(axis=0) / passed.sum()
    off = (change - passed[:, None] * drift) / np.sqrt(passed)[:, None]
    moments = off.T @ off / len(off)
    firsts = rows[[0, *(1 + np.flatnonzero(~same))]]
    sd = np.maximum(firsts.std(axis=0), FIRST_SD_MIN)
    return Prior(
        first=_pair(firsts.mean(axis=0)), first_sd=_pair(sd), drift=_pair(drift),
        change=(float(moments[0, 0]), float(moments[0, 1]), float(moments[1, 1])),
    )  # fmt: skip


def quantile_up(missed: Float64) -> float:
    """The COVERAGE quantile as split conformal prediction takes it: rank (n + 1) x coverage."""
    rank = min(len(missed), int(np.ceil((len(missed) + 1) * COVERAGE)))
    return float(np.sort(missed)[rank - 1])


def _relative(discharges: Sequence[Discharge], found: Sequence[Sequence[Prediction]]) -> Float64:
    """Errors of the end over the end, [discharge, share]."""
    return np.array(
        [[p.end_s / x.end_s - 1 for p in row[: len(SHARES)]]
         for x, row in zip(discharges, found, strict=True)]
    )  # fmt: skip


def _pair(values: Float64) -> tuple[float, float]:
    return float(values[0]), float(values[1])
