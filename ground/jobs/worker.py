"""The worker: writes flight files, queues what is due, runs jobs.

In: the tables and the queue. Out: files, results, ended jobs. Any number of workers share them.
Always holds: a job is claimed in the table before it runs, and its lease is renewed there before
its message is; a fault of broker, disk or database delays work and ends nothing; on `stop` a job
in the middle is given back, and the try does not count.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from ground.jobs.attempt import Attempt, Ended
from ground.jobs.blobs import Blobs
from ground.jobs.child import resolve
from ground.jobs.due import DueFlights
from ground.jobs.handlers import Kind
from ground.jobs.job import Job
from ground.jobs.queue import JobQueue, Taken
from ground.jobs.table import Jobs
from ground.lake.flights import FlightFiles
from shared.clock import Clock
from shared.errors import Rejected, Unreachable
from shared.log import event

PERIOD_S = 0.5
SCAN_S = 30.0  # flights that are due are looked for at once after a file, and so often anyway
TAKE_S = 1.0
BEAT_S = 1.0  # progress is written this often, and at least three times in a lease
PUT_AGAIN_S = 5.0  # a job that stays queued is put again: the queue may have been lost
STUCK_S = 600.0  # and after this its message is replaced: its deliveries may be used up
IN_QUEUE_MAX = 256
DAY_NS = 86_400_000_000_000
WRITE_TRIES = 3  # of the end of a job, each waits for the database as long as it may be busy
T = TypeVar("T")


class Worker:
    """One process of them. name: unique among workers."""

    def __init__(
        self, name: str, table: Jobs, files: FlightFiles, due: DueFlights, blobs: Blobs,
        state: Path, kinds: Mapping[str, Kind], clock: Clock, stop: asyncio.Event,
    ) -> None:  # fmt: skip
        self._name, self._jobs, self._files, self._due = name, table, files, due
        self._blobs, self._state, self._kinds, self._clock = blobs, state, kinds, clock
        self._stop = stop
        self._scan = asyncio.Event()
        self._put_s: dict[str, tuple[float, float]] = {}
        """Of jobs that stay queued: first and last put."""

    async def run(self, connect: Callable[[], Coroutine[None, None, JobQueue]]) -> None:
        """Until `stop`. connect: waits for the broker as long as it takes."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write_files())
            tasks.create_task(self._scan_flights())
            queue = await self._unless_stopped(connect())
            if queue is not None:
                tasks.create_task(self._fill(queue))
                tasks.create_task(self._take(queue))

    async def _write_files(self) -> None:
        while not self._stop.is_set():
            if await self._patient(lambda: asyncio.to_thread(self._files.write_one_due)):
                self._scan.set()
            else:
                await self._pause(PERIOD_S)

    async def _scan_flights(self) -> None:
        while not self._stop.is_set():
            self._scan.clear()
            for one in await self._patient(lambda: asyncio.to_thread(self._due.queue)) or ():
                event("job_due", flight=one.flight, revision=one.revision)
            await self._patient(lambda: asyncio.to_thread(self._forget))
            await self._unless_stopped(_at_most(self._scan.wait(), SCAN_S))

    def _forget(self) -> None:
        for kind in self._kinds.values():
            if kind.kept_days:
                before_ns = self._clock.wall_ns() - kind.kept_days * DAY_NS
                for result in self._jobs.forget(kind.name, before_ns, kind.kept_max):
                    self._blobs.remove(result)

    async def _fill(self, queue: JobQueue) -> None:
        while not self._stop.is_set():
            await self._patient(lambda: self._fill_once(queue))
            await self._pause(PERIOD_S)

    async def _fill_once(self, queue: JobQueue) -> None:
        now_ns, now_s = self._clock.wall_ns(), self._clock.mono_ns() / 1e9
        for job in await asyncio.to_thread(self._jobs.reap, now_ns):
            event("job_abandoned", level=logging.WARNING, job=job.id, worker=job.worker)
            await queue.forget(job.kind, job.id)
        due = self._in_turn(await asyncio.to_thread(self._jobs.due, now_ns, IN_QUEUE_MAX))
        names = {name for _, name in due}
        self._put_s = {name: times for name, times in self._put_s.items() if name in names}
        for kind, name in due:
            first_s, last_s = self._put_s.get(name, (now_s, now_s - PUT_AGAIN_S))
            if now_s - last_s < PUT_AGAIN_S:
                continue
            if now_s - first_s > STUCK_S:
                await queue.forget(kind, name)
                first_s = now_s
            await queue.put(kind, name)
            self._put_s[name] = first_s, now_s

    def _in_turn(self, due: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Of each kind those that may be in the queue now, so that none keeps the others out."""
        turn, taken = [], Counter[str]()
        for kind, name in due:
            taken[kind] += 1
            known = self._kinds.get(kind)
            if known is None or not known.ahead_max or taken[kind] <= known.ahead_max:
                turn.append((kind, name))
        return turn

    async def _take(self, queue: JobQueue) -> None:
        event("working", worker=self._name)
        while not self._stop.is_set():
            taken = await self._patient(lambda: self._unless_stopped(queue.take(TAKE_S)))
            if taken is not None:
                await self._patient(lambda taken=taken: self._answer(taken))  # type: ignore[misc]

    async def _answer(self, taken: Taken) -> None:
        now_ns = self._clock.wall_ns()
        job = await asyncio.to_thread(self._jobs.claim, taken.job, self._name, now_ns)
        if job == "over":
            await taken.done()
        elif job == "later":
            await taken.later(self._jobs.policy.lease_ns / 1e9 / 2)
        else:
            event("job_started", job=job.id, kind=job.kind, key=job.key, attempt=job.attempts)
            await self._try(job, taken)

    async def _try(self, job: Job, taken: Taken) -> None:
        kind = self._kinds.get(job.kind)
        if kind is None:  # of a newer ground than this
            await self._end(job, Ended("refused", f"this ground has no jobs of kind {job.kind!r}"))
            await taken.done()
            return
        attempt = Attempt(job, kind, self._state)
        running = asyncio.create_task(attempt.run())
        try:
            held = await self._accompany(job, attempt, running, taken)
        finally:
            running.cancel()
            await asyncio.wait({running})
        if self._stop.is_set() and running.cancelled():
            await asyncio.to_thread(self._jobs.give_back, job, self._clock.wall_ns())
            event("job_given_back", job=job.id)
        elif held:
            await self._end(job, running.result())
        else:
            event("job_lost", level=logging.WARNING, job=job.id)
        await taken.done()

    async def _accompany(
        self, job: Job, attempt: Attempt, running: asyncio.Task[Ended], taken: Taken
    ) -> bool:
        """Renew the lease until it ends; False when another has the job, or we stop."""
        stop = asyncio.create_task(self._stop.wait())
        beat_s = min(BEAT_S, self._jobs.policy.lease_ns / 3e9)
        try:
            while True:
                await asyncio.wait({running, stop}, timeout=beat_s,
                                   return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
                if running.done() or stop.done():
                    return running.done()
                if not await self._renew(job, attempt):
                    return False
                await taken.go_on()
        finally:
            stop.cancel()

    async def _renew(self, job: Job, attempt: Attempt) -> bool:
        try:
            return await asyncio.to_thread(
                self._jobs.renew, job, self._clock.wall_ns(), attempt.progress, attempt.text
            )
        except Unreachable as error:  # the lease lasts a while yet
            event("worker_waits", level=logging.WARNING, why=str(error))
            return True

    async def _end(self, job: Job, ended: Ended) -> None:
        """Write how it ended; a database that stays busy leaves the job to its lease."""
        for left in reversed(range(WRITE_TRIES)):
            try:
                state = await asyncio.to_thread(self._write_end, job, ended)
            except Unreachable:
                if not left:
                    raise
                await self._pause(PERIOD_S)
            else:
                level = logging.INFO if state == "done" else logging.ERROR
                event("job_ended", level=level, job=job.id, kind=job.kind, key=job.key,
                      state=state, attempt=job.attempts, why=ended.text)  # fmt: skip
                return

    def _write_end(self, job: Job, ended: Ended) -> str:
        now_ns = self._clock.wall_ns()
        if ended.how != "done":
            kept = self._jobs.fail(job, ended.text, now_ns, again=ended.how != "refused")
        else:
            try:
                kept = self._keep(job, ended.result, now_ns)
            except Unreachable:
                raise
            except Rejected as error:
                why = f"its result is none: {error}"
                kept = self._jobs.fail(job, why, now_ns, again=True)
            except Exception as error:  # a bug in a conclusion must not stop those behind it
                why = f"bug: {error!r:.600}"
                event("job_bug", level=logging.ERROR, job=job.id, error=why)
                kept = self._jobs.fail(job, why, now_ns, again=True)
        found = self._jobs.get(job.id) if kept else None
        return found.state if found else "another's"

    def _keep(self, job: Job, result: bytes, now_ns: int) -> bool:
        if not result.startswith(b"{"):
            raise Rejected("no JSON object", job.id)
        sha256 = self._blobs.put(result)
        name = self._kinds[job.kind].conclusion

        def conclude(db: Connection, job: Job) -> None:
            if name:
                resolve(name)(db, job, result, sha256, now_ns)

        return self._jobs.finish(job, sha256, now_ns, conclude)

    async def _patient(self, act: Callable[[], Awaitable[T]]) -> T | None:
        """What `act` gives; None, after a wait, when the world does not answer."""
        try:
            return await act()
        except Unreachable as error:
            event("worker_waits", level=logging.WARNING, why=str(error))
            await self._pause(PERIOD_S)
            return None

    async def _unless_stopped(self, coroutine: Coroutine[None, None, T]) -> T | None:
        """Its result; None, and it is cancelled, when we are told to stop."""
        task, stop = asyncio.create_task(coroutine), asyncio.create_task(self._stop.wait())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            return None
        return task.result()

    async def _pause(self, seconds: float) -> None:
        await _at_most(self._stop.wait(), seconds)


async def _at_most(waiting: Coroutine[None, None, object], seconds: float) -> None:
    try:
        await asyncio.wait_for(waiting, seconds)
    except TimeoutError:
        return
