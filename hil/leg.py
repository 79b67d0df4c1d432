"""One flight of a run: what is played, and how far it got.

In: a scenario, its first or its second flight. Out: a `Leg` that was flown, ready to be played.
Always holds: a leg has its own recording; its bus counters begin at nothing, as after a power-up.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from hil.plant import flight as flights
from hil.plant.flight import Flight
from hil.plant.fly import START_NS, fly
from hil.plant.mission import Degradation, Mission, mission_named
from hil.processes import Child
from hil.rig import Rig
from hil.scenario import Degradation as Wanted
from hil.scenario import Event, Scenario
from hil.storm import swing
from shared.errors import Unreachable
from shared.phases import Phase
from shared.signals import SignalSet

CACHE = Path("var/cache")
TAIL_SPARE_S = 20.0  # the leg ends before its recording does
Say = Callable[[str], None]


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


@dataclass(slots=True)
class Leg:
    """A flight that was flown, and what of it is to be played. Seconds are of its recording."""

    name: str
    flight: Flight
    file: Path
    start_s: float
    until_s: float
    events: tuple[Event, ...]
    playing: Playing | None = None
    first_sample: int = 0
    """Index in the run log of the first look at the edge during it."""

    @property
    def final(self) -> dict[str, Any]:
        """What the player said at its end; empty before."""
        return (self.playing.final or {}) if self.playing else {}

    def phase_s(self, phase: Phase) -> float:
        """When a phase begins, flight seconds."""
        for t_ns, name in self.flight.meta["phases"]:
            if name == phase:
                return float((t_ns - self.flight.start_ns) / 1e9)
        raise Unreachable(f"the flight has no phase {phase}", self.name, "name another")

    def due(self) -> list[tuple[float, Event]]:
        """Its events in the order in which they happen."""
        timed = [(self.phase_s(e.phase) + e.after_s, i, e) for i, e in enumerate(self.events)]
        return [(at_s, event) for at_s, _, event in sorted(timed, key=lambda item: item[:2])]

    async def play(self, rig: Rig, signals: SignalSet) -> Playing:
        """Start the player."""
        scenario = rig.scenario
        command = [
            sys.executable, "-P", "-m", "hil.bus.publish", "--flight", str(self.file),
            "--signals", str(rig.signal_set), "--port", str(rig.bus_port),
            "--rate", str(scenario.rate), "--start-s", str(self.start_s),
            "--until-s", str(self.until_s),
        ]  # fmt: skip
        if scenario.storm:
            groups = {signals.position[name][0].name for name in scenario.storm}
            command += ["--stamps", str(rig.folder / "stamps.json"), "--stamp", *sorted(groups)]
        child = Child("player", command, rig.folder / "logs" / "player.log")
        await child.start(pipe=True)
        self.playing = Playing(child, self.flight.start_ns, scenario.rate)
        return self.playing


def first_leg(rig: Rig, signals: SignalSet, say: Say) -> Leg:
    """The flight of the scenario, flown or from the cache."""
    scenario = rig.scenario
    mission = _mission(scenario, scenario.mission, scenario.before_s)
    flown = fly(
        mission, scenario.seed, signals, esns=_esns(scenario),
        degradation=_in_plant(scenario.degradation), cache_dir=CACHE, say=say,
    )  # fmt: skip
    swing(flown, signals, scenario.storm)
    leg = Leg(scenario.name, flown, rig.folder / "flight.npz", 0.0, 0.0, scenario.event)
    leg.start_s = scenario.start_after_s
    leg.start_s += leg.phase_s(scenario.start_phase) if scenario.start_phase else 0.0
    leg.until_s = _parked_until_s(leg, scenario.parked_s)
    if scenario.play_s is not None:
        leg.until_s = leg.start_s + scenario.play_s
    return leg


def second_leg(rig: Rig, signals: SignalSet, first: Leg, say: Say) -> Leg:
    """The flight after it, its event time after the first one's."""
    scenario, again = rig.scenario, rig.scenario.again
    assert again is not None
    mission = _mission(scenario, again.mission or scenario.mission, again.parked_s)
    length_ns = first.flight.end_ns - first.flight.start_ns + round(again.after_s * 1e9)
    flown = fly(
        mission, again.seed, signals, esns=_esns(scenario), start_ns=START_NS + length_ns,
        degradation=_in_plant(again.degradation), cache_dir=CACHE, say=say,
    )  # fmt: skip
    leg = Leg(f"{scenario.name}, again", flown, rig.folder / "flight2.npz", 0.0, 0.0, again.event)
    landed_s = scenario.parked_s if again.landed_s is None else again.landed_s
    leg.until_s = _parked_until_s(leg, landed_s)
    return leg


def save(leg: Leg) -> None:
    """Write its recording where the player finds it."""
    flights.save(leg.flight, leg.file)


def _mission(scenario: Scenario, name: str, before_s: float | None) -> Mission:
    """With the times on the stand that the scenario wants."""
    mission = mission_named(name)
    return dataclasses.replace(
        mission, parked_s=mission.parked_s if before_s is None else before_s,
        tail_s=max(mission.tail_s, scenario.parked_s + TAIL_SPARE_S),
    )  # fmt: skip


def _parked_until_s(leg: Leg, landed_s: float) -> float:
    parked_s = float((leg.flight.meta["oooi_ns"]["in"] - leg.flight.start_ns) / 1e9)
    return min(leg.flight.duration_s, parked_s + landed_s)


def _esns(scenario: Scenario) -> tuple[str, str]:
    one, two = (engine.esn for engine in scenario.tail.engines)
    return one, two


def _in_plant(wanted: Wanted | None) -> Degradation | None:
    """The scenario's degradation in the plant's words."""
    if wanted is None:
        return None
    return Degradation(**{**msgspec.structs.asdict(wanted), "phase": wanted.phase.value})
