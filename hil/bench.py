"""The bench: fly one scenario through the real programs, watch, disturb, and judge.

In: a scenario and a folder. Out: `truth.npz`, `report.json`, `report.html`, `logs/`, and whether
every check holds.
Always holds: the programs are driven from outside, as processes, over loopback; the bench never
reaches into one of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hil.groundapi import GroundApi
from hil.plant import flight as flights
from hil.plant.flight import Flight
from hil.plant.fly import fly
from hil.plant.mission import Degradation
from hil.processes import Child
from hil.rig import Rig
from hil.runlog import Cut, Kill, RunLog, Sample
from hil.scenario import Event, Scenario
from hil.scorecard import Run, judge
from hil.storm import Latency, latency, swing
from hil.view import View
from shared.errors import TailTwinError, Unreachable
from shared.phases import Phase
from shared.signals import SignalSet, load_signal_set

LOOK_S = 0.25
RESTART_S = 0.5  # wall; what a service manager would wait
EDGE_READY_S, CLOSE_S = 20.0, 45.0
CACHE = Path("var/cache")


@dataclass(slots=True)
class Playing:
    """The player process and what it last said."""

    child: Child
    start_ns: int
    rate: float
    said: dict[str, Any] = field(default_factory=dict)
    said_mono_s: float = 0.0
    final: dict[str, Any] | None = None

    async def read(self) -> None:
        """Follow its lines until it ends."""
        process = self.child.process
        assert process is not None and process.stdout is not None
        while line := await process.stdout.readline():
            message = json.loads(line)
            if "progress" in message:
                self.said, self.said_mono_s = message["progress"], time.monotonic()
            elif "final" in message:
                self.final = message["final"]

    def tell(self, **command: Any) -> None:
        process = self.child.process
        assert process is not None and process.stdin is not None
        process.stdin.write(json.dumps(command).encode() + b"\n")

    @property
    def t_event_ns(self) -> int:
        """Event time of the bus now."""
        if not self.said:
            return self.start_ns
        ahead_s = (time.monotonic() - self.said_mono_s) * self.rate
        return int(self.said["t_event_ns"] + (ahead_s * 1e9 if self.final is None else 0))

    @property
    def flight_s(self) -> float:
        return (self.t_event_ns - self.start_ns) / 1e9


class Bench:
    """One run."""

    def __init__(self, scenario: Scenario, folder: Path, view: View) -> None:
        self._scenario, self._folder, self._view = scenario, folder, view
        self.rig = Rig(folder, scenario)
        self.log = RunLog()
        self.rig.make_folder()
        self._signals: SignalSet = load_signal_set(self.rig.signal_set)
        self._flight: Flight | None = None
        self._playing: Playing | None = None
        self._cpu: tuple[float, float] = (0.0, 0.0)
        self._cpu_percent = 0.0
        self._seen: dict[str, Any] = {}
        self._storage_peak = 0
        self._wall0_s = time.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> dict[str, Any]:
        """The whole run; its report."""
        try:
            await self.prepare()
            await self.play()
            await self.settle()
            return await self.score()
        finally:
            await self.stop()

    async def prepare(self) -> None:
        """Fly, provision, start everything, wait until the edge says it records."""
        self._flight = await asyncio.to_thread(self._fly)
        self._view.note("keys, signed repository, ground, identity, bundles")
        await self.rig.prepare()
        flights.save(self._flight, self._folder / "flight.npz")
        await self.rig.edge.start()
        await self._edge_ready(boot_after=0)
        self._view.note("edge is ready; the flight begins")

    async def play(self) -> None:
        """Publish the flight and do to the aircraft what the scenario says."""
        flight, scenario = self._flight, self._scenario
        assert flight is not None
        start_s = scenario.start_after_s
        start_s += self._phase_s(scenario.start_phase) if scenario.start_phase else 0.0
        until_s = min(flight.duration_s, self._end_s() + scenario.parked_s)
        if scenario.play_s is not None:
            until_s = start_s + scenario.play_s
        command = [
            sys.executable, "-P", "-m", "hil.bus.publish", "--flight", str(self._folder / "flight.npz"),
            "--signals", str(self.rig.signal_set), "--port", str(self.rig.bus_port),
            "--rate", str(scenario.rate), "--start-s", str(start_s), "--until-s", str(until_s),
        ]  # fmt: skip
        if scenario.storm:
            groups = {self._signals.position[name][0].name for name in scenario.storm}
            command += ["--stamps", str(self._folder / "stamps.json"), "--stamp", *sorted(groups)]
        self._view.flight_s = until_s
        child = Child("player", command, self._folder / "logs" / "player.log")
        await child.start(pipe=True)
        self._playing = Playing(child, flight.start_ns, scenario.rate)
        reading = asyncio.create_task(self._playing.read())
        waiting = sorted(
            ((self._phase_s(e.phase) + e.after_s, i, e) for i, e in enumerate(scenario.event)),
            key=lambda item: item[:2],
        )
        self.rig.edge.sample()
        cpu_s, wall_s = self.rig.edge.cpu_s, time.monotonic()
        while not reading.done():
            while waiting and self._playing.said and self._playing.flight_s >= waiting[0][0]:
                self._spawn(self._do(waiting.pop(0)[2]))
            self._look()
            await asyncio.sleep(LOOK_S)
        await reading
        self.log.cpu_s = self.rig.edge.cpu_s - cpu_s
        self.log.played_wall_s = time.monotonic() - wall_s
        await asyncio.gather(*self._tasks)
        if self._playing.final is None:
            raise Unreachable("the player ended early", str(child.log), "read its log")
        self._note(f"flight over: {self._playing.final['total']:,} readings published")

    async def settle(self) -> None:
        """Stop the edge in order, and wait until the ground has closed all it will close."""
        self._look()
        code = await self.rig.edge.stop(timeout_s=30.0)
        self._note(f"edge stopped in order, exit code {code}")
        api = GroundApi(self.rig.ground_url, self._scenario.tail.tail)
        try:
            deadline_s = time.monotonic() + CLOSE_S
            while time.monotonic() < deadline_s:
                if await api.is_settled():
                    return
                await asyncio.sleep(0.25)
            self._note("the ground did not close every period in time")
        finally:
            await api.close()

    async def score(self) -> dict[str, Any]:
        """Compare, judge, write report.json and report.html."""
        assert self._flight is not None and self._playing is not None
        run = Run(
            self._scenario, self.rig, self._flight, self._signals, self._playing.final or {},
            self.log, self._storage_peak, self._folder, self._latency(),
        )  # fmt: skip
        api = GroundApi(self.rig.ground_url, self._scenario.tail.tail)
        try:
            return await judge(run, api)
        finally:
            await api.close()

    def _latency(self) -> Latency | None:
        if not self._scenario.storm:
            return None
        sent = json.loads((self._folder / "stamps.json").read_text())
        return latency(self.rig.edge.log, sent)

    async def stop(self) -> None:
        if self._playing is not None:
            await self._playing.child.stop(timeout_s=2.0)
        await self.rig.stop()

    # -- what the bench does to the aircraft

    async def _do(self, event: Event) -> None:
        try:
            if event.action == "cut":
                await self._cut(event)
            elif event.action == "offer":
                self._note(f"the ground offers {event.bundle}")
                self.log.offers.append((self._now_ns(), event.bundle))
                await self.rig.offer(event.bundle)
            elif event.action == "kill_edge":
                await self._kill_edge(event.for_s)
            elif event.action == "kill_ground":
                await self._kill_ground(event.program)
        except TailTwinError as error:
            self._note(f"{event.action} failed: {error}")

    async def _cut(self, event: Event) -> None:
        links = [self.rig.air] if event.link == "air" else [self.rig.stand, self.rig.stand_http]
        cut = Cut(event.link, self._now_ns())
        self.log.cuts.append(cut)
        for link in links:
            link.cut()
        self._note(f"{event.link} link cut for {event.for_s:.0f} s of flight")
        await asyncio.sleep(event.for_s / self._scenario.rate)
        for link in links:
            link.restore()
        cut.end_event_ns = self._now_ns()
        self._note(f"{event.link} link is back")

    async def _kill_edge(self, down_s: float) -> None:
        boot = self.rig.status().get("boot", 0)
        kill = Kill("edge", time.time(), self._now_ns())
        self.log.kills.append(kill)
        killed_s = time.monotonic()
        await self.rig.edge.kill()
        self._note("edge killed (SIGKILL)")
        await asyncio.sleep(max(RESTART_S, down_s / self._scenario.rate))
        await self.rig.edge.start()
        await self._edge_ready(boot_after=boot)
        kill.back_event_ns = self._now_ns()
        kill.down_wall_s = round(time.monotonic() - killed_s, 2)
        self._note(f"edge records again after {kill.down_wall_s:.1f} s")

    async def _kill_ground(self, name: str) -> None:
        pid = int((self.rig.ground_state / "run" / f"{name}.pid").read_text())
        self.log.kills.append(Kill(name, time.time(), self._now_ns()))
        os.kill(pid, signal.SIGKILL)
        if name == "nats":
            shutil.rmtree(self.rig.ground_state / "nats" / "jetstream", ignore_errors=True)
        self._note(f"{name} of the ground killed (SIGKILL)")

    async def _edge_ready(self, boot_after: int) -> None:
        deadline_s = time.monotonic() + EDGE_READY_S
        while time.monotonic() < deadline_s:
            status = self.rig.status()
            if status.get("boot", 0) > boot_after and status.get("bus_open"):
                return
            if not self.rig.edge.is_alive:
                break
            await asyncio.sleep(0.05)
        raise Unreachable("the edge does not record", str(self.rig.edge.log), "read its log")

    # -- what the bench sees

    def _look(self) -> None:
        assert self._playing is not None
        self.rig.edge.sample()
        status, now_s = self.rig.status(), time.monotonic()
        cpu_before, at_before = self._cpu
        if now_s - at_before >= 1.0:
            self._cpu = (self.rig.edge.cpu_s, now_s)
            self._cpu_percent = (
                100 * max(0.0, self.rig.edge.cpu_s - cpu_before) / (now_s - at_before)
            )
            if at_before == 0.0:
                self._cpu_percent = 0.0
            self._storage_peak = max(self._storage_peak, _folder_bytes(self.rig.edge_state))
        oldest = status.get("oldest_unsafe_event_ns")
        sample = Sample(
            wall_s=now_s - self._wall0_s, flight_s=self._playing.flight_s,
            t_event_ns=self._now_ns(), alive=self.rig.edge.is_alive,
            phase=status.get("phase", "unknown"), gate_open=bool(status.get("gate_open")),
            gate_reasons=tuple(status.get("gate_reasons", ())), link=status.get("link", "none"),
            messages_per_s=status.get("messages_per_s", 0.0),
            outbox_records=status.get("outbox_records", 0),
            outbox_bytes=status.get("outbox_bytes", 0),
            unsafe_records=status.get("unsafe_records", 0),
            oldest_unsafe_s=None if not oldest else max(0.0, (self._now_ns() - oldest) / 1e9),
            alerts=tuple(status.get("alerts", ())), bundles=tuple(status.get("bundles", ())),
            worker=status.get("worker", ""), cpu_percent=self._cpu_percent,
            rss_mb=self.rig.edge.rss_bytes / 1e6,
        )  # fmt: skip
        self._note_changes(status)
        self.log.samples.append(sample)
        self._view.show(sample)

    def _note_changes(self, status: dict[str, Any]) -> None:
        """What a person would want to be told of: alerts, the gate, updates."""
        before, self._seen = self._seen, status or self._seen
        if not before or not status:
            return
        for alert in sorted(set(status["alerts"]) - set(before["alerts"])):
            self._note(f"alert: {alert}")
        if status["gate_open"] != before["gate_open"]:
            self._note(f"the gate is {'open' if status['gate_open'] else 'shut'}")
        for target in set(status["updates_pending"]) - set(before["updates_pending"]):
            reasons = status["gate_reasons"]
            why = (
                f"gate shut: {reasons[0]}, and {len(reasons) - 1} more" if reasons else "gate open"
            )
            self._note(f"update {target.rpartition('/')[2]} waits; {why}")
        if before["bundles"] and status["bundles"] and status["bundles"] != before["bundles"]:
            self._note(f"now live: {', '.join(status['bundles'])}")

    def _now_ns(self) -> int:
        return self._playing.t_event_ns if self._playing else 0

    def _note(self, text: str) -> None:
        self.log.notes.append(text)
        self._view.note(text)

    def _fly(self) -> Flight:
        scenario = self._scenario
        lost = None
        if scenario.degradation is not None:
            lost = Degradation(**degradation_arguments(scenario))
        esns = [engine.esn for engine in scenario.tail.engines]
        flown = fly(
            scenario.mission, scenario.seed, self._signals, esns=(esns[0], esns[1]),
            degradation=lost, cache_dir=CACHE, say=self._view.note,
        )  # fmt: skip
        swing(flown, self._signals, scenario.storm)
        return flown

    def _phase_s(self, phase: Phase) -> float:
        assert self._flight is not None
        for t_ns, name in self._flight.meta["phases"]:
            if name == phase:
                return float((t_ns - self._flight.start_ns) / 1e9)
        raise Unreachable(f"the flight has no phase {phase}", self._scenario.name, "name another")

    def _end_s(self) -> float:
        assert self._flight is not None
        return float((self._flight.meta["oooi_ns"]["in"] - self._flight.start_ns) / 1e9)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)


def degradation_arguments(scenario: Scenario) -> dict[str, Any]:
    """The scenario's degradation in the plant's words."""
    lost = scenario.degradation
    assert lost is not None
    return {"engine": lost.engine, "points": lost.points, "after_s": lost.after_s,
            "phase": lost.phase.value,
            "ramp_s": lost.ramp_s}  # fmt: skip


def _folder_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue  # renamed or checkpointed away while we looked
    return total
