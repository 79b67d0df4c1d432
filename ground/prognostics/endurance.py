"""How long will this discharge last, and what will the voltage be on the way?

In: a fitted cell type, what was seen of a discharge so far, and the discharge before it. Out: a
`Prediction`: the end of discharge with its band, and the voltage to come. Pure.
Always holds: nothing after the last row seen takes part; with nothing seen the answer is the
discharge before, aged by as many tests as lie between.

Method: the two factors of health that fit best (least squares, Gauss-Newton) what was seen and,
as a prior, the discharge before, whose changes from one to the next are known with their
covariance: resistance shows at once, and capacity falls with it. What the cell type did not
explain of the discharge before (some 20 mV: cells differ) is carried over, by share of the
discharge. The rows seen count as `rows_worth` independent ones however many they are: the error
that is left is alike in neighbouring rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from ground.models.battery.cell import Cell, load_cell
from ground.prognostics.cell_fit import (
    NOMINAL_AH,
    VOLT_SCALE,
    Curves,
    Health,
    curves,
    renamed,
)
from ground.prognostics.discharges import Discharge, Float64
from shared.errors import Rejected

SHARES = (0.0, 0.25, 0.5, 0.75)
"""Of the discharge seen, at which a prediction is judged."""
WHOLE = 1.0
ITERATIONS, NUDGE = 6, 1e-4
GRID = np.linspace(0.0, 1.0, 101)
"""Shares of the modelled end."""
Rows = npt.NDArray[np.bool_]
STEP_MIN = 1e-5  # of a logarithm: 0.03 s of a discharge
STEP_MAX = 0.3  # of a logarithm in one iteration, so that no guess leaves the cell's bounds


class Prior(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of (capacity, resistance), logarithms. first: of a cell never seen, with standard
    deviations. drift, change: per test from one discharge to the next: mean, and about it the variance
    of capacity, their covariance, the variance of resistance (a random walk with drift)."""

    first: tuple[float, float]
    first_sd: tuple[float, float]
    drift: tuple[float, float]
    change: tuple[float, float, float]

    def expect(self, before: Known | None, test: int) -> tuple[Float64, Float64]:
        """(mean health [2], W [2, 2] such that W (health - mean) has unit covariance)."""
        if before is None:
            return np.array(self.first), np.diag(1 / np.array(self.first_sd))
        passed = max(1, test - before.test)
        one, both, other = self.change
        covariance = passed * np.array([[one, both], [both, other]])
        mean = np.array([before.health.capacity, before.health.resistance])
        return mean + passed * np.array(self.drift), np.linalg.inv(np.linalg.cholesky(covariance))


class DischargeModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file of `python -m ground.prognostics.discharge fit`. cell: numbers of
    `ground.models.battery.cell.Cell`. band: by share seen, half of the width over the end."""

    v: int
    source: str
    data_sha256: str
    fitted_on: tuple[str, ...]
    cell: dict[str, float]
    prior: Prior
    rows_worth: float
    coverage: float
    band: dict[str, float]
    figures: dict[str, float]

    def cell_type(self) -> Cell:
        """Rejected when a number is outside the bounds of any cell."""
        try:
            return renamed(load_cell().replaced(**self.cell), "nasa_18650", self.source)
        except TypeError as error:
            raise Rejected(f"cell: {error}", "discharge model", "fit it again") from None


@dataclass(frozen=True, eq=False)
class Known:
    """What a whole discharge taught. missed [n]: measured - model in V, by `GRID` of the end."""

    test: int
    health: Health
    missed: Float64


@dataclass(frozen=True, eq=False)
class Prediction:
    """end_s: from when load came on; NaN where the model never falls through the cut-off."""

    health: Health
    end_s: float
    time_s: Float64
    voltage: Float64

    def voltage_at(self, time_s: Float64) -> Float64:
        return np.interp(time_s, self.time_s, self.voltage)


def band_s(model: DischargeModel, share: float, end_s: float) -> tuple[float, float]:
    """(earliest, latest) end."""
    half = model.band[f"{share:g}"] * end_s
    return end_s - half, end_s + half


@dataclass(frozen=True, eq=False)
class Endurance:
    """Predicts discharges of cells of one type."""

    cell: Cell
    prior: Prior
    rows_worth: float

    def predict(
        self, discharge: Discharge, shares: Sequence[float], before: Known | None
    ) -> list[Prediction]:
        """One for each share of the discharge seen. before: None for a cell's first."""
        mean, whitening = self.prior.expect(before, discharge.test)
        healths = np.tile(mean, (len(shares), 1))
        seen = [discharge.until(share) for share in shares]
        for _ in range(ITERATIONS):
            found = self._curves(discharge, _nudged(healths), before)
            steps = [
                self._step(discharge, rows, [found.voltage[:, k] for k in range(i, 3 * len(seen), len(seen))],
                           found.time_s, whitening, whitening @ (mean - healths[i]))
                for i, rows in enumerate(seen)
            ]  # fmt: skip
            healths = healths + np.stack(steps)
            if np.abs(steps).max() < STEP_MIN:
                break
        found = self._curves(discharge, healths, before)
        ends = found.end_s(np.full(len(shares), discharge.cutoff_v))
        return [
            Prediction(Health(*map(float, row)), float(end), found.time_s, found.voltage[:, i])
            for i, (row, end) in enumerate(zip(healths, ends, strict=True))
        ]

    def learn(self, discharge: Discharge, health: Health) -> Known:
        """From a discharge that is over, with its health in hindsight."""
        alone = self._curves(discharge, np.array([[health.capacity, health.resistance]]), None)
        end = alone.end_s(np.array([discharge.cutoff_v]))[0]
        missed = discharge.voltage - np.interp(discharge.time_s, alone.time_s, alone.voltage[:, 0])
        return Known(discharge.test, health, np.interp(GRID, discharge.time_s / end, missed))

    def in_order(self, discharges: Sequence[Discharge]) -> list[list[Prediction]]:
        """Of one cell's discharges, each knowing only those before it: at every one of SHARES, and
        last the whole discharge in hindsight."""
        before: Known | None = None
        out = []
        for discharge in discharges:
            found = self.predict(discharge, (*SHARES, WHOLE), before)
            before = self.learn(discharge, found[-1].health)
            out.append(found)
        return out

    def _curves(self, discharge: Discharge, healths: Float64, before: Known | None) -> Curves:
        found = curves(self.cell, [discharge] * len(healths), healths)
        if before is None:
            return found
        ends = found.end_s(np.full(len(healths), discharge.cutoff_v))
        added = [np.interp(found.time_s / end, GRID, before.missed) for end in ends]
        return Curves(found.time_s, found.voltage + np.stack(added, axis=1), found.temperature)

    def _step(
        self,
        discharge: Discharge,
        rows: Rows,
        volts: Sequence[Float64],
        time_s: Float64,
        whitening: Float64,
        pull: Float64,
    ) -> Float64:
        """One Gauss-Newton step, [2]. volts: with health as it is, and each factor nudged."""  # fmt: skip
        now, *moved = (np.interp(discharge.time_s[rows], time_s, x) for x in volts)
        weight = np.sqrt(self.rows_worth / max(1, len(now))) / VOLT_SCALE
        slopes = np.stack([(x - now) / NUDGE for x in moved], axis=1) * weight
        missed = (discharge.voltage[rows] - now) * weight
        both = np.concatenate([slopes, whitening]), np.concatenate([missed, pull])
        step: Float64 = np.clip(np.linalg.lstsq(*both, rcond=None)[0], -STEP_MAX, STEP_MAX)
        return step


def _nudged(healths: Float64) -> Float64:
    """As they are, then with more capacity, then with more resistance."""
    return np.concatenate([healths, *(healths + NUDGE * np.eye(2)[kind] for kind in range(2))])


def cell_numbers(cell: Cell, keys: Sequence[str]) -> dict[str, float]:
    """What a `DischargeModel` keeps of a fitted cell."""
    fixed = (
        "knee_v",
        "entropy_v_per_k",
        "reference_cel",
        "fade",
        "growth",
        "cutoff_v",
        "current_max_a",
    )
    numbers = {key: float(getattr(cell, key)) for key in (*keys, *fixed)}
    return {"capacity_ah": NOMINAL_AH, **numbers}
