"""The declaration around a reduced table: ports, sizes, and limits that follow from stated rules.

In: tables, envelopes, baselines. Out: parts of a `Bundle`. Always holds: the ROM speaks only where
its parent does, whatever TAT comes with the N1; a monitor's limits never get wider than those of
the release before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from ground.calibrate.envelope import Envelope
from ground.calibrate.recipe import Recipe
from ground.models.baseline import Baseline
from shared.behaviour.examine import examine
from shared.behaviour.faults import refuse
from shared.behaviour.kinds import LookupTable
from shared.bundle import Bundle, Calibratable, Input, Monitor, Requirements
from shared.errors import Rejected

ONSET_STEPS_MIN = 10
"""Of the output's step: 5 Cel of EGT, the least that a crew or a shop acts on (assumption)."""
SIGMAS, WORST_FACTOR = 6.0, 1.5
Table = tuple[tuple[tuple[float, ...], ...], ...]


def ports_of(recipe: Recipe, envelope: Envelope) -> tuple[Input, ...]:
    """Inputs with the ranges in which the parent was asked."""
    valid = envelope.valid
    return tuple(
        Input(name=name, unit=port.unit, valid=inward(valid[name]) if name in valid
              else (-port.margin, 1.0 + port.margin))
        for name, port in recipe.inputs.items()
    )  # fmt: skip


def inward(valid: tuple[float, float]) -> tuple[float, float]:
    """Four digits or so, rounded into the range."""
    low, high = valid
    step = 10.0 ** (math.floor(math.log10(high - low)) - 3)
    return (
        float(f"{math.ceil(low / step) * step:.6g}"), float(f"{math.floor(high / step) * step:.6g}")
    )  # fmt: skip


def requirements_of(bundle: Bundle) -> Requirements:
    """What its graph really asks of the computer."""
    found = examine(bundle.model)
    refuse(found.faults, bundle.name)
    assert found.figures is not None
    return Requirements(nodes=found.figures.nodes, tensor_elements=found.figures.tensor_elements)


def calibratable_of(
    bundle: Bundle, values: tuple[float, float], effects: tuple[float, float]
) -> dict[str, Calibratable]:
    """The tensors of its graph that hold values and effects of its table, with shares of each.

    Found by what changes in the graph when the numbers do: the compiler names tensors as it goes.
    """
    table = bundle.behaviour
    assert isinstance(table, LookupTable)
    replace = msgspec.structs.replace
    moved: list[tuple[LookupTable, tuple[float, float]]] = [
        (replace(table, values=_times(table.values)), values)
    ]
    for i, effect in enumerate(table.effects):
        other = replace(effect, coefficients=tuple(_scaled(x) for x in effect.coefficients))
        changed = (*table.effects[:i], other, *table.effects[i + 1 :])
        moved.append((replace(table, effects=changed), effects))
    before, found = _constants(bundle), {}
    for other_table, share in moved:
        after = _constants(replace(bundle, behaviour=other_table))
        if list(after) != list(before):
            raise Rejected("two constants of its graph are equal", bundle.name,
                           "a calibration could not keep them apart: give them other numbers")  # fmt: skip
        for name, data in after.items():
            if data != before[name]:
                found[name] = Calibratable(low=share[0], high=share[1], of="parent")
    return found


def _constants(bundle: Bundle) -> dict[str, bytes]:
    import onnx

    compiled = examine(bundle.model).compiled
    assert compiled is not None
    graph = onnx.load_from_string(compiled.onnx).graph
    return {x.name: x.raw_data for x in graph.initializer}


def _times(values: Table) -> Table:
    return tuple(tuple(_scaled(column) for column in engine) for engine in values)


def _scaled(numbers: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(1.01 * x for x in numbers)


def tightened(
    bundle: Bundle, baselines: Mapping[str, Baseline], error: Mapping[str, tuple[float, float]]
) -> tuple[Monitor, ...]:
    """Monitors of a ROM made for its ESNs.

    Onset is the largest of 10 steps of the output, 6 sigma and 1.5 times the worst smoothed
    residual of a healthy engine; both come from the baseline's own held-out rows, plus this ROM's
    model error (`error`: rms and worst by output), never from the flights that are calibrated on.
    Rejected when that is wider than before: a wider limit could silence an alert that stands.
    """
    made = []
    for monitor in bundle.monitors:
        lsb = {x.name: x.lsb for x in bundle.outputs}[monitor.output]
        known = [x for x in baselines.values() if monitor.output in x.smoothed_rms]
        if monitor.on == "output" or monitor.direction != "high" or not known:
            made.append(monitor)
            continue
        rms, worst = error[monitor.output]
        sigma = max(math.hypot(x.smoothed_rms[monitor.output], rms) for x in known)
        largest = max(x.smoothed_worst[monitor.output] for x in known) + worst
        onset = max(ONSET_STEPS_MIN * lsb, SIGMAS * sigma, WORST_FACTOR * largest)
        onset = lsb * math.ceil(onset / lsb - 1e-9)
        if onset > monitor.onset:
            raise Rejected(
                f"its onset would be {onset:g}, wider than {monitor.onset:g} of release "
                f"{bundle.release}", f"monitor {monitor.name}",
                "a finer table, or pass-off rows that fit better; limits only get tighter",
            )  # fmt: skip
        made.append(msgspec.structs.replace(monitor, onset=onset, clear=onset / 2))
    return tuple(made)
