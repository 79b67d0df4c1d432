"""Validation: the quality of every sample of a batch, from the batch alone.

In: `Readings`. Out: engineering values, and one quality byte a sample, shape (n, signals).
Always holds: nothing is dropped or altered; the strongest finding wins (no_data and bad before
suspect); a healthy batch costs a few comparisons of arrays, whatever its length.

Disagreement of redundant sources is judged beside this, in `edge.acquire.redundant`.
Methods: range and rate of change against declared limits; stuck-at as time without a change of
the raw value; spikes by the Hampel identifier (F. R. Hampel, JASA 69, 1974) over the last
`WINDOW` samples, causal, so that a real step is suspect until the median has followed.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext

import numpy as np
import numpy.typing as npt

from edge.acquire.middle import middle_two
from edge.acquire.reading import Readings
from shared.quality import Quality, Reason, code
from shared.signals import (
    STATUS_ABSENT,
    STATUS_FAILURE,
    STATUS_NO_DATA,
    STATUS_NORMAL,
    STATUS_PARITY,
    STATUS_TEST,
    Group,
    Signal,
)

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

GOOD = np.uint8(code(Quality.GOOD))
SUSPECT_LATE = np.uint8(code(Quality.SUSPECT, Reason.STALE))
SUSPECT_STUCK = np.uint8(code(Quality.SUSPECT, Reason.STUCK))
SUSPECT_SPIKE = np.uint8(code(Quality.SUSPECT, Reason.SPIKE))
SUSPECT_RATE = np.uint8(code(Quality.SUSPECT, Reason.RATE))
SUSPECT_TEST = np.uint8(code(Quality.SUSPECT, Reason.TEST))
BAD_RANGE = np.uint8(code(Quality.BAD, Reason.RANGE))
BAD_FAILURE = np.uint8(code(Quality.BAD, Reason.FAILURE))
BAD_PARITY = np.uint8(code(Quality.BAD, Reason.PARITY))
BAD_ABSENT = np.uint8(code(Quality.BAD, Reason.STALE))
NO_DATA = np.uint8(code(Quality.NO_DATA))

_BY_STATUS = np.full(256, BAD_FAILURE)
"""What a bus status makes of a sample, whatever its value; normal leaves it to the value."""
for _status, _quality in (
    (STATUS_NORMAL, GOOD), (STATUS_NO_DATA, NO_DATA), (STATUS_FAILURE, BAD_FAILURE),
    (STATUS_TEST, SUSPECT_TEST), (STATUS_PARITY, BAD_PARITY), (STATUS_ABSENT, BAD_ABSENT),
):  # fmt: skip
    _BY_STATUS[_status] = _quality

WINDOW = 7
"""Samples that a spike is judged over: the half-width of 3 that is usual for the identifier."""
SPIKE_SIGMAS = (
    5.0  # of the scaled median deviation; 3 is Hampel's, 5 spares turbulence (assumption)
)
MAD_SCALE = 1.4826  # median deviation of a normal distribution to its standard deviation


class GroupValidator:
    """Judges batches of one group, remembering its last reading."""

    def __init__(self, group: Group) -> None:
        signals = group.signal
        self._k = len(signals)
        self._int = ~group.is_f64
        self._all_int = bool(self._int.all())
        limits = np.array([_range(s) for s in signals])
        self._scale = np.array([s.scale for s in signals])
        self._offset = np.array([s.offset for s in signals])
        # half an LSB of slack: a limit that is no multiple of the LSB must not refuse itself
        slack = np.where(self._int, self._scale / 2, 0.0)
        self._low, self._high = limits[:, 0] - slack, limits[:, 1] + slack
        self._is_rated = any(s.rate_max is not None for s in signals)
        self._rate = np.array([np.inf if s.rate_max is None else s.rate_max for s in signals]) / 1e9
        self._rate_slack = 2 * slack
        self._age_max_ns = np.array([group.age_max_ns(s) for s in signals])
        self._age_least_ns = int(self._age_max_ns.min())
        self._stuck = _Stuck(signals)
        self._spikes = _Spikes(signals)
        self._last_value = np.zeros(self._k)
        self._last_usable = np.zeros(self._k, bool)
        self._last_t_ns = 0

    def values(self, readings: Readings) -> Values:
        """Engineering values, shape (n, signals), in each signal's unit."""
        if self._all_int:
            scaled: Values = readings.raw * self._scale
        else:
            columns = np.empty((len(readings.t_ns), self._k))
            columns[:, self._int] = readings.raw
            columns[:, ~self._int] = readings.f64
            scaled = columns * self._scale
        scaled += self._offset
        return scaled

    def judge(self, readings: Readings, values: Values, seen_ns: int = 0) -> npt.NDArray[np.uint8]:
        """Quality bytes of a batch, and remember its end.

        seen_ns: the aircraft's event time before this batch arrived, 0 is unknown; a reading that
        is older by more than the signal's `age_max` came late and is suspect.
        """
        quality = np.zeros(values.shape, np.uint8)
        status, t_ns = readings.status, readings.t_ns
        usable = status == STATUS_NORMAL
        normal = bool(usable.all())
        if seen_ns and int(t_ns.min()) < seen_ns - self._age_least_ns:
            quality[t_ns[:, None] < seen_ns - self._age_max_ns] = SUSPECT_LATE
        self._stuck.judge(t_ns, values, quality)
        self._spikes.judge(values, usable, quality)
        if self._is_rated:
            fast = self._too_fast(t_ns, values, usable)
            if fast is not None:
                quality[fast] = SUSPECT_RATE
        inside = (values >= self._low) & (values <= self._high)  # false for a NaN
        if not inside.all():
            quality[~inside] = BAD_RANGE
        if not normal:
            said = _BY_STATUS[status]
            # a test pattern may lie out of range; it is still a test
            quality = np.where(usable, quality, said)
        self._last_value, self._last_t_ns = values[-1], int(t_ns[-1])
        self._last_usable = usable[-1]
        return quality

    def _too_fast(self, t_ns: npt.NDArray[np.int64], values: Values, usable: Flags) -> Flags | None:
        """True where a sample moved faster than `rate_max` since the one before it; None is
        nowhere."""
        moved, step_s = np.empty_like(values), np.empty((len(t_ns), 1))
        with nullcontext() if self._all_int else np.errstate(invalid="ignore"):
            np.subtract(values[1:], values[:-1], out=moved[1:])
            np.subtract(values[0], self._last_value, out=moved[0])
        np.abs(moved, out=moved)
        np.subtract(t_ns[1:], t_ns[:-1], out=step_s[1:, 0])
        step_s[0] = int(t_ns[0]) - self._last_t_ns
        # a clock that stands or goes back proves nothing about a rate
        step_s[step_s <= 0] = np.inf
        fast: Flags = moved > step_s * self._rate + self._rate_slack
        if not fast.any():
            return None
        fast &= usable & np.concatenate((self._last_usable[None], usable[:-1]))
        return fast


