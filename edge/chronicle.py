"""The chronicle of a replay: what the aircraft did, and what was made of it.

In: one `Moment` a look, judged batches, records. Out: a `ReplayReport`.
Always holds: times are event time of the recording; a duration is what lay between two looks,
and none of it is counted twice; memory grows with what happened, not with the recording.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import msgspec
import numpy as np
import numpy.typing as npt

from edge.acquire.reading import Readings
from edge.flight.flights import Period
from edge.flight.phase import PhaseState
from edge.update.gate import GateDecision
from shared.messages import Alert, Report
from shared.phases import Confidence
from shared.quality import describe
from shared.signals import SignalSet

SPANS_MAX = 10_000  # phases and openings of one recording; assumption, far above any


class Span(msgspec.Struct):
    """A stretch of event time, ns."""

    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


class PhaseSpan(Span):
    """A phase and how much of it was held on high confidence."""

    phase: str = ""
    high_s: float = 0.0


class FlightTimes(msgspec.Struct, frozen=True, kw_only=True):
    """A period, as its manifest names it. closed_ns, why: empty while it is still open."""

    id: str
    kind: str
    opened_ns: int
    closed_ns: int | None
    why: str
    out_ns: int | None
    off_ns: int | None
    on_ns: int | None
    in_ns: int | None


class Refusal(msgspec.Struct):
    """One reason for which the gate was shut, and for how long. text: as it was last said."""

    code: str
    role: str
    text: str = ""
    seconds: float = 0.0


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What the outbox holds at the end. block_bytes: sealed bytes of all blocks."""

    path: str
    records: int
    bytes: int
    block_bytes: int
    bytes_per_sample: float | None


class ReplayReport(msgspec.Struct, kw_only=True):
    """What `tailtwin-edge replay` writes."""

    v: int = 1
    recording: str
    signal_set: str
    start_ns: int
    end_ns: int
    recorded_s: float
    """Event time from first to last, without what lies between jumps back."""
    time_jumps: list[Span]
    """Where the recording's time went back, or on by more than a minute: from, to."""
    samples: int
    readings: dict[str, int]
    """By group."""
    refused: dict[str, int]
    """What of the file could not be used, by cause …"""
    problems: list[str]
    """… and the newest of it, by row and column."""
    phases: list[PhaseSpan]
    periods: list[FlightTimes]
    gate_open: list[Span]
    gate_open_s: float
    gate_refusals: list[Refusal]
    """Most time first."""
    contradictions: dict[str, float]
    """Seconds, by name."""
    quality: dict[str, dict[str, int]]
    """Samples by quality, by signal."""
    alerts: list[Alert]
    reports: list[Report]
    outbox: Stored
    elapsed_s: float
    samples_per_s: float
    times_real_time: float

    def times(self) -> dict[str, str]:
        """RFC 3339 of the first and the last reading."""
        return {"start": iso(self.start_ns), "end": iso(self.end_ns)}


class Moment(msgspec.Struct, frozen=True):
    """One look. passed_s: since the one before it."""

    t_ns: int
    passed_s: float
    state: PhaseState
    gate: GateDecision


class Chronicle:
    """Collects; `phases`, `gate_open`, … are what was collected."""

    def __init__(self, signals: SignalSet) -> None:
        self._signals = signals
        self.phases: list[PhaseSpan] = []
        self.periods: list[FlightTimes] = []
        self.gate_open: list[Span] = []
        self.gate_open_s = 0.0
        self.contradictions: dict[str, float] = {}
        self.time_jumps: list[Span] = []
        self.alerts: list[Alert] = []
        self.reports: list[Report] = []
        self.readings: Counter[str] = Counter()
        self.block_bytes = 0
        self._refusals: dict[tuple[str, str], Refusal] = {}
        self._was_open = False
        self._quality = {g.name: np.zeros((len(g.signal), 256), np.int64) for g in signals.groups}

    def judged(self, readings: Readings, quality: npt.NDArray[np.uint8]) -> None:
        """A batch with its quality, shape (n, signals of the group)."""
        counts = self._quality[readings.group.name]
        self.readings[readings.group.name] += len(quality)
        if not quality.any():
            counts[:, 0] += len(quality)
            return
        flat = quality + 256 * np.arange(quality.shape[1])
        counts += np.bincount(flat.ravel(), minlength=counts.size).reshape(counts.shape)

    def saw(self, moment: Moment) -> None:
        """A look at phase and gate."""
        self._phase(moment)
        for doubt in moment.state.contradictions:
            known = self.contradictions.get(doubt, 0.0)
            self.contradictions[doubt] = known + moment.passed_s
        if moment.gate.open:
            if not self._was_open and len(self.gate_open) < SPANS_MAX:
                self.gate_open.append(Span(moment.t_ns, moment.t_ns))
            elif self._was_open:
                self.gate_open[-1].end_ns = moment.t_ns
                self.gate_open_s += moment.passed_s
        self._was_open = moment.gate.open
        for reason in {(r.code, r.role): r for r in moment.gate.reasons}.values():
            refusal = self._refusals.setdefault(
                (reason.code, reason.role), Refusal(reason.code, reason.role)
            )
            refusal.text = reason.text
            refusal.seconds += moment.passed_s

    def _phase(self, moment: Moment) -> None:
        phase = moment.state.phase.value
        if not self.phases or self.phases[-1].phase != phase:
            start_ns = moment.t_ns - round(moment.state.phase_age_s * 1e9)
            if self.phases:
                start_ns = max(start_ns, self.phases[-1].start_ns)
                last = self.phases[-1]
                last.end_ns = start_ns
                last.high_s = min(last.high_s, last.seconds)
            if len(self.phases) < SPANS_MAX:
                self.phases.append(PhaseSpan(start_ns, moment.t_ns, phase))
        last = self.phases[-1]
        last.end_ns = moment.t_ns
        if moment.state.confidence is Confidence.HIGH:
            last.high_s = min(last.high_s + moment.passed_s, last.seconds)

    def turned(self, id: str, period: Period, closed_ns: int | None, why: str) -> None:
        """A period as it closed, or as it stands at the end."""
        times = period.oooi
        self.periods.append(
            FlightTimes(
                id=id, kind=period.kind, opened_ns=period.opened_ns, closed_ns=closed_ns, why=why,
                out_ns=times.out_ns, off_ns=times.off_ns, on_ns=times.on_ns, in_ns=times.in_ns,
            )
        )  # fmt: skip

    def refusals(self) -> list[Refusal]:
        """Why the gate was shut, most time first."""
        return sorted(self._refusals.values(), key=lambda r: (-r.seconds, r.code, r.role))

    def quality(self) -> dict[str, dict[str, int]]:
        """Samples by quality, by signal."""
        found = {}
        for group in self._signals.groups:
            for signal, row in zip(group.signal, self._quality[group.name], strict=True):
                found[signal.name] = {describe(int(b)): int(row[b]) for b in np.flatnonzero(row)}
        return found


def iso(t_ns: int) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    at = datetime.fromtimestamp(t_ns / 1e9, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
