"""Validation: the quality of every sample of a batch.

In: `Readings`. Out: one quality byte a sample, shape (n, signals of the group).
Always holds: nothing is dropped or altered; the strongest finding wins (no_data, bad, suspect).
Method: raw limits made once from the set, compared as arrays; the rate of change is judged
against the last reading of this group, over the event time between the two.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge.acquire.reading import Readings
from shared.quality import Quality, Reason, code
from shared.signals import STATUS_FAILURE, STATUS_NO_DATA, STATUS_TEST, Group

GOOD = np.uint8(code(Quality.GOOD))
SUSPECT_RATE = np.uint8(code(Quality.SUSPECT, Reason.RATE))
BAD_RANGE = np.uint8(code(Quality.BAD, Reason.RANGE))
BAD_FAILURE = np.uint8(code(Quality.BAD, Reason.FAILURE))
SUSPECT_TEST = np.uint8(code(Quality.SUSPECT, Reason.TEST))
NO_DATA = np.uint8(code(Quality.NO_DATA))


class GroupValidator:
    """Judges batches of one group, remembering its last reading."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._int = ~group.is_f64
        low, high, rate = [], [], []
        for signal in group.signal:
            lo, hi = signal.range if signal.range else (-np.inf, np.inf)
            low.append(lo)
            high.append(hi)
            rate.append(np.inf if signal.rate_max is None else signal.rate_max)
            if signal.encoding == "enum":
                low[-1], high[-1] = min(signal.enum.values()), max(signal.enum.values())
        self._low, self._high, self._rate = np.array(low), np.array(high), np.array(rate)
        self._scale = np.array([s.scale for s in group.signal])
        self._offset = np.array([s.offset for s in group.signal])
        # half an LSB of slack: a limit that is no multiple of the LSB must not refuse itself
        self._slack = np.where(self._int, self._scale / 2, 0.0)
        self._last_value: npt.NDArray[np.float64] | None = None
        self._last_usable: npt.NDArray[np.bool_] | None = None
        self._last_t_ns = 0

    def values(self, readings: Readings) -> npt.NDArray[np.float64]:
        """Engineering values, shape (n, signals), in each signal's unit."""
        columns = np.empty((len(readings.t_ns), len(self._group.signal)))
        columns[:, self._int] = readings.raw
        columns[:, ~self._int] = readings.f64
        scaled: npt.NDArray[np.float64] = columns * self._scale + self._offset
        return scaled

    def judge(self, readings: Readings, values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        """Quality bytes of a batch, and remember its end."""
        quality = np.full(values.shape, GOOD, np.uint8)
        quality[self._too_fast(readings, values)] = SUSPECT_RATE
        quality[readings.status == STATUS_TEST] = SUSPECT_TEST
        outside = (values < self._low - self._slack) | (values > self._high + self._slack)
        quality[outside | ~np.isfinite(values)] = BAD_RANGE
        quality[readings.status >= STATUS_FAILURE] = BAD_FAILURE
        quality[readings.status == STATUS_TEST] = SUSPECT_TEST
        quality[readings.status == STATUS_NO_DATA] = NO_DATA
        self._last_value, self._last_t_ns = values[-1], int(readings.t_ns[-1])
        self._last_usable = readings.status[-1] == 0
        return quality

    def _too_fast(
        self, readings: Readings, values: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.bool_]:
        """True where a sample moved faster than `rate_max` since the one before it."""
        usable = readings.status == 0
        if self._last_value is None or self._last_usable is None:
            before_value, before_usable = values[:1], usable[:1]
            before_t = readings.t_ns[:1] - self._group.period_ns
        else:
            before_value, before_usable = self._last_value[None], self._last_usable[None]
            before_t = np.array([self._last_t_ns])
        step_s = np.diff(np.concatenate((before_t, readings.t_ns))) / 1e9
        # a clock that stands or goes back proves nothing about a rate
        limit = np.where(step_s > 0, step_s, np.inf)[:, None] * self._rate + 2 * self._slack
        moved = np.abs(np.diff(np.concatenate((before_value, values)), axis=0))
        both = usable & np.concatenate((before_usable, usable[:-1]))
        fast: npt.NDArray[np.bool_] = both & (moved > limit)
        return fast
