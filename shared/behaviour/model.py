"""Every kind of behavioural model behind one set of functions.

In: a `Behaviour` as declared, its ports, rate and instances. Out: faults, dynamics, the initial
state tensors, a reference run.
Always holds: `faults` is bounded work on bounded data, fit to run aboard; only a declaration
without faults becomes dynamics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.behaviour.dynamics import Dynamics, Float64, Port
from shared.behaviour.equations import DifferentialEquation, System
from shared.behaviour.faults import Fault, from_rejected
from shared.behaviour.integrate import EquationDynamics
from shared.behaviour.kinds import LookupTable, check, evaluate
from shared.behaviour.linear import (
    LinearDynamics,
    StateSpace,
    TransferFunction,
    state_space_arrays,
    state_space_faults,
    transfer_function_arrays,
    transfer_function_faults,
)
from shared.behaviour.machine import MachineDynamics, StateMachine, machine_faults
from shared.behaviour.thermal import ThermalRc, thermal_arrays, thermal_faults
from shared.errors import Rejected
from shared.units import parse_unit

Behaviour = (
    LookupTable | DifferentialEquation | TransferFunction | StateSpace | ThermalRc | StateMachine
)
KINDS = (
    "differential-equation",
    "lookup-table",
    "state-machine",
    "state-space",
    "thermal-rc",
    "transfer-function",
)


@dataclass(frozen=True)
class Model:
    """A behaviour with what it is bound to."""

    behaviour: Behaviour
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    rate_hz: float
    instances: int = 1


class TableDynamics:
    """A lookup table has no memory."""

    kind = "lookup-table"

    def __init__(self, table: LookupTable) -> None:
        self.table, self.instances = table, len(table.values)
        self.initial: dict[str, Float64] = {}

    def step(
        self, inputs: Mapping[str, Any], _states: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        values = evaluate(self.table, inputs)
        return {c.output: v for c, v in zip(self.table.columns, values, strict=True)}, {}


def faults(model: Model) -> list[Fault]:
    """What the declaration itself has wrong: names, units, sizes, numbers."""
    behaviour, inputs, outputs = model.behaviour, model.inputs, model.outputs
    if isinstance(behaviour, LookupTable):
        units = ({x.name: x.unit for x in inputs}, {x.name: x.unit for x in outputs})
        try:
            check(behaviour, *units, model.instances, "behaviour")
        except Rejected as error:
            return [from_rejected("value", error)]
        return []
    found = _port_faults((*inputs, *outputs))
    if found:
        return found
    if isinstance(behaviour, DifferentialEquation):
        return System(behaviour, inputs, outputs, model.instances).faults
    if isinstance(behaviour, ThermalRc):
        return thermal_faults(behaviour, inputs, outputs, model.instances)
    if isinstance(behaviour, StateMachine):
        return machine_faults(behaviour, inputs, outputs, model.instances)
    if isinstance(behaviour, StateSpace):
        return state_space_faults(behaviour, inputs, outputs)
    return transfer_function_faults(behaviour, inputs, outputs)


def _port_faults(ports: Sequence[Port]) -> list[Fault]:
    found = []
    for port in ports:
        place = f"port {port.name}"
        try:
            parse_unit(port.unit, place)
        except Rejected as error:
            found.append(from_rejected("unit", error))
        if not port.valid[0] < port.valid[1]:
            found.append(Fault("range", place, "valid range is empty"))
    return found


def dynamics(model: Model) -> Dynamics:
    """How a faultless model moves."""
    behaviour, rate_hz, count = model.behaviour, model.rate_hz, model.instances
    names, wanted = [x.name for x in model.inputs], [x.name for x in model.outputs]
    if isinstance(behaviour, LookupTable):
        return TableDynamics(behaviour)
    if isinstance(behaviour, DifferentialEquation):
        system = System(behaviour, model.inputs, model.outputs, count)
        return EquationDynamics(system, rate_hz, count)
    if isinstance(behaviour, StateMachine):
        return MachineDynamics(behaviour, wanted, rate_hz, count)
    offsets: dict[str, float] = {}
    if isinstance(behaviour, ThermalRc):
        kind, arrays = "thermal-rc", thermal_arrays(behaviour, names, wanted, count)
    elif isinstance(behaviour, StateSpace):
        kind, arrays = "state-space", state_space_arrays(behaviour, count)
        offsets = behaviour.operating_point
    else:
        kind, offsets = "transfer-function", behaviour.operating_point
        arrays = transfer_function_arrays(behaviour, names, wanted, count)
    return LinearDynamics(kind, arrays, names, wanted, offsets, rate_hz)


def run(model: Model, rows: npt.NDArray[Any], dtype: Any = np.float64) -> Float64:
    """The reference: outputs [steps, E, outputs] for inputs [steps, E, inputs], from the start.

    With `dtype` float32 it rounds as the graph does.
    """
    moving = dynamics(model)
    states: dict[str, Any] = {k: v.astype(dtype) for k, v in moving.initial.items()}
    found = np.empty((len(rows), model.instances, len(model.outputs)))
    for i, row in enumerate(np.asarray(rows, dtype)):
        columns = {x.name: row[:, j : j + 1] for j, x in enumerate(model.inputs)}
        outputs, moved = moving.step(columns, states)
        states = {k: np.asarray(v, dtype) for k, v in moved.items()}
        found[i] = np.hstack([outputs[x.name] * np.ones((1, 1)) for x in model.outputs])
    return found
