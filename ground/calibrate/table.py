"""Reduction of a parent model to a lookup table on a given grid.

In: parents (one an engine), points drawn from an envelope, the shape of the table and its grid, a
table to start from. Out: a `LookupTable`, and its error on points that did not fit it. Always holds:
nothing but inputs and the parents' answers takes part, so a sensor cannot move a table; a table
never exceeds its bound; two draws of points, one to fit, one to judge; where no point was drawn, a
table that started from another keeps its shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from ground.calibrate.envelope import Columns, Envelope, draw
from ground.calibrate.lattice import fit, weights
from shared.behaviour.formulas import REDUCTIONS, RESTORATIONS
from shared.behaviour.kinds import (
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


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked up by what, and where. effects: quantities that scale the table."""

    corrections: tuple[Correction, ...]
    columns: tuple[Column, ...]
    axes: tuple[Axis, ...]
    effects: tuple[str, ...] = ()


def shape_of(table: LookupTable) -> Shape:
    """Everything of a table but its values."""
    return Shape(corrections=table.corrections, columns=table.columns, axes=table.axes,
                 effects=tuple(x.quantity for x in table.effects))  # fmt: skip


class Draws(msgspec.Struct, frozen=True, kw_only=True):
    """How many points, from which seeds."""

    fit: int = 6000
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
    parents: Sequence[Parent], envelope: Envelope, shape: Shape, draws: Draws, smoothness: float,
    elements_max: int, start: LookupTable | None = None,
) -> tuple[LookupTable, dict[str, float]]:  # fmt: skip
    """(table, figures). elements_max: of all engines together. start: a table of this shape, to
    whose values the new ones are smooth factors; without one the values themselves are smooth.

    figures: per output, rms and worst over all engines on points not used before, their number,
    and the share of the envelope at which the parent spoke.
    """
    for axis in shape.axes:
        envelope.range_of(axis.quantity)
    size = math.prod(len(x.points) for x in shape.axes) * len(shape.columns) * len(parents)
    if size > elements_max:
        raise Rejected(f"{size} elements", "reduction", f"at most {elements_max}")
    asked = ask(parents, draw(envelope, draws.fit, draws.seed))
    table = _fitted(asked, shape, smoothness, start)
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


def _fitted(
    asked: Asked, shape: Shape, smoothness: float, start: LookupTable | None
) -> LookupTable:
    empty = LookupTable(shape.corrections, shape.axes, shape.columns, ())
    known = quantities(empty, asked.inputs)
    points = np.column_stack([known[axis.quantity] for axis in shape.axes])
    count = len(points)
    moved = np.column_stack([np.zeros((count, 0)), *(known[x] for x in shape.effects)])
    values, effects = [], []
    for engine, said in enumerate(asked.outputs):
        of_columns = []
        for i, column in enumerate(shape.columns):
            reduce = REDUCTIONS[column.formula].function
            corrected = reduce(said[column.output], *(known[a] for a in column.arguments))
            before = np.array(start.values[engine][i]) if start is not None else None
            of_columns.append(fit(points, corrected, moved, shape.axes, smoothness, before))
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
