"""Snapshots: the readings around an alert, which follow it ahead of the bulk.

In: validated batches of the groups that alerts are about, alerts. Out: `Snapshot` payloads, each
small enough for every link.
Always holds: the alert never waits for its snapshot; memory is bounded by `READINGS_MAX` a group
(then the window before is shorter, and the snapshot shows it); at most `OPEN_MAX` are open at a
time and one per instance, for a storm of alerts must not become a storm of data. The readings are
in blocks as well: a snapshot that was not taken loses nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.acquire.reading import Readings
from edge.recorder import block_parts
from shared.block import Block
from shared.envelope import TIME_BUS
from shared.messages import Alert, Snapshot
from shared.signals import SignalSet

READINGS_MAX = 12_000  # of one group: 60 s at 200 Hz; assumption
OPEN_MAX = 8
PATIENCE_NS = 10_000_000_000  # of event time beyond its end, when a group fell silent

Batch = tuple[Readings, npt.NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class _Open:
    alert: str
    key: str
    groups: tuple[str, ...]
    from_ns: int
    to_ns: int


class SnapshotKeeper:
    """`watch` the groups of the alerts, `add` every batch, `note` every alert, `step`."""

    def __init__(
        self, signals: SignalSet, pre_s: float, post_s: float, period: Callable[[], str]
    ) -> None:
        self._signals, self._period = signals, period
        self._pre_ns, self._post_ns = round(pre_s * 1e9), round(post_s * 1e9)
        self._rings: dict[str, deque[Batch]] = {}
        self._count: dict[str, int] = {}
        self._open: dict[str, _Open] = {}
        self._watched_always = {x.signal for x in signals.exceedances}
        self.watch(())
        self.not_taken = 0

    def watch(self, names: Iterable[str]) -> None:
        """Keep the groups of these signals, and those of the set's exceedances."""
        wanted = {
            self._signals.position[name][0].name
            for name in {*names, *self._watched_always}
            if name in self._signals.position
        }
        self._rings = {name: self._rings.get(name, deque()) for name in wanted}
        self._count = {name: self._count.get(name, 0) for name in wanted}

    def add(self, readings: Readings, quality: npt.NDArray[np.uint8]) -> None:
        """Keep a batch, uncopied, for as long as a snapshot may ask for it."""
        name = readings.group.name
        ring = self._rings.get(name)
        if ring is None:
            return
        ring.append((readings, quality))
        self._count[name] += len(readings.t_ns)
        oldest_ns = int(readings.t_ns[-1]) - self._pre_ns - self._post_ns - PATIENCE_NS
        while len(ring) > 1 and (
            int(ring[0][0].t_ns[-1]) < oldest_ns or self._count[name] > READINGS_MAX
        ):
            self._count[name] -= len(ring.popleft()[0].t_ns)

    def note(self, alert: Alert, names: Iterable[str] = ()) -> None:
        """An onset opens a snapshot of the groups of its signal and of `names`."""
        if alert.change != "onset":
            return
        key = alert.id.removesuffix(f"-{alert.onset_ns}")
        groups = {
            self._signals.position[name][0].name
            for name in {alert.signal, *names}
            if name in self._signals.position
        }
        if not groups or len(self._open) >= OPEN_MAX or key in self._open:
            self.not_taken += bool(groups)
            return
        self._open[key] = _Open(
            alert.id, key, tuple(sorted(groups)), alert.onset_ns - self._pre_ns,
            alert.onset_ns + self._post_ns,
        )  # fmt: skip

    def step(self, t_event_ns: int) -> list[Snapshot]:
        """The first whose time after the alert is over: cutting one takes milliseconds, which an
        alert would wait for, and the others are due at the next look."""
        due = [held for held in self._open.values() if self._is_due(held, t_event_ns)][:1]
        for held in due:
            del self._open[held.key]
        return [part for held in due for group in held.groups for part in self._cut(held, group)]

    def flush(self) -> list[Snapshot]:
        """All that are open, as far as they are: the period ends."""
        due, self._open = list(self._open.values()), {}
        return [part for held in due for group in held.groups for part in self._cut(held, group)]

    def _is_due(self, held: _Open, t_event_ns: int) -> bool:
        if t_event_ns >= held.to_ns + PATIENCE_NS or t_event_ns < held.from_ns:
            return True  # a group fell silent, or time went back
        rings = [self._rings.get(name) for name in held.groups]
        return all(ring and int(ring[-1][0].t_ns[-1]) >= held.to_ns for ring in rings)

    def _cut(self, held: _Open, name: str) -> list[Snapshot]:
        batches = [
            (readings, quality)
            for readings, quality in self._rings.get(name, ())
            if readings.t_ns[-1] >= held.from_ns and readings.t_ns[0] <= held.to_ns
        ]
        if not batches:
            return []
        group = self._signals.group(name)
        parts = [readings for readings, _ in batches]
        block = Block(
            name, self._signals.sha256, self._period(), 0, 0, TIME_BUS,
            np.concatenate([p.t_ns for p in parts]), np.concatenate([p.counter for p in parts]),
            np.concatenate([p.raw for p in parts]), np.concatenate([p.f64 for p in parts]),
            np.concatenate([p.status for p in parts]),
            np.concatenate([quality for _, quality in batches]),
        )  # fmt: skip
        inside = np.flatnonzero((block.t_ns >= held.from_ns) & (block.t_ns <= held.to_ns))
        if not len(inside):
            return []
        block = block.rows(int(inside[0]), int(inside[-1]) + 1)
        return [
            Snapshot(alert=held.alert, group=name, part=i, block=data)
            for i, (_, data) in enumerate(block_parts(block, group.block_s))
            if data
        ]
