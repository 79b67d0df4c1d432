"""Redundant sources: signals that measure one thing and must agree.

In: batches with quality, one group after the other. Out: the same with `suspect(disagree)` where
a good sample is farther than `disagree_max` from what the others of its family last said.
Always holds: of two that disagree both are suspect, for nobody can know which is right; of three
or more the one that is far from the median is. Only good and fresh samples take part, and they
are compared sample by sample within a batch, else with the last value of the other group.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge.acquire.middle import middle_two
from edge.acquire.reading import Readings
from edge.acquire.table import SignalTable
from shared.quality import Quality, Reason, code
from shared.signals import SignalSet

SUSPECT_DISAGREE = np.uint8(code(Quality.SUSPECT, Reason.DISAGREE))


class Redundancy:
    """Judges the disagreement of families; knows which groups take part."""

    def __init__(self, signals: SignalSet, table: SignalTable) -> None:
        self._table = table
        self._by_group: dict[str, list[tuple[int, float, tuple[str, ...]]]] = {}
        """By group: column, tolerance and names of its family."""
        self._column: dict[str, tuple[str, int]] = {}
        for name, family in signals.families.items():
            group, column = signals.position[name]
            self._column[name] = (group.name, column)
            limits = [signals.signal(member).disagree_max for member in family]
            tolerance = max((x for x in limits if x is not None), default=None)
            if tolerance is not None:
                self._by_group.setdefault(group.name, []).append((column, tolerance, family))

    def judge(
        self,
        readings: Readings,
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint8],
        now_ns: int,
    ) -> npt.NDArray[np.uint8]:
        """Quality with disagreement; the same array when the group has no family."""
        watched = self._by_group.get(readings.group.name)
        if not watched:
            return quality
        fresh = self._table.is_fresh(now_ns)
        marked = quality
        for column, tolerance, family in watched:
            said = np.stack(
                [self._said(name, readings, values, quality, fresh) for name in family], axis=1
            )
            apart = _apart(said, values[:, column], tolerance) & (quality[:, column] == 0)
            if apart.any():
                if marked is quality:
                    marked = quality.copy()
                marked[apart, column] = SUSPECT_DISAGREE
        return marked

    def _said(
        self, name: str, readings: Readings, values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint8], fresh: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.float64]:  # fmt: skip
        """What a member said at each reading of the batch; NaN is nothing."""
        group, column = self._column[name]
        if group == readings.group.name:
            return np.where(quality[:, column] == 0, values[:, column], np.nan)
        table, place = self._table, self._table.index[name]
        # its own verdict of disagreement must not hide it: then one would look right again
        usable = fresh[place] and table.quality[place] in (0, int(SUSPECT_DISAGREE))
        return np.full(len(values), table.value[place] if usable else np.nan)


def _apart(
    said: npt.NDArray[np.float64], own: npt.NDArray[np.float64], tolerance: float
) -> npt.NDArray[np.bool_]:
    """Which samples are farther than `tolerance` from the others. said: [n, members], own [n]."""
    count = np.isfinite(said).sum(axis=1)
    low, high = middle_two(said)
    pair = count == 2
    # of two the distance between them counts, of more the distance to the median
    distance = np.where(pair, high - low, np.abs(own - (low + high) / 2))
    apart: npt.NDArray[np.bool_] = (count >= 2) & (distance > tolerance)
    return apart
