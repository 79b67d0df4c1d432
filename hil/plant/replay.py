"""Any CSV with a time column, as a `Flight` on the groups of a signal set.

In: a CSV file with a header, a signal set, how the time column reads. Out: a `Flight`. Always
holds: a file that cannot be read as asked is refused with its line number, never guessed at; a
cell left empty, and a signal without a column, are no_data; a value is held until the next row,
at most as long as the rows are usually apart (1.5 x) or the signal's own age allows.
"""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, NoReturn

import numpy as np
import numpy.typing as npt

from hil.plant.flight import Flight, Readings
from hil.plant.fly import START_NS
from hil.plant.sensors import quantise
from shared.errors import Rejected
from shared.signals import STATUS_NO_DATA, Group, Signal, SignalSet

TimeUnit = Literal["s", "ms", "us", "ns", "iso"]
_PER_S: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
ROWS_MAX: Final = 10_000_000
COLUMNS_MAX: Final = 4_096
LINE_CHARS_MAX: Final = 1 << 20
SPAN_S_MAX: Final = 48 * 3600.0
_FAR: Final = 2**63 - 1


@dataclass(frozen=True)
class TimeColumn:
    """How the time column reads. `iso` is RFC 3339 and always absolute."""

    name: str = "t"
    unit: TimeUnit = "s"
    absolute: bool = False
    """Counted from 1970-01-01 UTC; else from the start of the flight."""


