"""`make bench`: the ground beside its budget, every figure a ratio in the same run.

`python -m bench.ground [--hours 10] [--out var/bench] [--only engine roms flight reads states]`. Out: a
table, and ground.json. The full-fidelity engine beside pyCycle's own time a point; each ROM beside its
parent in time and error; a flight of ten hours from its last byte to its closure, its file and its
reconciliation, through a real nats-server, ingest, worker and api; telemetry over HTTP beside the block
store in this process and DuckDB on the same Parquet; states a second beside FastAPI with nothing behind
it. Two cores and whatever else runs on them: the load average before and after is in the report.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench.machine import machine, say
from bench.side import closing, longflight, reads, show
from bench.side.site import Site
from hil.plant.fly import fly
from shared.errors import TailTwinError
from shared.signals import load_signal_set

PARTS: Final = ("engine", "roms", "flight", "reads", "states")
SIGNALS: Final = Path("firmware_profiles/signals/b737_bench.toml")
CACHE: Final = Path("var/cache")
MISSION, SEED = "full", 4  # the demo's flight


def run(folder: Path, hours: float, parts: tuple[str, ...]) -> dict[str, Any]:
    report: dict[str, Any] = {"machine": machine()}
    for name, measure in (("engine", engine), ("roms", roms)):
        if name in parts:
            report[name] = _timed(name, measure)
    if {"flight", "reads", "states"} & set(parts):
        report |= asyncio.run(through_the_ground(folder, hours, parts))
    report["load_average_after"] = os.getloadavg()[0]
    return report


def engine() -> dict[str, Any]:
    """36,000 points, beside pyCycle's seconds a point."""
    from bench.turbofan import measure

    return measure()


def roms() -> dict[str, Any]:
    """Every ROM beside its parent."""
    from bench.roms import measure

    return dict(measure())


async def through_the_ground(folder: Path, hours: float, parts: tuple[str, ...]) -> dict[str, Any]:
    signals = load_signal_set(SIGNALS)
    flight = fly(MISSION, SEED, signals, cache_dir=CACHE, say=say)
    long = longflight.LongFlight(longflight.stretched(flight, hours), signals)
    site = Site(folder / "ground-site", long)
    say(f"a flight of {long.flight.duration_s / 3600:.1f} h through nats-server, ingest and worker")
    report: dict[str, Any] = {}
    try:
        report["flight"] = await closing.close_long_flight(site, long)
        if "reads" in parts:
            say("telemetry: block store, api, DuckDB")
            report["telemetry"] = await reads.telemetry(site, long)
        if "states" in parts:
            say("states a second, beside bare FastAPI")
            report["states"] = await reads.states(site)
    finally:
        await site.stop()
    return report


def _timed(name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a part measured; a part that is not here yet, or refuses, says so and stops nothing."""
    say(name)
    started_s = time.monotonic()
    try:
        found = measure()
    except (ImportError, OSError, KeyError, TailTwinError) as error:
        return {"not_measured": f"{type(error).__name__}: {error}"}
    return found | {"bench_s": round(time.monotonic() - started_s, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.ground", description=__doc__)
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=Path("var/bench"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    report = run(args.out, args.hours, tuple(args.only))
    (args.out / "ground.json").write_text(json.dumps(report, indent=2) + "\n")
    show.table(report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
