"""The ground, process by process: what each is made of.

        links ─▶ nats-server ─▶ ingest ─▶ segments, ledger.db ─▶ worker ─▶ lake/flights, results
                   ▲     ▲         │ acks                │         │ jobs
                   │     └─────────┘                     └─▶ api ─▶ HTTP
                   └───────────────────────────────────────────────┘

In: a state folder. Out: one running process. This is the file that connects the parts; the
parts know each other by messages and tables only. Each process imports its own parts when it
starts: ingest carries no web framework, the api no Parquet writer.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from nats.aio.client import Client

from ground.broker import connect
from ground.config import GroundConfig, Paths, load_config
from ground.database import open_reader, open_writer
from ground.ingest.segments import SegmentReader, Segments
from ground.jobs.handlers import KINDS, Kind
from ground.twins.control import Control
from shared.clock import SystemClock
from shared.errors import ConfigError
from shared.identity import Signer
from shared.log import event, setup

WORKER_PERIOD_S = 0.5
SPARE_DELIVERIES = 16  # of a message, beyond its tries: workers that stop, a database that is busy


def run_ingest(paths: Paths) -> None:
    """Take records until SIGTERM."""
    setup("ingest")
    config = load_config(paths)
    with only_one(paths, "ingest"):
        asyncio.run(_ingest(paths, config))


async def _ingest(paths: Paths, config: GroundConfig) -> None:
    from ground.ingest.closing import Closing
    from ground.ingest.ledger import Ledger
    from ground.ingest.receive import Ingest

    clock, signer = SystemClock(), Signer.load(paths.key)
    control = Control.open(paths.control)
    segments = Segments(paths.segments, config.ingest.segment_bytes_max)
    engine = open_writer(paths.ledger)
    ledger = Ledger(engine, segments, SegmentReader(paths.segments), clock)
    if ledger.bytes_cut:
        event("segments_cut", level=logging.WARNING, bytes=ledger.bytes_cut)
    closing = Closing(ledger, signer, config.operator, clock, config.ingest.settle_ms * 1_000_000)
    client = await connect(config, "ingest", control.password("ingest"), patient=True)
    ingest = Ingest(
        client, config, ledger, closing, signer, clock, control.device_keys,
        lambda: shutil.disk_usage(paths.state).free,
    )  # fmt: skip
    try:
        await ingest.run(_until_term())
    finally:
        await client.close()
        segments.close()
        engine.dispose()


def run_worker(paths: Paths, kinds: Mapping[str, Kind] = KINDS) -> None:
    """Write flight files and run jobs until SIGTERM; any number of workers may."""
    setup("worker")
    asyncio.run(_worker(paths, load_config(paths), kinds))


async def _worker(paths: Paths, config: GroundConfig, kinds: Mapping[str, Kind]) -> None:
    from ground.jobs.blobs import Blobs
    from ground.jobs.child import resolve
    from ground.jobs.due import DueFlights
    from ground.jobs.job import Policy
    from ground.jobs.queue import JobQueue
    from ground.jobs.table import Jobs
    from ground.jobs.worker import Worker
    from ground.lake.flights import FlightFiles

    stop = _until_term()
    while not paths.ledger.exists() and not stop.is_set():
        await _wait(stop, WORKER_PERIOD_S)
    if stop.is_set():
        return
    clock, control = SystemClock(), Control.open(paths.control)
    settings, ledger = config.worker, open_reader(paths.ledger)
    for kind in kinds.values():  # their tables are made with the others, here
        if kind.conclusion:
            resolve(kind.conclusion)
    table = Jobs.open(paths, Policy.of(settings), kinds)
    files = FlightFiles(
        ledger, table.engine, SegmentReader(paths.segments), paths.flights, clock
    )  # fmt: skip
    worker = Worker(
        f"{socket.gethostname()}:{os.getpid()}", table, files, DueFlights(ledger, table, clock),
        Blobs(paths.blobs), paths.state, kinds, clock, stop,
    )  # fmt: skip
    clients: list[Client] = []
    password = control.password("worker")

    async def join() -> JobQueue:
        clients.append(await connect(config, "worker", password, patient=True))
        deliveries = settings.attempts_max + SPARE_DELIVERIES
        return JobQueue(clients[0], config.operator, settings.ack_wait_s, deliveries)

    try:
        await worker.run(join)
    finally:
        for client in clients:
            await client.close()


def run_api(paths: Paths, tuf_repo: Path | None) -> None:
    """Serve HTTP until SIGTERM."""
    from ground.api.server import serve

    setup("api")
    config = load_config(paths)
    with only_one(paths, "api"):
        serve(paths, config, tuf_repo)


@contextmanager
def only_one(paths: Paths, name: str) -> Iterator[None]:
    """One process of a kind per state folder; writes its id to `run/{name}.pid`."""
    paths.run.mkdir(parents=True, exist_ok=True)
    with paths.pid(name).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"{name} runs on this state folder already", str(paths.pid(name)), "stop it first"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _until_term() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
