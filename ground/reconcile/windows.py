"""Stable windows: stretches in which an engine and its flight condition hardly move.

In: rows of one engine. Out: which rows are steady, and windows of them.
Always holds: a window has no hole and one bleed and anti-ice setting; nothing outside a stable
window reaches a deviation, a health estimate or a verdict.

N1 is judged as aboard (`shared.bundle.Steady`: its span over the last `hold_s`); so are Mach,
altitude and TAT. `LEVEL` is the stable-cruise rule of the signal set (150 ft, Mach 0.01, 1.5 K
in 60 s, an assumption); `QUASI_STEADY` lets a climb in, where a 0-D engine model holds as well
since its inputs are measured every second: 60 ft/s, Mach 0.001/s and 0.1 K/s (assumptions; a
climbing 737 makes 40 ft/s and Mach 0.0004/s).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from shared.bundle import Steady

Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
STEADY = Steady(input="n1", rate_max_per_s=0.1, hold_s=12.0)
"""As the EGT baseline aboard: thermocouples lag by 2 s and the core by a few."""
SETTLED_SHARE = 0.9  # of an on/off input: a mean in between saw it move
WINDOW_S, WINDOWS_MAX = 20, 160
"""20 s average EGT noise to 0.1 K; 160 windows keep a 160 x 160 covariance small."""
ROWS_MIN = 5  # of a window; fewer say little and weigh little, assumption


class Stability(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Largest rates of the flight condition, as spans over `hold_s`, per second."""

    mach_per_s: float
    altitude_ft_per_s: float
    tat_k_per_s: float
    hold_s: float = 12.0


LEVEL = Stability(mach_per_s=0.01 / 60, altitude_ft_per_s=150 / 60, tat_k_per_s=1.5 / 60,
                  hold_s=60.0)  # fmt: skip
QUASI_STEADY = Stability(mach_per_s=0.001, altitude_ft_per_s=60.0, tat_k_per_s=0.1)


@dataclass(frozen=True, eq=False)
class Windows:
    """label: window of each row, -1 where there is none, [n]; rows: of each window, [k]."""

    label: Ints
    rows: Ints

    def __len__(self) -> int:
        return len(self.rows)

    def mean(self, column: Float64) -> Float64:
        """Mean of a column over each window, [k]; the column has no NaN in them."""
        used = self.label >= 0
        total = np.bincount(self.label[used], column[used], minlength=len(self))
        return total / np.maximum(self.rows, 1)


def steady_rows(
    columns: dict[str, Float64], steady: Steady = STEADY, stability: Stability = QUASI_STEADY
) -> Bools:
    """Rows of 1 Hz, without a gap, in which N1 and the flight condition are stable, [n]."""
    is_steady = _calm(columns["n1"], steady.rate_max_per_s, steady.hold_s)
    for name, rate in (("mach", stability.mach_per_s), ("altitude", stability.altitude_ft_per_s),
                       ("tat", stability.tat_k_per_s)):  # fmt: skip
        is_steady &= _calm(columns[name], rate, stability.hold_s)
    for name in ("bleed", "anti_ice"):
        share = np.abs(2 * columns[name] - 1)
        is_steady &= share >= 2 * SETTLED_SHARE - 1
        is_steady &= _calm(columns[name], 0.5 / steady.hold_s, steady.hold_s)
    return is_steady


def windows_of(used: Bools, window_s: int = WINDOW_S, windows_max: int = WINDOWS_MAX) -> Windows:
    """Cut stretches of used rows into windows; longer ones in longer flights."""
    window_s = max(window_s, -(-int(used.sum()) // windows_max))
    edges = np.diff(np.concatenate(([False], used, [False])).astype(np.int8))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    label = np.full(len(used), -1, np.int64)
    rows: list[int] = []
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        pieces = max(1, round((stop - start) / window_s))
        cuts = np.linspace(start, stop, pieces + 1).round().astype(int).tolist()
        for low, high in pairwise(cuts):
            if high - low >= ROWS_MIN:
                label[low:high] = len(rows)
                rows.append(high - low)
    return Windows(label, np.array(rows, np.int64))


def _calm(column: Float64, rate_per_s: float, hold_s: float) -> Bools:
    """Rows before which the column moved at most `rate_per_s * hold_s` in `hold_s`; NaN moves."""
    n, span = len(column), round(hold_s) + 1
    if n < span:
        return np.zeros(n, np.bool_)
    over = sliding_window_view(column, span)
    calm = over.max(axis=1) - over.min(axis=1) <= rate_per_s * hold_s  # NaN compares false
    found = np.zeros(n, np.bool_)
    found[span - 1 :] = calm
    return found
