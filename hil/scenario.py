"""A scenario: one bench run, as data.

In: a TOML file. Out: a frozen `Scenario`, checked.
Always holds: unknown keys and impossible events are refused by name before anything is started.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from shared.errors import ConfigError
from shared.phases import Phase
from shared.settings import load_settings_file
from shared.topics import check_identifier

SCENARIOS = Path(__file__).parent / "scenarios"
CALIBRATED = "calibrated"
"""The bundle that the ground made of the first flight, in the events of the second."""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Event(_Strict, frozen=True, kw_only=True):
    """One thing that the bench does, `after_s` flight seconds into a phase of the flight.

    `cut` a link for `for_s` flight seconds; `kill_edge` and start it again `for_s` later;
    `kill_ground`: SIGKILL one program of the ground, which its supervisor starts again, a
    broker with an empty store. `assign`: the director says that the tail shall run `set`, and a
    notice names `bundle` of it; `offer`: likewise, the set being the last one assigned with
    `bundle` in the place of its namesake.
    """

    phase: Phase
    after_s: float = 0.0
    action: Literal["cut", "kill_edge", "kill_ground", "offer", "assign"]
    link: Literal["air", "stand"] = "air"
    program: Literal["ingest", "nats"] = "ingest"
    for_s: float = 0.0
    bundle: str = ""
    set: tuple[str, ...] = ()


class Degradation(_Strict, frozen=True, kw_only=True):
    """Health that an engine loses, ramped from a phase on."""

    engine: int
    parameter: str = "hpc_eff"
    percent: float
    phase: Phase = Phase.CRUISE
    after_s: float = 0.0
    ramp_s: float = 180.0


class Engine(_Strict, frozen=True, kw_only=True):
    position: int
    esn: str
    part_number: str


class Tail(_Strict, frozen=True, kw_only=True):
    """The aircraft on the bench, as its identity/tail.toml will say."""

    operator: str
    tail: str
    type: str
    registration: str
    engines: tuple[Engine, ...]


class Again(_Strict, frozen=True, kw_only=True):
    """A second flight of the same tail, after the ground has reconciled the first.

    Its events may `offer` the bundle CALIBRATED: what the ground made of the first flight.
    """

    seed: int
    mission: str = ""
    """Empty: that of the first flight."""
    after_s: float = 5400.0
    """Event time from the end of the first recording to the start of this one."""
    parked_s: float = 300.0
    """Flight seconds on the stand, powered, before the engines start."""
    landed_s: float | None = None
    """Flight seconds on the stand after its landing; None is as after the first one."""
    calibrate: str = ""
    """Name of the model that the ground calibrates in between; empty: none."""
    degradation: Degradation | None = None
    event: tuple[Event, ...] = ()


class Expect(_Strict, frozen=True, kw_only=True):
    """What must come true for exit code 0, beyond the checks that every run has."""

    alerts: tuple[str, ...] = ()
    """`NAME` or `NAME-ESN` that must stand at the end; any other alert fails the run. A single
    `*` takes whatever there is."""
    refused: tuple[str, ...] = ()
    """Bundles that must have been refused or deferred in the air."""
    activated: tuple[str, ...] = ()
    """Bundles with which a set must have gone live at the stand, in this order."""
    muted: tuple[str, ...] = ()
    """Bundles that must have failed their probation in flight."""
    swapped_back: int = 0
    """Times that the last known good set must have come back at the stand."""
    proven: bool = False
    """Whether what runs at the end must have passed its probation."""
    outages: int = 0
    """Recorder outages that must be named, at most and at least."""
    flights: int = 1
    """Flights that must be closed; 0 for a run that ends in the air, which has no flight file."""
    verdicts: dict[str, str] = {}
    """ESN to the verdict that the ground must reach on each flight."""
    model_error_ratio_min: float | None = None
    """The model error of the first flight over that of the second, at least."""


class Scenario(_Strict, frozen=True, kw_only=True):
    """One run. rate: flight seconds per wall second. air_bytes_per_s: cap of the air link, wall."""

    name: str
    description: str = ""
    mission: str
    seed: int
    rate: float
    tail: Tail
    signal_set: str = "b737_bench"
    bundle: str = "egt_rom_v1"
    beside: tuple[str, ...] = ()
    """Bundles that are in the first set beside it."""
    air_bytes_per_s: int = 4000
    before_s: float | None = None
    """Flight seconds on the stand, powered, before the engines start; None is the mission's own."""
    parked_s: float = 240.0
    """Flight seconds on the stand after landing before the bench may stop."""
    start_phase: Phase | None = None
    """Publish from this phase of the flight on; None is from the start."""
    start_after_s: float = 0.0
    """Flight seconds after the beginning of `start_phase`; negative is before it."""
    play_s: float | None = None
    """Flight seconds to publish; None is to the end."""
    storm: tuple[str, ...] = ()
    """Signals that swing over an alert limit at every other reading, to measure alert latency."""
    degradation: Degradation | None = None
    event: tuple[Event, ...] = ()
    again: Again | None = None
    expect: Expect = Expect()


def load_scenario(path: Path) -> Scenario:
    """The scenario at `path`, or of that name; ConfigError names file, key and remedy."""
    named = SCENARIOS / f"{path}.toml"
    if path.name == str(path) and not path.exists() and named.exists():
        path = named
    names = " ".join(sorted(one.stem for one in SCENARIOS.glob("*.toml")))
    scenario = load_settings_file(
        Scenario,
        path,
        "see scenarios in docs/configuration.md",
        missing=f"a file, or one of {names}",
    )
    check_identifier(scenario.name, f"{path}: name")
    if not 0.1 <= scenario.rate <= 100:
        raise ConfigError("out of range", f"{path}: rate", "0.1 to 100")
    _check_events(scenario.event, f"{path}: event", may_be_calibrated=False)
    if scenario.again is not None:
        made = bool(scenario.again.calibrate)
        _check_events(scenario.again.event, f"{path}: again.event", may_be_calibrated=made)
    return scenario


def _check_events(events: tuple[Event, ...], where: str, *, may_be_calibrated: bool) -> None:
    for i, event in enumerate(events):
        if event.action == "cut" and event.for_s <= 0:
            raise ConfigError("a cut needs its length", f"{where}[{i}].for_s", "above 0")
        if event.action in ("offer", "assign") and not event.bundle:
            raise ConfigError("a notice needs a bundle", f"{where}[{i}].bundle", "name one")
        if (event.action == "assign") != (event.bundle in event.set):
            raise ConfigError(
                "assign, and nothing else, names a set with its bundle", f"{where}[{i}].set",
                "list the whole set",
            )  # fmt: skip
        if CALIBRATED in (event.bundle, *event.set) and not may_be_calibrated:
            raise ConfigError(
                "nothing is calibrated before this", f"{where}[{i}].bundle", "set again.calibrate"
            )
