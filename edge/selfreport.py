"""What the edge says of itself: the state record, and the status for whoever reads the file.

In: the daemon's parts, and its figures of this moment. Out: `State` records on change and once a
minute, a `Status` when asked. Always holds: looking changes nothing but the meter of the backlog.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from edge.acquire.source import Source
from edge.acquire.table import SignalTable
from edge.backlog import BacklogMeter, Waiting
from edge.config import Settings
from edge.flight.phase import PhaseState
from edge.governing import Governing
from edge.health import Status
from edge.link.sender import LinkRunner
from edge.livemodels import LiveModels
from edge.logbook import Logbook
from edge.models.alerts import AlertBook
from edge.models.host import ModelHost
from edge.outbox.store import Outbox
from edge.periods import PeriodKeeper
from edge.recorder import Recorder
from edge.update.gate import GateDecision
from edge.upkeep import Upkeep
from edge.watchdog import Hearts
from shared.clock import Clock
from shared.messages import State, encode


@dataclass(frozen=True, eq=False)
class Parts:
    """Who is asked."""

    settings: Settings
    clock: Clock
    outbox: Outbox
    book: Logbook
    table: SignalTable
    periods: PeriodKeeper
    link: LinkRunner
    host: ModelHost
    alerts: AlertBook
    models: LiveModels
    upkeep: Upkeep
    governing: Governing
    hearts: Hearts
    recorder: Recorder
    sources: Sequence[Source]


@dataclass(frozen=True)
class Figures:
    """What only the loop itself knows."""

    state: PhaseState
    gate: GateDecision
    messages: int
    overruns: int
    tick_ms_max: float
    is_stopping: bool


class SelfReport:
    """figures: asked at each report."""

    def __init__(self, parts: Parts, figures: Callable[[], Figures]) -> None:
        self._parts, self._figures = parts, figures
        self._backlog = BacklogMeter(parts.settings.profile.recording.outbox_bytes_max)
        self._said: State | None = None
        self._state_at_ns = 0

    def say_state(self, now_ns: int) -> None:
        """A state record on change, and once a minute of flight."""
        parts, core = self._parts, self.describe()
        due = now_ns - self._state_at_ns >= parts.settings.profile.pace.state_period_s * 1e9
        if due or self._said != core:
            self._said, self._state_at_ns = core, now_ns
            stats = parts.outbox.stats()
            state = msgspec.structs.replace(
                core, outbox_records=stats.records, outbox_bytes=stats.bytes,
                oldest_unsafe_ns=stats.oldest_unsafe_ns or None,
            )  # fmt: skip
            parts.book.emit("state", encode(state), "state/1")

    def describe(self) -> State:
        """The state but for the outbox's figures, which change with every record."""
        parts, now = self._parts, self._figures()
        models = parts.models
        return State(
            phase=now.state.phase.value, confidence=str(now.state.confidence),
            gate_open=now.gate.open, gate_reasons=[reason.code for reason in now.gate.reasons],
            link=parts.link.status.link, slot=models.slot, bundles=models.labels,
            muted=sorted(models.silent), is_on_probation=models.probation is not None,
            set_id=models.set_id, alerts=parts.alerts.standing(), worker=parts.host.status.state,
            boot=parts.outbox.boot, outbox_records=0, outbox_bytes=0, oldest_unsafe_ns=None,
            esns=[engine.esn for engine in parts.settings.tail.engines],
            shed=list(parts.governing.shed),
        )  # fmt: skip

    def status(self, messages_per_s: float) -> Status:
        parts, now = self._parts, self._figures()
        stats, link, models = parts.outbox.stats(), parts.link.status, parts.models
        refused = dict(sum((x.refused for x in parts.sources), Counter()))
        muted = {models.slot or "slot": models.why_muted} if models.why_muted else models.muted
        return Status(
            wall_ns=parts.clock.wall_ns(), mono_ns=parts.clock.mono_ns(), pid=os.getpid(),
            tail=parts.settings.tail.tail, epoch=parts.outbox.epoch, boot=parts.outbox.boot,
            flight=parts.periods.id, phase=now.state.phase.value,
            confidence=str(now.state.confidence), t_event_ns=parts.table.t_event_ns,
            gate_open=now.gate.open, gate_reasons=[reason.text for reason in now.gate.reasons],
            link=link.link, messages=now.messages, messages_per_s=round(messages_per_s, 1),
            samples=parts.recorder.samples, refused=refused,
            bus_open=all(x.is_open for x in parts.sources), overruns=now.overruns,
            tick_ms_max=round(now.tick_ms_max, 2), outbox_records=stats.records,
            outbox_bytes=stats.bytes, unsafe_records=sum(stats.depth.values()),
            oldest_unsafe_event_ns=stats.oldest_unsafe_ns or None, bytes_up=link.bytes_up,
            alerts=parts.alerts.standing(), worker=parts.host.status.state, slot=models.slot,
            bundles=models.labels, updates_pending=parts.upkeep.pending, set_id=models.set_id,
            muted=muted, probation=models.waits_for(), profile=parts.settings.profile.name,
            is_stopping=now.is_stopping, governor=parts.governing.status,
            late=parts.hearts.late(), backlog=self._backlog.now,
            outbox_bytes_max=parts.settings.profile.recording.outbox_bytes_max,
            link_why=link.why, last_ack_ns=link.last_ack_ns,
        )  # fmt: skip

    def look_at_backlog(self) -> None:
        """Every so often: it reads a row a record."""
        parts = self._parts
        found = parts.outbox.unsafe_by_class()
        self._backlog.look(
            parts.clock.mono_ns() / 1e9,
            {cls: Waiting(records=n, bytes=size, oldest_event_ns=oldest_ns)
             for cls, (n, size, oldest_ns) in found.items()},
            parts.outbox.bytes_appended, parts.link.status.bytes_up,
        )  # fmt: skip
