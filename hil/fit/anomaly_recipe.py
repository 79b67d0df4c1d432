"""The recipe of an anomaly score: everything about the bundle but its numbers, as data.

In: a TOML file. Out: a frozen `AnomalyRecipe`. Always holds: unknown keys are refused by name.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from shared.bundle import Instance, Steady
from shared.errors import ConfigError


class InputRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """signal: `{position}` stands for the engine's. margin: added to the range that was flown."""

    unit: str
    signal: str
    margin: float


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    purpose: str
    method: str
    limits: str


class Switched(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An input that must have one value; otherwise there is no score."""

    unit: str
    signal: str
    only: float


class Score(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """valid: what a plausible score is."""

    valid: tuple[float, float]


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """hidden, bottleneck: widths of the layers. steps, batch, rate: of Adam. seed: of all draws."""

    hidden: int
    bottleneck: int
    steps: int
    batch: int
    rate: float
    seed: int


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The monitor. Onset: `margin` times the `quantile` of the smoothed score of flights that were
    not trained on, and at least `onset_min`; clear is half way from 1 to it."""

    name: str
    fault_code: str
    quantile: float
    margin: float
    onset_min: float
    persistence_s: float
    clear_persistence_s: float
    smoothing_s: float
    phases: tuple[str, ...]


class AnomalyRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything but the numbers."""

    name: str
    version: str
    release: int
    rate_hz: float
    ata: str
    signal_set: str
    """Path, relative to the recipe."""
    engines: dict[str, str]
    """Position to ESN."""
    types: tuple[str, ...]
    train: tuple[str, ...]
    """`mission:seed`, healthy."""
    train_phases: tuple[str, ...]
    threshold: tuple[str, ...]
    held_out: tuple[str, ...]
    steady: Steady
    running_min: float
    inputs: dict[str, InputRule]
    switched: dict[str, Switched]
    score: Score
    training: Training
    monitor: Rule
    card: Card

    @property
    def columns(self) -> list[str]:
        """Names of the graph's inputs, in order."""
        return [*self.inputs, *self.switched]

    @property
    def instances(self) -> tuple[Instance, ...]:
        every: dict[str, InputRule | Switched] = {**self.inputs, **self.switched}
        return tuple(
            Instance(
                position=int(position),
                esn=esn,
                inputs={k: v.signal.format(position=position) for k, v in every.items()},
                measured={},
            )
            for position, esn in self.engines.items()
        )


def load_anomaly_recipe(path: Path) -> AnomalyRecipe:
    """The recipe at `path`; ConfigError names file and key."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), AnomalyRecipe)
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", str(path), "check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(str(error), str(path), "see hil/fit/anomaly.py") from None
