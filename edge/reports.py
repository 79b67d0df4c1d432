"""Reports by rule: while a phase lasts, the extremes of some signals; at its end, a record.

In: validated batches and the phase. Out: `Report` payloads.
Always holds: only samples of quality good count; a phase shorter than the rule's `min_s` gives
no report; memory is one accumulator a signal of a rule.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge.acquire.reading import Readings
from shared.messages import Report
from shared.signals import ReportRule, SignalSet


@dataclass(slots=True)
class _Extremes:
    low: float = np.inf
    high: float = -np.inf
    total: float = 0.0
    n: int = 0

    def take(self, values: npt.NDArray[np.float64]) -> None:
        if len(values):
            self.low = min(self.low, float(values.min()))
            self.high = max(self.high, float(values.max()))
            self.total += float(values.sum())
            self.n += len(values)


@dataclass(slots=True)
class _Open:
    start_ns: int
    end_ns: int
    values: dict[str, _Extremes] = field(default_factory=dict)


class ReportCollector:
    """`add` every batch, `step` with every phase."""

    def __init__(self, signals: SignalSet) -> None:
        self._rules = signals.reports
        self._columns: dict[str, list[tuple[str, int]]] = {}
        for name in {name for rule in self._rules for name in rule.signals}:
            group, column = signals.position[name]
            self._columns.setdefault(group.name, []).append((name, column))
        self._open: dict[str, _Open] = {}
        self._phase = ""

    def add(
        self,
        readings: Readings,
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint8],
    ) -> None:
        """Take a batch, under the phase of the last `step`."""
        if not self._open:
            return
        for name, column in self._columns.get(readings.group.name, ()):
            good = values[quality[:, column] == 0, column]
            for rule in self._rules:
                held = self._open.get(rule.name)
                if held is not None and name in rule.signals:
                    held.values.setdefault(name, _Extremes()).take(good)
                    held.end_ns = max(held.end_ns, int(readings.t_ns[-1]))

    def step(self, phase: str, t_event_ns: int) -> list[Report]:
        """The reports that a change of phase completes."""
        if phase == self._phase:
            return []
        self._phase = phase
        done = [
            report
            for rule in self._rules
            if rule.phase != phase and rule.name in self._open
            and (report := self._close(rule)) is not None
        ]  # fmt: skip
        for rule in self._rules:
            if rule.phase == phase:
                self._open[rule.name] = _Open(t_event_ns, t_event_ns)
        return done

    def _close(self, rule: ReportRule) -> Report | None:
        held = self._open.pop(rule.name)
        if held.end_ns - held.start_ns < rule.min_s * 1e9:
            return None
        values = {
            name: (e.low, e.total / e.n, e.high, e.n) for name, e in held.values.items() if e.n
        }
        return Report(
            name=rule.name, phase=rule.phase, start_ns=held.start_ns, end_ns=held.end_ns,
            values=values,
        )  # fmt: skip
