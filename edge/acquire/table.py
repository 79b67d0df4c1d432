"""The signal table: what the aircraft says right now, signal by signal.

In: validated batches with their arrival on the flight clock. Out: observations with age.
Always holds: a value is offered as good only while it is younger than its `age_max`; age counts
from arrival plus the declared latency, so a frozen bus grows stale whatever its time says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.acquire.reading import Readings
from shared.quality import Quality, Reason, code
from shared.signals import SignalSet

NEVER_NS = -(1 << 62)
NONE_NS = 1 << 62
DRIFT = 200e-6  # of two quartz clocks against each other, twice 100 ppm; assumption
JUMP_NS = 60_000_000_000  # one wrong reading must not carry the aircraft's time away
JUMP_READINGS = 5
ABSENT = code(Quality.BAD, Reason.STALE)  # of a sample for which its row has no word


@dataclass(frozen=True, slots=True)
class Observation:
    """One signal now. value: engineering value, or None unless good and fresh."""

    value: float | None
    quality: int
    age_ns: int

    @property
    def is_no_data(self) -> bool:
        """The source says it has none, and says so freshly."""
        return self.quality & 3 == Quality.NO_DATA


UNSEEN = Observation(None, code(Quality.BAD, Reason.STALE), 1 << 62)
"""Of a signal that no reading has brought yet; the age is the gate's own NEVER_NS."""


class SignalTable:
    """Last value, quality and arrival of every signal, by position."""

    def __init__(self, signals: SignalSet) -> None:
        self.index = {name: i for i, name in enumerate(signals.position)}
        self._start: dict[str, int] = {}
        start = 0
        for group in signals.groups:
            self._start[group.name] = start
            start += len(group.signal)
        self.value = np.full(start, np.nan)
        self.quality = np.full(start, code(Quality.BAD, Reason.STALE), np.uint8)
        self.arrival_ns = np.full(start, NEVER_NS, np.int64)
        self._age_max_ns = np.array([g.age_max_ns(s) for g in signals.groups for s in g.signal])
        self._latency_ns = np.array(
            [round(s.latency_s * 1e9) for g in signals.groups for s in g.signal]
        )
        self._family = signals.families
        self._last_t_ns: dict[str, int] = {}
        self.t_event_ns = 0
        """Newest event time seen on any group, but for jumps that nothing confirmed yet."""
        self._odd: list[int] = []
        self.late_ns = 0
        """How much later readings come than they did at best: a bus that queues is not now."""
        self._best_ns, self._best_at_ns = NONE_NS, 0

    def update(
        self,
        readings: Readings,
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint8],
        now_ns: int,
    ) -> None:
        """Take the last reading of a batch that arrived at `now_ns` of the flight clock."""
        name = readings.group.name
        t_ns = int(readings.t_ns[-1])
        if 0 <= self._last_t_ns.get(name, NEVER_NS) - t_ns <= JUMP_NS:
            # no news: a reading repeated, or a ring buffer that goes round. Let it grow stale. A
            # clock that was set back a little catches up; one that was set back far is followed
            return
        self._last_t_ns[name] = t_ns
        start = self._start[name]
        part = slice(start, start + len(readings.group.signal))
        if (quality[-1] == ABSENT).any():
            self._take_present(start, values, quality, now_ns)
        else:
            self.value[part], self.quality[part] = values[-1], quality[-1]
            self.arrival_ns[part] = now_ns
        self._follow(t_ns)
        if t_ns == self.t_event_ns:
            self._note_lateness(now_ns - t_ns, now_ns)

    def _note_lateness(self, offset_ns: int, now_ns: int) -> None:
        """Against the smallest offset of the two clocks seen so far, which may drift apart."""
        leak_ns = int(max(0, now_ns - self._best_at_ns) * DRIFT)
        self._best_ns, self._best_at_ns = min(offset_ns, self._best_ns + leak_ns), now_ns
        self.late_ns = offset_ns - self._best_ns

    def _take_present(
        self, start: int, values: npt.NDArray[np.float64], quality: npt.NDArray[np.uint8],
        now_ns: int,
    ) -> None:  # fmt: skip
        """Of each signal the last row in which it came; one that did not come only ages."""
        came = quality != ABSENT
        columns = np.flatnonzero(came.any(axis=0))
        last = len(came) - 1 - np.argmax(came[::-1, columns], axis=0)
        self.value[start + columns] = values[last, columns]
        self.quality[start + columns] = quality[last, columns]
        self.arrival_ns[start + columns] = now_ns

    def _follow(self, t_ns: int) -> None:
        """Event time goes on with the readings; a jump is believed once several agree on it."""
        if not self.t_event_ns or abs(t_ns - self.t_event_ns) <= JUMP_NS:
            self.t_event_ns = max(self.t_event_ns, t_ns)
            self._odd = []
            return
        self._odd = [odd for odd in self._odd if abs(odd - t_ns) <= JUMP_NS]
        self._odd.append(t_ns)
        if len(self._odd) >= JUMP_READINGS:
            self.t_event_ns, self._odd, self._best_ns = t_ns, [], NONE_NS

    def is_fresh(self, now_ns: int) -> npt.NDArray[np.bool_]:
        """One flag a signal."""
        fresh: npt.NDArray[np.bool_] = (
            now_ns - self.arrival_ns + self._latency_ns <= self._age_max_ns
        )
        return fresh

    def read(
        self, at: npt.NDArray[np.intp], now_ns: int
    ) -> tuple[list[float], list[int], list[int], list[bool]]:
        """Value, quality, age in ns and freshness of the signals at these positions, at once.

        What `observe` says of each, without its redundant ones; a value counts only where the
        quality is good and the signal fresh."""
        age = np.minimum(now_ns - self.arrival_ns[at], UNSEEN.age_ns) + self._latency_ns[at]
        fresh = age <= self._age_max_ns[at]
        return self.value[at].tolist(), self.quality[at].tolist(), age.tolist(), fresh.tolist()

    def observe(self, name: str, now_ns: int) -> Observation:
        """One signal as of `now_ns`; of redundant ones the first, by priority, that is usable."""
        for other in self._family.get(name, ()):
            instead = self._observe(other, now_ns)
            if instead.value is not None:
                return instead
        return self._observe(name, now_ns)

    def _observe(self, name: str, now_ns: int) -> Observation:
        i = self.index[name]
        if self.arrival_ns[i] == NEVER_NS:
            return UNSEEN
        age_ns = int(now_ns - self.arrival_ns[i] + self._latency_ns[i])
        if age_ns > self._age_max_ns[i]:
            return Observation(None, code(Quality.BAD, Reason.STALE), age_ns)
        quality = int(self.quality[i])
        return Observation(float(self.value[i]) if quality == 0 else None, quality, age_ns)
