"""Behavioural models as data. So far one kind: `lookup-table`.

In: a declaration. Out: a checked `LookupTable`, and its evaluation on arrays.
Always holds: `evaluate` uses numpy ufuncs, reshapes and column slices only, so the compiler can
trace the very function that is the reference; an unknown formula, name or unit is refused by
name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from shared.behaviour.formulas import CORRECTIONS, RESTORATIONS, Formula
from shared.errors import Rejected

AXES_MAX = 4
POINTS_MAX = 64  # of one axis


class Correction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named quantity computed from inputs or from corrections named before it."""

    name: str
    formula: str
    arguments: tuple[str, ...]


class Axis(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One axis of the table: the quantity it is looked up by, and its rising points.

    Beyond the first or last point the table is clamped.
    """

    quantity: str
    points: tuple[float, ...]


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One output: the unit of the table's values, and how they become what the sensor shows."""

    output: str
    table_unit: str
    formula: str
    arguments: tuple[str, ...]
    """Of the formula, after the table's value itself."""


class Effect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table values are scaled by 1 + coefficient [instance][column] x quantity; effects add.

    Bleed and anti-ice take a share of the core's flow, so their effect is a share as well.
    """

    quantity: str
    coefficients: tuple[tuple[float, ...], ...]


class LookupTable(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="lookup-table"
):
    """A table of up to four axes, multilinear, one set of values an instance."""

    corrections: tuple[Correction, ...]
    axes: tuple[Axis, ...]
    columns: tuple[Column, ...]
    values: tuple[tuple[tuple[float, ...], ...], ...]
    """[instance][column][point]; points with the last axis fastest."""
    effects: tuple[Effect, ...] = ()


def check(
    table: LookupTable,
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    instances: int,
    where: str,
) -> None:
    """Refuse a table that does not fit its ports (name to unit); Rejected by name."""
    units = dict(inputs)
    for item in table.corrections:
        _need(item.name not in units, f"{item.name!r} is named twice", where)
        formula = _formula(CORRECTIONS, item.formula, where)
        units[item.name] = _unit(formula, [units.get(a) for a in item.arguments], item.name, where)
    _need(0 < len(table.axes) <= AXES_MAX, f"1 to {AXES_MAX} axes", where)
    for axis in table.axes:
        _need(axis.quantity in units, f"axis of unknown quantity {axis.quantity!r}", where)
        points = np.asarray(axis.points)
        ok = 2 <= points.size <= POINTS_MAX and bool(np.all(np.diff(points) > 0))
        _need(ok, f"axis {axis.quantity!r} needs 2 to {POINTS_MAX} rising points", where)
    for column in table.columns:
        formula = _formula(RESTORATIONS, column.formula, where)
        arguments = [column.table_unit, *(units.get(a) for a in column.arguments)]
        unit = _unit(formula, arguments, column.output, where)
        ok = outputs.get(column.output) == unit
        _need(ok, f"column {column.output!r} gives {unit}, no output of that unit", where)
    names = [column.output for column in table.columns]
    _need(sorted(names) == sorted(outputs), "columns are not the outputs", where)
    size = int(np.prod([len(axis.points) for axis in table.axes]))
    ok = len(table.values) == instances and all(
        len(columns) == len(table.columns) and all(len(v) == size for v in columns)
        for columns in table.values
    )
    _need(ok, f"values are not [{instances}][{len(table.columns)}][{size}]", where)
    for effect in table.effects:
        _need(effect.quantity in units, f"effect of unknown {effect.quantity!r}", where)
        ok = len(effect.coefficients) == instances and all(
            len(row) == len(table.columns) for row in effect.coefficients
        )
        _need(ok, f"effect {effect.quantity!r} is not [instance][column]", where)


def quantities(table: LookupTable, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs and corrections by name, each of the shape of the inputs."""
    known = dict(inputs)
    for item in table.corrections:
        function = CORRECTIONS[item.formula].function
        known[item.name] = function(*(known[a] for a in item.arguments))
    return known


def hat_weights(x: Any, points: Sequence[float]) -> Any:
    """Weights [E, P] of linear interpolation of `x` [E, 1] between `points` [P], clamped."""
    p = np.asarray(points)
    step = np.diff(p)
    before = np.concatenate(([p[0] - step[0]], p[:-1]))
    after = np.concatenate((p[1:], [p[-1] + step[-1]]))
    x = np.minimum(np.maximum(x, p[:1]), p[-1:])
    rising = (x - before) * (1.0 / (p - before))
    falling = (after - x) * (1.0 / (after - p))
    return np.maximum(np.minimum(rising, falling), np.zeros(1))


def evaluate(table: LookupTable, inputs: Mapping[str, Any]) -> list[Any]:
    """One array [E, 1] a column, from one array [E, 1] an input; E is the instances."""
    known = quantities(table, inputs)
    shape = [len(axis.points) for axis in table.axes]
    count, width = len(table.values), len(table.columns)
    # [E, column, point...] with the columns last: one contraction serves them all.
    rest = np.moveaxis(np.asarray(table.values).reshape(count, width, *shape), 1, -1)
    value: Any = rest.reshape(count, shape[0], -1)
    for i, axis in enumerate(table.axes):
        weights = hat_weights(known[axis.quantity], axis.points).reshape(count, 1, shape[i])
        value = np.matmul(weights, value)
        if i + 1 < len(shape):
            value = value.reshape(count, shape[i + 1], -1)
    value = value.reshape(count, width)
    scale: Any = np.ones((count, width))
    for effect in table.effects:
        scale = scale + known[effect.quantity] * np.asarray(effect.coefficients)
    value = value * scale
    return [
        RESTORATIONS[column.formula].function(
            value[:, i : i + 1], *(known[a] for a in column.arguments)
        )
        for i, column in enumerate(table.columns)
    ]


def _formula(known: Mapping[str, Formula], name: str, where: str) -> Formula:
    _need(name in known, f"no formula {name!r}; one of {', '.join(known)}", where)
    return known[name]


def _unit(formula: Formula, units: Sequence[str | None], name: str, where: str) -> str:
    """Unit of the result, after the units of the arguments were checked."""
    _need(len(units) == len(formula.arguments), f"{name!r}: wrong number of arguments", where)
    free = "*"
    for wanted, unit in zip(formula.arguments, units, strict=True):
        _need(unit is not None, f"{name!r}: argument names nothing", where)
        if wanted == "*" and free == "*":
            free = str(unit)
        want = free if wanted == "*" else wanted
        _need(unit == want, f"{name!r}: argument in {unit}, the formula takes {want}", where)
    return free if formula.unit == "*" else formula.unit


def _need(ok: bool, what: str, where: str) -> None:
    if not ok:
        raise Rejected(what, where, "correct the declaration")
