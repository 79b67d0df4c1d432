"""A job: something a worker does once, however often it is tried.

States: `queued` (waits for its time and a worker), `running` (a worker holds its lease), `done`,
`failed` (its input was refused: trying again would end the same), `dead` (the tries are used up).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from ground.config import WorkerConfig

State = Literal["queued", "running", "done", "failed", "dead"]
ENDED: tuple[State, ...] = ("done", "failed", "dead")
ERROR_CHARS_MAX = 1000
TEXT_CHARS_MAX = 200


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One row. key: what it is about; of one kind and key at most one job is queued or running.

    progress: 0 to 1. lease_ns: until when `worker` may be silent. result: sha-256 of the result
    in `blobs/`, hex; empty until done.
    """

    id: str
    kind: str
    key: str
    state: State
    attempts: int
    progress: float
    text: str
    error: str
    payload: dict[str, Any]
    result: str
    worker: str
    created_ns: int
    due_ns: int
    lease_ns: int
    started_ns: int | None
    ended_ns: int | None

    @property
    def is_over(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class Policy:
    """How long a worker may be silent, and how often a job is tried."""

    lease_ns: int = 30_000_000_000
    attempts_max: int = 4
    retry_wait_ns: int = 10_000_000_000
    """Before the second try; four times as long before each further one."""

    @staticmethod
    def of(settings: WorkerConfig) -> Policy:
        return Policy(
            lease_ns=round(settings.ack_wait_s * 1e9), attempts_max=settings.attempts_max,
            retry_wait_ns=round(settings.retry_wait_s * 1e9),
        )  # fmt: skip

    def wait_ns(self, attempts: int) -> int:
        """After so many failed tries."""
        return self.retry_wait_ns << 2 * min(attempts - 1, 6)


def as_dict(job: Job) -> dict[str, Any]:
    """A job as JSON has it; times in ns since 1970."""
    built: dict[str, Any] = msgspec.to_builtins(job)
    return built
