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
import time
from pathlib import Path
from typing import Any

from hil.ahead import command
from hil.groundapi import GroundApi
from hil.leg import Leg, Playing, first_leg, save, second_leg
from hil.processes import run_once
from hil.rig import Rig
from hil.runlog import Cut, Kill, RunLog, Sample
from hil.scenario import Event, Scenario
from hil.scorecard import Run, judge
from hil.storm import Latency, latency
from hil.turnaround import turn_around
from hil.view import View
from shared.errors import TailTwinError, Unreachable
from shared.signals import SignalSet, load_signal_set

LOOK_S = 0.25
RESTART_S = 0.5  # wall; what a service manager would wait
EDGE_READY_S, CLOSE_S = 20.0, 45.0
AHEAD_S = 600.0  # to fly the second flight; half a minute on an idle machine


class Bench:
    """One run."""

    def __init__(self, scenario: Scenario, folder: Path, view: View) -> None:
        self._scenario, self._folder, self._view = scenario, folder, view
        self.rig = Rig(folder, scenario)
        self.log = RunLog()
        self.rig.make_folder()
        self._signals: SignalSet = load_signal_set(self.rig.signal_set)
        self._legs: list[Leg] = []
        self._next: asyncio.Task[str] | None = None
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
            if self._scenario.again is not None:
                await self.turn_around()
                await self.play()
                await self.settle()
            return await self.score()
        finally:
            await self.stop()

    async def prepare(self) -> None:
        """Fly, provision, start everything, wait until the edge says it records."""
        leg = await asyncio.to_thread(first_leg, self.rig, self._signals, self._view.note)
        self._legs.append(leg)
        self._view.note("keys, two signed repositories, ground, identity, bundles")
        await self.rig.prepare()
        save(leg)
        if self._scenario.again is not None:  # flown meanwhile, for it takes half a minute
            flying = run_once(*command(self._scenario, self._folder), log=self.rig.log,
                              timeout_s=AHEAD_S)  # fmt: skip
            self._next = asyncio.create_task(flying)
        await self.rig.edge.start()
        await self._edge_ready(boot_after=0)
        self._view.note("edge is ready; the flight begins")

    async def turn_around(self) -> None:
        """Between two flights: the ground explains the first, and signs what it learned of it."""
        assert self._next is not None, "made before the first flight"
        await self._next
        flown = await asyncio.to_thread(
            second_leg, self.rig, self._signals, self._legs[0], self._view.note
        )
        save(flown)
        api = GroundApi(self.rig.ground_url, self._scenario.tail.tail)
        try:
            await turn_around(self.rig, api, self._note)
        finally:
            await api.close()
        self._legs.append(flown)
        boot = self.rig.status().get("boot", 0)
        await self.rig.edge.start()
        await self._edge_ready(boot_after=boot)
        self._note("edge is ready; the second flight begins")

    async def play(self) -> None:
        """Publish the newest leg and do to the aircraft what the scenario says."""
        leg = self._legs[-1]
        leg.first_sample = len(self.log.samples)
        self._view.flight_s = leg.until_s
        self._playing = await leg.play(self.rig, self._signals)
        reading = asyncio.create_task(self._playing.read())
        waiting = leg.due()
        self.rig.edge.sample()
        cpu_s, wall_s = self.rig.edge.cpu_s, time.monotonic()
        while not reading.done():
            while waiting and self._playing.said and self._playing.flight_s >= waiting[0][0]:
                self._spawn(self._do(waiting.pop(0)[1]))
            self._look()
            await asyncio.sleep(LOOK_S)
        await reading
        self.log.cpu_s = (self.log.cpu_s or 0.0) + self.rig.edge.cpu_s - cpu_s
        self.log.played_wall_s = (self.log.played_wall_s or 0.0) + time.monotonic() - wall_s
        await asyncio.gather(*self._tasks)
        if self._playing.final is None:
            log = str(self._playing.child.log)
            raise Unreachable("the player ended early", log, "read its log")
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
        run = Run(
            self._scenario, self.rig, self._legs, self._signals, self.log, self._storage_peak,
            self._folder, self._latency(),
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
        if self._next is not None:
            self._next.cancel()
        if self._playing is not None:
            await self._playing.child.stop(timeout_s=2.0)
        await self.rig.stop()

    # -- what the bench does to the aircraft

    async def _do(self, event: Event) -> None:
        try:
            if event.action == "cut":
                await self._cut(event)
            elif event.action == "offer":
                self._note(f"the director assigns {event.bundle}; the ground tells the tail")
                await self.rig.offer(event.bundle)
            elif event.action == "assign":
                self._note(
                    f"the director assigns {', '.join(event.set)}; the ground tells the tail"
                )
                await self.rig.assign(event.set)
                await self.rig.notify(event.bundle)
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
            muted=tuple(status.get("muted", ())),
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
            more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
            why = f"gate shut: {reasons[0]}{more}" if reasons else "gate open"
            name = target.rpartition("/")[2].removesuffix(".tar.zst") or "what is directed"
            self._note(f"update {name} waits; {why}")
        for name in set(status["muted"]) - set(before["muted"]):
            self._note(f"{name} is muted: {status['muted'][name]}")
        if before["bundles"] and status["bundles"] and status["bundles"] != before["bundles"]:
            self._note(f"now live: {', '.join(status['bundles'])}")
        elif (
            before["probation"] and not status["probation"] and status["set_id"] == before["set_id"]
        ):
            self._note(f"set {status['set_id']} has passed its probation")

    def _now_ns(self) -> int:
        return self._playing.t_event_ns if self._playing else 0

    def _note(self, text: str) -> None:
        self.log.notes.append(text)
        self._view.note(text)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)


def _folder_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue  # renamed or checkpointed away while we looked
    return total
