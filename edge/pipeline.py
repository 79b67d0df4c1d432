"""The pipeline: what happens to every batch of readings, aboard and in a replay alike.

In: batches of one group, as sources give them. Out: the signal table, the recorder's journal and
blocks, means for the models, report accumulators, snapshot windows, and the alerts that a batch causes.
Always holds: a batch is recorded with its quality whatever was found in it; a store that refuses
stops nothing (`keep_on`); there is no work per reading, only per batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.acquire.reading import Readings
from edge.acquire.redundant import Redundancy
from edge.acquire.table import SignalTable
from edge.acquire.validate import GroupValidator
from edge.models.alerts import AlertBook
from edge.models.exceedances import Exceedances
from edge.models.means import StepMeans
from edge.models.snapshots import SnapshotKeeper
from edge.recorder import Recorder
from edge.reports import ReportCollector
from shared.messages import Alert
from shared.phases import Phase
from shared.signals import SignalSet

Watch = Callable[[Readings, npt.NDArray[np.uint8]], None]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A batch, its engineering values and its quality bytes, both of shape (n, signals)."""

    readings: Readings
    values: npt.NDArray[np.float64]
    quality: npt.NDArray[np.uint8]

    def rows(self, first: int, last: int) -> Judged:
        """Readings [first, last) of it."""
        part = slice(first, last)
        return Judged(self.readings.rows(first, last), self.values[part], self.quality[part])


class Pipeline:
    """validate → table → recorder → means → reports → snapshots → exceedances."""

    def __init__(
        self, signals: SignalSet, table: SignalTable, recorder: Recorder, alerts: AlertBook,
        keep_on: Callable[..., None], snapshots: SnapshotKeeper, watch: Watch | None = None,
    ) -> None:  # fmt: skip
        """keep_on: calls its first argument with the others, whatever the store refuses.
        watch: told of every judged batch, with its quality bytes."""
        self._validators = {group.name: GroupValidator(group) for group in signals.groups}
        self._redundancy = Redundancy(signals, table)
        self._exceedances = Exceedances(signals, alerts)
        self.urgent = self._exceedances.urgent
        """Groups to be taken before their slice when an alert may hang on what waits of them."""
        self._table, self._recorder, self._keep_on = table, recorder, keep_on
        self._watch = watch
        self._seen_ns = self._seen_next_ns = 0
        self.means: dict[float, StepMeans] = {}
        """By rate of the loaded models, Hz, of the signals that they read; replaced when they are."""
        self.reports, self.snapshots = ReportCollector(signals), snapshots
        self.last_known = Phase.UNKNOWN
        """What rules go by: a phase that is lost in flight must not inhibit an alert."""
        self.trigger: tuple[str, int] | None = None
        """Group and bus counter of the newest reading."""

    def begin_slice(self) -> None:
        """Every group is about to be taken: what waits since the last slice may be older than
        what came on urgent groups in between."""
        self._seen_ns, self._seen_next_ns = self._seen_next_ns, self._table.t_event_ns

    def take(self, batches: Iterable[Readings], now_ns: int, phase: Phase) -> list[Alert]:
        """Carry batches that arrived at `now_ns` of the flight clock through; what they raise."""
        alerts: list[Alert] = []
        for readings in batches:
            judged = self.judge(readings, now_ns)
            self.place(judged, now_ns)
            alerts += self.carry(judged, now_ns, phase)
        return alerts

    def judge(self, readings: Readings, now_ns: int) -> Judged:
        """A batch with its values and their quality."""
        validator = self._validators[readings.group.name]
        values = validator.values(readings)
        quality = validator.judge(readings, values, self._seen_ns)
        return Judged(readings, values, self._redundancy.judge(readings, values, quality, now_ns))

    def place(self, judged: Judged, now_ns: int) -> None:
        """Its newest reading is what the aircraft says now."""
        readings = judged.readings
        self._table.update(readings, judged.values, judged.quality, now_ns)
        self.trigger = (readings.group.name, int(readings.counter[-1]))

    def carry(self, judged: Judged, now_ns: int, phase: Phase) -> list[Alert]:
        """Record it, and what it means in this phase."""
        readings, values, quality = judged.readings, judged.values, judged.quality
        group = readings.group.name
        if phase is not Phase.UNKNOWN:
            self.last_known = phase
        self._keep_on(self._recorder.add, readings, quality, now_ns)
        for means in self.means.values():
            means.add(group, values, quality)
        self.reports.add(readings, values, quality)
        self.snapshots.add(readings, quality)
        if self._watch is not None:
            self._watch(readings, quality)
        return self._exceedances.judge(
            group, readings.t_ns, readings.counter, values, quality, self.last_known
        )
