"""A recording through the real pipeline, as fast as it can.

In: readings in the order of a recording, a signal set. Out: a `ReplayReport`, and an outbox with
everything that the aircraft would have recorded.
Always holds: the classes are those of the daemon (validation, table, situation, phase, flight,
gate, reports, alerts, recorder); only the clock differs. The flight clock goes with the time of
the recording: never back, and across a hole it is looked at until everything has grown stale.
Models do not run, and nothing is sent.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from edge.acquire.reading import Readings
from edge.acquire.table import SignalTable
from edge.chronicle import Chronicle, Moment, ReplayReport, Span, Stored
from edge.config import Recording, Tail
from edge.flight.flights import Transition
from edge.flight.phase import Confidence, PhaseMachine, PhaseState
from edge.logbook import Logbook, Now
from edge.models.alerts import AlertBook
from edge.models.snapshots import SnapshotKeeper
from edge.outbox.store import Outbox
from edge.periods import PeriodKeeper
from edge.pipeline import Judged, Pipeline
from edge.recorder import Recorder
from edge.situation import Situation
from edge.update.gate import Gate, GateRule
from shared.clock import SystemClock
from shared.errors import Corrupt
from shared.identity import Signer
from shared.messages import Alert, Report, encode
from shared.phases import Phase
from shared.signals import SignalSet

LOOK_NS = 200_000_000  # between two looks at phase and gate, as aboard
HOLE_NS = 1_000_000_000  # longer without a reading is looked at once a second …
STALE_NS = 30_000_000_000  # … until nothing can be fresh or held any more
JUMP_NS = 60_000_000_000  # what the report calls a jump of time
JOURNAL_S = 3600.0  # a replay that is killed is run again: it needs no journal each second
CHUNK_S = 5.0  # judged and recorded at once; half of the shortest block
SAY_S = 1.0

Progress = Callable[[int, float], None]


class Replay:
    """`run` it once over a recording; then `report`."""

    def __init__(
        self, signals: SignalSet, folder: Path, *, gate: GateRule | None = None,
        recording: Recording | None = None,
    ) -> None:  # fmt: skip
        """folder: where `outbox.db` is made; nothing of another replay may be in it."""
        recording = recording or Recording()
        self.signals = signals
        self.chunk_s = LOOK_NS / 1e9 if signals.families else CHUNK_S
        """Redundant signals of other groups are compared with what these last said."""
        self._has_windows = any(rule.window != "phase" for rule in signals.reports)
        """A report that is made of looks has to have seen, at each, what came before it."""
        self.chronicle = Chronicle(signals)
        self._table = SignalTable(signals)
        self._situation = Situation(signals, self._table)
        gate = gate or GateRule()
        self._phases = PhaseMachine(gate.ground_speed_max_kt)
        self._gate = Gate(gate, self._situation.age_max_ns)
        tail = Tail(operator="REPLAY", tail="REPLAY", type=signals.airframe)
        self._outbox = Outbox.open(
            folder / "outbox.db", operator=tail.operator, tail=tail.tail, clock=SystemClock(),
            random=os.urandom, bytes_max=recording.outbox_bytes_max,
        )  # fmt: skip
        self._recorder = Recorder(self._outbox, signals, JOURNAL_S)
        device = Signer.create(folder / "device.key")
        self._periods = PeriodKeeper(self._outbox, self._recorder, tail, device)
        self._book = Logbook(self._outbox, self._now, _die)
        self._alerts = AlertBook()
        self._snapshots = SnapshotKeeper(
            signals, recording.snapshot_pre_s, recording.snapshot_post_s,
            period=lambda: self._periods.id,
        )  # fmt: skip
        self._pipeline = Pipeline(
            signals, self._table, self._recorder, self._alerts, self._book.keep_on,
            self._snapshots, self.chronicle.judged,
        )  # fmt: skip
        self._state = PhaseState(Phase.UNKNOWN, Confidence.NONE, None, None, None)
        self._looked_at = {signals.position[name][0].name for name in signals.roles.values()}
        fastest_ns = min(group.period_ns for group in signals.groups)
        self._look_every_ns = max(LOOK_NS, min(HOLE_NS, fastest_ns))
        self._now_ns, self._look_at_ns = 0, -self._look_every_ns
        self._t_ns = self._start_ns = self._passed_ns = 0
        self._is_open = False

    def run(self, chunks: Iterable[list[Readings]], say: Progress = lambda *_: None) -> None:
        """Everything of a recording, in chunks of at most `chunk_s` of its own time each, and
        each in order of time.

        say: told about once a second how many samples went through and the seconds of recording.
        """
        said_s = time.monotonic()
        for batches in chunks:
            first_ns = min(int(readings.t_ns[0]) for readings in batches)
            last_ns = max(int(readings.t_ns[-1]) for readings in batches)
            with self._outbox.transaction():  # a commit a chunk: nothing here must be durable
                self._go_to(first_ns)
                self._live([self._chunk(readings) for readings in batches], last_ns)
            if (now_s := time.monotonic()) - said_s > SAY_S:
                said_s = now_s
                say(self._recorder.samples, self._passed_ns / 1e9)
        self._leave()

    def _chunk(self, readings: Readings) -> _Chunk:
        judged = self._pipeline.judge(readings, self._now_ns)
        return _Chunk(judged, readings.group.name in self._looked_at)

    def _go_to(self, t_ns: int) -> None:
        """The flight clock follows the recording; a hole is looked through, a jump is noted."""
        if not self._t_ns:
            self._t_ns = self._start_ns = t_ns
            return
        step_ns = t_ns - self._t_ns
        if step_ns < 0 or step_ns > JUMP_NS:
            self.chronicle.time_jumps.append(Span(t_ns - step_ns, t_ns))
        if step_ns < 0:
            step_ns = LOOK_NS  # what really passed is not known
        to_ns = self._now_ns + step_ns
        while to_ns - self._look_at_ns > HOLE_NS and self._now_ns < to_ns - step_ns + STALE_NS:
            self._go_on(min(HOLE_NS, to_ns - self._now_ns))
            self._look()
        self._go_on(to_ns - self._now_ns)
        self._t_ns = t_ns

    def _go_on(self, step_ns: int) -> None:
        self._now_ns += step_ns
        self._t_ns += step_ns
        self._passed_ns += step_ns

    def _live(self, chunks: list[_Chunk], last_ns: int) -> None:
        """Look at what came at each step, as if it came right then, and record it."""
        self._pipeline.begin_slice()
        base_ns = self._now_ns - self._t_ns  # of the flight clock over the recording's time
        while (look_ns := max(self._look_at_ns + self._look_every_ns, self._now_ns)) <= (
            last_ns + base_ns
        ):
            self._place([c for c in chunks if c.is_looked_at], look_ns - base_ns, base_ns)
            self._go_on(look_ns - self._now_ns)
            self._look(chunks)
        self._place(chunks, last_ns, base_ns)
        self._go_on(last_ns + base_ns - self._now_ns)
        self._carry(chunks)

    def _place(self, chunks: list[_Chunk], t_ns: int, base_ns: int) -> None:
        for chunk in chunks:
            fresh = chunk.until(t_ns)
            if fresh is not None:
                self._pipeline.place(fresh, int(fresh.readings.t_ns[-1]) + base_ns)

    def _carry(self, chunks: list[_Chunk]) -> None:
        for chunk in chunks:
            part = chunk.seen()
            if part is not None:
                self._tell(self._pipeline.carry(part, self._now_ns, self._state.phase))

    def _look(self, chunks: list[_Chunk] | None = None) -> None:
        """Phase, period and gate, as the daemon has them. chunks: what was placed, and is
        recorded before a phase or a period ends; with windows of reports, before each look."""
        now_ns, passed_ns = self._now_ns, self._now_ns - self._look_at_ns
        self._look_at_ns = now_ns
        seen, for_gate = self._situation.look(now_ns)
        state = self._phases.step(now_ns, seen)
        t_ns = self._table.t_event_ns
        transition = self._periods.machine.step(state, t_ns) if t_ns else None
        is_over = transition is not None or state.phase is not self._state.phase
        if is_over or self._has_windows:
            self._place(chunks or [], self._t_ns, self._now_ns - self._t_ns)
            self._carry(chunks or [])
        self._state = state
        for report in self._pipeline.reports.step(state.phase.value, t_ns):
            self._report(report)
        for part in self._snapshots.step(t_ns):
            self._book.emit("report", encode(part), "snapshot/1")
        if transition is not None:
            self._turn_over(transition)
        else:
            self._periods.save_progress()
        decision = self._gate.step(
            now_ns, for_gate, state.phase, state.confidence, state.contradictions
        )
        if decision.open != self._is_open:
            self._is_open = decision.open
            self._book.audit("gate", "open" if decision.open else "shut",
                             reasons=[reason.text for reason in decision.reasons])  # fmt: skip
        self.chronicle.saw(Moment(self._t_ns, passed_ns / 1e9, state, decision))

    def _turn_over(self, transition: Transition) -> None:
        for part in self._snapshots.flush():
            self._book.emit("report", encode(part), "snapshot/1")
        self._alerts.release()
        self._recorder.seal_all()
        self.chronicle.turned(self._periods.id, transition.closed, transition.at_ns, transition.why)
        self._periods.close(transition, [])

    def _tell(self, alerts: list[Alert]) -> None:
        for alert in alerts:
            self._book.emit("alert", encode(alert), "alert/1")
            self.chronicle.alerts.append(alert)
            self._snapshots.note(alert, ())
            for report in self._pipeline.reports.note(alert):
                self._report(report)

    def _report(self, report: Report) -> None:
        self._book.emit("report", encode(report), "report/1")
        self.chronicle.reports.append(report)

    def _leave(self) -> None:
        """As the daemon stops: all is sealed, a ground period ends, a flight stays open."""
        self._look()
        for part in self._snapshots.flush():
            self._book.emit("report", encode(part), "snapshot/1")
        self._recorder.seal_all()
        transition = self._periods.machine.stop(self._table.t_event_ns)
        if transition is not None:
            self._turn_over(transition)
        else:
            self.chronicle.turned(self._periods.id, self._periods.machine.period, None, "open")

    def report(
        self, name: str, elapsed_s: float, refused: Counter[str], problems: Iterable[str]
    ) -> ReplayReport:
        """What happened. name: of the recording. refused, problems: of its source."""
        told, samples = self.chronicle, self._recorder.samples
        records = self._outbox.unsafe_by_class()
        total = sum(size for _, size, _ in records.values())
        stored = Stored(
            path=str(self._outbox.path), records=sum(count for count, _, _ in records.values()),
            bytes=total, block_bytes=records.get("block", (0, 0, 0))[1],
            bytes_per_sample=total / samples if samples else None,
        )  # fmt: skip
        return ReplayReport(
            recording=name, signal_set=self.signals.name, start_ns=self._start_ns,
            end_ns=self._table.t_event_ns, recorded_s=self._passed_ns / 1e9,
            time_jumps=told.time_jumps, samples=samples, readings=dict(told.readings),
            refused=dict(refused), problems=list(problems), phases=told.phases,
            periods=told.periods, gate_open=told.gate_open, gate_open_s=told.gate_open_s,
            gate_refusals=told.refusals(), contradictions=told.contradictions,
            quality=told.quality(), alerts=told.alerts, reports=told.reports, outbox=stored,
            elapsed_s=elapsed_s, samples_per_s=samples / elapsed_s,
            times_real_time=self._passed_ns / 1e9 / elapsed_s,
        )  # fmt: skip

    def close(self) -> None:
        self._outbox.close()

    def _now(self) -> Now:
        return Now(self._periods.id, self._table.t_event_ns, self._state.phase.value)


class _Chunk:
    """A judged batch: `placed` of its readings are in the table, `carried` are recorded.

    is_looked_at: phase or gate look at its group."""

    def __init__(self, judged: Judged, is_looked_at: bool) -> None:
        self._judged, self.is_looked_at = judged, is_looked_at
        self._times: list[int] = judged.readings.t_ns.tolist()
        self._placed = self._carried = 0

    def until(self, t_ns: int) -> Judged | None:
        """Readings that were not placed yet, up to `t_ns` of the recording."""
        first = self._placed
        self._placed = bisect_right(self._times, t_ns, first)
        return self._judged.rows(first, self._placed) if first < self._placed else None

    def seen(self) -> Judged | None:
        """Readings that were placed and are not recorded yet."""
        first, self._carried = self._carried, self._placed
        return self._judged.rows(first, self._placed) if first < self._placed else None


def _die(error: Corrupt) -> None:
    raise error
