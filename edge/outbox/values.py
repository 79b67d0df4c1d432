"""What the outbox answers with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RecordRef:
    """Where a record is. bytes: size of its sealed bytes."""

    epoch: str
    stream: str
    seq: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Opened:
    """What opening found. quarantined: where a corrupt file was moved to, and why.

    full: why nothing can be written for now; reading and sending work.
    """

    created: bool
    quarantined: Path | None = None
    reason: str = ""
    full: str = ""


@dataclass(frozen=True, slots=True)
class AckCounts:
    """How many held records an ack newly called received and safe."""

    received: int
    safe: int


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """depth: records not yet safe, by class. oldest_unsafe_ns: event time."""

    records: int
    bytes: int
    depth: dict[str, int]
    oldest_unsafe_ns: int | None
    evicted_unsafe: int
    """Since this open."""
