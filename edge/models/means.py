"""Means of signals over one model step.

In: batches of values with quality. Out: one mean a signal over what was good, or NaN.
Always holds: taking a batch costs a list append; arrays are made once a step, and a step of
signals that were never good holds NaN, not the value of the step before.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from shared.signals import SignalSet

BATCHES_MAX = 4096  # of one group in one step; older ones are left out, an assumption


class StepMeans:
    """Collects the batches of the groups that hold `names`; others are not kept."""

    def __init__(self, signals: SignalSet, names: Iterable[str]) -> None:
        self._columns: dict[str, list[tuple[str, int]]] = {}
        for name in sorted(names):
            if name in signals.position:
                group, index = signals.position[name]
                self._columns.setdefault(group.name, []).append((name, index))
        self._batches: dict[str, list[tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]]] = {
            group: [] for group in self._columns
        }

    def add(
        self, group: str, values: npt.NDArray[np.float64], quality: npt.NDArray[np.uint8]
    ) -> None:
        """Engineering values and quality bytes [n, signals of the group]; not copied."""
        batches = self._batches.get(group)
        if batches is not None:
            batches.append((values, quality))
            if len(batches) > BATCHES_MAX:
                del batches[0]

    def take(self) -> dict[str, float]:
        """Means since the last call, by signal."""
        means: dict[str, float] = {}
        for group, columns in self._columns.items():
            batches, self._batches[group] = self._batches[group], []
            if not batches:
                means |= {name: float("nan") for name, _ in columns}
                continue
            index = [i for _, i in columns]
            values = np.concatenate([v[:, index] for v, _ in batches])
            good = np.concatenate([q[:, index] for _, q in batches]) == 0
            count = good.sum(axis=0)
            total = np.where(good, values, 0.0).sum(axis=0)
            mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
            means |= {name: float(x) for (name, _), x in zip(columns, mean, strict=True)}
        return means
