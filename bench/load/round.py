"""One load on one edge: CPU, memory and storage at rest, then the latency of a storm of alerts.

In: the rig, a flight, a load set, spans. Out: the figures, as JSON types.
Always holds: everything is at 1 x; broker, publisher and edge are processes of their own; CPU is
that of all processes of the edge, over the steady span only.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.load.measure import Use, use_of
from bench.load.packets import Stream, make_stream
from bench.load.rig import BUNDLES, ROMS, LoadRig
from hil.plant.flight import Flight
from hil.processes import Child, run_once
from hil.storm import latency
from shared.errors import Unreachable
from shared.signals import SignalSet

READY_S: Final = 60.0
CRUISE_S: Final = 1000.0  # flight second in the middle of the cruise of mission full
LOOK_S: Final = 5.0
BUDGET_MS: Final = 100.0


@dataclass(slots=True)
class Seen:
    """What was sampled of one edge."""

    peak_rss_mb: float = 0.0
    peak_pss_mb: float = 0.0
    at_peak: Use | None = None
    tick_ms_max: float = 0.0
    ticks: list[float] = field(default_factory=list)

    def look(self, edge: Child, status: dict[str, Any]) -> Use:
        use = use_of(edge.pid)
        rss, pss = sum(use.rss_mb.values()), sum(use.pss_mb.values())
        self.peak_rss_mb = max(self.peak_rss_mb, rss)
        if pss > self.peak_pss_mb:
            self.peak_pss_mb, self.at_peak = pss, use
        self.tick_ms_max = max(self.tick_ms_max, status.get("tick_ms_max", 0.0))
        return use


async def measure(
    rig: LoadRig, flight: Flight, airframe: SignalSet, load: SignalSet,
    warm_s: float, steady_s: float, storm_s: float, wrapper: tuple[str, ...] = (),
) -> dict[str, Any]:  # fmt: skip
    """Run one edge under one load."""
    stream_file, stamps_file = rig.folder / f"{load.name}.npz", rig.folder / "stamps.npz"
    stream = make_stream(
        flight, airframe, load, CRUISE_S, warm_s + steady_s + storm_s, warm_s + steady_s
    )
    stream.save(stream_file)
    edge = rig.edge_of(load, wrapper)
    publisher = publisher_of(rig, stream_file, stamps_file)
    seen = Seen()
    await edge.start()
    try:
        await _wait_ready(rig, edge)
        said = await start_publisher(publisher)
        await _watch(rig, edge, seen, warm_s)
        steady = await _steady(rig, edge, seen, steady_s)
        machine, _ = await asyncio.gather(_probe(rig, storm_s), _watch(rig, edge, seen, storm_s))
        said |= await end_publisher(publisher)
        await asyncio.sleep(1.5)  # the last alerts go out, and a status is written
        status = _status(rig)
    finally:
        await publisher.stop()
        await edge.stop(timeout_s=30.0)
    found = latency(edge.log, _sent(stream, stamps_file, load))
    return {
        "set": load.name, "groups": len(load.groups), "signals": load.signal_count,
        "publisher": said,
        "bundles_live": len(status["bundles"]), **steady,
        "memory": {
            "rss_sum_mb": round(seen.peak_rss_mb, 1), "pss_sum_mb": round(seen.peak_pss_mb, 1),
            "by_process": _memory(seen.at_peak),
        },
        "alert_latency_ms": {
            "n": found.n, "durable": found.durable_ms, "handed": found.handed_ms,
            "machine_alone": machine,
        },
        "tick_ms_max": seen.tick_ms_max, "overruns": status["overruns"],
        "messages_lost": int(said["sent"]) - int(status["messages"]),
        "refused": status["refused"],
    }  # fmt: skip


def publisher_of(rig: LoadRig, stream: Path, stamps: Path) -> Child:
    command = [sys.executable, "-P", "-m", "bench.load.publish", str(stream), str(rig.bus_port),
               str(stamps)]  # fmt: skip
    return Child("publisher", [*command[:1], *command[2:]], rig.folder / "logs" / "publisher.log")


async def start_publisher(child: Child) -> dict[str, Any]:
    """Packets flow from now on."""
    await child.start(pipe=True)
    assert child.process is not None and child.process.stdin is not None
    await _line(child)
    child.process.stdin.write(b"go\n")
    return await _line(child)


async def end_publisher(child: Child) -> dict[str, Any]:
    """What it says at its end."""
    return await asyncio.wait_for(_line(child), 30.0)


async def _line(child: Child) -> dict[str, Any]:
    assert child.process is not None and child.process.stdout is not None
    line = await child.process.stdout.readline()
    if not line:
        raise Unreachable("the publisher ended early", str(child.log), "read its log")
    said: dict[str, Any] = json.loads(line)
    return said


async def _wait_ready(rig: LoadRig, edge: Child) -> None:
    """Until the edge reads its bus and runs its models."""
    deadline_s = time.monotonic() + READY_S
    while time.monotonic() < deadline_s and edge.is_alive:
        status = _status(rig)
        if status.get("bus_open") and len(status.get("bundles", ())) >= ROMS + len(BUNDLES):
            return
        await asyncio.sleep(0.1)
    raise Unreachable("the edge is not ready", str(edge.log), "read its log")


async def _watch(rig: LoadRig, edge: Child, seen: Seen, span_s: float) -> None:
    end_s = time.monotonic() + span_s
    while (left_s := end_s - time.monotonic()) > 0:
        await asyncio.sleep(min(LOOK_S, left_s))
        seen.look(edge, _status(rig))


async def _probe(rig: LoadRig, span_s: float) -> dict[str, Any]:
    """The bare wake-up and commit, beside the edge."""
    if span_s <= 0:
        return {}
    out = await run_once(
        sys.executable, "-m", "bench.load.probe", str(rig.folder / "probe.db"), str(span_s),
        log=rig.log, timeout_s=span_s + 60,
    )  # fmt: skip
    said: dict[str, Any] = json.loads(out)
    return said


async def _steady(rig: LoadRig, edge: Child, seen: Seen, span_s: float) -> dict[str, Any]:
    before, status, at_s = seen.look(edge, _status(rig)), _status(rig), time.monotonic()
    await _watch(rig, edge, seen, span_s)
    after, later, wall_s = seen.look(edge, _status(rig)), _status(rig), time.monotonic() - at_s
    status_s = (later["mono_ns"] - status["mono_ns"]) / 1e9
    used = {
        name: round(100 * (after.cpu_s[name] - before.cpu_s.get(name, 0.0)) / wall_s, 2)
        for name in after.cpu_s
    }
    samples = later["samples"] - status["samples"]
    grown, sent = (later[key] - status[key] for key in ("outbox_bytes", "bytes_up"))
    return {
        "steady_s": round(wall_s, 1),
        "messages_per_s": round((later["messages"] - status["messages"]) / status_s, 1),
        "samples_per_s": round(samples / status_s),
        "cpu_percent_of_one_core": round(sum(used.values()), 2), "cpu_by_process": used,
        "storage_mb_per_hour": round(grown / status_s * 3600 / 1e6, 1),
        "wire_bytes_per_sample": round(sent / samples, 3) if samples else None,
    }  # fmt: skip


def _sent(stream: Stream, stamps_file: Path, load: SignalSet) -> dict[str, dict[str, int]]:
    """When each reading of a group with an alert rule went out."""
    with np.load(stamps_file) as stamps:
        out, before_ns = stamps["out"], stamps["before_ns"]
    names = [group.name for group in load.groups]
    watched = {load.position[rule.signal][0].name for rule in load.exceedances}
    sent: dict[str, dict[str, int]] = {name: {} for name in watched}
    index = np.arange(int(out[-1]))
    at_ns = before_ns[np.searchsorted(out, index, "right")]
    for i, name in enumerate(names):
        if name in watched:
            rows = np.flatnonzero(stream.group[: len(index)] == i)
            counters = stream.counter[rows].tolist()
            sent[name] = {str(c): t for c, t in zip(counters, at_ns[rows].tolist(), strict=True)}
    return sent


def _status(rig: LoadRig) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads((rig.state / "status.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return said


def _memory(use: Use | None) -> dict[str, dict[str, float]]:
    if use is None:
        return {}
    return {
        name: {"rss_mb": round(use.rss_mb[name], 1), "pss_mb": round(use.pss_mb[name], 1)}
        for name in use.rss_mb
    }
