"""Reduction of a parent model to a lookup table, as small as its error allows.

In: parents (one an engine), points drawn from an envelope, the shape of the table, a budget. Out: a
`LookupTable`, and its error on points that neither fitted nor chose it. Always holds: nothing but
inputs and the parents' answers takes part, so a sensor cannot move a table; a table never exceeds
the budget; three draws of points, one to fit, one to choose the grid, one to judge.

The grid grows greedily from two points an axis: the axis whose next points lower the error most for
each new element gets them, until the error is small enough or the budget is spent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from ground.calibrate.envelope import Columns, Envelope, draw
from ground.calibrate.lattice import fit, weights
from shared.behaviour.formulas import REDUCTIONS, RESTORATIONS
from shared.behaviour.kinds import (
    POINTS_MAX,
    Axis,
    Column,
    Correction,
    Effect,
    LookupTable,
    quantities,
)
from shared.errors import Rejected

Float64 = npt.NDArray[np.float64]
Parent = Callable[[Columns], Mapping[str, Float64]]
"""Outputs [n] of inputs [n] by name, NaN where the parent does not speak."""
DIGITS = 6  # significant ones of a table value: 1 mK of an EGT
SPOKEN_MIN = 0.5  # share of the points at which the parent has to speak
GROW_POINTS = 3000
GAIN_MIN = 0.02  # a point that lowers the error by less is not worth its elements


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked up by what."""

    corrections: tuple[Correction, ...]
    columns: tuple[Column, ...]
    axes: tuple[str, ...]
    """Quantities, in the order of the table."""
    effects: tuple[str, ...] = ()


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """elements: of all tables of the bundle together. target: rms of each output at which the grid
    stops growing, in the output's unit."""

    elements_max: int
    target: dict[str, float]


class Draws(msgspec.Struct, frozen=True, kw_only=True):
    """How many points, from which seeds."""

    fit: int = 6000
    choose: int = 2000
    judge: int = 3000
    seed: int = 1


@dataclass(frozen=True, eq=False)
class Asked:
    """Inputs [n] where every parent speaks, and what each said."""

    inputs: Columns
    outputs: list[dict[str, Float64]]
    spoken: float
    """Share of the points drawn at which all of them spoke."""


def ask(parents: Sequence[Parent], inputs: Columns) -> Asked:
    """Rejected when the parents are silent over most of the envelope."""
    answers = [dict(parent(inputs)) for parent in parents]
    spoken = np.all([np.isfinite(x) for answer in answers for x in answer.values()], axis=0)
    share = float(np.mean(spoken))
    if share < SPOKEN_MIN:
        raise Rejected(
            f"the full-fidelity model speaks at {share:.0%} of the envelope", "reduction",
            "narrow the envelope, or look at what it says is out of range",
        )  # fmt: skip
    return Asked(
        {name: column[spoken] for name, column in inputs.items()},
        [{name: x[spoken] for name, x in answer.items()} for answer in answers], share,
    )  # fmt: skip


def reduce_to_table(
    parents: Sequence[Parent], envelope: Envelope, shape: Shape, budget: Budget,
    draws: Draws, smoothness: float, axes: Sequence[Axis] | None = None,
) -> tuple[LookupTable, dict[str, float]]:  # fmt: skip
    """(table, figures). axes: a grid that is given; None grows one.

    figures: per output, rms and worst over all engines on points not used before, their number,
    and the share of the envelope at which the parent spoke.
    """
    asked = ask(parents, draw(envelope, draws.fit, draws.seed))
    chosen = axes
    if chosen is None:
        chooser = ask(parents, draw(envelope, draws.choose, draws.seed + 1))
        chosen = _grow(asked, chooser, envelope, shape, budget, smoothness)
    size = math.prod(len(x.points) for x in chosen) * len(shape.columns) * len(parents)
    if size > budget.elements_max:
        raise Rejected(f"{size} elements", "reduction", f"at most {budget.elements_max}")
    table = _fitted(asked, shape, chosen, smoothness)
    judge = ask(parents, draw(envelope, draws.judge, draws.seed + 2))
    missed = errors(table, judge)
    figures = {"parent_spoken_share": round(judge.spoken, 4),
               "held_out_points": float(len(judge.inputs["n1"]))}  # fmt: skip
    for name, value in missed.items():
        figures[f"{name}_held_out_rms"] = round(float(np.sqrt(np.mean(value**2))), 3)
        figures[f"{name}_held_out_worst"] = round(float(np.abs(value).max()), 3)
    return table, figures


