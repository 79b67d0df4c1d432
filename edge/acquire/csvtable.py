"""The text of a CSV file as readings.

In: the header line, then chunks of whole lines. Out: `Rows`.
Always holds: pure. Nothing is resampled or invented: a row is one reading of each group of which it
has a cell that is not empty. A cell that cannot be read is no sample; a row without a readable time
or with too few cells is refused, which shows as a jump of the counters; both are counted by cause
and named with their row.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from edge.acquire.reading import T_NS_MAX, Readings
from shared.errors import Rejected
from shared.signals import STATUS_ABSENT, STATUS_NO_DATA, STATUS_NORMAL, Group, Signal, SignalSet

TimeUnit = Literal["s", "ms", "us", "ns", "iso"]
_NS: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
COLUMNS_MAX: Final = 4_096
PROBLEMS_MAX: Final = 100  # named with their row; all are counted
START_NS: Final = 1_767_225_600 * 10**9  # 2026-01-01: second 0 of a file that has no date
RAW_MAX: Final = 2.0**31  # what a bench reading holds
_ISO: Final = re.compile(
    r"\s*(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)(Z|([+-])(\d\d):?(\d\d))?\s*"
)
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """How the time column reads. `iso` is RFC 3339; UTC where it names no zone."""

    name: str = "t"
    unit: TimeUnit = "s"
    absolute: bool = False
    """Counted from 1970-01-01 UTC; else from `start_ns`. `iso` always is absolute."""
    start_ns: int = START_NS


SECONDS: Final = TimeColumn()


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows in the file's order. batches: a group each, positions in `t_ns` and its readings."""

    t_ns: Ints
    batches: tuple[tuple[Ints, Readings], ...]


@dataclass(frozen=True, slots=True)
class _Column:
    """A column bound to a signal. place: among the int or the f64 signals of its group."""

    cell: int
    signal: Signal
    position: int
    place: int
    is_f64: bool


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A column of a chunk. value: in the signal's unit, NaN where there is none."""

    value: Floats
    bad: Flags
    """Which cells cannot be read."""
    empty: Flags