class _Stuck:
    """Signals that declare `stuck_s`: how long each has not changed."""

    def __init__(self, signals: tuple[Signal, ...]) -> None:
        self.columns = _columns(s.stuck_s is not None for s in signals)
        self._limit_ns = np.array(
            [round(s.stuck_s * 1e9) for s in signals if s.stuck_s is not None]
        )
        self._last: Values | None = None
        self._since_ns = np.zeros(len(self.columns), np.int64)

    def judge(
        self, t_ns: npt.NDArray[np.int64], values: Values, quality: npt.NDArray[np.uint8]
    ) -> None:
        if not len(self.columns):
            return
        value = values[:, self.columns]
        if self._last is None:
            self._last = value[0]
            self._since_ns[:] = t_ns[0]
        before = np.concatenate((self._last[None], value[:-1]))
        # the time of the last change, carried on; a clock that went back starts it over
        since = np.where(value != before, t_ns[:, None], self._since_ns[None])
        since = np.maximum.accumulate(np.minimum(since, t_ns[:, None]), axis=0)
        stuck = t_ns[:, None] - since > self._limit_ns
        if stuck.any():
            quality[:, self.columns] = np.where(stuck, SUSPECT_STUCK, quality[:, self.columns])
        self._last, self._since_ns = value[-1], since[-1]


class _Spikes:
    """Signals that declare `spike_min`: the Hampel identifier over the last `WINDOW` samples."""

    def __init__(self, signals: tuple[Signal, ...]) -> None:
        self.columns = _columns(s.spike_min is not None for s in signals)
        self._least = np.array([s.spike_min for s in signals if s.spike_min is not None])
        self._past = np.empty((0, len(self.columns)))

    def judge(self, values: Values, usable: Flags, quality: npt.NDArray[np.uint8]) -> None:
        if not len(self.columns):
            return
        # what the source itself disowned must not move the median
        value = np.where(usable[:, self.columns], values[:, self.columns], np.nan)
        span = np.concatenate((self._past, value))
        self._past = span[-(WINDOW - 1) :]
        if not len(span) or np.all(_width(span) <= self._least):
            return
        lead = np.full((WINDOW - 1 - (len(span) - len(value)), value.shape[1]), np.nan)
        windows = np.lib.stride_tricks.sliding_window_view(
            np.concatenate((lead, span)), WINDOW, axis=0
        )
        middle = _median(windows)
        spread = SPIKE_SIGMAS * MAD_SCALE * _median(np.abs(windows - middle[..., None]))
        spike = np.abs(value - middle) > np.maximum(spread, self._least)
        if spike.any():
            quality[:, self.columns] = np.where(spike, SUSPECT_SPIKE, quality[:, self.columns])


def _width(span: Values) -> Values:
    """Largest minus smallest of each column, NaN left out; NaN of nothing but NaN is 0."""
    low = np.where(np.isnan(span), np.inf, span).min(axis=0)
    high = np.where(np.isnan(span), -np.inf, span).max(axis=0)
    width: Values = np.maximum(high - low, 0.0)
    return width


def _median(windows: Values) -> Values:
    """Median along the last axis of what is a number; NaN of nothing."""
    lower, upper = middle_two(windows)
    half: Values = (lower + upper) / 2
    return half


def _columns(wanted: Iterable[bool]) -> npt.NDArray[np.intp]:
    return np.flatnonzero(np.array(list(wanted)))


def _range(signal: Signal) -> tuple[float, float]:
    """Plausible values; every finite one where none are declared."""
    if signal.encoding == "enum":
        return float(min(signal.enum.values())), float(max(signal.enum.values()))
    top = float(np.finfo(float).max)
    return signal.range if signal.range else (-top, top)
