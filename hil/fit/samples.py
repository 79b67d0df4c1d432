"""Healthy flights as rows of means, the way the model aboard sees them.

In: a flight and signal names. Out: `Samples`, one row a model step.
Always holds: only readings with status normal count; a row without any is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hil.plant.flight import Flight
from shared.behaviour.monitoring import is_steady
from shared.bundle import Steady
from shared.signals import STATUS_NORMAL, SignalSet

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Samples:
    """n rows of one flight."""

    t_ns: npt.NDArray[np.int64]
    """End of each row's window."""
    phase: npt.NDArray[np.str_]
    columns: Mapping[str, Float64]

    def is_steady(self, signal: str, steady: Steady, rate_hz: float) -> npt.NDArray[np.bool_]:
        """The rule of `shared.bundle.Steady`, row by row."""
        return is_steady(self.columns[signal], steady, rate_hz)


def resample(flight: Flight, signals: SignalSet, names: Iterable[str], rate_hz: float) -> Samples:
    """Means over windows of 1 / rate_hz from the start of the flight."""
    step_ns = round(1e9 / rate_hz)
    count = (flight.end_ns - flight.start_ns) // step_ns
    columns = {name: _means(flight, signals, name, step_ns, count) for name in sorted(set(names))}
    t_ns = flight.start_ns + step_ns * (1 + np.arange(count))
    starts = np.array([t for t, _ in flight.meta["phases"]])
    words = np.array([word for _, word in flight.meta["phases"]])
    at = np.clip(np.searchsorted(starts, t_ns, side="right") - 1, 0, None)
    return Samples(t_ns, words[at], columns)


def _means(flight: Flight, signals: SignalSet, name: str, step_ns: int, count: int) -> Float64:
    group, index = signals.position[name]
    signal, readings = group.signal[index], flight.groups[group.name]
    place = int(np.count_nonzero(group.is_f64[:index] == group.is_f64[index]))
    raw = (readings.f64 if group.is_f64[index] else readings.raw)[:, place]
    row = (readings.t_ns - flight.start_ns) // step_ns
    good = (readings.status[:, index] == STATUS_NORMAL) & (row >= 0) & (row < count)
    total = np.bincount(row[good], raw[good] * signal.scale + signal.offset, count)
    seen = np.bincount(row[good], minlength=count)
    return np.where(seen > 0, total / np.maximum(seen, 1), np.nan)
