"""Batched Newton: unknowns of many points driven to balance at once.

In: an engine type, inlets, health, a start [7, n]. Out: states [7, n] and which of them balance.
Always holds: at most ROUNDS_MAX rounds; a point that balances leaves the batch, one whose residuals
are not finite is given up; no point's path depends on another's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Final

import numpy as np
import numpy.typing as npt

from ground.models.turbofan.cycle import HIGH, LOW, Inlet, K, run
from ground.models.turbofan.engine import EngineType
from ground.models.turbofan.gas import Float64

ROUNDS_MAX: Final = 30
TOLERANCE: Final = 1e-8
"""Largest relative imbalance of a solved point."""
_NUDGE: Final = 1e-6
_STEP_MAX: Final = np.array([0.4, 0.4, 0.4, 0.10, 0.8, 1.0, 1.0])
_SHORTEST: Final = 1.0 / 16


def match(
    engine: EngineType, at: Inlet, k: Mapping[str, Float64 | float], start: Float64
) -> tuple[Float64, npt.NDArray[np.bool_]]:
    """Newton from `start`: the states, and which of them balance.

    A step that does not lower the largest imbalance is halved, down to 1/16 of it, and then taken
    as it is: the maps have kinks, and a point that only ever descends can stick in one.
    """
    states, done = start.copy(), np.zeros(start.shape[1], dtype=bool)
    live = np.arange(start.shape[1])
    state, step = start, np.zeros_like(start)
    worst, length = np.full(len(live), np.inf), np.ones(len(live))
    for _ in range(ROUNDS_MAX):
        residuals = run(engine, _take(at, live), _worn(k, live), _columns(state)).residuals
        size = np.abs(residuals[:, 0]).max(axis=0)
        solved = size < TOLERANCE
        states[:, live[solved]], done[live[solved]] = state[:, solved], True
        stay = ~solved & np.isfinite(size)
        if not stay.any():
            break
        live, state, step = live[stay], state[:, stay], step[:, stay]
        size, worst, length, residuals = size[stay], worst[stay], length[stay], residuals[..., stay]
        retreat = ~(size < worst) & (length > _SHORTEST)
        origin = np.where(retreat, state - step, state)
        step = np.where(retreat, step / 2, _newton(residuals))
        length = np.where(retreat, length / 2, 1.0)
        worst = np.where(retreat, worst, size)
        state = np.clip(origin + step, LOW[:, None], HIGH[:, None])
        step = state - origin
    return states, done


def _take(of: Inlet, rows: npt.NDArray[np.intp]) -> Inlet:
    return Inlet(**{f.name: getattr(of, f.name)[rows] for f in fields(of)})


def _worn(
    k: Mapping[str, Float64 | float], rows: npt.NDArray[np.intp]
) -> dict[str, Float64 | float]:
    return {name: m[rows] if isinstance(m, np.ndarray) else m for name, m in k.items()}


def _columns(state: Float64) -> Float64:
    """[7, 8, n]: the state, and the state with each unknown nudged."""
    columns = np.repeat(state[:, None, :], K + 1, axis=1)
    for j in range(K):
        columns[j, j + 1] += _NUDGE
    return columns


def _newton(residuals: Float64) -> Float64:
    """Bounded Newton steps [7, m] from residuals [7, 8, m] of the columns."""
    r = residuals[:, 0]
    matrix = np.moveaxis((residuals[:, 1:] - r[:, None]) / _NUDGE, -1, 0)
    usable = np.isfinite(matrix).all(axis=(1, 2))
    matrix[~usable] = np.eye(K)
    usable &= np.abs(np.linalg.det(matrix)) > 1e-30
    matrix[~usable] = np.eye(K)
    step = np.linalg.solve(matrix, -r.T[:, :, None])[:, :, 0].T
    bounded: Float64 = step / np.maximum(np.max(np.abs(step) / _STEP_MAX[:, None], axis=0), 1.0)
    bounded[:, ~usable] = 0.0
    return bounded
