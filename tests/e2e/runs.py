"""One bench run for an end-to-end test: the hop, disturbed as the test says."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from hil.bench import Bench
from hil.scenario import Event, Expect, Scenario, load_scenario
from hil.view import View
from shared.phases import Phase

SCENARIOS = Path(__file__).resolve().parents[2] / "hil" / "scenarios"
Meddle = Callable[[Bench], Awaitable[None]]


def hop(*events: Event, **changes: Any) -> Scenario:
    """The hop with these events."""
    scenario = load_scenario(SCENARIOS / "hop.toml")
    return msgspec.structs.replace(scenario, event=events, **changes)


def fly(scenario: Scenario, folder: Path, after: Meddle | None = None) -> dict[str, Any]:
    """Run it to its report. after: done to a bench whose flight is over, before it is judged."""
    view = View("test", Console(file=io.StringIO()))
    bench = Bench(scenario, folder, view)

    async def whole() -> dict[str, Any]:
        try:
            await bench.prepare()
            await bench.play()
            await bench.settle()
            if after is not None:
                await after(bench)
            return await bench.score()
        finally:
            await bench.stop()

    return asyncio.run(whole())


def failed(report: dict[str, Any]) -> list[str]:
    """Checks that do not hold, in words."""
    return [f"{c['name']}: {c['detail']}" for c in report["checks"] if not c["ok"]]


__all__ = ["Event", "Expect", "Phase", "failed", "fly", "hop"]
