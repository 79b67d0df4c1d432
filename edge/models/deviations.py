"""Deviations: the monitors of the live bundles, judged on model steps.

In: one `ModelStep` and the phase. Out: `Alert` messages.
Always holds: without a prediction, unsteady, or outside its phases a monitor neither raises nor
clears; a change of bundles starts the smoothing over and leaves standing alerts standing.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from edge.models.alerts import STEP_MAX_NS, AlertBook, Rule
from edge.models.step import ModelStep
from shared.bundle import Monitor, Steady
from shared.messages import Alert
from shared.phases import Phase

HOLE_NS = 600_000_000_000
"""A persistence outlives so long without a steady prediction; an assumption."""


@dataclass
class _Filter:
    """Steadiness and smoothing of one monitor on one engine."""

    window: deque[tuple[int, float]] = field(default_factory=deque)
    mean: float = 0.0
    weight_s: float = 0.0
    last_ns: int | None = None

    def is_steady(self, t_ns: int, value: float, steady: Steady) -> bool:
        """Take one value of the input; whether it has been steady for `hold_s`."""
        window, hold_ns = self.window, round(steady.hold_s * 1e9)
        if math.isnan(value) or (window and not 0 < t_ns - window[-1][0] <= STEP_MAX_NS):
            window.clear()
        if not math.isnan(value):
            window.append((t_ns, value))
        while len(window) > 1 and window[1][0] <= t_ns - hold_ns:
            window.popleft()
        if not window or t_ns - window[0][0] < hold_ns:
            return False
        values = [x for _, x in window]
        return max(values) - min(values) <= steady.rate_max_per_s * steady.hold_s

    def smooth(self, t_ns: int, value: float, smoothing_s: float) -> float | None:
        """Take one deviation; the smoothed one, or None until `smoothing_s` of it were seen.

        A plain mean at first, then a first-order low pass.
        """
        step_s = 1.0 if self.last_ns is None else min(t_ns - self.last_ns, STEP_MAX_NS) / 1e9
        self.last_ns = t_ns
        if step_s <= 0:
            return None
        self.weight_s += step_s
        decay = math.exp(-step_s / smoothing_s) if smoothing_s > 0 else 0.0
        share = max(step_s / self.weight_s, 1 - decay)
        self.mean += share * (value - self.mean)
        return self.mean if self.weight_s >= smoothing_s else None


class Deviations:
    """The monitors of every live bundle."""

    def __init__(self, book: AlertBook) -> None:
        self._book = book
        self._filters: dict[tuple[str, str, int], _Filter] = {}
        self._label: dict[str, str] = {}  # of the live bundle, by the bundle's name

    def judge(self, step: ModelStep, phase: Phase) -> list[Alert]:
        """Changes that one step brings."""
        name = step.bundle.name
        if self._label.get(name) != step.label:
            self._label[name] = step.label
            self._filters = {k: v for k, v in self._filters.items() if k[0] != name}
        return [
            alert
            for monitor in step.bundle.monitors
            for row in range(len(step.bundle.instances))
            for alert in self._judge_one(step, monitor, row, phase)
        ]

    def _judge_one(self, step: ModelStep, monitor: Monitor, row: int, phase: Phase) -> list[Alert]:
        bundle, t_ns = step.bundle, step.t_ns
        memory = self._filters.setdefault((bundle.name, monitor.name, row), _Filter())
        if monitor.steady is not None:
            column = [x.name for x in bundle.inputs].index(monitor.steady.input)
            if not memory.is_steady(t_ns, float(step.inputs[row, column]), monitor.steady):
                return []
        column = [x.name for x in bundle.outputs].index(monitor.output)
        predicted = float(step.predicted[row, column])
        # a score has nothing that measures it
        deviation = (
            predicted if monitor.on == "output" else float(step.measured[row, column]) - predicted
        )
        if math.isnan(deviation) or (monitor.phases and phase not in monitor.phases):
            return []
        smoothed = memory.smooth(t_ns, deviation, monitor.smoothing_s)
        if smoothed is None:
            return []
        rule = _rule(step, monitor, row)
        return self._book.judge(
            rule, np.array([t_ns]), np.array([smoothed]), phase, lambda _: step.trigger
        )


def _rule(step: ModelStep, monitor: Monitor, row: int) -> Rule:
    instance = step.bundle.instances[row]
    units = {x.name: x.unit for x in step.bundle.outputs}
    return Rule(
        name=monitor.name, fault_code=monitor.fault_code, severity=monitor.severity,
        onset=monitor.onset, clear=monitor.clear, high=monitor.direction == "high",
        persistence_ns=round(monitor.persistence_s * 1e9),
        clear_persistence_ns=round(monitor.clear_persistence_s * 1e9),
        phases=monitor.phases, rate_per_hour_max=monitor.rate_per_hour_max, hole_ns=HOLE_NS,
        esn=instance.esn, ata=step.bundle.ata,
        signal=instance.measured.get(monitor.output, ""), unit=units[monitor.output],
        bundle=step.label,
    )  # fmt: skip
