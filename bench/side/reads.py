"""Reading it back: telemetry by three ways, and states beside bare FastAPI.

In: a site with a long flight. Out: medians in ms of the same questions asked of the block store in this
process, of the api over HTTP, and of DuckDB on the flight's Parquet; answers a second of the api's state
and of FastAPI with nothing behind it, on the same cores, one after the other.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import httpx

from bench.side.longflight import TAIL, LongFlight
from bench.side.site import Site
from ground.config import Paths
from ground.database import open_reader
from ground.ingest.segments import SegmentReader
from ground.lake.query import Telemetry
from ground.lake.records import Records
from hil.processes import Child, free_port, run_once

REPEATS = 15
POINTS = 1000
HOUR_NS = 3_600_000_000_000
KNOCK_S = 4.0
CONNECTIONS = 16


def questions(long: LongFlight) -> dict[str, tuple[str, int, int]]:
    """Name to (signal, start, end): a quarter of an hour, an hour and the whole flight."""
    start = long.flight.start_ns + 2 * HOUR_NS
    end = long.flight.end_ns + 1
    return {
        "EGT, 10 Hz, 15 min": ("ENG1_EGT", start, start + HOUR_NS // 4),
        "EGT, 10 Hz, 1 h": ("ENG1_EGT", start, start + HOUR_NS),
        "EGT, 10 Hz, whole flight": ("ENG1_EGT", long.flight.start_ns, end),
        "50 Hz signal, whole flight": (_fast(long), long.flight.start_ns, end),
    }


def _fast(long: LongFlight) -> str:
    group = max(long.signals.groups, key=lambda one: one.rate_hz)
    return next(signal.name for signal in group.signal if signal.confidentiality != "fdm")


async def telemetry(site: Site, long: LongFlight) -> dict[str, Any]:
    """By question: ms in this process, over HTTP, by DuckDB; and ratios."""
    paths = Paths(site.state)
    store = Telemetry(Records(open_reader(paths.ledger), SegmentReader(paths.segments)))
    (file,) = paths.flights.glob("*/*.parquet")
    found: dict[str, Any] = {}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{site.http_port}") as http:
        for name, (signal, start, end) in questions(long).items():
            query: dict[str, str | int] = {
                "signals": signal,
                "start": start,
                "end": end,
                "points": POINTS,
            }
            over_http = []
            for _ in range(REPEATS):
                started = time.perf_counter()
                answer = await http.get(f"/v1/twins/{TAIL}/telemetry", params=query)
                over_http.append(time.perf_counter() - started)
                answer.raise_for_status()
            here = _times(lambda: store.read(TAIL, signal, start, end, POINTS))  # noqa: B023
            by_duckdb = _times(lambda: _duckdb(file, signal, start, end))  # noqa: B023
            api_ms, store_ms, duck_ms = (round(1000 * statistics.median(t), 2)
                                         for t in (over_http, here, by_duckdb))  # fmt: skip
            found[name] = {
                "api_ms": api_ms, "store_ms": store_ms, "duckdb_ms": duck_ms,
                "api_over_store": round(api_ms / store_ms, 2),
                "duckdb_over_api": round(duck_ms / api_ms, 2), "bytes": len(answer.content),
            }  # fmt: skip
    return found


def _times(ask: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        ask()
        times.append(time.perf_counter() - started)
    return times


def _duckdb(file: Path, signal: str, start: int, end: int) -> object:
    """The same buckets from the flight file: min, max, mean and count of good samples."""
    width = max(1, (end - start) // POINTS)
    with duckdb.connect() as db:
        return db.execute(
            f"select (t_ns - {start}) // {width} as b, min(raw), max(raw), avg(raw), count(*) "  # noqa: S608  # numbers
            f"from read_parquet(?) where signal = ? and t_ns >= {start} and t_ns < {end} "
            "and quality % 4 < 2 group by b order by b", [str(file), signal],
        ).fetchall()  # fmt: skip


async def states(site: Site) -> dict[str, Any]:
    """Answers a second of the state of a twin, beside bare FastAPI."""
    path = f"/v1/twins/{TAIL}/state"
    async with httpx.AsyncClient() as http:
        said = await http.get(f"http://127.0.0.1:{site.http_port}{path}")
        said.raise_for_status()
    body = site.folder / "state.json"
    body.write_bytes(said.content)
    port = free_port()
    bare = Child("bare api", [sys.executable, "-m", "bench.side.bare_api", str(port), str(body)],
                 site.folder / "bare.log")  # fmt: skip
    await bare.start()
    try:
        await _wait_listening(port)
        found: dict[str, Any] = {
            "bytes": len(said.content),
            "ours": await _knock(site, site.http_port, path),
        }
        for route in ("small", "model", "bytes"):
            found[f"bare_{route}"] = await _knock(site, port, f"/{route}")
    finally:
        await bare.stop(timeout_s=10.0)
    for route in ("small", "model", "bytes"):
        ratio = found["ours"]["per_s"] / found[f"bare_{route}"]["per_s"]
        found[f"of_bare_{route}"] = round(ratio, 3)
    return found


async def _knock(site: Site, port: int, path: str) -> dict[str, float]:
    out = await run_once(
        sys.executable, "-m", "bench.side.knock", "127.0.0.1", str(port), path,
        "--connections", str(CONNECTIONS), "--seconds", str(KNOCK_S), log=site.log,
    )  # fmt: skip
    said: dict[str, float] = json.loads(out)
    return said


async def _wait_listening(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return
