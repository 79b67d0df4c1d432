"""Pass-off rows: what one engine showed while it was known to be healthy.

In: a file, `.npz` or `.csv`, one row a second. Out: `PassOff`. Always holds: every column is there,
of one length and bounded; times grow within a flight; who the engine is, is said by the file or by
the caller, and the two do not contradict each other.

Columns: `t_ns`, `flight` (0, 1, …), `phase` (may be absent), the inputs of the engine models and
what they predict, in the units of ground/reconcile/rows.py. An npz has `meta` beside them: JSON
with `esn`, `part_number`, `source` and `rate_hz`.
"""

from __future__ import annotations

import csv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ground.models.baseline import INPUTS, OUTPUTS
from shared.errors import Rejected
from shared.topics import check_identifier

Float64 = npt.NDArray[np.float64]
COLUMNS = (*INPUTS, *OUTPUTS)
FILE_BYTES_MAX = 256 << 20
ROWS_MAX = 2_000_000
REMEDY = "see docs/calibration.md for the columns"


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """Whose rows these are."""

    esn: str = ""
    part_number: str = ""
    source: str = ""
    rate_hz: float = 1.0


@dataclass(frozen=True, eq=False)
class PassOff:
    """n rows; NaN is no value."""

    meta: Meta
    t_ns: npt.NDArray[np.int64]
    flight: npt.NDArray[np.int64]
    phase: npt.NDArray[np.str_]
    columns: dict[str, Float64]


def load_pass_off(path: Path, esn: str = "", part_number: str = "") -> PassOff:
    """Read a file of rows. esn, part_number, source: for a file that does not say them."""
    where = str(path)
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise Rejected(f"over {FILE_BYTES_MAX} bytes", where, "fewer rows")
        if path.suffix not in (".csv", ".npz"):
            raise Rejected(f"{path.suffix!r} is no form of rows", where, ".npz or .csv")
        arrays, meta = _of_csv(path) if path.suffix == ".csv" else _of_npz(path)
    except OSError as error:
        raise Rejected(f"cannot read: {error.strerror}", where, "check the path") from None
    except (ValueError, KeyError, zipfile.BadZipFile, EOFError, msgspec.DecodeError) as error:
        raise Rejected(f"no rows of an engine: {error}", where, REMEDY) from None
    for name, said, given in (
        ("ESN", meta.esn, esn),
        ("part number", meta.part_number, part_number),
    ):
        if said and given and said != given:
            raise Rejected(f"rows of {name} {said}, not {given}", where, "check the file")
    meta = msgspec.structs.replace(
        meta, esn=meta.esn or esn, part_number=meta.part_number or part_number,
        source=meta.source or path.name,
    )  # fmt: skip
    check_identifier(meta.esn, f"{where}: ESN")
    return _checked(arrays, meta, where)


def _of_npz(path: Path) -> tuple[dict[str, npt.NDArray[Any]], Meta]:
    with path.open("rb") as source, np.load(source, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files if name != "meta"}
        meta = Meta()
        if "meta" in file.files:
            meta = msgspec.json.decode(file["meta"].tobytes(), type=Meta)
    return arrays, meta


def _of_csv(path: Path) -> tuple[dict[str, npt.NDArray[Any]], Meta]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        names = [name.strip() for name in next(rows, [])]
        table = []
        for row in rows:
            if len(row) != len(names):
                raise ValueError(f"line {rows.line_num} has {len(row)} values, not {len(names)}")
            table.append(row)
            if len(table) > ROWS_MAX:
                raise ValueError(f"over {ROWS_MAX} rows")
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, column in zip(names, zip(*table, strict=True), strict=True):
        if name == "phase":
            arrays[name] = np.array(column)
        elif name in ("t_ns", "flight"):
            arrays[name] = np.array([int(x) for x in column], np.int64)
        else:
            arrays[name] = np.array([float(x) if x.strip() else np.nan for x in column])
    return arrays, Meta()


def _checked(arrays: dict[str, npt.NDArray[Any]], meta: Meta, where: str) -> PassOff:
    missing = [name for name in ("t_ns", *COLUMNS) if name not in arrays]
    if missing:
        raise Rejected(f"no column {', '.join(missing)}", where, REMEDY)
    n = len(arrays["t_ns"])
    flight = np.asarray(arrays.get("flight", np.zeros(n)), np.int64)
    phase = np.asarray(arrays.get("phase", np.full(n, "unknown")), np.str_)
    columns = {name: np.asarray(arrays[name], np.float64) for name in COLUMNS}
    every = (flight, phase, *columns.values())
    if not 0 < n <= ROWS_MAX or any(x.shape != (n,) for x in every):
        raise Rejected(f"columns are not of one length from 1 to {ROWS_MAX}", where, REMEDY)
    t_ns = np.asarray(arrays["t_ns"], np.int64)
    if not np.all((np.diff(t_ns) > 0) | (np.diff(flight) != 0)) or np.any(np.diff(flight) < 0):
        raise Rejected("times do not grow within a flight", where, "sort the rows")
    if meta.rate_hz != 1.0:
        raise Rejected(f"rows at {meta.rate_hz:g} Hz", where, "means over 1 s are needed")
    return PassOff(meta, t_ns, flight, phase, columns)
