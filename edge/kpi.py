"""KPIs: what the models predicted beside what was measured, as means over short steps.

In: model steps. Out: one `Kpi` payload a window and bundle.
Always holds: a step without a prediction is null, never the value of another one; integers in
units of the output's own LSB, so nothing is invented by rounding twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge.models.step import ModelStep
from shared.messages import Kpi, KpiSeries

Rows = npt.NDArray[np.float64]


@dataclass(slots=True)
class _Window:
    t0_ns: int
    first: ModelStep
    measured: list[list[Rows]] = field(default_factory=list)
    predicted: list[list[Rows]] = field(default_factory=list)


class KpiCollector:
    """`add` every model step; `flush` at the end of a period. Times of event time."""

    def __init__(self, step_s: float, window_s: float) -> None:
        self._step_s = step_s
        self._steps = max(1, round(window_s / step_s))
        self._open: dict[str, _Window] = {}

    def add(self, step: ModelStep) -> Kpi | None:
        """Take a step; the window it completes, if any."""
        window = self._open.get(step.label)
        index = self._index(window, step.t_ns) if window else 0
        done = None
        if window is None or not 0 <= index < self._steps:
            done = self._close(step.label)
            window = self._open[step.label] = _Window(
                step.t_ns, step,
                [[] for _ in range(self._steps)], [[] for _ in range(self._steps)],
            )  # fmt: skip
            index = 0
        window.measured[index].append(step.measured)
        window.predicted[index].append(step.predicted)
        return done

    def flush(self) -> list[Kpi]:
        """Every open window."""
        closed = (self._close(label) for label in list(self._open))
        return [kpi for kpi in closed if kpi is not None]

    def _index(self, window: _Window, t_ns: int) -> int:
        return int((t_ns - window.t0_ns) // round(self._step_s * 1e9))

    def _close(self, label: str) -> Kpi | None:
        window = self._open.pop(label, None)
        if window is None:
            return None
        bundle = window.first.bundle
        series = []
        for row, instance in enumerate(bundle.instances):
            for column, output in enumerate(bundle.outputs):
                predicted = [_mean(rows, row, column, output.lsb) for rows in window.predicted]
                if any(value is not None for value in predicted):
                    measured = [_mean(rows, row, column, output.lsb) for rows in window.measured]
                    series.append(
                        KpiSeries(
                            name=output.name, esn=instance.esn, unit=output.unit, lsb=output.lsb,
                            measured=measured, predicted=predicted,
                        )
                    )  # fmt: skip
        if not series:
            return None
        return Kpi(bundle=label, t0_ns=window.t0_ns, step_s=self._step_s, series=series)


def _mean(rows: list[Rows], row: int, column: int, lsb: float) -> int | None:
    values = [rows_at[row, column] for rows_at in rows if np.isfinite(rows_at[row, column])]
    return round(float(np.mean(values)) / lsb) if values else None