class CsvTable:
    """The columns of one file. names: column -> signal; None binds columns named like signals.

    Raises Rejected, naming `where`, when the header does not fit.
    """

    def __init__(
        self, header: bytes, signals: SignalSet, time: TimeColumn,
        names: Mapping[str, str] | None, where: str,
    ) -> None:  # fmt: skip
        self.refused: Counter[str] = Counter()
        self.problems: deque[str] = deque(maxlen=PROBLEMS_MAX)
        self._time, self._set = time, signals
        self._row = 1  # of the file, as people count: the header is row 1
        self._counter = dict.fromkeys(range(len(signals.groups)), 0)
        self._bind(header, names, where)

    def _bind(self, line: bytes, names: Mapping[str, str] | None, where: str) -> None:
        def need(ok: bool, what: str, remedy: str) -> None:
            if not ok:
                raise Rejected(what, f"{where}: header", remedy)

        text = line.decode("utf-8-sig", errors="replace").rstrip("\r\n")
        need("\0" not in text and "\ufffd" not in text, "not text", "export it as UTF-8 CSV")
        need("\r" not in text, "carriage returns for line ends", "save it with Unix line ends")
        header = [cell.strip() for cell in next(csv.reader([text]), [])]
        self._width = len(header)
        need(
            2 <= self._width <= COLUMNS_MAX, f"{self._width} columns", f"2 to {COLUMNS_MAX} of them"
        )
        need(len(set(header)) == self._width, "a column is named twice", "rename one")
        need(
            self._time.name in header,
            f"no time column {self._time.name!r}",
            "say its name and unit",
        )
        self._time_cell = header.index(self._time.name)
        bound = names or {cell: cell for cell in header if cell in self._set.position}
        need(bool(bound), "no column is named like a signal", "give a mapping of names")
        need(
            len(set(bound.values())) == len(bound),
            "two columns of one signal",
            "correct the mapping",
        )
        self._columns: dict[int, list[_Column]] = {}
        for cell, name in bound.items():
            need(cell in header, f"no column {cell!r}", "correct the mapping")
            need(
                name in self._set.position, f"no signal {name!r} in the set", "correct the mapping"
            )
            group, position = self._set.position[name]
            is_f64 = bool(group.is_f64[position])
            place = int((group.is_f64[:position] == is_f64).sum())
            columns = self._columns.setdefault(self._set.group_index[group.name], [])
            columns.append(
                _Column(header.index(cell), group.signal[position], position, place, is_f64)
            )

    def parse(self, text: bytes) -> Rows | None:
        """The rows of a chunk of whole lines; None when there are none."""
        cells, number, lost = self._cells(text)
        if not len(number):
            return None
        t_ns = self._times(cells[self._time_cell :: self._width], number, lost)
        lost |= t_ns < 0
        rank = np.cumsum(~lost) - 1  # of a row among those that are kept
        batches = []
        for index, columns in self._columns.items():
            texts = [cells[column.cell :: self._width] for column in columns]
            found = [
                _numbers(part, column.signal) for part, column in zip(texts, columns, strict=True)
            ]
            spoken = ~lost & ~np.all([one.empty for one in found], axis=0)
            counter = self._counter[index] + np.cumsum(spoken | lost) - 1
            self._counter[index] = int(counter[-1]) + 1
            at = np.flatnonzero(spoken)
            if len(at):
                group = self._set.groups[index]
                parts = self._read(group, columns, found)
                self._refuse_cells(columns, texts, found, number, lost)
                readings = Readings(
                    group, counter[at], t_ns[at], parts[0][at], parts[1][at], parts[2][at]
                )
                batches.append((rank[at], readings))
        kept = t_ns[~lost]
        return Rows(kept, tuple(batches)) if len(kept) else None

    def _refuse_cells(
        self, columns: list[_Column], texts: list[list[str]], found: list[_Numbers],
        number: Ints, lost: Flags,
    ) -> None:  # fmt: skip
        for column, cells, one in zip(columns, texts, found, strict=True):
            for i in np.flatnonzero(one.bad & ~lost):
                self.refuse("cell", f"{column.signal.name} is {cells[i][:40]!r}", int(number[i]))

    def refuse(self, cause: str, what: str, row: int = 0) -> None:
        """Count and name one refusal; row 0 is the next one of the file."""
        self.refused[cause] += 1
        self.problems.append(f"row {row or self._row + 1}: {what}")

    def skip_row(self) -> None:
        """A row that never came to be parsed: every group misses it."""
        self._row += 1
        for index in self._counter:
            self._counter[index] += 1

    def _cells(self, text: bytes) -> tuple[list[str], Ints, Flags]:
        """Cells, row by row; the number of each row; which of them are not there."""
        lines = text.decode(errors="replace").replace("\r\n", "\n").split("\n")
        if not lines[-1]:
            del lines[-1]
        numbers = self._row + 1 + np.arange(len(lines))
        self._row += len(lines)
        if '"' in text.decode("latin-1"):
            rows = [_quoted(line) for line in lines]
        elif all(line.count(",") == self._width - 1 for line in lines):
            return ",".join(lines).split(",") if lines else [], numbers, np.zeros(len(lines), bool)
        else:
            rows = [line.split(",") for line in lines]
        used = [i for i, line in enumerate(lines) if line.strip()]
        lost = np.zeros(len(used), bool)
        cells: list[str] = []
        for k, i in enumerate(used):
            if len(rows[i]) != self._width:
                self.refuse("row", f"{len(rows[i])} cells, not {self._width}", int(numbers[i]))
                lost[k] = True
            cells += rows[i] if not lost[k] else [""] * self._width
        return cells, numbers[used], lost

    def _times(self, texts: list[str], number: Ints, lost: Flags) -> Ints:
        """ns; -1 where there is none."""
        unit = self._time.unit
        start = 0 if self._time.absolute or unit == "iso" else self._time.start_ns
        try:
            if unit == "iso":
                raise ValueError
            whole = np.array(list(map(int, texts)), np.int64)
            t_ns = np.where(np.abs(whole) <= T_NS_MAX // _NS[unit], whole * _NS[unit] + start, -1)
        except (ValueError, OverflowError):
            t_ns = np.array([time_ns(x, unit, start) for x in texts], np.int64)
        t_ns[(t_ns < 0) | (t_ns > T_NS_MAX)] = -1
        for i in np.flatnonzero((t_ns < 0) & ~lost):
            self.refuse("time", f"{texts[i][:40]!r} is no time in {unit}", int(number[i]))
        return t_ns

    def _read(
        self, group: Group, columns: list[_Column], found: list[_Numbers]
    ) -> tuple[Ints, Floats, npt.NDArray[np.uint8]]:
        """raw, f64 and status of every row, those that are not used included."""
        n, f64s = len(found[0].value), int(group.is_f64.sum())
        raw = np.zeros((n, len(group.signal) - f64s), np.int64)
        f64 = np.zeros((n, f64s))
        status = np.full((n, len(group.signal)), STATUS_NO_DATA, np.uint8)
        for column, one in zip(columns, found, strict=True):
            values = (one.value - column.signal.offset) / column.signal.scale
            if not column.is_f64:
                one.bad[np.abs(values) >= RAW_MAX] = True
            dark = np.isnan(values)
            state = np.where(dark, STATUS_NO_DATA, STATUS_NORMAL)
            status[:, column.position] = np.where(one.bad, STATUS_ABSENT, state)
            values = np.where(dark | one.bad, 0.0, values)
            if column.is_f64:
                f64[:, column.place] = values
            else:
                raw[:, column.place] = np.rint(values)
        return raw, f64, status


def _quoted(line: str) -> list[str]:
    """The cells of a line with quotes; none when they do not close."""
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return []


def _numbers(cells: list[str], signal: Signal) -> _Numbers:
    try:
        value = np.array(list(map(float, cells)))
        return _Numbers(value, np.isinf(value), np.zeros(len(cells), bool))
    except ValueError:
        pass
    stripped = [cell.strip() for cell in cells]
    empty = np.array([not cell for cell in stripped])
    value = np.full(len(cells), np.nan)
    bad = np.zeros(len(cells), bool)
    for i in np.flatnonzero(~empty):
        cell = stripped[i]
        try:
            if cell in signal.enum:
                value[i] = signal.enum[cell] * signal.scale + signal.offset
            else:
                value[i] = float(cell)
        except ValueError:
            bad[i] = True
    return _Numbers(value, bad | np.isinf(value), empty)


def time_ns(text: str, unit: TimeUnit, start_ns: int) -> int:
    """One time; -1 where it is none."""
    try:
        if unit == "iso":
            match = _ISO.fullmatch(text)
            if (
                match is None or not 1970 <= int(match[1][:4]) <= 2200
            ):  # beyond, numpy's ns wrap round
                return -1
            t_ns = int(np.datetime64(f"{match[1]}T{match[2]}", "ns").astype(np.int64))
            if match[4]:
                east_s = (int(match[5]) * 60 + int(match[6])) * 60
                t_ns -= (east_s if match[4] == "+" else -east_s) * 10**9
            return t_ns
        whole, _, fraction = text.strip().partition(".")
        if whole.isdecimal() and (fraction or "0").isdecimal():  # exact: an epoch has 19 digits
            scaled = int(whole) * _NS[unit] + int(fraction[:9].ljust(9, "0")) * _NS[unit] // 10**9
        else:
            scaled = round(float(text) * _NS[unit])
        return max(-1, min(start_ns + scaled, 1 << 62))
    except (ValueError, OverflowError):
        return -1
