"""The daemon: the loop aboard, connected. Read it from top to bottom.

    acquire → validate → flight phase → models → alerts → outbox → link
                             ▲                                      ⇣
    slots ◀ update gate ◀ TUF                                       ⇣

In: settings. Out: an exit code, and everything that this aircraft records.
Always holds: recording goes on whatever fails beside it; nothing on the tick waits for a disk
but the outbox, for the network never; a task that dies is started again and the reason kept.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import partial
from typing import Any

from edge.acquire.source import Source
from edge.acquire.sources import make_sources
from edge.acquire.table import SignalTable
from edge.beats import Beat
from edge.config import Settings
from edge.flight.flights import OFF_BLOCK, Transition
from edge.flight.phase import Confidence, PhaseMachine, PhaseState
from edge.governing import Governing
from edge.governor import Action, Step, bulk_factor
from edge.health import StatusFile
from edge.heap import give_back
from edge.kpi import KpiCollector
from edge.link.sender import LinkRunner
from edge.livemodels import LiveModels
from edge.logbook import Logbook, Now
from edge.models.admission import AdmissionResult, admit
from edge.models.alerts import AlertBook
from edge.models.deviations import Deviations
from edge.models.host import HostTimes, ModelHost
from edge.models.means import StepMeans
from edge.models.snapshots import SnapshotKeeper
from edge.models.step import ModelStep
from edge.models.workeralert import WorkerAlert
from edge.notify import Notifier
from edge.outbox.devicekey import load_keyring
from edge.outbox.store import Outbox, RecordRef
from edge.periods import PeriodKeeper, restore_landing
from edge.pipeline import Pipeline
from edge.recorder import Recorder
from edge.selfreport import Figures, Parts, SelfReport
from edge.situation import Situation
from edge.tasks import Tasks
from edge.update.child import still_trusted
from edge.update.gate import Gate, GateDecision
from edge.update.mediawatch import MediaWatch
from edge.update.slots import Slots
from edge.update.updates import UpdateClient
from edge.update.verified import VerifiedBundle
from edge.updating import fetch_child, trust_folder
from edge.upkeep import Upkeep
from edge.versions import Running, Versions
from edge.watchdog import Hearts, Watchdog
from shared.clock import Clock, FlightClock
from shared.envelope import TIME_NONE
from shared.errors import Corrupt, TailTwinError, Unreachable
from shared.log import event
from shared.messages import Alert, Report, Snapshot, encode
from shared.phases import Phase
from shared.signals import pack_signal_set
from shared.version import VERSION_SCHEMA
from signing.verify import AttestationPolicy

# Flight seconds between two slices, in which all groups are taken, and phase and gate looked at:
# gate inputs come at 5 Hz. What waits for a slice is journalled with it.
LOOK_S = 0.2
GC_THRESHOLDS = 10_000, 20, 50  # young garbage is a few MB at most; an assumption
STATUS_S, MAINTAIN_S, BUS_RETRY_S_MAX = 0.5, 2.0, 5.0  # wall
BACKLOG_STATUSES = 20  # statuses between two looks at what is unsafe, which reads a row a record
# The longest that a task may go without a beat, s of wall time: its own waits, and the 10 s that
# `Tasks` pauses before it starts one again. An update may fetch for update.deadline_s on top.
HEARTBEAT_S = {"tick": 20.0, "status": 30.0, "store": 60.0, "link": 60.0, "worker": 90.0,
               "governor": 60.0, "update": 300.0, "bus": 60.0}  # fmt: skip
DRAIN_S = 20.0  # how long an orderly stop waits for the ground to have everything, wall
UNLINKED_S = 5.0  # … and how long without any link
ALERTS_KEY, SET_KEY, OFFERS_KEY = "alerts", "signal-set", "offers"
PROBATION_KEY, VERSIONS_KEY = "probation", "versions"


class Daemon:
    """One edge. `run` until SIGTERM."""

    def __init__(
        self, settings: Settings, clock: Clock, sources: Sequence[Source] | None = None,
        notify: Notifier | None = None,
    ) -> None:  # fmt: skip
        self._settings, self._clock, self._notify = settings, clock, notify or Notifier()
        self._hearts = Hearts(clock)
        profile, tail, signals = settings.profile, settings.tail, settings.signals
        self._pace = profile.pace
        self._flight = FlightClock(clock, profile.pace.flight_rate)
        self._state = PhaseState(Phase.UNKNOWN, Confidence.NONE, None, None, None)
        # acquire → validate
        self._sources = (
            make_sources(profile.source, signals, self._flight.now_ns, settings.folder)
            if sources is None
            else list(sources)
        )
        self._slice = Beat(min(LOOK_S, profile.recording.journal_s))
        self._steps: dict[float, Beat] = {}  # of the live models, by rate
        self._jobs: deque[Callable[[], None]] = deque()
        """What a slice made due; one of them a tick, so that no alert waits for all of them."""
        self._table = SignalTable(signals)
        # flight phase, and the gate
        self._situation = Situation(signals, self._table)
        self._phases = PhaseMachine(profile.gate.ground_speed_max_kt)
        self._gate = Gate(profile.gate, self._situation.age_max_ns)
        # outbox
        self._outbox = Outbox.open(
            settings.state_dir / "outbox.db", operator=tail.operator, tail=tail.tail, clock=clock,
            random=os.urandom, bytes_max=profile.recording.outbox_bytes_max,
            keyring=load_keyring(
                settings.state_dir / "identity", profile.seal.kind, profile.seal.tpm_tcti
            ),
        )  # fmt: skip
        self._recorder = Recorder(self._outbox, signals, profile.recording.journal_s)
        self._periods = PeriodKeeper(self._outbox, self._recorder, tail, settings.device)
        self._phases.remember_landing(restore_landing(self._periods))
        self._book = Logbook(self._outbox, self._now, self._die)
        # models → alerts
        self._slots = Slots(settings.state_dir)
        self._host = ModelHost(
            profile.compute.models, settings.esn_by_position,
            HostTimes(deadline_s=profile.pace.model_deadline_s), beat=self._heart("worker"),
        )  # fmt: skip
        self._alerts = AlertBook()
        self._snapshots = SnapshotKeeper(
            signals, profile.recording.snapshot_pre_s, profile.recording.snapshot_post_s,
            period=lambda: self._periods.id,
        )  # fmt: skip
        self._pipeline = Pipeline(
            signals, self._table, self._recorder, self._alerts, self._book.keep_on,
            self._snapshots,
        )  # fmt: skip
        self._deviations = Deviations(self._alerts)
        self._worker_alert = WorkerAlert(self._alerts)
        self._kpis = KpiCollector(profile.pace.kpi_step_s, profile.pace.kpi_window_s)
        # link
        self._link = LinkRunner(
            settings, self._outbox, clock, phase=lambda: self._state.phase,
            on_notice=lambda notice: self._upkeep.take_notice(notice),
            on_handed=self._handed, on_epoch=self._new_epoch, beat=self._heart("link"),
        )  # fmt: skip
        # update
        update = profile.update
        self._versions = Versions(
            settings, self._slots, clock, boot=self._outbox.boot, now=self._now,
            emit=lambda payload: self._book.emit("report", payload, VERSION_SCHEMA),
            keep=self._keeper(VERSIONS_KEY), kept=partial(self._outbox.get, VERSIONS_KEY),
            running=lambda: Running(why_muted=self._models.why_muted, muted=self._models.muted),
        )  # fmt: skip
        self._upkeep = Upkeep(
            self._slots, self._book, self._versions, MediaWatch(update.sources if update else ()),
            state_dir=settings.state_dir, keep=self._keeper(OFFERS_KEY),
            kick=self._link.kick, spawn=self._spawn,
        )  # fmt: skip
        self._models = LiveModels(
            self._host, self._slots,
            trusted=partial(
                still_trusted, trust_folder(settings.state_dir),
                attestation=update.attestation if update else AttestationPolicy(),
            ),
            audit=lambda decision, subject, reasons: self._book.audit(
                "slot", decision, subject=subject, reasons=reasons
            ),
            keep=self._keeper(PROBATION_KEY), kept=partial(self._outbox.get, PROBATION_KEY),
            changed=self._watch_inputs, is_shed=lambda: "models" in self._governing.shed,
            spawn=self._spawn, wall_ns=clock.wall_ns, judged=self._upkeep,
        )  # fmt: skip
        self._upkeep.client = self._update_client()
        # what was last seen and said
        self._decision = self._gate.step(0, self._situation.gate_inputs(0), Phase.UNKNOWN)
        self._turning: Transition | None = None
        """The end of a period that was decided and is not committed yet."""
        self._messages = self._overruns = 0
        self._tick_ms_max = 0.0
        self._status_file = StatusFile(settings.state_dir / "status.json")
        self._stop = asyncio.Event()
        self._fatal: Corrupt | None = None
        self._governing = Governing(
            profile.compute, settings.state_dir, clock, tick_s=profile.pace.tick_s,
            is_paced=profile.pace.flight_rate != 1.0, ticks=lambda: self._hearts.beats("tick"),
            able=self._able, on_action=self._govern, beat=self._heart("governor"),
        )  # fmt: skip
        self._report_of_self = SelfReport(
            Parts(
                settings=settings, clock=clock, outbox=self._outbox, book=self._book,
                table=self._table, periods=self._periods, link=self._link, host=self._host,
                alerts=self._alerts, models=self._models, upkeep=self._upkeep,
                governing=self._governing, hearts=self._hearts, recorder=self._recorder,
                sources=self._sources,
            ),
            self._figures,
        )  # fmt: skip
        self._watchdog = Watchdog(self._hearts, self._notify, self._summary, self._note_late)
        self._tasks = Tasks(
            lambda name, why: self._book.audit("task", "restarted", subject=name, reasons=[why]),
            self._die,
        )

    async def run(self) -> int:
        """Start everything, tick until told to stop, leave in order."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        self._start()
        self._tasks.start(
            {
                "tick": self._ticks, "worker": self._host.run,
                "link": self._link.run, "status": self._statuses, "store": self._maintain,
                "update": self._upkeep.run, "governor": self._governing.run,
                "watchdog": self._watchdog.run,
                **{f"bus-{i}": partial(self._keep_open, x) for i, x in enumerate(self._sources)},
            }
        )  # fmt: skip
        self._spawn(self._load_live())
        self._notify("READY=1")
        await self._stop.wait()
        self._notify("STOPPING=1")
        await self._tasks.stop("tick", "watchdog", "governor")
        if self._fatal is None:
            await self._leave()
        await self._tasks.stop()
        for source in self._sources:
            source.close()
        if self._fatal is not None:
            # the next start moves the damaged file aside and records under a new epoch
            event("edge.died", why=str(self._fatal), level=logging.CRITICAL)
            return self._fatal.exit_code
        self._book.keep_on(self._report_of_self.look_at_backlog)
        self._status_file.write(self._report_of_self.status(0.0))
        self._outbox.close()
        event("edge.stopped")
        return 0

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.spawn(work)

    def _keeper(self, key: str) -> Callable[[bytes], None]:
        """Keeps something in the outbox, over restarts."""
        return lambda data: self._book.keep_on(self._outbox.put, key, data)

    def _now(self) -> Now:
        """What a record says of its moment."""
        return Now(self._periods.id, self._table.t_event_ns, self._state.phase.value)

    def _die(self, error: Corrupt) -> None:
        """The store is damaged: nothing can be recorded here; a restart can."""
        self._fatal = self._fatal or error
        self._stop.set()

    # -- the tick: everything of the hot path

    def tick(self) -> None:
        """Empty the bus; alerts at once; every group in slices; then one job that is due."""
        now_ns = self._flight.now_ns()
        for source in self._sources:
            self._messages += source.drain(self._pace.messages_per_tick_max)
        is_slice = self._slice.is_due(now_ns)
        if is_slice:
            self._pipeline.begin_slice()
        due = None if is_slice else self._pipeline.urgent
        for source in self._sources:
            self._tell(self._pipeline.take(source.pull(due), now_ns, self._state.phase))
        if is_slice:
            self._look(now_ns)
        self._work(now_ns, is_slice)
        self._book.retry()

    def _work(self, now_ns: int, is_slice: bool) -> None:
        """One job that waits; at a slice all of them, for they may fall due again."""
        for _ in range(len(self._jobs) if is_slice else min(1, len(self._jobs))):
            self._jobs.popleft()()
        if is_slice:
            if self._recorder.is_journal_due(now_ns):
                self._jobs.append(partial(self._book.keep_on, self._recorder.journal, now_ns))
            for rate_hz, beat in self._steps.items():
                if beat.is_due(now_ns):
                    self._jobs.append(partial(self._begin_step, rate_hz))
        elif not self._jobs:
            self._book.keep_on(self._recorder.seal_one)

    def _look(self, now_ns: int) -> None:
        """Phase, period and gate, five times a second."""
        self._state = self._phases.step(now_ns, self._situation.phase_inputs(now_ns))
        phase, t_ns = self._state.phase, self._table.t_event_ns
        self._report(self._pipeline.reports.step(phase.value, t_ns))
        self._send_snapshots(self._snapshots.step(t_ns))
        self._tell(self._worker_alert.judge(self._host.status, t_ns, phase))
        self._models.look(self._host.status, now_ns)
        if self._turning is None and t_ns:
            self._turning = self._periods.machine.step(self._state, t_ns)
        if self._turning is not None:
            self._book.keep_on(self._turn_over, self._turning)
        else:
            self._book.keep_on(self._periods.save_progress)
        self._see_gate(self._ask_gate())
        self._report_of_self.say_state(now_ns)

    def _turn_over(self, transition: Transition) -> None:
        """End a period: seal all of it, say so, sign its manifest. Tried again at the next look
        when the store refuses any of it."""
        for kpi in self._kpis.flush():
            self._book.emit("kpi", encode(kpi), "kpi/1")
        self._send_snapshots(self._snapshots.flush())
        self._alerts.release()
        self._recorder.seal_all()
        closed, flew = self._periods.id, transition.closed.kind == "flight"
        self._periods.close(transition, self._models.labels)
        self._turning = None
        is_off = transition.opened.kind == "flight" and transition.why == OFF_BLOCK
        self._models.turned(closed, flew=flew, opened=self._periods.id, at_off_block=is_off)
        if flew:
            self._spawn(self._versions.send("flight"))
        self._link.kick()
        gc.collect()  # the aircraft stands or has just left its stand: the moment for both
        give_back()

    # -- models and alerts

    def _begin_step(self, rate_hz: float) -> None:
        self._tasks.spawn(self._step_models(rate_hz))

    async def _step_models(self, rate_hz: float) -> None:
        means = self._pipeline.means.get(rate_hz)
        if means is None:
            return  # the set was replaced meanwhile
        steps = await self._host.step(
            self._table.t_event_ns, means.take(), self._pipeline.trigger, rate_hz
        )
        for step in steps or ():
            self._take_step(step)

    def _take_step(self, step: ModelStep) -> None:
        if not self._models.takes(step):
            return
        self._tell(self._deviations.judge(step, self._pipeline.last_known), step.signals)
        kpi = None if "kpis" in self._governing.shed else self._kpis.add(step)
        if kpi is not None:
            self._book.emit("kpi", encode(kpi), "kpi/1")

    def _tell(self, alerts: list[Alert], names: Collection[str] = ()) -> None:
        """Alerts are durable at once, with the machines' state, and leave before anything else.

        names: signals that they are about beside their own; their snapshots show these as well.
        """
        if not alerts:
            return
        refs = self._book.emit_all(
            "alert", [encode(alert) for alert in alerts], "alert/1", ALERTS_KEY,
            self._alerts.snapshot(),
        )  # fmt: skip
        self._link.kick()
        mono_ns = self._clock.mono_ns()
        for alert, ref in zip(alerts, refs, strict=True):
            event("alert", id=alert.id, change=alert.change, seq=ref.seq if ref else None,
                  trigger=alert.trigger, mono_ns=mono_ns, level=logging.WARNING)  # fmt: skip
            self._snapshots.note(alert, names)
            self._report(self._pipeline.reports.note(alert))

    def _report(self, reports: list[Report]) -> None:
        for report in reports:
            self._book.emit("report", encode(report), "report/1")

    def _send_snapshots(self, snapshots: list[Snapshot]) -> None:
        for part in snapshots:
            self._book.emit("report", encode(part), "snapshot/1")

    def _watch_inputs(self) -> None:
        """Means and snapshots of what the worker's set reads."""
        self._pace_models()
        self._snapshots.watch(self._host.signals)

    def _pace_models(self) -> None:
        """Each rate of the set has its beat and its means; slices are as short as the fastest."""
        rates = self._host.rates
        fastest_s = 1.0 / max(rates, default=1.0)
        self._slice = Beat(min(LOOK_S, self._settings.profile.recording.journal_s, fastest_s))
        self._steps = {rate_hz: Beat(1.0 / rate_hz) for rate_hz in rates}
        self._pipeline.means = {
            rate_hz: StepMeans(self._settings.signals, self._host.signals_of(rate_hz))
            for rate_hz in rates
        }

    # -- update

    def _update_client(self) -> UpdateClient | None:
        profile = self._settings.profile
        if profile.update is None:
            return None

        async def admitted(bundle: VerifiedBundle) -> AdmissionResult:
            return await admit(bundle.file, profile.compute.models)

        return UpdateClient(
            slots=self._slots,
            fetch=fetch_child(
                self._settings, self._link.ground_time_ns,
                lambda: self._situation.utc_ns(self._flight.now_ns()),
            ),
            admit=admitted, load=self._models.load, reload=self._models.reload,
            ask=self._ask_gate, record=self._upkeep.record,
            clock=self._clock, beat=self._heart("update", profile.update.deadline_s),
            must_accept=profile.update.acceptance == "technician", look_s=profile.update.look_s,
        )  # fmt: skip

    async def _load_live(self) -> None:
        """Beside the recorder, which does not wait for it; then say what runs."""
        await self._models.start()
        await self._versions.send("boot")

    def _ask_gate(self) -> GateDecision:
        """The gate as of this instant."""
        now_ns = self._flight.now_ns()
        state, inputs = self._state, self._situation.gate_inputs(now_ns)
        return self._gate.step(now_ns, inputs, state.phase, state.confidence, state.contradictions)

    def _see_gate(self, decision: GateDecision) -> None:
        if decision.open != self._decision.open:
            self._book.audit("gate", "open" if decision.open else "shut",
                        reasons=[reason.text for reason in decision.reasons])  # fmt: skip
        self._decision = decision
        self._upkeep.see_gate(decision)

    # -- staying in budget

    def _able(self) -> list[Step]:
        """What there is to shed here."""
        bulk, models = bool(self._recorder.bulk), bool(self._host.bindings)
        there: dict[Step, bool] = {
            "models": bool(self._models.optional) and models, "bulk_2": bulk, "bulk_5": bulk, "kpis": models,
        }  # fmt: skip
        return [step for step, is_there in there.items() if is_there]

    def _govern(self, action: Action, shed: tuple[Step, ...]) -> None:
        """One step goes or comes back: a decision like any other, which the ground sees."""
        factor = bulk_factor(shed)
        self._recorder.thin(factor)
        if action.step == "models":
            self._spawn(self._models.fit())
        if action.step == "kpis":
            for kpi in self._kpis.flush():
                self._book.emit("kpi", encode(kpi), "kpi/1")
        self._book.audit(
            "governor", action.decision, subject=action.step, reasons=list(action.reasons),
            detail={"shed": " ".join(shed), "bulk_factor": str(factor),
                    "bulk": " ".join(sorted(self._recorder.bulk))},
        )  # fmt: skip

    def _heart(self, name: str, more_s: float = 0.0) -> Callable[[], None]:
        """The beat of a task."""
        return self._hearts.expect(name, HEARTBEAT_S[name.partition("-")[0]] + more_s)

    # -- what it says of itself

    def _note_late(self, late: dict[str, float]) -> None:
        """A task that hangs is told before the service manager ends this process for it."""
        self._book.audit(
            "task", "late" if late else "in time", subject=" ".join(sorted(late)),
            reasons=[f"{name}: no heartbeat for {age_s:.1f} s" for name, age_s in late.items()],
        )  # fmt: skip

    def _summary(self) -> str:
        """One line for `systemctl status`."""
        said = f"{self._state.phase.value}, {self._periods.id}, link {self._link.status.link}"
        shed = self._governing.shed
        return f"{said}, shed {' '.join(shed)}" if shed else said

    def _figures(self) -> Figures:
        return Figures(
            state=self._state, gate=self._decision, messages=self._messages,
            overruns=self._overruns, tick_ms_max=self._tick_ms_max,
            is_stopping=self._stop.is_set(),
        )  # fmt: skip

    def _new_epoch(self, why: str) -> None:
        """The store turned out to be an old copy: its records go on under a new epoch."""
        self._book.audit("epoch", "begun", subject=self._outbox.epoch, reasons=[why])

    def _handed(self, ref: RecordRef, mono_ns: int) -> None:
        event("alert.handed", seq=ref.seq, mono_ns=mono_ns)

    # -- start, tasks, leave

    def _start(self) -> None:
        """What a boot writes before the first reading."""
        recovered = 0
        try:
            recovered = self._recorder.recover()
        except Unreachable as error:
            # a full disk: the journal stays where it is, and is sealed at the next start
            event("journal.waits", why=error.what, level=logging.ERROR)
        try:
            self._alerts.restore(self._outbox.get(ALERTS_KEY) or self._alerts.snapshot())
        except Corrupt as error:
            self._book.audit("alerts", "restarted", reasons=[str(error)])
        opened = self._outbox.opened
        detail = {"recovered_readings": str(recovered), "boot": str(self._outbox.boot)}
        if opened.full:
            detail["full"] = opened.full
        if opened.locked:
            detail["locked"] = str(opened.locked)
        if opened.quarantined is not None:
            detail["quarantined"] = f"{opened.quarantined.name}: {opened.reason}"
        self._book.audit("boot", "started", subject=self._outbox.epoch, detail=detail)
        self._book.keep_on(self._send_signal_set)
        self._upkeep.resume(self._outbox.get(OFFERS_KEY))

    def _send_signal_set(self) -> None:
        """The set travels once an epoch, before the first block that uses it."""
        signals = self._settings.signals
        mark = self._outbox.epoch.encode() + signals.sha256
        if self._outbox.get(SET_KEY) != mark:
            # a stream of its own: were it too big for the air link, it must not hold up states
            with self._outbox.transaction():
                self._outbox.append(
                    "state", pack_signal_set(signals), stream="signal-set", schema="signal-set/1",
                    codec="zstd",
                    flight=self._periods.id, t_event_ns=self._table.t_event_ns, t_quality=TIME_NONE,
                )  # fmt: skip
                self._outbox.put(SET_KEY, mark)

    async def _ticks(self) -> None:
        """Until cancelled. A timer of the loop: a task that sleeps costs twice as much a wake-up."""
        loop, beat = asyncio.get_running_loop(), self._heart("tick")
        failed: asyncio.Future[None] = loop.create_future()
        due_s = loop.time()
        timer: asyncio.TimerHandle

        def wake() -> None:
            nonlocal due_s, timer
            start_s = loop.time()
            beat()
            try:
                self.tick()
            except Exception as error:
                failed.set_exception(error)
                return
            end_s = loop.time()
            self._tick_ms_max = max(self._tick_ms_max, (end_s - start_s) * 1e3)
            due_s += self._pace.tick_s
            if due_s < end_s:
                self._overruns += 1
                due_s = end_s
            timer = loop.call_at(due_s, wake)

        timer = loop.call_at(due_s, wake)
        try:
            await failed
        finally:
            timer.cancel()

    async def _keep_open(self, source: Source) -> None:
        wait_s, beat = 0.2, self._heart(f"bus-{self._sources.index(source)}")
        while True:
            beat()
            if not source.is_open:
                try:
                    await asyncio.to_thread(source.open, 2.0)
                    event("bus.open", bus=source.name)
                    wait_s = 0.2
                except TailTwinError as error:  # not there, or not what the signal set says
                    event("bus.unreachable", bus=source.name, why=str(error),
                          level=logging.WARNING)  # fmt: skip
                    wait_s = min(2 * wait_s, BUS_RETRY_S_MAX)
            await asyncio.sleep(wait_s)

    async def _statuses(self) -> None:
        file = self._status_file
        before, before_s = self._messages, asyncio.get_running_loop().time()
        beat = self._heart("status")
        for count in itertools.count():
            await asyncio.sleep(STATUS_S)
            beat()
            if count % BACKLOG_STATUSES == 0:
                self._book.keep_on(self._report_of_self.look_at_backlog)
            now_s = asyncio.get_running_loop().time()
            rate = (self._messages - before) / (now_s - before_s)
            before, before_s = self._messages, now_s
            file.write(self._report_of_self.status(rate))
            self._tick_ms_max = 0.0

    async def _maintain(self) -> None:
        beat = self._heart("store")
        while True:
            beat()
            await asyncio.sleep(MAINTAIN_S)
            self._book.keep_on(self._send_signal_set)
            self._book.keep_on(self._outbox.maintain)

    async def _leave(self) -> None:
        """An orderly stop: seal, close a ground period, let the ground have it if it can."""
        self._slice.force()  # nothing waits for its slice any more
        self.tick()
        for kpi in self._kpis.flush():
            self._book.emit("kpi", encode(kpi), "kpi/1")
        self._book.keep_on(self._recorder.seal_all)
        transition = self._periods.machine.stop(self._table.t_event_ns)
        if transition is not None:
            self._book.keep_on(self._turn_over, transition)
        await self._drain()

    async def _drain(self) -> None:
        """Until everything is safe, no link was up for a while, or the time is over."""
        loop = asyncio.get_running_loop()
        start_s = linked_s = loop.time()
        while any(self._outbox.stats().depth.values()):
            now_s = loop.time()
            if self._link.status.link != "none":
                linked_s = now_s
            if now_s - start_s > DRAIN_S or now_s - linked_s > UNLINKED_S:
                event("edge.left", unsafe=sum(self._outbox.stats().depth.values()))
                return
            self._link.kick()
            await asyncio.sleep(0.05)


async def run(settings: Settings, notify: Notifier | None = None) -> int:
    """The daemon on this machine's clock. notify: the service manager's socket."""
    from shared.clock import SystemClock

    # What is imported stays: a full collection that looks at it stops the tick for 20 ms and more.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    return await Daemon(settings, SystemClock(), notify=notify).run()
