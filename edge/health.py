"""Health: what the edge says of itself, twice a second, to whoever reads the file.

In: a `Status`. Out: `state_dir/status.json`, replaced by rename, so a reader sees a whole one.
Always holds: writing it never stops recording; a full disk costs a status, not a record.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge.backlog import Backlog
from edge.governing import GovernorStatus


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The edge now. Times ending in `event_ns` are event time; ages are flight seconds."""

    v: int = 1
    wall_ns: int
    mono_ns: int
    pid: int
    tail: str
    epoch: str
    boot: int
    flight: str
    phase: str
    confidence: str
    t_event_ns: int
    gate_open: bool
    gate_reasons: list[str]
    link: str
    messages: int
    messages_per_s: float
    samples: int
    refused: dict[str, int]
    bus_open: bool
    overruns: int
    tick_ms_max: float
    outbox_records: int
    outbox_bytes: int
    unsafe_records: int
    oldest_unsafe_event_ns: int | None
    bytes_up: int
    alerts: list[str]
    worker: str
    slot: str
    bundles: list[str]
    updates_pending: list[str]
    profile: str = ""
    is_stopping: bool = False
    governor: GovernorStatus = GovernorStatus()
    late: dict[str, float] = {}
    """Tasks without a heartbeat within their bound, and for how long, s."""
    backlog: Backlog = Backlog()
    outbox_bytes_max: int = 0
    link_why: str = ""
    """Of the link's last failure."""
    last_ack_ns: int | None = None
    """Wall clock."""
    set_id: str = ""
    muted: dict[str, str] = {}
    """Name of a bundle, or of the slot, to why it does not predict."""
    probation: str = ""
    """What the set on probation still needs; empty when none is."""


class StatusFile:
    """Writes the file; counts what it could not write."""

    def __init__(self, path: Path) -> None:
        self._path, self._aside = path, path.with_suffix(".new")
        self.failures = 0

    def write(self, status: Status) -> None:
        try:
            self._aside.write_bytes(msgspec.json.encode(status))
            self._aside.replace(self._path)
        except OSError:
            self.failures += 1


def read_status(path: Path) -> Status | None:
    """The last status, or None when there is none or it is not one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Status)
    except (OSError, msgspec.DecodeError):
        return None
