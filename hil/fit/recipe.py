"""The recipe of a baseline: everything about a bundle but its numbers, as data.

In: a TOML file. Out: a frozen `Recipe`. Always holds: unknown keys are refused by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from shared.behaviour.kinds import Axis, Correction
from shared.bundle import Applicability, Instance, Steady
from shared.settings import load_settings_file


class InputRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """signal: `{position}` stands for the engine's. margin: added to the range that was flown."""

    unit: str
    signal: str
    margin: float


class OutputRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    unit: str
    lsb: float
    signal: str
    table_unit: str
    formula: str
    arguments: tuple[str, ...]


class MonitorRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A monitor whose limits follow from healthy residuals.

    Onset is the larger of `sigmas` standard deviations and 1.5 times the largest value of the
    smoothed residual of held-out flights, and at least `onset_min`; clear is half of it.
    """

    name: str
    fault_code: str
    output: str
    sigmas: float
    onset_min: float
    persistence_s: float
    clear_persistence_s: float
    smoothing_s: float
    severity: Literal["advisory", "caution", "warning"]
    phases: tuple[str, ...]


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    purpose: str
    method: str
    limits: str


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `python -m hil.fit fit` starts from."""

    name: str
    version: str
    release: int
    rate_hz: float
    ata: str
    full_fidelity: str
    signal_set: str
    """Path, relative to the recipe."""
    engines: dict[str, str]
    """Position to ESN."""
    types: tuple[str, ...]
    part_numbers: tuple[str, ...] = ()
    flights: tuple[str, ...]
    """`mission:seed`, healthy, to fit."""
    held_out: tuple[str, ...]
    """`mission:seed`, healthy, to judge."""
    smoothness: float
    """Weight of the curvature penalty against the mean squared error of the fit."""
    steady: Steady
    running_min: float
    """The steady input is at least this where the engine runs."""
    inputs: dict[str, InputRule]
    outputs: dict[str, OutputRule]
    corrections: tuple[Correction, ...]
    axes: tuple[Axis, ...]
    effects: tuple[str, ...] = ()
    monitors: tuple[MonitorRule, ...]
    card: Card

    @property
    def instances(self) -> tuple[Instance, ...]:
        return tuple(
            Instance(
                position=int(position),
                esn=esn,
                inputs={k: v.signal.format(position=position) for k, v in self.inputs.items()},
                measured={k: v.signal.format(position=position) for k, v in self.outputs.items()},
            )
            for position, esn in self.engines.items()
        )

    @property
    def applicability(self) -> Applicability:
        return Applicability(
            types=self.types, part_numbers=self.part_numbers, esns=tuple(self.engines.values())
        )


def load_recipe(path: Path) -> Recipe:
    """The recipe at `path`; ConfigError names file and key."""
    return load_settings_file(Recipe, path, "see hil/fit/recipe.py", missing="check the path")
