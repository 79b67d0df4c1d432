"""Constant-current discharges of NASA's 18650 cells, as they were published.

In: a folder with `selected.csv` and the discharges it lists. Out: `Discharge`s, a cell's in the
order in which they were made. Always holds: time is since the load came on; a discharge reaches
its cell's cut-off, whose time is interpolated; every number is finite, or the file is refused.

Source: B. Saha, K. Goebel, "Battery Data Set", NASA Ames Prognostics Data Repository, 2007.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.errors import Rejected

Float64 = npt.NDArray[np.float64]

CUTOFF_V = {"B0005": 2.7, "B0006": 2.5, "B0007": 2.2}
"""Where NASA ended a discharge, by the readme beside the data."""
RATED_AH = 2.0
AMBIENT_CEL = 24.0
LOADED_A = 1.0  # half of the 2 A; between rest and load nothing was recorded
FILE_BYTES_MAX, FILES_MAX = 4 << 20, 1000
COLUMNS = ("Voltage_measured", "Current_measured", "Temperature_measured", "Time")
WHERE = "see docs/prognostics.md for where the files come from"


@dataclass(frozen=True, eq=False)
class Discharge:
    """One discharge. time_s [n] is since load came on (midway between the last row at rest and the
    first one loaded: at most 10 s off, 5 s where rows are 9 s apart); rows end at the cut-off."""

    cell: str
    test: int
    """Number among all tests of the cell: charges, discharges and impedances count."""
    time_s: Float64
    voltage: Float64
    temperature: Float64
    current_a: float
    """Mean; positive is discharge."""
    cutoff_v: float
    end_s: float
    """When the voltage fell through the cut-off."""
    rest_cel: float
    """Temperature before the load."""

    def until(self, share: float) -> npt.NDArray[np.bool_]:
        """Rows within that share of the whole discharge."""
        return self.time_s <= share * self.end_s


@dataclass(frozen=True, eq=False)
class Discharges:
    """Of all cells. sha256: over the digests of the files, in order of `selected.csv`."""

    every: tuple[Discharge, ...]
    sha256: str

    def of(self, cell: str) -> list[Discharge]:
        """In the order in which they were made."""
        return sorted((x for x in self.every if x.cell == cell), key=lambda x: x.test)


def read_discharges(folder: Path) -> Discharges:
    """Rejected when a file is missing or not as published."""
    listed = _rows(_read(folder / "selected.csv"), "selected.csv")
    if len(listed) > FILES_MAX:
        raise Rejected(f"{len(listed)} files", "selected.csv", f"at most {FILES_MAX}")
    found, digest = [], hashlib.sha256()
    for row in listed:
        name, cell = Path(row.get("filename") or "").name, row.get("battery_id", "")
        if not name or cell not in CUTOFF_V or not (row.get("test_id") or "").isdigit():
            raise Rejected(f"row {row}", "selected.csv", WHERE)
        data = _read(folder / name)
        digest.update(hashlib.sha256(data).digest())
        found.append(parse_discharge(data, name, cell, int(row["test_id"])))
    return Discharges(tuple(found), digest.hexdigest())


def parse_discharge(data: bytes, where: str, cell: str, test: int) -> Discharge:
    """One file."""
    try:
        columns = [[float(row[name]) for row in _rows(data, where)] for name in COLUMNS]
    except (KeyError, TypeError, ValueError):
        raise Rejected(f"no numbers in {', '.join(COLUMNS)}", where, WHERE) from None
    volts, amperes, celsius, time = np.array(columns, np.float64)
    whole = np.isfinite(columns).all() and len(time) > 2 and (np.diff(time) > 0).all()
    loaded = -amperes > LOADED_A
    first = int(loaded.argmax()) if whole else 0
    if not loaded.any() or first == 0:
        raise Rejected("not a discharge that begins at rest", where, WHERE)
    last = first + int(np.argmin(loaded[first:])) if not loaded[first:].all() else len(time)
    used, cutoff = slice(first, last), CUTOFF_V[cell]
    start = (time[first - 1] + time[first]) / 2
    below = np.flatnonzero(volts[used] < cutoff)
    if not len(below) or below[0] == 0:
        raise Rejected(f"it does not fall through {cutoff:g} V", where, WHERE)
    at = first + int(below[0])
    end = np.interp(cutoff, volts[[at, at - 1]], time[[at, at - 1]]) - start
    rows = slice(first, at)  # the last one is above the cut-off
    return Discharge(
        cell, test, time[rows] - start, volts[rows], celsius[rows],
        float(-amperes[rows].mean()), cutoff, float(end), float(celsius[first - 1]),
    )  # fmt: skip


def previous(discharges: Sequence[Discharge]) -> list[Discharge | None]:
    """For each of one cell's discharges the one before it in the list."""
    return [None, *discharges[:-1]]


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Rejected(f"cannot read: {error.strerror}", str(path), WHERE) from None
    if len(data) > FILE_BYTES_MAX:
        raise Rejected(f"over {FILE_BYTES_MAX} bytes", str(path), WHERE)
    return data


def _rows(data: bytes, where: str) -> list[dict[str, str]]:
    try:
        return list(csv.DictReader(io.StringIO(data.decode("utf-8"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Rejected(f"not CSV: {str(error)[:100]}", where, WHERE) from None
