"""`make soak`: hours of flights, one after the other, through the same processes; nothing may grow.

In: how long, how fast. Out: `var/soak/soak.json`, a table, exit code 0 only if nothing grew and
every flight was closed. The edge is never restarted: what leaks must show. Links are cut in each
flight, the outbox is small enough to be full after a few flights, so that retention is at work.

Growth is judged on the median of each flight after the first `WARM` of them, by a line through
them (Theil-Sen): memory of recorder and worker, open files, threads, bytes of the state folder.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from hil.groundapi import GroundApi
from hil.leg import CACHE
from hil.plant import flight as flights
from hil.plant.fly import fly
from hil.processes import Child
from hil.rig import Rig
from hil.scenario import Scenario, load_scenario
from shared.signals import load_signal_set

WARM = 1 / 3
"""Share of the flights that fill caches and the outbox; not judged."""
SAMPLE_S = 2.0
OUTBOX_MB = 8  # a flight is about 1.2 MB: full within the warm-up
GROWTH_MAX = {"recorder_mb": 2.0, "worker_mb": 2.0, "files": 0.5, "threads": 0.5, "state_mb": 1.0}
"""Largest growth per hour that passes: about what an allocator's noise is; assumptions."""
Figures = dict[str, float]


def sample(rig: Rig) -> Figures:
    """Recorder, worker, files, threads and disk of the edge now."""
    root = psutil.Process(rig.edge.pid)
    children = root.children(recursive=True)
    workers = [c for c in children if "edge.models.worker" in c.cmdline()]
    folder = [f.stat().st_size for f in rig.edge_state.rglob("*") if f.is_file()]
    return {
        "recorder_mb": root.memory_info().rss / 1e6,
        "worker_mb": sum(c.memory_info().rss for c in workers) / 1e6,
        "files": root.num_fds(), "threads": root.num_threads(), "state_mb": sum(folder) / 1e6,
        "cpu_s": sum(sum(p.cpu_times()[:2]) for p in (root, *children)),
    }  # fmt: skip


def slope_per_hour(hours: list[float], values: list[float]) -> float:
    """Median slope of all pairs (Theil-Sen): one odd flight changes it little."""
    slopes = [
        (values[j] - values[i]) / (hours[j] - hours[i])
        for i, j in combinations(range(len(values)), 2)
    ]
    return statistics.median(slopes) if slopes else 0.0


def shifted(flight: flights.Flight, by_ns: int) -> flights.Flight:
    """The same flight later."""
    groups = {name: replace(r, t_ns=r.t_ns + by_ns) for name, r in flight.groups.items()}
    return replace(flight, groups=groups, meta={**flight.meta, "start_ns": flight.start_ns + by_ns})


