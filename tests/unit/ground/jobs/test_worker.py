"""What a worker puts into the queue, and in which order."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from ground.database import open_writer
from ground.jobs.blobs import Blobs
from ground.jobs.handlers import KINDS
from ground.jobs.queue import JobQueue
from ground.jobs.table import Jobs
from ground.jobs.worker import Worker
from shared.clock import ManualClock


class Queue:
    """Keeps what is put."""

    def __init__(self) -> None:
        self.put_: list[tuple[str, str]] = []

    async def put(self, kind: str, job: str) -> bool:
        self.put_.append((kind, job))
        return True

    async def forget(self, kind: str, job: str) -> None:
        self.put_.remove((kind, job))


def test_many_questions_do_not_keep_a_flight_waiting(tmp_path: Path) -> None:
    """The queue is first in, first out: a flight waits behind a few of another kind at most."""
    engine = open_writer(tmp_path / "control.db")
    jobs, clock, queue = Jobs(engine, engine), ManualClock(), Queue()
    for k in range(100):
        jobs.add("what_if", str(k), {}, k)
    flight = jobs.add("reconcile", "T/F/1", {}, 200)
    parts = cast(Any, None)  # files and due flights are not looked at
    worker = Worker(
        "w", jobs, parts, parts, Blobs(tmp_path), tmp_path, KINDS, clock, asyncio.Event()
    )
    asyncio.run(worker._fill_once(cast(JobQueue, queue)))
    assert len(queue.put_) == KINDS["what_if"].ahead_max + 1 <= 5
    assert queue.put_[-1] == ("reconcile", flight.id)
    first = queue.put_[0][1]
    jobs.claim(first, "w", clock.wall_ns())
    clock.advance_s(1)
    asyncio.run(worker._fill_once(cast(JobQueue, queue)))
    assert [kind for kind, _ in queue.put_].count("what_if") == KINDS["what_if"].ahead_max + 1
    engine.dispose()
