"""Remaining useful life as dynamics that a compiler can trace: one cycle in, one answer out.

In: the sensors of one cycle and the engine's cycle number. Out: cycles left (at most `CAP`), and
the band in which nine of ten fall. Always holds: only past cycles decide; what is remembered of
them are two tensors of state, `means` and `sums`; numpy, the reference evaluation and the graph
aboard run this same code.

Method: the sensors are scaled and projected on the first axes of their covariance (one is the
health they share, the other what two core speeds add); each axis is followed by running means
from 2 to 64 cycles and by its mean since the first cycle, so that level, trend and history are
all there; small networks read these and the cycle number, and their mean is the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ground.prognostics.cmapss import SENSORS, Engine, Float64
from ground.prognostics.network import Networks

CAP = 125.0
"""Cycles; the label's cap of the published figures: a healthy engine shows no age beyond it."""
TIME_CONSTANTS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # cycles
AXES = 2
PRIOR_CYCLES = 10.0  # of a young engine, before its own count: an assumption
CYCLE_SCALE = 0.01  # brings the cycle number to the size of the other features
KNOTS = (0.0, 25.0, 50.0, 75.0, 100.0, 125.0)  # cycles predicted, where the band may bend
INPUTS = (*SENSORS, "cycle")
OUTPUTS = ("rul", "rul_low", "rul_high")
FEATURES = AXES * (len(TIME_CONSTANTS) + 1) + 2


@dataclass(frozen=True, eq=False)
class Axes:
    """From sensors to health: (row - centre) @ projection, [sensors, AXES]. start: of a young
    engine, [AXES]."""

    centre: Float64
    projection: Float64
    start: Float64


@dataclass(frozen=True, eq=False)
class Band:
    """What to add to an answer at each of KNOTS, straight lines between."""

    low: tuple[float, ...]
    high: tuple[float, ...]


class Features:
    """The part of a step that remembers. E engines side by side."""

    def __init__(self, axes: Axes, instances: int) -> None:
        self.axes, self.instances = axes, instances
        self.gains = np.repeat(1 - np.exp(-1 / np.array(TIME_CONSTANTS)), AXES)[None]
        row = np.ones((instances, 1))
        self.initial: dict[str, Float64] = {
            "means": row * np.tile(axes.start, len(TIME_CONSTANTS)),
            "sums": row * np.append(PRIOR_CYCLES * axes.start, PRIOR_CYCLES),
        }

    def step(
        self, inputs: Mapping[str, Any], states: Mapping[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """(features [E, FEATURES], next states)."""
        rows = np.concatenate([inputs[name] for name in SENSORS], axis=1)
        health = np.matmul(rows - self.axes.centre, self.axes.projection)
        wide = np.concatenate([health] * len(TIME_CONSTANTS), axis=1)
        means = states["means"] + self.gains * (wide - states["means"])
        one = np.ones((self.instances, 1))
        sums = states["sums"] + np.concatenate([health, one], axis=1)
        history = sums[:, 0:AXES] / sums[:, AXES : AXES + 1]
        ages = [CYCLE_SCALE * inputs["cycle"], CYCLE_SCALE * sums[:, AXES : AXES + 1]]
        features = np.concatenate([means, history, *ages], axis=1)
        return features, {"means": means, "sums": sums}


class Rul:
    """The whole step. scale: of features, [2, FEATURES]: centre and factor."""

    kind = "rul"

    def __init__(
        self, axes: Axes, scale: Float64, networks: Networks, band: Band, instances: int = 1
    ) -> None:
        self.axes, self.scale, self.networks, self.band = axes, scale, networks, band
        self.features, self.instances = Features(axes, instances), instances
        self.initial = self.features.initial

    def step(
        self, inputs: Mapping[str, Any], states: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        features, moved = self.features.step(inputs, states)
        scaled = (features - self.scale[0]) * self.scale[1]
        rul = clipped(self.networks.mean(scaled, self.instances))
        return {
            "rul": rul,
            "rul_low": clipped(rul + bent(rul, self.band.low)),
            "rul_high": clipped(rul + bent(rul, self.band.high)),
        }, moved

    def of_engines(self, engines: Sequence[Engine]) -> list[Float64]:
        """Answers of every cycle [cycles, OUTPUTS] of each engine, all engines side by side."""
        alike = Rul(self.axes, self.scale, self.networks, self.band, len(engines))
        found = []
        states: Mapping[str, Any] = alike.initial
        for inputs in cycles(engines):
            values, states = alike.step(inputs, states)
            found.append(np.concatenate([values[name] for name in OUTPUTS], axis=1))
        whole = np.stack(found)
        return [whole[: len(engine), i] for i, engine in enumerate(engines)]


def features_of(axes: Axes, engines: Sequence[Engine]) -> list[Float64]:
    """Features of every cycle [cycles, FEATURES] of each engine."""
    memory = Features(axes, len(engines))
    found = []
    states: Mapping[str, Any] = memory.initial
    for inputs in cycles(engines):
        features, states = memory.step(inputs, states)
        found.append(features)
    whole = np.stack(found)
    return [whole[: len(engine), i] for i, engine in enumerate(engines)]


def cycles(engines: Sequence[Engine]) -> list[dict[str, Float64]]:
    """Inputs, a cycle after the other, a row an engine; one that has ended stays as it was."""
    longest = max(map(len, engines))
    whole = np.stack([x.rows[np.minimum(np.arange(longest), len(x) - 1)] for x in engines], axis=1)
    return [
        {name: row[:, i : i + 1] for i, name in enumerate(SENSORS)}
        | {"cycle": np.array([[float(x.first + at)] for x in engines])}
        for at, row in enumerate(whole)
    ]


def clipped(x: Any) -> Any:
    """Within 0 and CAP."""
    return np.minimum(np.maximum(x, 0.0), CAP)


def bent(x: Any, at_knots: Sequence[float]) -> Any:
    """Straight lines through (KNOTS, at_knots), for x between the first and the last."""
    slopes = np.diff(at_knots) / np.diff(KNOTS)
    total = at_knots[0] + slopes[0] * x
    for knot, change in zip(KNOTS[1:], np.diff(slopes), strict=False):
        total = total + change * np.maximum(x - knot, 0.0)
    return total


def true_rul(engine: Engine, left: float = 0.0) -> Float64:
    """Cycles left after each row, under the cap. left: after the last one."""
    truth: Float64 = np.minimum(np.arange(len(engine) - 1, -1, -1) + left, CAP)
    return truth


def rmse(error: Float64) -> float:
    """Root mean square, cycles."""
    return float(np.sqrt(np.mean(error**2)))


def nasa_score(error: Float64) -> float:
    """Sum over engines of what a prediction - truth in cycles costs; late costs more.

    The PHM 2008 challenge's: exp(-d/13) - 1 when early, exp(d/10) - 1 when late.
    """
    return float(np.where(error < 0, np.expm1(-error / 13), np.expm1(error / 10)).sum())
