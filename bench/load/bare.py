"""Bare baselines, in the same run as the edge: receive loops alone, and SQLite alone.

In: the rig's bus, a stream, a load set. Out: CPU in % of one core, and µs a message.
Always holds: all receivers hear the same messages at the same time, each in its own process.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import apsw

from bench.load.packets import Stream
from bench.load.rig import LoadRig
from bench.load.round import publisher_of, start_publisher
from hil.processes import run_once
from shared.signals import SignalSet

KINDS: Final = ("paho-woken", "paho-drained", "socket", "source")


async def receive_alone(rig: LoadRig, load: SignalSet, seconds: float) -> dict[str, Any]:
    """CPU of each receiver alone at the load of the stream that was last made for this set."""
    stream, stamps = rig.folder / f"{load.name}.npz", rig.folder / "stamps.npz"
    publisher = publisher_of(rig, stream, stamps)
    await start_publisher(publisher)
    try:
        said = await asyncio.gather(*(_listen(rig, load, kind, seconds) for kind in KINDS))
    finally:
        await publisher.stop()
    rate = sum(group.rate_hz for group in load.groups)
    return {
        one["kind"]: {
            "cpu_percent_of_one_core": round(100 * one["cpu_s"] / one["wall_s"], 2),
            "us_per_message": round(1e6 * one["cpu_s"] / (rate * one["wall_s"]), 2),
            "heard_per_s": None
            if one["kind"] == "socket" else round(one["count"] / one["wall_s"], 1),
        }
        for one in said
    }  # fmt: skip


async def _listen(rig: LoadRig, load: SignalSet, kind: str, seconds: float) -> dict[str, Any]:
    out = await run_once(
        sys.executable, "-m", "bench.load.listen", kind, str(rig.bus_port), str(seconds),
        str(rig.folder / f"{load.name}.toml"), log=rig.log,
    )  # fmt: skip
    said: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return said


def append_alone(folder: Path, stream: Stream, seconds: int = 20) -> dict[str, Any]:
    """Each second's packets as one row of SQLite, apsw, WAL and synchronous=FULL, one commit each;
    and each packet as a row of its own in the same commits."""
    found: dict[str, Any] = {}
    for name in ("one_row_a_second", "one_row_a_message"):
        path = folder / f"bare-{name}.db"
        path.unlink(missing_ok=True)
        db = apsw.Connection(str(path))
        db.execute("PRAGMA journal_mode = wal")
        db.execute("PRAGMA synchronous = full")
        db.execute("CREATE TABLE raw (id INTEGER PRIMARY KEY, data BLOB)")
        data = stream.data.tobytes()
        cpu_s, wall_s = time.process_time(), time.monotonic()
        first = start = 0
        for second in range(1, seconds + 1):
            last = int(stream.due_ns.searchsorted(second * 1_000_000_000))
            ends = stream.ends[first:last].tolist()
            with db:
                if name == "one_row_a_second":
                    db.execute("INSERT INTO raw (data) VALUES (?)", (data[start : ends[-1]],))
                else:
                    at = start
                    for end in ends:
                        db.execute("INSERT INTO raw (data) VALUES (?)", (data[at:end],))
                        at = end
            first, start = last, ends[-1]
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
        db.close()
        found[name] = {
            "cpu_percent_of_one_core": round(100 * cpu_s / seconds, 3),
            "wall_ms_a_second": round(1e3 * wall_s / seconds, 2),
        }
    return found
