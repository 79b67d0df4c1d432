"""Jobs through a real nats-server, with workers as processes that are killed."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ground.database import open_writer
from ground.ingest.closing import Closing
from ground.ingest.ledger import Ledger
from ground.ingest.segments import SegmentReader, Segments
from ground.jobs.blobs import Blobs
from ground.jobs.job import Job
from ground.jobs.table import Jobs
from ground.reconcile.store import Reconciliations
from shared.clock import SystemClock
from shared.identity import Signer
from tests.contract.ground_site import Site
from tests.contract.job_handlers import calls
from tests.unit.ground.stores import arrivals
from tests.unit.ground.synthetic import FLIGHT, OPERATOR, TAIL, Tail, wait_for

ROOT = Path(__file__).parents[2]
SOON_S = 40.0  # of a machine that is busy with other things
POLICY = "[worker]\nack_wait_s = 2.0\nattempts_max = 2\nretry_wait_s = 0.1\n"


class Shop:
    """A ground with a broker, a ledger that the test feeds, and workers."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder)
        self.paths, self.state = self.site.paths, self.site.paths.state
        with self.paths.config.open("a") as file:
            file.write(POLICY)
        self.site.enrol(Tail())
        self.broker = self.site.start_broker()
        self.jobs = Jobs.open(self.paths)
        self.clock = SystemClock()

    def worker(self) -> subprocess.Popen[bytes]:
        """One more worker, that knows the handlers of the tests."""
        with (self.state / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.contract.job_handlers", str(self.state)],
                stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        self.site.processes.append(process)
        return process

    def feed(self, tail: Tail, *messages: tuple[str, bytes]) -> None:
        """What ingest does, once."""
        segments = Segments(self.paths.segments, 1 << 20)
        engine = open_writer(self.paths.ledger)
        ledger = Ledger(engine, segments, SegmentReader(self.paths.segments), self.clock)
        ledger.commit(arrivals(tail, *messages))
        Closing(ledger, Signer.load(self.paths.key), OPERATOR, self.clock, 0).close_due()
        segments.close()
        engine.dispose()

    def add(self, do: str, kind: str = "what_if", **payload: object) -> str:
        return self.jobs.add(kind, f"{kind}-{do}", {"do": do, **payload},
                             self.clock.wall_ns()).id  # fmt: skip

    def job(self, identity: str) -> Job:
        found = self.jobs.get(identity)
        assert found is not None
        return found

    async def over(self, identity: str, timeout_s: float = SOON_S) -> Job:
        try:
            await wait_for(lambda: self.job(identity).is_over, timeout_s)
        except TimeoutError:
            raise AssertionError(
                f"{self.job(identity)}\n{(self.state / 'worker.log').read_text()}"
            ) from None
        return self.job(identity)

    def started(self, identity: str) -> int:
        return sum(line.startswith(identity) for line in calls(self.state))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    one = Shop(tmp_path)
    yield one
    (one.state / "go").touch()
    one.site.stop()


def test_what_a_worker_meets_costs_one_job_and_the_next_one_runs(shop: Shop) -> None:
    shop.worker()

    async def go() -> None:
        ids = [shop.add("raise"), shop.add("refuse"), shop.add("hang", "calibrate")]
        broken, refused, hung = [await shop.over(one) for one in ids]
        assert (broken.state, broken.attempts) == ("dead", 2)
        assert "divided by zero" in broken.error and "job_handlers.py" in broken.error
        assert (refused.state, refused.attempts) == ("failed", 1)
        assert "no such thing" in refused.error and "to do: name another" in refused.error
        assert (hung.state, hung.attempts) == ("dead", 2)
        assert "no end within 1 s" in hung.error
        slow = shop.add("slow", seconds=0.3)
        await wait_for(lambda: shop.started(slow) == 1, SOON_S)
        with shop.jobs.engine.begin():  # nobody else writes to control.db
            await asyncio.sleep(1.0)
        assert (await shop.over(slow)).state == "done"
        done = await shop.over(shop.add("answer"))
        assert (done.state, done.progress) == ("done", 1.0)
        assert Blobs(shop.paths.blobs).get(done.result) == b'{"answer":42,"nan":null}'

    asyncio.run(go())


def test_a_worker_that_stops_gives_its_job_back_and_one_that_is_killed_leaves_it_to_another(
    shop: Shop,
) -> None:
    async def go() -> None:
        one = shop.add("wait")
        first = shop.worker()
        await wait_for(lambda: shop.started(one) == 1, SOON_S)
        first.terminate()
        assert await asyncio.to_thread(first.wait, SOON_S) == 0
        assert (shop.job(one).state, shop.job(one).attempts) == ("queued", 0)
        second = shop.worker()
        await wait_for(lambda: shop.started(one) == 2, SOON_S)
        third = shop.worker()
        second.send_signal(signal.SIGKILL)
        (shop.state / "go").touch()
        done = await shop.over(one)
        assert (done.state, done.attempts) == ("done", 2)
        assert done.worker.endswith(f":{third.pid}")
        assert shop.started(one) == 3

    asyncio.run(go())


def test_a_job_that_kills_its_worker_is_dead_after_its_tries_and_the_next_one_runs(
    shop: Shop,
) -> None:
    async def go() -> None:
        poison = shop.add("poison")
        async with supervised(shop):
            dead = await shop.over(poison)
            assert dead.state == "dead" and "went silent" in dead.error
            assert shop.started(poison) == 2
            assert (await shop.over(shop.add("answer"))).state == "done"

    asyncio.run(go())


@contextlib.asynccontextmanager
async def supervised(shop: Shop) -> AsyncIterator[None]:
    """A worker that is started again when it dies."""

    async def tend() -> None:
        worker = shop.worker()
        while True:
            if worker.poll() is not None:
                worker = shop.worker()
            await asyncio.sleep(0.05)

    task = asyncio.create_task(tend())
    try:
        yield
    finally:
        task.cancel()


def test_a_lost_queue_is_filled_again_from_the_table(shop: Shop) -> None:
    async def go() -> None:
        shop.worker()
        held = shop.add("wait")
        await wait_for(lambda: shop.started(held) == 1, SOON_S)
        waiting = [shop.add("answer"), shop.add("slow", seconds=0)]
        await asyncio.sleep(0.7)  # into the queue, behind the one that runs
        shop.broker.send_signal(signal.SIGKILL)
        shop.broker.wait()
        shutil.rmtree(shop.paths.nats_store)
        shop.site.start_broker()
        (shop.state / "go").touch()
        for one in (held, *waiting):
            assert (await shop.over(one)).state == "done"
            assert shop.started(one) == 1

    asyncio.run(go())


def test_a_flight_is_reconciled_once_a_revision_whatever_is_lost(shop: Shop) -> None:
    tail = Tail()
    messages = [tail.signal_set(), *(tail.block("engine", 30 * k, 30) for k in range(3))]
    results = Reconciliations(shop.jobs.reader, Blobs(shop.paths.blobs))
    period = tail.manifest(f"{TAIL}-{tail.epoch}-G00001", parts=[])

    def revisions() -> list[int]:
        return [one.closure_revision for one in results.all(TAIL, FLIGHT)]

    async def go() -> None:
        shop.feed(tail, *messages[:3], tail.manifest(), period)
        shop.worker(), shop.worker()
        await wait_for(lambda: revisions() == [1], SOON_S)
        shop.feed(tail, messages[3])
        await wait_for(lambda: revisions() == [2, 1], SOON_S)
        for process in shop.site.processes:
            process.kill()
            process.wait()
        shutil.rmtree(shop.paths.nats_store)
        with shop.jobs.engine.begin() as db:
            db.exec_driver_sql("delete from jobs")
            db.exec_driver_sql("delete from reconciliations where closure_revision = 2")
        shop.site.start_broker()
        shop.worker()
        await wait_for(lambda: revisions() == [2, 1], SOON_S)
        assert [one.key for one in shop.jobs.listed()] == [f"{TAIL}/{FLIGHT}/2"]

    asyncio.run(go())
