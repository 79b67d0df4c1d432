"""Words of a bus without readings, put into rows.

In: values that come one by one, each of a column, with its time, in bus order. Out: rows.
Always holds: every value is in exactly one row, and no row holds two of one column. A row is one
period of the group; a column that comes again within it begins another row. A row goes out when it
is complete, when time has left its period, or when the bus has been silent; rows go out in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
STEP_BACK_NS: Final = 1_000_000_000  # less is channels out of order, more is a clock that was set
GAP_PERIODS: Final = 2.5  # rows farther apart lack some between them: jitter makes 2 of them
PENDING_ROWS_MAX: Final = 256  # incomplete rows of one group that wait for their period to end


@dataclass(frozen=True, slots=True)
class BinnedRows:
    """n rows of k columns. index: [n, k] position in `values`, -1 where the row has none."""

    t_ns: Ints
    counter: Ints
    values: Ints
    index: Ints


class RowBinner:
    """The rows of one group. Memory is bounded by `PENDING_ROWS_MAX` rows."""

    def __init__(self, period_ns: int, columns: int) -> None:
        self._period_ns, self._columns = period_ns, columns
        self._t_ns = np.zeros(0, np.int64)
        self._column = np.zeros(0, np.int64)
        self._values = np.zeros(0, np.int64)
        self._last_t_ns: int | None = (
            None  # of the last row that went out, in this life of the clock
        )
        self._newest_ns = 0
        self._counter = -1
        self._missed = 0

    @property
    def pending(self) -> int:
        """Values that wait."""
        return len(self._t_ns)

    def miss(self, rows: int) -> None:
        """The bus lost something just now: so many rows, at least, are missing."""
        self._missed += rows

    def beat(self, t_ns: int) -> int:
        """A row that holds no new value went out; its counter."""
        self._counter += 1
        self._last_t_ns = t_ns
        return self._counter

    def renumber(self) -> None:
        """Call the values that wait 0, 1, 2 …: they are indices of a list that was shortened."""
        self._values = np.arange(len(self._values))

    def take(
        self, t_ns: Ints, column: Ints, values: Ints, flush: bool = False
    ) -> BinnedRows | None:
        """Add values; the rows that can go out now, or all with `flush`."""
        t_ns = np.concatenate((self._t_ns, t_ns))
        if not len(t_ns):
            return None
        column = np.concatenate((self._column, column))
        values = np.concatenate((self._values, values))
        if self._all_wait(t_ns, flush):
            self._t_ns, self._column, self._values = t_ns, column, values
            return None
        before = t_ns[:1] if self._last_t_ns is None else np.array([self._last_t_ns])
        steps = np.diff(np.concatenate((before, t_ns)))
        life = np.cumsum(steps < -STEP_BACK_NS, dtype=np.int64)
        if (steps < 0).any():
            t_ns = _never_back(t_ns, life, self._last_t_ns)
        period = t_ns // self._period_ns
        row, first = _rows(life, period, column)
        n = len(first)
        index = np.full((n, self._columns), -1, np.int64)
        index[row, column] = np.arange(len(row))
        due = n
        if not flush and n <= PENDING_ROWS_MAX:
            newest = period[-1]
            left = (life[first] < life[-1]) | (period[first] < newest)
            ready = left | (index >= 0).all(axis=1)
            due = n if ready.all() else int(np.argmin(ready))
        waits = row >= due
        self._t_ns, self._column, self._values = t_ns[waits], column[waits], values[waits]
        if due == 0:
            return None
        earliest = np.full(n, np.iinfo(np.int64).max)
        np.minimum.at(earliest, row, t_ns)
        return self._out(earliest[:due], values, index[:due])

    def _all_wait(self, t_ns: Ints, flush: bool) -> bool:
        """Too few values for a row, and all of one period: the usual case of a short tick."""
        if flush or len(t_ns) >= self._columns or self._last_t_ns is None:
            return False
        period = t_ns // self._period_ns
        return bool((period == period[0]).all() and t_ns[0] >= self._last_t_ns)

    def _out(self, t_ns: Ints, values: Ints, index: Ints) -> BinnedRows:
        before = t_ns[0] if self._last_t_ns is None else self._last_t_ns
        apart = np.diff(t_ns, prepend=before) / self._period_ns
        missing = np.where(apart > GAP_PERIODS, np.rint(apart) - 1, 0).astype(np.int64)
        if self._counter >= 0 or len(t_ns) > 1:  # where in the batch the loss was, nobody knows
            missing[-1] += self._missed
            self._missed = 0
        counter = self._counter + np.cumsum(1 + missing)
        self._counter, self._last_t_ns = int(counter[-1]), int(t_ns[-1])
        return BinnedRows(t_ns, counter, values, index)


def _never_back(t_ns: Ints, life: Ints, last_t_ns: int | None) -> Ints:
    """Times at which no value of a life of the clock is older than one before it."""
    if last_t_ns is not None:
        t_ns = np.where(life == 0, np.maximum(t_ns, last_t_ns), t_ns)
    order = np.argsort(t_ns, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    highest = np.maximum.accumulate(rank + life * len(order)) % len(order)
    grown: Ints = t_ns[order][highest]
    return grown


def _rows(life: Ints, period: Ints, column: Ints) -> tuple[Ints, Ints]:
    """Row of each value, counted in order of life, period and repetition; a value of each row."""
    order = np.lexsort((column, period, life))
    same_period = (np.diff(life[order]) == 0) & (np.diff(period[order]) == 0)
    same = np.concatenate(([False], same_period & (np.diff(column[order]) == 0)))
    position = np.arange(len(order))
    repeat = np.empty(len(order), np.int64)
    repeat[order] = position - np.maximum.accumulate(np.where(same, 0, position))
    order = np.lexsort((repeat, period, life))
    new = np.concatenate(
        ([True], (np.diff(life[order]) != 0) | (np.diff(period[order]) != 0)
         | (np.diff(repeat[order]) != 0))
    )  # fmt: skip
    row = np.empty(len(order), np.int64)
    row[order] = np.cumsum(new) - 1
    return row, order[new]
