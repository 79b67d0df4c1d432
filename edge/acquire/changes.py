"""Rows of a bus that tells changes only.

In: changes of signals, in the order of the bus. Out: readings of one group.
Always holds: a row holds the last value of each signal, and the first rows are absent where none
was told; while the bus lives a row comes every period even when nothing changes, and none comes
when it does not live.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.acquire.binning import BinnedRows, RowBinner
from edge.acquire.reading import T_NS_MAX, Readings
from shared.signals import STATUS_ABSENT, Group

SILENT_PERIODS = 2  # a row that waits goes out when nothing came for so long


@dataclass(frozen=True, slots=True)
class Change:
    """A signal's new raw value. column: among the group's signals that the bus carries."""

    column: int
    t_ns: int
    value: float
    status: int


class ChangedGroup:
    """One group. positions: of the signals that the bus carries."""

    def __init__(self, group: Group, positions: list[int]) -> None:
        self._group, self._positions = group, np.array(positions)
        self._binner = RowBinner(group.period_ns, len(positions))
        self._new: list[Change] = []
        self._kept: list[Change] = []
        self._last: list[Change] = []
        self._heard_ns = 0
        self._row: tuple[int, int] | None = None  # time of the last row, and when it went out
        self.begin()

    def begin(self) -> None:
        """A new life of the bus: nothing that was known holds any more."""
        self._last = [Change(k, 0, 0.0, STATUS_ABSENT) for k in range(len(self._positions))]
        if self._row is not None:
            self._binner.miss(1)
        self._row = None

    def miss(self) -> None:
        """Changes were lost."""
        self._binner.miss(1)

    def push(self, change: Change) -> None:
        self._new.append(change)

    def pull(self, now_ns: int, is_alive: bool) -> Readings | None:
        """Rows that are due at monotonic `now_ns`."""
        if self._new:
            self._heard_ns = now_ns
        silent = now_ns - self._heard_ns > SILENT_PERIODS * self._group.period_ns
        kept = self._kept + self._new
        fresh = self._new
        self._new = []
        rows = self._binner.take(
            np.array([min(max(c.t_ns, 0), T_NS_MAX) for c in fresh], np.int64),
            np.array([c.column for c in fresh], np.int64),
            np.arange(len(kept) - len(fresh), len(kept)), flush=silent or not is_alive,
        )  # fmt: skip
        if rows is None:
            self._kept = kept
            return self._beat(now_ns) if is_alive and not kept else None
        readings = self._read(rows, kept)
        self._row = int(rows.t_ns[-1]), now_ns
        used = set(rows.values[rows.index[rows.index >= 0]].tolist())
        self._kept = [change for k, change in enumerate(kept) if k not in used]
        self._binner.renumber()
        return readings

    def _read(self, rows: BinnedRows, kept: list[Change]) -> Readings:
        """Rows in which each signal keeps its last value."""
        n = len(rows.t_ns)
        index = np.where(rows.index >= 0, rows.values[rows.index], -1)
        row = np.where(index >= 0, np.arange(n)[:, None], -1)
        newest = np.maximum.accumulate(row, axis=0)
        held = np.take_along_axis(index, np.maximum(newest, 0), axis=0)
        value = np.array([c.value for c in kept])[held]
        status = np.array([c.status for c in kept], np.uint8)[held]
        unknown = newest < 0
        value = np.where(unknown, [c.value for c in self._last], value)
        status = np.where(unknown, np.array([c.status for c in self._last], np.uint8), status)
        self._last = [
            kept[held[-1, k]] if newest[-1, k] >= 0 else change
            for k, change in enumerate(self._last)
        ]
        return self._readings(rows.t_ns, rows.counter, value, status)

    def _beat(self, now_ns: int) -> Readings | None:
        """A row of what still holds, when the last one is a period old."""
        if self._row is None or now_ns - self._row[1] < self._group.period_ns:
            return None
        t_ns = self._row[0] + now_ns - self._row[1]
        self._row = t_ns, now_ns
        counter = self._binner.beat(t_ns)
        value = np.array([[c.value for c in self._last]])
        status = np.array([[c.status for c in self._last]], np.uint8)
        return self._readings(np.array([t_ns]), np.array([counter]), value, status)

    def _readings(
        self, t_ns: npt.NDArray[np.int64], counter: npt.NDArray[np.int64],
        value: npt.NDArray[np.float64], status: npt.NDArray[np.uint8],
    ) -> Readings:  # fmt: skip
        group, n = self._group, len(t_ns)
        every = np.zeros((n, len(group.signal)))
        every[:, self._positions] = value
        states = np.full((n, len(group.signal)), STATUS_ABSENT, np.uint8)
        states[:, self._positions] = status
        raw = np.rint(every[:, ~group.is_f64]).astype(np.int64)
        return Readings(group, counter, t_ns, raw, every[:, group.is_f64], states)
