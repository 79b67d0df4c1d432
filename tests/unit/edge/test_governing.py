"""The governor at work: figures from what was used between two looks; measuring off the loop."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from edge.governing import Governing
from edge.governor import STEPS, Action, Step
from edge.usage import Used
from shared.clock import ManualClock
from shared.profile import ComputeProfile


class Rig:
    def __init__(self, folder: Path, is_paced: bool = False) -> None:
        self.clock, self.ticks, self.beats = ManualClock(), 0, 0
        self.actions: list[tuple[Action, tuple[Step, ...]]] = []
        self.governing = Governing(
            ComputeProfile(name="x", arch="any"), folder, self.clock, tick_s=0.01,
            is_paced=is_paced, ticks=lambda: self.ticks, able=lambda: STEPS,
            on_action=lambda action, shed: self.actions.append((action, shed)), beat=self.beat,
        )  # fmt: skip

    def beat(self) -> None:
        self.beats += 1

    def window(self, cpu_s: float | None, ticks: int, memory_mb: float | None = 50.0) -> None:
        """5 s later: CPU time since start, ticks in the window."""
        self.clock.advance_s(5)
        self.ticks += ticks
        self.governing.look(Used(cpu_s, memory_mb, 3), 7.0)


def test_cpu_and_lag_are_means_over_the_window(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.window(100.0, 0)  # the first look has nothing to compare with
    assert rig.governing.status.measured == {"memory": 50.0, "storage": 7.0}
    rig.window(100.5, 250)  # half a second of CPU; ticks 20 ms apart instead of 10
    assert rig.governing.status.measured == {
        "cpu": 10.0, "memory": 50.0, "storage": 7.0, "lag": 10.0,
    }  # fmt: skip
    rig.window(100.6, 500)
    assert rig.governing.status.measured["lag"] == 0.0
    assert rig.governing.status.peak["cpu"] == 10.0


def test_a_loop_that_hardly_ticks_is_lag_and_sheds(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for _ in range(6):
        rig.window(0.0, 50)
    (action, shed) = rig.actions[0]
    assert shed == ("models",)
    assert action.reasons == ("lag is 90 ms, at most 40, for 15 s",)


def test_a_machine_that_does_not_say_sheds_nothing(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for _ in range(20):
        rig.window(None, 500, None)
    assert rig.actions == []
    assert "cpu" not in rig.governing.status.measured


def test_a_paced_bench_measures_cpu_and_does_not_judge_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path, is_paced=True)
    for n in range(20):
        rig.window(4.0 * n, 500)
    assert rig.actions == []
    assert rig.governing.status.measured["cpu"] == 80.0
    assert "cpu" not in rig.governing.status.budget


def test_it_measures_off_the_loop_and_beats(tmp_path: Path) -> None:
    rig, threads = Rig(tmp_path), list[int]()
    measure = rig.governing._measure

    def noted() -> tuple[Used, float]:
        threads.append(threading.get_ident())
        return measure()

    rig.governing._measure = noted  # type: ignore[method-assign]

    async def scene() -> None:
        running = asyncio.create_task(rig.governing.run())
        while not rig.governing.status.measured:
            await asyncio.sleep(0.01)
        running.cancel()

    asyncio.run(scene())
    assert threads and threading.get_ident() not in threads
    assert rig.beats >= 1
