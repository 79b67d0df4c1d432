"""Component maps: bilinear tables on even grids, read as arrays.

In: map coordinates as arrays. Out: map values. Always holds: a map is linear in its last cell and
beyond it, as pyCycle's `slinear` with `map_extrap`; a NaN coordinate gives NaN.

The published axes are not even (compressor speeds in steps of 0.1, 0.05 and 0.025). Each is
refined to its greatest common step, which changes no value of a piecewise linear function, so that
a cell is found by one multiplication.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ground.models.turbofan.gas import Float64

MAPS: Final = Path(__file__).parent / "data" / "maps_hbtf.json"


@dataclass(frozen=True, eq=False)
class Map:
    """Tables over (speed, line): line is the R-line of a compressor, PR of a turbine."""

    origin: tuple[float, float]
    per_step: tuple[float, float]
    cells: tuple[int, int]
    coefficients: Float64
    """[4 per output, cells]: value = a + b u + c v + d u v in the cell."""
    defaults: dict[str, float]

    def read(self, speed: Float64, line: Float64) -> Float64:
        """[outputs, ...] in the order the map was made with."""
        u = (speed - self.origin[0]) * self.per_step[0]
        v = (line - self.origin[1]) * self.per_step[1]
        i = np.minimum(np.maximum(np.floor(np.nan_to_num(u)), 0.0), self.cells[0] - 1.0)
        j = np.minimum(np.maximum(np.floor(np.nan_to_num(v)), 0.0), self.cells[1] - 1.0)
        at = (i * self.cells[1] + j).astype(np.intp)
        u, v = u - i, v - j
        cell = self.coefficients.take(at, axis=1)
        value: Float64 = cell[0::4] + cell[1::4] * u
        value += (cell[2::4] + cell[3::4] * u) * v
        return value


def even(axis: list[float]) -> Float64:
    """The axis refined to its greatest common step."""
    scaled = np.round(np.array(axis) * 1000).astype(int)
    step = int(np.gcd.reduce(np.diff(scaled)))
    return np.arange(scaled[0], scaled[-1] + 1, step) / 1000.0


def make_map(record: dict[str, Any], speed: str, line: str, outputs: tuple[str, ...]) -> Map:
    """A map from its record in the data file."""
    axes = [list(map(float, record["axes"][name])) for name in (speed, line)]
    x, y = (even(axis) for axis in axes)
    rows = []
    for name in outputs:
        table = np.array(record["tables"][name], dtype=np.float64)
        table = np.array([np.interp(x, axes[0], column) for column in table.T]).T
        z = np.array([np.interp(y, axes[1], row) for row in table])
        a, b = z[:-1, :-1], z[1:, :-1] - z[:-1, :-1]
        c = z[:-1, 1:] - z[:-1, :-1]
        d = z[1:, 1:] - z[1:, :-1] - c
        rows += [a.ravel(), b.ravel(), c.ravel(), d.ravel()]
    return Map(
        origin=(float(x[0]), float(y[0])),
        per_step=(1.0 / float(x[1] - x[0]), 1.0 / float(y[1] - y[0])),
        cells=(len(x) - 1, len(y) - 1),
        coefficients=np.array(rows),
        defaults={k: float(v) for k, v in record["defaults"].items()},
    )


@functools.cache
def load_maps() -> dict[str, Map]:
    """fan, lpc, hpc: (Wc, PR, eff); hpt, lpt: (Wp, eff)."""
    records = json.loads(MAPS.read_text())["maps"]
    compressor, turbine = ("WcMap", "PRmap", "effMap"), ("WpMap", "effMap")
    return {
        name: make_map(record, "NcMap", "RlineMap", compressor)
        if "RlineMap" in record["axes"]
        else make_map(record, "NpMap", "PRmap", turbine)
        for name, record in records.items()
    }
