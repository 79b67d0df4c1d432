"""Reports by rule of the signal set: what some signals did over a window, as one record.

In: validated batches, phases, alerts. Out: `Report` payloads.
Always holds: only samples of quality good count; taking a batch costs a list append, arrays are
made once a `step`; memory is bounded by the rules and by `BATCHES_MAX`.

Windows (ACMS practice): a phase; the steadiest stretch of it (stable cruise); from one crossing
to another (engine start); as long as an exceedance stands. Means are corrected to the standard
day by theta and delta as shared.behaviour.formulas has them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from edge.acquire.reading import Readings
from shared.behaviour import formulas
from shared.messages import Alert, Report
from shared.signals import Crossing, ReportRule, SignalSet

BATCHES_MAX = 4096  # of one group between two steps; older ones are left out, an assumption
SECOND_NS = 1_000_000_000
PRESENT = 0.9  # share of the seconds of a stable window that every signal must have samples in
Values = npt.NDArray[np.float64]


class Extremes:
    """Least, total, greatest and count of each signal of a rule."""

    def __init__(self, n: int) -> None:
        self.low, self.high = np.full(n, np.inf), np.full(n, -np.inf)
        self.total, self.n = np.zeros(n), np.zeros(n, np.int64)

    def take(self, places: list[int], values: Values, good: npt.NDArray[np.bool_]) -> None:
        """values, good: [samples, len(places)]."""
        if good.shape[0]:
            self.low[places] = np.minimum(
                self.low[places], np.where(good, values, np.inf).min(axis=0)
            )
            self.high[places] = np.maximum(
                self.high[places], np.where(good, values, -np.inf).max(axis=0)
            )
            self.total[places] += np.where(good, values, 0.0).sum(axis=0)
            self.n[places] += good.sum(axis=0)

    @staticmethod
    def over(parts: Iterable[Extremes], n: int) -> Extremes:
        """All of them as one."""
        whole = Extremes(n)
        for part in parts:
            whole.low, whole.high = (
                np.minimum(whole.low, part.low), np.maximum(whole.high, part.high)
            )  # fmt: skip
            whole.total, whole.n = whole.total + part.total, whole.n + part.n
        return whole

    def means(self) -> Values:
        """NaN where there is no sample."""
        return np.where(self.n > 0, self.total / np.maximum(self.n, 1), np.nan)


class _Window:
    """One rule at work: what it reads, and what it holds of the open window."""

    def __init__(self, rule: ReportRule) -> None:
        self.rule = rule
        crossings = [x.signal for x in (rule.start, rule.end) if x is not None]
        air = [rule.air.tat, rule.air.altitude, rule.air.mach] if rule.air is not None else []
        self.names = list(dict.fromkeys([*rule.signals, *rule.stable, *air, *crossings]))
        self.place = {name: i for i, name in enumerate(self.names)}
        self.last = np.full(len(self.names), np.nan)
        """Latest good value of each signal."""
        self.held: Extremes | None = None
        self.start_ns = self.end_ns = 0
        self.subject = ""

    def open(self, t_ns: int, subject: str = "") -> None:
        self.held, self.subject = Extremes(len(self.names)), subject
        self.start_ns = self.end_ns = t_ns

    def take(self, places: list[int], values: Values, good: npt.NDArray[np.bool_]) -> None:
        self._remember(places, values, good)
        if self.held is not None:
            self.held.take(places, values, good)

    def step(self, phase: str, t_ns: int) -> Iterable[Report]:
        """Called once for each look, after every batch before it was taken."""
        return ()

    def note(self, alert: Alert) -> Iterable[Report]:
        return ()

    def close(self, outcome: str = "complete") -> Report:
        held, self.held = self.held, None
        assert held is not None
        return self.report(held, self.start_ns, self.end_ns, outcome)

    def report(self, held: Extremes, start_ns: int, end_ns: int, outcome: str) -> Report:
        rule, means, values = self.rule, held.means(), {}
        for name in rule.signals:
            i = self.place[name]
            if held.n[i]:
                values[name] = (
                    float(held.low[i]), float(means[i]), float(held.high[i]), int(held.n[i])
                )  # fmt: skip
        return Report(
            name=rule.name, phase=rule.phase, start_ns=start_ns, end_ns=end_ns, values=values,
            outcome=outcome, subject=self.subject,  # type: ignore[arg-type]  # one of the three
            margins={n: limit - values[n][2] for n, limit in rule.limits.items() if n in values},
            corrected=self._corrected(means),
        )  # fmt: skip

    def _corrected(self, means: Values) -> dict[str, float]:
        air = self.rule.air
        if air is None:
            return {}
        tat, altitude, mach = (means[self.place[x]] for x in (air.tat, air.altitude, air.mach))
        theta, delta = formulas.theta(tat), formulas.delta(altitude, mach)
        by_kind = {
            "speed": lambda x: formulas.corrected_speed(x, theta),
            "temperature": lambda x: formulas.temperature_to_corrected(x, theta),
            "flow": lambda x: formulas.flow_to_corrected(x, delta, theta),
        }
        found = {
            name: float(by_kind[kind](means[self.place[name]]))
            for name, kind in self.rule.corrected.items()
        }
        return {name: x for name, x in found.items() if math.isfinite(x)}

    def _remember(self, places: list[int], values: Values, good: npt.NDArray[np.bool_]) -> None:
        if not good.shape[0]:
            return
        at = good.shape[0] - 1 - np.argmax(good[::-1], axis=0)
        latest = values[at, np.arange(len(places))]
        seen = good.any(axis=0)
        self.last[places] = np.where(seen, latest, self.last[places])


class _PhaseWindow(_Window):
    """As long as the phase lasts."""

    def step(self, phase: str, t_ns: int) -> Iterable[Report]:
        if phase == self.rule.phase:
            if self.held is None:
                self.open(t_ns)
            self.end_ns = max(self.end_ns, t_ns)
        elif self.held is not None:
            self.end_ns = max(self.end_ns, t_ns)
            report = self.close()
            if report.end_ns - report.start_ns >= self.rule.min_s * 1e9:
                yield report


class _StableWindow(_Window):
    """The steadiest `hold_s` of each `every_s` of a phase, judged on means over a second."""

    def __init__(self, rule: ReportRule) -> None:
        super().__init__(rule)
        self._stable = [self.place[name] for name in rule.stable]
        self._spread_max = np.array(list(rule.stable.values()))
        self._seconds: deque[tuple[int, Extremes]] = deque(maxlen=round(rule.hold_s))
        self._best: tuple[float, Report] | None = None
        self._due_ns = 0

    def step(self, phase: str, t_ns: int) -> Iterable[Report]:
        if phase != self.rule.phase:
            self.held = None
            self._seconds.clear()
            yield from self._give()
            return
        if self.held is None:
            self.open(t_ns)
            self._due_ns = t_ns + round(self.rule.every_s * 1e9)
        if t_ns - self.start_ns >= SECOND_NS:
            if t_ns - self.start_ns > 3 * SECOND_NS:
                self._seconds.clear()  # a hole: nothing is known to have been steady across it
            assert self.held is not None
            self._seconds.append((self.start_ns, self.held))
            self._judge(t_ns)
            self.open(t_ns)
        if t_ns >= self._due_ns:
            self._due_ns = t_ns + round(self.rule.every_s * 1e9)
            yield from self._give()

    def _judge(self, t_ns: int) -> None:
        seconds, maximum = self._seconds, self._seconds.maxlen or 1
        if len(seconds) < maximum:
            return
        means = np.stack([part.means()[self._stable] for _, part in seconds])
        if (np.isfinite(means).mean(axis=0) < PRESENT).any():
            return
        spread = np.nanmax(means, axis=0) - np.nanmin(means, axis=0)
        unsteady = float((spread / self._spread_max).max())
        if unsteady <= 1.0 and (self._best is None or unsteady < self._best[0]):
            whole = Extremes.over((part for _, part in seconds), len(self.names))
            self._best = unsteady, self.report(whole, seconds[0][0], t_ns, "complete")

    def _give(self) -> Iterable[Report]:
        best, self._best = self._best, None
        if best is not None:
            yield best[1]


class _CrossingWindow(_Window):
    """From one condition to another: an engine start. Falling back ends it as aborted."""

    def __init__(self, rule: ReportRule) -> None:
        super().__init__(rule)
        self._armed = False

    def step(self, phase: str, t_ns: int) -> Iterable[Report]:
        assert self.rule.start is not None and self.rule.end is not None
        begun, ended = self._holds(self.rule.start), self._holds(self.rule.end)
        if self.held is None:
            if begun and self._armed and not ended:
                self.open(t_ns)
            # a window opens at the crossing, not where a daemon happens to start beyond it
            self._armed = not begun and not math.isnan(
                self.last[self.place[self.rule.start.signal]]
            )
            return
        self.end_ns = max(self.end_ns, t_ns)
        if ended:
            yield self.close()
        elif not begun:
            yield self.close("aborted")
        elif t_ns - self.start_ns > self.rule.max_s * 1e9:
            yield self.close("timed_out")

    def _holds(self, crossing: Crossing) -> bool:
        return crossing.holds(float(self.last[self.place[crossing.signal]]))


class _ExceedanceWindow(_Window):
    """While one exceedance stands; the first one counts until it ends."""

    def step(self, phase: str, t_ns: int) -> Iterable[Report]:
        if self.held is not None:
            self.end_ns = max(self.end_ns, t_ns)
            if t_ns - self.start_ns > self.rule.max_s * 1e9:
                yield self.close("timed_out")

    def note(self, alert: Alert) -> Iterable[Report]:
        if alert.name not in self.rule.exceedances:
            return
        if alert.change == "onset" and self.held is None:
            self.open(alert.onset_ns, alert.id)
        elif alert.change == "clear" and self.held is not None and self.subject == alert.id:
            self.end_ns = max(self.end_ns, alert.clear_ns or 0)
            yield self.close()


_KINDS = {
    "phase": _PhaseWindow, "stable": _StableWindow, "crossing": _CrossingWindow,
    "exceedance": _ExceedanceWindow,
}  # fmt: skip


class ReportCollector:
    """`add` every batch, `note` every alert, `step` a few times a second."""

    def __init__(self, signals: SignalSet) -> None:
        self._windows = [_KINDS[rule.window](rule) for rule in signals.reports]
        self._readers: dict[str, list[tuple[_Window, list[int], list[int]]]] = {}
        """By group: window, its places, and the columns of the group they are filled from."""
        for window in self._windows:
            by_group: dict[str, tuple[list[int], list[int]]] = {}
            for place, name in enumerate(window.names):
                group, column = signals.position[name]
                places, columns = by_group.setdefault(group.name, ([], []))
                places.append(place)
                columns.append(column)
            for group_name, (places, columns) in by_group.items():
                self._readers.setdefault(group_name, []).append((window, places, columns))
        self._waiting: dict[str, list[tuple[Values, npt.NDArray[np.uint8]]]] = {}

    def add(self, readings: Readings, values: Values, quality: npt.NDArray[np.uint8]) -> None:
        """Keep a batch, uncopied, until the next step."""
        name = readings.group.name
        if name in self._readers:
            batches = self._waiting.setdefault(name, [])
            batches.append((values, quality))
            if len(batches) > BATCHES_MAX:
                del batches[0]

    def note(self, alert: Alert) -> list[Report]:
        """An alert arose or cleared; the reports that this completes."""
        if any(window.rule.window == "exceedance" for window in self._windows):
            self._take()
        return [report for window in self._windows for report in window.note(alert)]

    def step(self, phase: str, t_event_ns: int) -> list[Report]:
        """The reports that are complete by now."""
        self._take()
        return [report for window in self._windows for report in window.step(phase, t_event_ns)]

    def _take(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for name, batches in waiting.items():
            values = np.concatenate([v for v, _ in batches])
            good = np.concatenate([q for _, q in batches]) == 0
            for window, places, columns in self._readers[name]:
                window.take(places, values[:, columns], good[:, columns])
