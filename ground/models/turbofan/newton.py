"""Batched Newton: unknowns of many points driven to balance at once.

In: an engine type, inlets, health, a start (states [7, n], Jacobians [n, 7, 7] or none). Out:
states and which of them balance. Always holds: at most ROUNDS_MAX rounds; a point that balances
leaves the batch, one whose residuals are not finite is given up; no point's path depends on
another's.

A Jacobian costs seven passes through the engine and a pass is what takes time, so a point keeps
its Jacobian, with Broyden's update after each step, as long as its imbalance falls by PROGRESS a
round, and gets a fresh one by simultaneous perturbation (all seven as columns of one batch) when it
does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from ground.models.turbofan.cycle import HIGH, LOW, Inlet, K, run
from ground.models.turbofan.engine import EngineType
from ground.models.turbofan.gas import Float64

ROUNDS_MAX: Final = 40
TOLERANCE: Final = 1e-8
"""Largest relative imbalance of a solved point."""
PROGRESS: Final = 0.3
_NUDGE: Final = 1e-6
_STEP_MAX: Final = np.array([0.4, 0.4, 0.4, 0.10, 0.8, 1.0, 1.0])
_SHORTEST: Final = 1.0 / 16

Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
Wear = Mapping[str, Float64 | float]


@dataclass(frozen=True, eq=False)
class Matched:
    """States [7, n] and Jacobians [n, 7, 7] where the search ended, and where it ended well."""

    states: Float64
    jacobians: Float64
    done: Flags


@dataclass(eq=False)
class _Live:
    """The points still searched, and what each knows of its own search."""

    rows: Rows
    state: Float64
    step: Float64
    jacobian: Float64
    r: Float64
    """Residuals at `state` less `step`."""
    worst: Float64
    length: Float64
    """1, or what retreats have left of the last full step."""

    def keep(self, stay: Flags) -> None:
        self.rows, self.worst, self.length = self.rows[stay], self.worst[stay], self.length[stay]
        self.state, self.step, self.r = self.state[:, stay], self.step[:, stay], self.r[:, stay]
        self.jacobian = self.jacobian[stay]


def match(
    engine: EngineType, at: Inlet, k: Wear, start: Float64, jacobians: Float64 | None = None
) -> Matched:
    """From `start` to balance.

    A step that does not lower the largest imbalance is halved, down to 1/16 of it, and then taken
    as it is: the maps have kinks, and a point that only ever descends can stick in one.
    """
    n = start.shape[1]
    states, done = start.copy(), np.zeros(n, dtype=bool)
    known = np.zeros((n, K, K)) if jacobians is None else jacobians.copy()
    live = _Live(
        np.arange(n), start, np.zeros_like(start), known.copy(), np.zeros_like(start),
        np.full(n, np.inf), np.ones(n),
    )  # fmt: skip
    for turn in range(ROUNDS_MAX):
        r = run(engine, _take(at, live.rows), _worn(k, live.rows), live.state).residuals
        size = np.abs(r).max(axis=0)
        solved = size < TOLERANCE
        states[:, live.rows[solved]] = live.state[:, solved]
        known[live.rows[solved]] = live.jacobian[solved]
        done[live.rows[solved]] = True
        stay = ~solved & np.isfinite(size)
        if not stay.any():
            break
        live.keep(stay)
        r, size = r[:, stay], size[stay]
        retreat = ~(size < live.worst) & (live.length > _SHORTEST)
        if turn:
            _update(live, r, ~retreat)
        stale = size > (PROGRESS * live.worst if turn or jacobians is not None else 0.0)
        _refresh(engine, at, k, live, r, np.flatnonzero(stale & ~retreat))
        _advance(live, r, size, retreat)
    return Matched(states, known, done)


def _advance(live: _Live, r: Float64, size: Float64, retreat: Flags) -> None:
    """A Newton step, or half of the last one back."""
    origin = np.where(retreat, live.state - live.step, live.state)
    step = np.where(retreat, live.step / 2, _newton(live.jacobian, r))
    live.length = np.where(retreat, live.length / 2, 1.0)
    live.worst = np.where(retreat, live.worst, size)
    live.r = np.where(retreat, live.r, r)
    live.state = np.clip(origin + step, LOW[:, None], HIGH[:, None])
    live.step = live.state - origin


def _update(live: _Live, r: Float64, taken: Flags) -> None:
    """Broyden: the Jacobian that explains the last step and changes least."""
    s = np.where(taken, live.step, 0.0).T
    missed = (r - live.r).T - (live.jacobian @ s[:, :, None])[:, :, 0]
    weight = np.maximum((s * s).sum(axis=1), 1e-30)
    live.jacobian += missed[:, :, None] * (s / weight[:, None])[:, None, :]


def _refresh(engine: EngineType, at: Inlet, k: Wear, live: _Live, r: Float64, stale: Rows) -> None:
    """Fresh Jacobians where asked: all columns of all those points in one pass."""
    if not len(stale):
        return
    columns = np.repeat(live.state[:, None, stale], K, axis=1)
    for j in range(K):
        columns[j, j] += _NUDGE
    rows = live.rows[stale]
    nudged = run(engine, _take(at, rows), _worn(k, rows), columns).residuals
    live.jacobian[stale] = np.moveaxis((nudged - r[:, None, stale]) / _NUDGE, -1, 0)


def _newton(jacobian: Float64, r: Float64) -> Float64:
    """Bounded steps [7, m]; none where the Jacobian is singular or not finite."""
    usable: Flags = np.asarray(np.isfinite(jacobian).all(axis=(1, 2)))
    matrix = np.where(usable[:, None, None], jacobian, np.eye(K))
    try:
        step = np.linalg.solve(matrix, -r.T[:, :, None])[:, :, 0].T
    except np.linalg.LinAlgError:  # one of them is exactly singular: find which
        usable &= np.abs(np.linalg.det(matrix)) > 1e-30
        matrix = np.where(usable[:, None, None], jacobian, np.eye(K))
        step = np.linalg.solve(matrix, -r.T[:, :, None])[:, :, 0].T
    bounded: Float64 = step / np.maximum(np.max(np.abs(step) / _STEP_MAX[:, None], axis=0), 1.0)
    bounded[:, ~usable] = 0.0
    return bounded


def _take(of: Inlet, rows: Rows) -> Inlet:
    return Inlet(**{f.name: getattr(of, f.name)[rows] for f in fields(of)})


def _worn(k: Wear, rows: Rows) -> dict[str, Float64 | float]:
    return {name: m[rows] if isinstance(m, np.ndarray) else m for name, m in k.items()}
