"""How monitors aboard look at a flight, over whole arrays: what is steady, and the low pass.

In: one row a model step. Out: the same. Always holds: row by row what edge/models/deviations.py
does sample by sample; a test compares them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from shared.bundle import Steady

Float64 = npt.NDArray[np.float64]


def is_steady(values: Float64, steady: Steady, rate_hz: float) -> npt.NDArray[np.bool_]:
    """The rule of `shared.bundle.Steady` for its input [n]; NaN in a window is not steady."""
    rows = round(steady.hold_s * rate_hz) + 1
    if len(values) < rows:
        return np.zeros(len(values), bool)
    windows = sliding_window_view(values, rows)
    moved = windows.max(axis=1) - windows.min(axis=1)
    calm = moved <= steady.rate_max_per_s * steady.hold_s
    return np.concatenate((np.zeros(rows - 1, bool), calm))


def smoothed(deviation: Float64, smoothing_s: float, rate_hz: float) -> Float64:
    """The low pass of the monitors over rows [n] without NaN; NaN until `smoothing_s` were seen."""
    out, mean, weight_s, step_s = np.full(len(deviation), np.nan), 0.0, 0.0, 1 / rate_hz
    for i, value in enumerate(deviation):
        weight_s += step_s
        decay = math.exp(-step_s / smoothing_s) if smoothing_s > 0 else 0.0
        mean += max(step_s / weight_s, 1 - decay) * (value - mean)
        if weight_s >= smoothing_s:
            out[i] = mean
    return out
