"""The recipe of a type's ROM: everything about a bundle but its numbers, as data.

In: a TOML file. Out: a frozen `Recipe`. Always holds: unknown keys are refused by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from ground.calibrate.table import Draws, Shape
from shared.behaviour.kinds import Axis, Column, Correction
from shared.bundle import Applicability, Instance, Monitor, Steady
from shared.settings import load_settings_file


class Port(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """signal: `{position}` stands for the engine's. margin: of a switched input, beyond 0 and 1."""

    unit: str
    signal: str
    margin: float = 0.0


class OutputPort(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """valid: what a plausible prediction is."""

    unit: str
    lsb: float
    valid: tuple[float, float]
    signal: str
    table_unit: str
    formula: str
    arguments: tuple[str, ...]


class MonitorRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A monitor; its limits are the recipe's, since a type has no healthy rows of its own."""

    name: str
    fault_code: str
    output: str
    onset: float
    clear: float
    persistence_s: float
    clear_persistence_s: float
    smoothing_s: float
    severity: Literal["advisory", "caution", "warning"]
    phases: tuple[str, ...]


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    purpose: str
    method: str
    limits: str


class Shares(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a calibration may make of the type's numbers: from low to high times each of them."""

    values: tuple[float, float]
    effects: tuple[float, float]


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `python -m ground.calibrate.type_rom` starts from."""

    name: str
    version: str
    release: int
    rate_hz: float
    ata: str
    engine_type: str
    signal_set: str
    """Path, relative to the recipe."""
    engines: dict[str, str]
    """Position to ESN: where the type hangs. Each gets the same numbers."""
    types: tuple[str, ...]
    part_numbers: tuple[str, ...] = ()
    envelope: dict[str, tuple[float, float]]
    """(low, high) of corrected N1 and the axes' inputs."""
    draws: Draws
    smoothness: float
    """Weight of the curvature penalty against the mean squared error of the fit."""
    steady: Steady
    inputs: dict[str, Port]
    outputs: dict[str, OutputPort]
    corrections: tuple[Correction, ...]
    axes: tuple[Axis, ...]
    effects: tuple[str, ...] = ()
    calibratable: Shares
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

    @property
    def shape(self) -> Shape:
        columns = tuple(
            Column(name, x.table_unit, x.formula, x.arguments) for name, x in self.outputs.items()
        )
        return Shape(corrections=self.corrections, columns=columns, axes=self.axes,
                     effects=self.effects)  # fmt: skip

    @property
    def limits(self) -> tuple[Monitor, ...]:
        """The monitors as the bundle has them."""
        return tuple(
            Monitor(**msgspec.structs.asdict(rule), steady=self.steady) for rule in self.monitors
        )


def load_recipe(path: Path) -> Recipe:
    """The recipe at `path`; ConfigError names file and key."""
    return load_settings_file(
        Recipe, path, "see ground/calibrate/recipe.py", missing="check the path"
    )
