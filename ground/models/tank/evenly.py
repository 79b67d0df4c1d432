"""Tables looked up thousands of times a second: evenly spaced, so that a place is a division.

In: a rising abscissa and columns over it. Out: rows by linear interpolation.
Always holds: outside the table there is no answer, but `OutOfTable`.
"""

from __future__ import annotations

import numpy as np

from ground.models.model import Float64

POINTS = 4_096


class OutOfTable(Exception):
    """Asked for a place outside the table, or for no number."""


class Evenly:
    """`values` [n, width] over `places` [n], spread again over `POINTS` even places."""

    def __init__(self, places: Float64, values: Float64) -> None:
        self.low, self.step = float(places[0]), float(places[-1] - places[0]) / (POINTS - 1)
        even = np.linspace(places[0], places[-1], POINTS)
        self.values = np.column_stack([np.interp(even, places, x) for x in values.T])
        self._up = np.diff(self.values, axis=0)
        self._rows: list[list[float]] = self.values.tolist()

    def rows(self, x: Float64) -> Float64:
        """[k, width] for places [k]."""
        at = (x - self.low) / self.step
        if not 0.0 <= at.min() <= at.max() < POINTS - 1:
            raise OutOfTable
        i = at.astype(np.intp)
        return np.asarray(self.values[i] + (at - i)[:, None] * self._up[i])

    def row(self, x: float) -> list[float]:
        """[width] for one place, without numpy, which is slow at this size."""
        at = (x - self.low) / self.step
        if not 0.0 <= at < POINTS - 1:
            raise OutOfTable
        i = int(at)
        share = at - i
        return [a + share * (b - a) for a, b in zip(self._rows[i], self._rows[i + 1], strict=True)]