def replay(
    path: Path,
    signal_set: SignalSet,
    time: TimeColumn = TimeColumn(),
    names: Mapping[str, str] | None = None,
    start_ns: int = START_NS,
) -> Flight:
    """The flight in a CSV file.

    names: column of the file -> signal of the set; None takes columns named like signals.
    Raises Rejected with file and line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = _Table(csv.reader(_bounded(file, path), strict=True), path, signal_set)
            table.head(time.name, names)
            table.rows(time, start_ns)
    except OSError as error:
        raise Rejected(f"cannot read it: {error.strerror}", str(path), "check the path") from None
    except UnicodeDecodeError:
        raise Rejected("not UTF-8 text", str(path), "export it as UTF-8 CSV") from None
    except csv.Error as error:
        raise Rejected(f"not CSV: {error}", str(path), "export it as CSV with commas") from None
    first_ns = int(table.t_ns[0])
    return Flight(
        signal_set.sha256.hex(),
        {g.name: table.read(g) for g in signal_set.groups},
        {
            "mission": "replay", "source": path.name, "seed": None, "esns": [],
            "start_ns": first_ns, "degradation": None, "onset_ns": None, "oooi_ns": None,
            "phases": [], "touchdown_fps": None, "conditions": None,
        },
    )  # fmt: skip


def _bounded(lines: Iterator[str], path: Path) -> Iterator[str]:
    """Lines no longer than the bound."""
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_CHARS_MAX or "\0" in line:
            raise Rejected("line is too long or not text", f"{path}:{number}", "is it a CSV file?")
        yield line


class _Table:
    """The file as columns."""

    def __init__(self, lines: Iterator[list[str]], path: Path, signal_set: SignalSet) -> None:
        self._lines, self._path, self._set = lines, path, signal_set
        self._columns: list[tuple[int, Signal]] = []
        self._time = 0
        self._width = 0
        self.t_ns: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._values: dict[str, npt.NDArray[np.float64]] = {}

    def _refuse(self, what: str, line: int, remedy: str) -> NoReturn:
        raise Rejected(what, f"{self._path}:{line}", remedy)

    def head(self, time_name: str, names: Mapping[str, str] | None) -> None:
        """Bind columns to signals."""
        header = [cell.strip() for cell in next(self._lines, [])]
        self._width = len(header)
        if not 2 <= self._width <= COLUMNS_MAX:
            self._refuse(f"{self._width} columns", 1, f"a header of 2 to {COLUMNS_MAX} columns")
        if time_name not in header:
            self._refuse(f"no time column {time_name!r}", 1, "name it, with its unit")
        if len(set(header)) != len(header):
            self._refuse("a column is named twice", 1, "rename one")
        self._time = header.index(time_name)
        wanted = names or {c: c for c in header if c in self._set.position}
        for column, name in wanted.items():
            if column not in header:
                self._refuse(f"no column {column!r}", 1, "correct the mapping")
            if name not in self._set.position:
                self._refuse(f"no signal {name!r} in the set", 1, "correct the mapping")
            self._columns.append((header.index(column), self._set.signal(name)))
        if not self._columns:
            self._refuse("no column is named like a signal", 1, "give a mapping of names")
        if len({s.name for _, s in self._columns}) != len(self._columns):
            self._refuse("two columns for one signal", 1, "correct the mapping")

    def rows(self, time: TimeColumn, start_ns: int) -> None:
        """Read every row."""
        times = array("q")
        values = [array("d") for _ in self._columns]
        was = -1
        for line, row in enumerate(self._lines, 2):
            if not row:
                continue
            if len(row) != self._width:
                self._refuse(f"{len(row)} cells, not {self._width}", line, "complete the row")
            t_ns = self._time_ns(row[self._time], time, start_ns, line)
            if t_ns <= was:
                self._refuse("time does not grow", line, "sort the file, drop repeated rows")
            if len(times) >= ROWS_MAX or (times and t_ns - times[0] > SPAN_S_MAX * 1e9):
                self._refuse("too long", line, f"at most {ROWS_MAX} rows and 48 h a file")
            was = t_ns
            times.append(t_ns)
            for column, (index, signal) in zip(values, self._columns, strict=True):
                column.append(self._value(row[index].strip(), signal, line))
        if len(times) < 2:
            self._refuse("fewer than two rows", 2, "give a file with data")
        self.t_ns = np.array(times)
        self._values = {
            s.name: np.array(v) for v, (_, s) in zip(values, self._columns, strict=True)
        }

    def _time_ns(self, cell: str, time: TimeColumn, start_ns: int, line: int) -> int:
        try:
            if time.unit == "iso":
                at = datetime.fromisoformat(cell.strip())
                since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime(
                    1970, 1, 1, tzinfo=UTC
                )
                t_ns = (since.days * 86_400 + since.seconds) * 1_000_000_000
                return t_ns + since.microseconds * 1_000
            scale = _PER_S[time.unit]
            text = cell.strip()
            t_ns = int(text) * scale if text.lstrip("+-").isdigit() else round(float(text) * scale)
        except (ValueError, OverflowError):
            self._refuse(f"{cell[:40]!r} is not a time in {time.unit}", line, "correct the cell")
        t_ns += 0 if time.absolute else start_ns
        if not 0 <= t_ns < _FAR:
            self._refuse(f"{cell[:40]!r} is out of range", line, "correct the cell or the unit")
        return t_ns

    def _value(self, cell: str, signal: Signal, line: int) -> float:
        """A number, the name of an enum, or NaN for an empty cell."""
        if not cell:
            return math.nan
        if cell in signal.enum:
            return float(signal.enum[cell]) * signal.scale + signal.offset
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self._refuse(f"{signal.name} is {cell[:40]!r}", line, "a number, or leave it empty")
        return value

    def read(self, group: Group) -> Readings:
        """The group's readings, on the group's own grid."""
        first, last = int(self.t_ns[0]), int(self.t_ns[-1])
        t_ns = first + np.arange((last - first) // group.period_ns + 1) * group.period_ns
        raw = np.zeros((len(t_ns), int((~group.is_f64).sum())), np.int64)
        f64 = np.zeros((len(t_ns), int(group.is_f64.sum())))
        status = np.zeros((len(t_ns), len(group.signal)), np.uint8)
        seen = [0, 0]
        usual_ns = 1.5 * float(np.median(np.diff(self.t_ns)))
        for k, signal in enumerate(group.signal):
            value = self._held(signal, t_ns, max(usual_ns, group.age_max_ns(signal)))
            dark = np.isnan(value)
            status[dark, k] = STATUS_NO_DATA
            value = np.where(dark, 0.0, value)
            is_f64 = int(group.is_f64[k])
            if is_f64:
                f64[:, seen[1]] = value
            else:
                raw[:, seen[0]] = np.where(dark, 0, quantise(signal, value, saturate=False))
            seen[is_f64] += 1
        return Readings(t_ns, raw, f64, status)

    def _held(
        self, signal: Signal, t_ns: npt.NDArray[np.int64], age_max_ns: float
    ) -> npt.NDArray[np.float64]:
        """The last value at or before each time; NaN where there is none young enough."""
        values = self._values.get(signal.name)
        if values is None:
            return np.full(len(t_ns), math.nan)
        index = np.searchsorted(self.t_ns, t_ns, "right") - 1
        old = t_ns - self.t_ns[index] > age_max_ns
        return np.where(old, math.nan, values[index])