class Soak:
    """One run."""

    def __init__(self, scenario: Scenario, folder: Path, hours: float) -> None:
        self.scenario, self.hours, self.folder = scenario, hours, folder
        self.rig = Rig(folder, scenario)
        self.rig.make_folder()
        self.flights: list[tuple[float, Figures]] = []
        self.start_s = 0.0

    async def run(self) -> dict[str, Any]:
        signals = load_signal_set(self.rig.signal_set)
        esns = tuple(engine.esn for engine in self.scenario.tail.engines)
        flight = await asyncio.to_thread(
            fly, self.scenario.mission, self.scenario.seed, signals,
            esns=(esns[0], esns[1]), cache_dir=CACHE,
        )  # fmt: skip
        await self.rig.prepare()
        text = self.rig.profile.read_text()
        self.rig.profile.write_text(
            text.replace("outbox_bytes_max = 268435456", f"outbox_bytes_max = {OUTBOX_MB << 20}")
        )
        await self.rig.edge.start()
        await self._ready()
        self.start_s = time.monotonic()
        length_ns = flight.end_ns - flight.start_ns + 60_000_000_000
        n = 0
        while time.monotonic() - self.start_s < self.hours * 3600:
            await self._fly(shifted(flight, n * length_ns))
            n += 1
            print(self._line(n), flush=True)
        return await self._report(n)

    async def _ready(self) -> None:
        async with asyncio.timeout(20):
            while not self.rig.status().get("bus_open"):
                await asyncio.sleep(0.1)

    async def _fly(self, flight: flights.Flight) -> None:
        """Publish one flight; the air link is cut in the middle of it."""
        file = self.folder / "flight.npz"
        flights.save(flight, file)
        command = [
            sys.executable, "-P", "-m", "hil.bus.publish", "--flight", str(file), "--signals",
            str(self.rig.signal_set), "--port", str(self.rig.bus_port), "--rate",
            str(self.scenario.rate),
        ]  # fmt: skip
        player = Child("player", command, self.folder / "logs" / "player.log")
        await player.start(pipe=True)
        samples: list[Figures] = []
        begun_s, wall_s = time.monotonic(), flight.duration_s / self.scenario.rate
        assert player.process is not None and player.process.stdout is not None
        drain = asyncio.create_task(player.process.stdout.read())
        cut = False
        while player.is_alive:
            samples.append(sample(self.rig))
            share = (time.monotonic() - begun_s) / wall_s
            if share > 0.4 and not cut:
                self.rig.air.cut()
                cut = True
            if share > 0.55:
                self.rig.air.restore()
            await asyncio.sleep(SAMPLE_S)
        await drain
        medians = {k: statistics.median(s[k] for s in samples) for k in samples[0]}
        medians["recorder_peak_mb"] = max(s["recorder_mb"] for s in samples)
        medians["cpu_percent"] = (
            100 * (samples[-1]["cpu_s"] - samples[0]["cpu_s"]) / (time.monotonic() - begun_s)
        )
        self.flights.append(((time.monotonic() - self.start_s) / 3600, medians))

    def _line(self, n: int) -> str:
        hours, m = self.flights[-1]
        return (
            f"flight {n} after {60 * hours:.0f} min: recorder {m['recorder_mb']:.1f} MB, worker "
            f"{m['worker_mb']:.1f} MB, {m['files']:.0f} files, {m['threads']:.0f} threads, state "
            f"{m['state_mb']:.1f} MB, CPU {m['cpu_percent']:.0f} %"
        )

    async def _report(self, n: int) -> dict[str, Any]:
        measured = self.flights[round(WARM * n) :]
        hours = [h for h, _ in measured]
        growth = {
            key: round(slope_per_hour(hours, [m[key] for _, m in measured]), 3)
            for key in GROWTH_MAX
        }
        status = self.rig.status()
        code = await self.rig.edge.stop(timeout_s=30.0)
        closures = await self._closures()
        return {
            "hours": round(hours[-1], 3) if hours else None, "flights_flown": n,
            "rate": self.scenario.rate, "flight_hours": None,
            "messages": status.get("messages"), "samples": status.get("samples"),
            "growth_per_hour": growth, "growth_max_per_hour": GROWTH_MAX,
            "by_flight": [{"hours": round(h, 4), **m} for h, m in self.flights],
            "closures": closures, "edge_exit_code": code, "alerts": status.get("alerts"),
            "overruns": status.get("overruns"),
        }  # fmt: skip

    async def _closures(self) -> dict[str, int]:
        """How many flights are in which state, once the ground has settled."""
        api = GroundApi(self.rig.ground_url, self.scenario.tail.tail)
        try:
            for _ in range(240):
                if await api.is_settled():
                    break
                await asyncio.sleep(0.25)
            items = (await api.twin("flights", limit=1000))["items"]
        finally:
            await api.close()
        found: dict[str, int] = {}
        for item in items:
            if item["kind"] == "flight":
                found[item["state"]] = found.get(item["state"], 0) + 1
        return found


def verdict(report: dict[str, Any]) -> list[str]:
    """What is against it."""
    against = [
        f"{key} grows by {grown:g} an hour, at most {GROWTH_MAX[key]:g}"
        for key, grown in report["growth_per_hour"].items()
        if grown > GROWTH_MAX[key]
    ]
    complete = report["closures"].get("complete", 0)
    if complete < report["flights_flown"]:
        against.append(f"{report['flights_flown']} flights flown, {report['closures']}")
    if report["edge_exit_code"]:
        against.append(f"the edge ended with {report['edge_exit_code']}")
    if report["flights_flown"] < 6:
        against.append("too short: six flights make a slope")
    return against


async def run(scenario: Scenario, folder: Path, hours: float) -> int:
    soak = Soak(scenario, folder, hours)
    try:
        report = await soak.run()
    finally:
        await soak.rig.stop()
    report["flight_hours"] = round(
        report["flights_flown"] * _flight_hours(folder / "flight.npz"), 2
    )
    report["against"] = against = verdict(report)
    (folder / "soak.json").write_text(json.dumps(report, indent=1))
    console, table = Console(), Table(title=f"soak: {report['hours']} h, {report['rate']:g} x")
    for column in ("", "first", "last", "growth an hour", "at most"):
        table.add_column(column, justify="right")
    measured = report["by_flight"][round(WARM * report["flights_flown"]) :]
    for key in GROWTH_MAX if measured else ():
        table.add_row(key, f"{measured[0][key]:.1f}", f"{measured[-1][key]:.1f}",
                      f"{report['growth_per_hour'][key]:+.2f}", f"{GROWTH_MAX[key]:g}")  # fmt: skip
    console.print(table)
    console.print(f"{report['flights_flown']} flights, {report['flight_hours']} flight hours, "
                  f"{report['samples']:,} samples; closures {report['closures']}")  # fmt: skip
    for line in against:
        console.print(f"FAILED: {line}")
    return 1 if against else 0


def _flight_hours(path: Path) -> float:
    return float(np.ceil(flights.load(path).duration_s)) / 3600


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0, help="of wall time")
    parser.add_argument("--rate", type=float, default=24.0, help="flight seconds per second")
    parser.add_argument("--scenario", default="healthy", help="mission, seed and aircraft of it")
    parser.add_argument("--out", type=Path, default=Path("var/soak"))
    args = parser.parse_args()
    scenario = load_scenario(Path(args.scenario))
    scenario = msgspec.structs.replace(scenario, rate=args.rate, event=())
    return asyncio.run(run(scenario, args.out, args.hours))


if __name__ == "__main__":
    sys.exit(main())