def evaluate_rows(table: LookupTable, engine: int, inputs: Mapping[str, Float64]) -> Columns:
    """Outputs [n] of one engine in float64, for inputs without NaN; nothing is refused here."""
    known = quantities(table, inputs)
    at = weights(np.column_stack([known[axis.quantity] for axis in table.axes]), table.axes)
    scale = {x.quantity: x.coefficients[engine] for x in table.effects}
    result = {}
    for i, column in enumerate(table.columns):
        value = at @ np.array(table.values[engine][i])
        value *= 1 + sum((known[name] * c[i] for name, c in scale.items()), start=0.0)
        restore = RESTORATIONS[column.formula].function
        result[column.output] = restore(value, *(known[a] for a in column.arguments))
    return result


def errors(table: LookupTable, asked: Asked) -> Columns:
    """Table minus parent by output, engine after engine, [n x engines]."""
    parts = []
    for engine, said in enumerate(asked.outputs):
        found = evaluate_rows(table, engine, asked.inputs)
        parts.append({name: found[name] - said[name] for name in found})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _grow(
    asked: Asked, chooser: Asked, envelope: Envelope, shape: Shape, budget: Budget,
    smoothness: float,
) -> tuple[Axis, ...]:  # fmt: skip
    # engines differ little in shape, and a share of the points tells which axis is too coarse
    first = Asked(
        {name: x[:GROW_POINTS] for name, x in asked.inputs.items()},
        [{name: x[:GROW_POINTS] for name, x in asked.outputs[0].items()}], asked.spoken,
    )  # fmt: skip
    looked = Asked(chooser.inputs, chooser.outputs[:1], chooser.spoken)
    each = len(shape.columns) * len(asked.outputs)

    def error(counts: tuple[int, ...]) -> float:
        table = _fitted(first, shape, _axes(envelope, shape, counts), smoothness)
        missed = errors(table, looked)
        return max(
            float(np.sqrt(np.mean(x**2))) / budget.target[name] for name, x in missed.items()
        )

    counts = (2,) * len(shape.axes)
    now = error(counts)
    while now > 1.0:
        best: tuple[float, float, tuple[int, ...]] | None = None
        for more in _larger(counts):
            if max(more) > POINTS_MAX or math.prod(more) * each > budget.elements_max:
                continue
            then = error(more)
            gain = (now - then) / (math.prod(more) - math.prod(counts))
            if then < now * (1 - GAIN_MIN) and (best is None or gain > best[0]):
                best = (gain, then, more)
        if best is None:
            break
        _, now, counts = best
    return _axes(envelope, shape, counts)


def _larger(counts: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """One axis with one point more, or with a point in each interval: that grid contains the old
    one, so its error cannot be stuck on where the points happen to lie."""
    for i, count in enumerate(counts):
        for more in dict.fromkeys((count + 1, 2 * count - 1)):
            yield (*counts[:i], more, *counts[i + 1 :])


def _axes(envelope: Envelope, shape: Shape, counts: Sequence[int]) -> tuple[Axis, ...]:
    return tuple(
        Axis(name, tuple(_rounded(np.linspace(*envelope.range_of(name), count))))
        for name, count in zip(shape.axes, counts, strict=True)
    )


def _fitted(asked: Asked, shape: Shape, axes: Sequence[Axis], smoothness: float) -> LookupTable:
    empty = LookupTable(shape.corrections, tuple(axes), shape.columns, ())
    known = quantities(empty, asked.inputs)
    points = np.column_stack([known[axis.quantity] for axis in axes])
    count = len(points)
    moved = np.column_stack([np.zeros((count, 0)), *(known[x] for x in shape.effects)])
    values, effects = [], []
    for said in asked.outputs:
        of_columns = []
        for column in shape.columns:
            reduce = REDUCTIONS[column.formula].function
            corrected = reduce(said[column.output], *(known[a] for a in column.arguments))
            of_columns.append(fit(points, corrected, moved, axes, smoothness))
        values.append(tuple(tuple(_rounded(table)) for table, _ in of_columns))
        effects.append([_rounded(coefficients) for _, coefficients in of_columns])
    return msgspec.structs.replace(
        empty,
        values=tuple(values),
        effects=tuple(
            Effect(name, tuple(tuple(c[i] for c in engine) for engine in effects))
            for i, name in enumerate(shape.effects)
        ),
    )


def _rounded(numbers: Float64) -> list[float]:
    return [float(f"{x:.{DIGITS}g}") for x in numbers]
