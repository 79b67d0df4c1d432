"""Readings that were drained and wait to be pulled.

In: batches of any group. Out: one batch a group.
Always holds: a group's readings keep the order in which they came.
"""

from __future__ import annotations

import numpy as np

from edge.acquire.reading import Readings


class Waiting:
    """What a source keeps between `drain` and `pull`."""

    def __init__(self) -> None:
        self._batches: dict[int, list[Readings]] = {}

    def push(self, index: int, readings: Readings) -> None:
        """Readings of the group of that index."""
        self._batches.setdefault(index, []).append(readings)

    def pull(self, only: frozenset[int] | None = None) -> list[Readings]:
        """As in edge.acquire.source.Source."""
        due = [index for index in self._batches if only is None or index in only]
        return [_joined(self._batches.pop(index)) for index in due]


def _joined(parts: list[Readings]) -> Readings:
    if len(parts) == 1:
        return parts[0]
    return Readings(
        parts[0].group,
        np.concatenate([p.counter for p in parts]), np.concatenate([p.t_ns for p in parts]),
        np.concatenate([p.raw for p in parts]), np.concatenate([p.f64 for p in parts]),
        np.concatenate([p.status for p in parts]),
    )  # fmt: skip
