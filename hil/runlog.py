"""The run log: what the bench saw of a run, sampled, and what it did to it.

In: samples of the edge's status, and the bench's own acts. Out: plain data for the scorecard,
the live view and the report.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the edge. flight_s counts from the first reading of the flight."""

    wall_s: float
    flight_s: float
    t_event_ns: int
    alive: bool
    phase: str
    gate_open: bool
    gate_reasons: tuple[str, ...]
    link: str
    messages_per_s: float
    outbox_records: int
    outbox_bytes: int
    unsafe_records: int
    oldest_unsafe_s: float | None
    """Age of the oldest record that is not safe on the ground, flight seconds."""
    alerts: tuple[str, ...]
    bundles: tuple[str, ...]
    muted: tuple[str, ...]
    """Names of bundles that do not predict."""
    worker: str
    cpu_percent: float
    rss_mb: float


@dataclass(slots=True)
class Kill:
    """A SIGKILL, by the bench's own record. Event times in ns."""

    program: str
    wall_s: float
    t_event_ns: int
    back_event_ns: int | None = None
    """Event time on the bus when the program said again that it records."""
    down_wall_s: float | None = None


@dataclass(slots=True)
class Cut:
    """A link cut, event time in ns."""

    link: str
    start_event_ns: int
    end_event_ns: int | None = None


@dataclass(slots=True)
class RunLog:
    """Everything noted while the run went on."""

    samples: list[Sample] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cpu_s: float | None = None
    """CPU of all edge processes while the flight was played; its wall time beside it."""
    played_wall_s: float | None = None
