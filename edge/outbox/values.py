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

    full: why nothing can be written for now; reading and sending work. locked: records that are
    held, but whose data key this device's key does not unwrap.
    """

    created: bool
    quarantined: Path | None = None
    reason: str = ""
    full: str = ""
    locked: int = 0


@dataclass(frozen=True, slots=True)
class AckCounts:
    """How many held records an ack newly called received and safe."""

    received: int
    safe: int


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """depth: records not yet safe, by class. oldest_unsafe_ns: event time. locked: held, but not
    readable aboard; not in depth."""

    records: int
    bytes: int
    depth: dict[str, int]
    oldest_unsafe_ns: int | None
    evicted_unsafe: int
    thinned: int = 0
    """Blocks replaced by thinner ones; like `evicted_unsafe` since this open."""
    locked: int = 0
