"""Fly a mission, or take it from the cache.

In: mission, seed, ESNs, degradation, signal set. Out: a `Flight`. Always holds: the cache key
covers everything the flight depends on, the plant's own source included, so a cached flight is
the flight that would be flown.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np

from hil.plant import flight as flights
from hil.plant.deck import FOLDER as DECKS
from hil.plant.flight import Flight
from hil.plant.gaspath import character_of
from hil.plant.mission import Degradation, Mission, draw_conditions, mission_named
from hil.plant.sensors import Sensors, check_sensors
from hil.plant.simulate import Simulation
from hil.plant.trace import Trace
from shared.errors import Corrupt, Unreachable
from shared.signals import SignalSet

START_NS: Final = 1_772_344_800_000_000_000  # 2026-03-01T06:00:00Z, the day every bench flight is
ESNS: Final = ("894101", "894102")
_SOURCES: Final = (
    "airframe", "autopilot", "deck", "flight", "fly", "gaspath", "mission", "pilot", "route", "sensors",
    "simulate", "stage", "systems", "trace",
)  # fmt: skip


def fly(
    mission: str | Mission,
    seed: int,
    signal_set: SignalSet,
    *,
    esns: tuple[str, str] = ESNS,
    degradation: Degradation | None = None,
    start_ns: int = START_NS,
    cache_dir: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Flight:
    """The flight of these inputs. Rejected for a mission or seed that does not exist.

    cache_dir: where flights are kept by the hash of their inputs; None keeps none.
    say: told once when a flight is flown rather than taken from the cache.
    """
    chosen = mission_named(mission) if isinstance(mission, str) else mission
    check_sensors(signal_set)
    path = None
    if cache_dir is not None:
        key = _key(chosen, seed, signal_set, esns, degradation, start_ns)
        path = cache_dir / f"{chosen.name}-{seed}-{key[:16]}.npz"
        try:
            return flights.load(path)
        except (Unreachable, Corrupt):
            pass  # not there, or not whole: flown again and replaced
    say(f"flying {chosen.name}, seed {seed}")
    conditions = draw_conditions(seed)
    trace = Simulation(chosen, conditions, esns, degradation).run()
    sensors = Sensors(trace, signal_set, seed, start_ns)
    result = Flight(
        signal_set.sha256.hex(),
        {g.name: sensors.read(g) for g in signal_set.groups},
        {
            "mission": chosen.name, "seed": seed, "esns": list(esns), "start_ns": start_ns,
            "conditions": dataclasses.asdict(conditions),
            "degradation": dataclasses.asdict(degradation) if degradation else None,
            "character": {esn: _character(esn) for esn in esns},
            **_truth(trace, start_ns),
        },
    )  # fmt: skip
    if path is not None:
        flights.save(result, path)
    return result


def _character(esn: str) -> dict[str, float]:
    """What an engine is by itself: health in percent, and its EGT harness. For scoring alone."""
    own = character_of(esn)
    return {n: round(100 * h, 4) for n, h in own.health.items()} | {"egt_factor": own.egt}


def _truth(trace: Trace, start_ns: int) -> dict[str, object]:
    """What really happened, in event time."""

    def ns(t_s: float) -> int:
        return start_ns + round(t_s * 1e9)

    return {
        "oooi_ns": {
            "out": ns(trace.out_s), "off": ns(trace.off_s),
            "on": ns(trace.on_s), "in": ns(trace.in_s),
        },
        "phases": [[ns(t), name] for t, name in trace.phases],
        "onset_ns": None if trace.onset_s is None else ns(trace.onset_s),
        "touchdown_fps": trace.touchdown_fps,
    }  # fmt: skip


def _key(
    mission: Mission,
    seed: int,
    signal_set: SignalSet,
    esns: tuple[str, str],
    degradation: Degradation | None,
    start_ns: int,
) -> str:
    what = [
        dataclasses.asdict(mission), seed, signal_set.sha256.hex(), esns, start_ns,
        dataclasses.asdict(degradation) if degradation else None,
        plant_sha256(), version("jsbsim"), np.__version__,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


@cache
def plant_sha256() -> str:
    """Hash of the plant's own sources and of its engine deck."""
    folder, total = Path(__file__).parent, hashlib.sha256()
    for name in _SOURCES:
        total.update((folder / f"{name}.py").read_bytes())
    for deck in sorted(DECKS.glob("*.json")):
        total.update(deck.read_bytes())
    return total.hexdigest()
