"""The governor at work: measures once a window, decides, and tells the daemon what to do.

In: the process tree, the state folder, the count of ticks. Out: an action now and then, and the
figures for the status. Always holds: measuring never happens on the event loop; with CPU and
lag not judged (a bench that runs at a rate of its own) both are still measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from edge.governor import (
    UNITS,
    Action,
    Figures,
    GovernorState,
    Measure,
    Step,
    budget_of,
    decide,
)
from edge.usage import Processes, Used, storage_mb
from shared.clock import Clock
from shared.profile import ComputeProfile

WINDOW_S = 5.0


class GovernorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """measured and budget by measure: cpu (% of one core), memory and storage (MB), lag (ms).

    A measure without a budget is not judged here. level: how many steps are shed.
    """

    measured: dict[str, float] = {}
    peak: dict[str, float] = {}
    """Highest of any window since start."""
    budget: dict[str, float] = {}
    shed: list[str] = []
    level: int = 0
    is_exhausted: bool = False
    processes: int = 0


class Governing:
    """on_action: told each action, with all that is shed from now on. able: see `decide`."""

    def __init__(
        self, compute: ComputeProfile, folder: Path, clock: Clock, *, tick_s: float,
        is_paced: bool, ticks: Callable[[], int], able: Callable[[], Collection[Step]],
        on_action: Callable[[Action, tuple[Step, ...]], None], beat: Callable[[], None],
        processes: Processes | None = None,
    ) -> None:  # fmt: skip
        self._folder, self._clock, self._tick_s = folder, clock, tick_s
        self._ticks, self._able, self._on_action, self._beat = ticks, able, on_action, beat
        self._processes = processes or Processes()
        self._budget = budget_of(compute, is_paced=is_paced)
        self._state = GovernorState()
        self._before: tuple[int, float | None, int] | None = None  # mono ns, CPU s, ticks
        self._measured: dict[Measure, float] = {}
        self._peak: dict[Measure, float] = {}
        self._count = 0

    async def run(self) -> None:
        while True:
            self._beat()
            used, stored_mb = await asyncio.to_thread(self._measure)
            self.look(used, stored_mb)
            await asyncio.sleep(WINDOW_S)

    def look(self, used: Used, stored_mb: float) -> None:
        """One window is over."""
        self._measured, self._count = self._figures(used, stored_mb), used.processes
        for measure, value in self._measured.items():
            self._peak[measure] = max(value, self._peak.get(measure, value))
        self._state, action = decide(
            self._measured, self._budget, self._state, self._clock.mono_ns(), able=self._able()
        )
        if action is not None:
            self._on_action(action, self._state.shed)

    @property
    def shed(self) -> tuple[Step, ...]:
        return self._state.shed

    @property
    def status(self) -> GovernorStatus:
        return GovernorStatus(
            measured=_rounded(self._measured), peak=_rounded(self._peak),
            budget=_rounded(self._budget), shed=list(self._state.shed),
            level=len(self._state.shed), is_exhausted=self._state.is_exhausted,
            processes=self._count,
        )  # fmt: skip

    def _measure(self) -> tuple[Used, float]:
        return self._processes.used(), storage_mb(self._folder)

    def _figures(self, used: Used, stored_mb: float) -> dict[Measure, float]:
        """CPU and lag are means over the time since the last look."""
        now = self._clock.mono_ns(), used.cpu_s, self._ticks()
        before, self._before = self._before, now
        found: dict[Measure, float] = {"storage": stored_mb}
        if used.memory_mb is not None:
            found["memory"] = used.memory_mb
        if before is None or now[0] <= before[0]:
            return found
        window_s = (now[0] - before[0]) / 1e9
        if now[1] is not None and before[1] is not None:
            found["cpu"] = max(0.0, 100 * (now[1] - before[1]) / window_s)
        tick_s = window_s / max(1, now[2] - before[2])
        found["lag"] = max(0.0, 1e3 * (tick_s - self._tick_s))
        return found


def _rounded(figures: Figures) -> dict[str, float]:
    return {measure: round(figures[measure], 2) for measure in UNITS if measure in figures}
