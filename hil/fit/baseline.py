"""The baseline of every engine: fitted on healthy flights, judged on others.

In: a recipe and flights. Out: the declaration of a bundle, its limits taken from the residuals.
Always holds: a flight is used to fit or to judge, never both; the same flights give the same
declaration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from hil.fit.lattice import fit, weights
from hil.fit.recipe import MonitorRule, Recipe
from hil.fit.samples import Float64, Samples, resample
from hil.plant.flight import Flight
from shared.behaviour.formulas import REDUCTIONS, RESTORATIONS
from shared.behaviour.kinds import Column, Effect, LookupTable, quantities
from shared.bundle import (
    Bundle,
    Calibration,
    Input,
    Instance,
    ModelCard,
    Monitor,
    Output,
    Requirements,
    Steady,
)
from shared.errors import Rejected
from shared.signals import SignalSet

FlightOf = Callable[[str], Flight]
"""The flight of `mission:seed`, healthy."""

SAMPLES_MIN = 500  # of one engine, steady; an assumption
NODES = 128  # a four-axis table of two columns takes 90
DIGITS = 6  # significant ones of a table value: 1 mK of an EGT


@dataclass(frozen=True, eq=False)
class _Rows:
    """Steady rows of one engine, over flights."""

    inputs: dict[str, Float64]
    measured: dict[str, Float64]


def fit_baseline(recipe: Recipe, signals: SignalSet, flight_of: FlightOf) -> Bundle:
    """The declaration; Rejected when flights are used twice or show too little."""
    twice = set(recipe.flights) & set(recipe.held_out)
    if twice:
        raise Rejected(f"{sorted(twice)} to fit and to judge", recipe.name, "use other seeds")
    names = {n for x in recipe.instances for n in (*x.inputs.values(), *x.measured.values())}

    def samples(which: Sequence[str]) -> list[Samples]:
        return [resample(flight_of(x), signals, names, recipe.rate_hz) for x in which]

    seen = samples(recipe.flights)
    rows = [_steady_rows(recipe, instance, seen) for instance in recipe.instances]
    table = _table(recipe, rows)
    draft = _declare(recipe, signals, table, rows)
    return _judge(recipe, draft, samples(recipe.held_out))


def predict(bundle: Bundle, row: int, inputs: dict[str, Float64]) -> dict[str, Float64]:
    """Outputs [n] of one engine in float64; NaN outside the valid ranges."""
    table = bundle.behaviour
    assert isinstance(table, LookupTable), table
    usable = np.ones(len(next(iter(inputs.values()))), bool)
    for port in bundle.inputs:
        usable &= (inputs[port.name] >= port.valid[0]) & (inputs[port.name] <= port.valid[1])
    known = quantities(table, {name: column[usable] for name, column in inputs.items()})
    at = weights(np.column_stack([known[axis.quantity] for axis in table.axes]), table.axes)
    result = {}
    for i, column in enumerate(table.columns):
        value = at @ np.array(table.values[row][i])
        value *= 1 + sum(known[x.quantity] * x.coefficients[row][i] for x in table.effects)
        restore = RESTORATIONS[column.formula].function
        result[column.output] = np.full(len(usable), np.nan)
        result[column.output][usable] = restore(value, *(known[a] for a in column.arguments))
    return result


def smoothed(deviation: Float64, smoothing_s: float, rate_hz: float) -> Float64:
    """The low pass that monitors use (edge/models/deviations.py), over rows without NaN."""
    out, mean, weight_s, step_s = np.full(len(deviation), np.nan), 0.0, 0.0, 1 / rate_hz
    for i, value in enumerate(deviation):
        weight_s += step_s
        decay = math.exp(-step_s / smoothing_s) if smoothing_s > 0 else 0.0
        mean += max(step_s / weight_s, 1 - decay) * (value - mean)
        if weight_s >= smoothing_s:
            out[i] = mean
    return out


def _inputs(instance: Instance, samples: Samples) -> dict[str, Float64]:
    return {name: samples.columns[signal] for name, signal in instance.inputs.items()}


def _steady(recipe: Recipe, instance: Instance, samples: Samples) -> npt.NDArray[np.bool_]:
    signal = instance.inputs[recipe.steady.input]
    return samples.is_steady(signal, recipe.steady, recipe.rate_hz)


def _steady_rows(recipe: Recipe, instance: Instance, flights: Sequence[Samples]) -> _Rows:
    """Rows with every value, engine running and steady."""
    inputs: dict[str, list[Float64]] = {name: [] for name in instance.inputs}
    measured: dict[str, list[Float64]] = {name: [] for name in instance.measured}
    for samples in flights:
        used = _steady(recipe, instance, samples)
        for signal in (*instance.inputs.values(), *instance.measured.values()):
            used = used & np.isfinite(samples.columns[signal])
        used &= samples.columns[instance.inputs[recipe.steady.input]] >= recipe.running_min
        for parts, bound in ((inputs, instance.inputs), (measured, instance.measured)):
            for name, signal in bound.items():
                parts[name].append(samples.columns[signal][used])
    rows = _Rows(
        {name: np.concatenate(parts) for name, parts in inputs.items()},
        {name: np.concatenate(parts) for name, parts in measured.items()},
    )
    count = len(next(iter(rows.inputs.values())))
    if count < SAMPLES_MIN:
        raise Rejected(f"{count} steady samples of ESN {instance.esn}", recipe.name, "fly more")
    return rows


def _table(recipe: Recipe, rows: Sequence[_Rows]) -> LookupTable:
    """Table and effects of every engine."""
    columns = tuple(
        Column(name, x.table_unit, x.formula, x.arguments) for name, x in recipe.outputs.items()
    )
    empty = LookupTable(recipe.corrections, recipe.axes, columns, ())
    values, effects = [], []
    for part in rows:
        known = quantities(empty, part.inputs)
        points = np.column_stack([known[axis.quantity] for axis in recipe.axes])
        count = len(points)
        moved = np.column_stack([np.zeros((count, 0)), *(known[x] for x in recipe.effects)])
        of_columns = []
        for column in columns:
            reduce = REDUCTIONS[column.formula].function
            corrected = reduce(part.measured[column.output], *(known[a] for a in column.arguments))
            of_columns.append(fit(points, corrected, moved, recipe.axes, recipe.smoothness))
        values.append(tuple(_rounded(table) for table, _ in of_columns))
        effects.append([_rounded(coefficients) for _, coefficients in of_columns])
    return msgspec.structs.replace(
        empty,
        values=tuple(values),
        effects=tuple(
            Effect(name, tuple(tuple(c[i] for c in engine) for engine in effects))
            for i, name in enumerate(recipe.effects)
        ),
    )


def _rounded(numbers: Float64) -> tuple[float, ...]:
    return tuple(float(f"{x:.{DIGITS}g}") for x in numbers)


def _declare(
    recipe: Recipe, signals: SignalSet, table: LookupTable, rows: Sequence[_Rows]
) -> Bundle:
    """Everything but monitors and figures."""
    ports = []
    for name, rule in recipe.inputs.items():
        low = min(float(part.inputs[name].min()) for part in rows) - rule.margin
        high = max(float(part.inputs[name].max()) for part in rows) + rule.margin
        valid = (float(f"{low:.4g}"), float(f"{high:.4g}"))
        ports.append(Input(name=name, unit=rule.unit, valid=valid))
    size = math.prod(len(axis.points) for axis in table.axes)
    elements = size * len(table.columns) * len(table.values)
    return Bundle(
        name=recipe.name, version=recipe.version, release=recipe.release, rate_hz=recipe.rate_hz,
        instances=recipe.instances, inputs=tuple(ports),
        outputs=tuple(Output(name=n, unit=x.unit, lsb=x.lsb) for n, x in recipe.outputs.items()),
        applicability=recipe.applicability, ata=recipe.ata,
        requirements=Requirements(nodes=NODES, tensor_elements=elements),
        model_card=ModelCard(
            purpose=recipe.card.purpose, method=recipe.card.method, limits=recipe.card.limits
        ),
        calibration=Calibration(
            source="healthy flights of the bench: " + ", ".join(recipe.flights),
            seeds=tuple(sorted({int(x.partition(":")[2]) for x in recipe.flights})),
            fitted_by="hil.fit", signal_set_sha256=signals.sha256.hex(),
        ),
        full_fidelity=recipe.full_fidelity, behaviour=table,
    )  # fmt: skip


def _judge(recipe: Recipe, draft: Bundle, flights: Sequence[Samples]) -> Bundle:
    """Add monitors and figures, from flights that were not fitted."""
    figures: dict[str, float] = {}
    monitors: list[Monitor] = []
    residuals = [
        (instance, samples, predict(draft, row, _inputs(instance, samples)))
        for row, instance in enumerate(draft.instances)
        for samples in flights
    ]
    phases = sorted({str(p) for _, samples, _ in residuals for p in samples.phase})
    for output in draft.outputs:
        for phase in phases:
            parts = [
                _deviation(recipe, instance, samples, predicted, output.name, (phase,))
                for instance, samples, predicted in residuals
            ]
            whole = np.concatenate(parts)
            if len(whole) >= SAMPLES_MIN / 10:
                key = f"{output.name}_{phase}"
                figures[f"{key}_rms"] = round(float(np.sqrt(np.mean(whole**2))), 3)
                figures[f"{key}_n"] = float(len(whole))
    for rule in recipe.monitors:
        low = np.concatenate(
            [
                smoothed(
                    _deviation(recipe, instance, samples, predicted, rule.output, rule.phases),
                    rule.smoothing_s, recipe.rate_hz,
                )
                for instance, samples, predicted in residuals
            ]
        )  # fmt: skip
        low = low[np.isfinite(low)]
        sigma, worst = float(np.sqrt(np.mean(low**2))), float(np.abs(low).max())
        figures[f"{rule.name}_smoothed_rms"] = round(sigma, 3)
        figures[f"{rule.name}_smoothed_worst"] = round(worst, 3)
        monitors.append(_monitor(rule, recipe.steady, sigma, worst))
    card = msgspec.structs.replace(draft.model_card, figures=figures)
    return msgspec.structs.replace(draft, monitors=tuple(monitors), model_card=card)


def _deviation(
    recipe: Recipe,
    instance: Instance,
    samples: Samples,
    predicted: dict[str, Float64],
    output: str,
    phases: tuple[str, ...],
) -> Float64:
    """measured - predicted over steady rows of the phases that have both."""
    deviation = samples.columns[instance.measured[output]] - predicted[output]
    used = _steady(recipe, instance, samples) & np.isfinite(deviation)
    return deviation[used & np.isin(samples.phase, phases)]


def _monitor(rule: MonitorRule, steady: Steady, sigma: float, worst: float) -> Monitor:
    onset = math.ceil(2 * max(rule.sigmas * sigma, 1.5 * worst, rule.onset_min)) / 2
    return Monitor(
        name=rule.name, fault_code=rule.fault_code, output=rule.output, onset=onset,
        clear=onset / 2, persistence_s=rule.persistence_s,
        clear_persistence_s=rule.clear_persistence_s, smoothing_s=rule.smoothing_s,
        severity=rule.severity, phases=rule.phases, steady=steady,
    )  # fmt: skip
