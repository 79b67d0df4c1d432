"""How a model moves from one step to the next, written once for the reference and the graph.

In: columns of inputs and tensors of state, as float64 arrays or as tensors the compiler traces.
Out: columns of outputs and the state tensors of the next step.
Always holds: only numpy ufuncs, column slices, reshapes and concatenation are used. Outputs are
those at the sample; the inputs are held from it to the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from shared.behaviour.faults import Fault

Float64 = npt.NDArray[np.float64]
STATES_MAX, PARAMETERS_MAX = 32, 64


class Port(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An input or output: unit in UCUM, the range it is valid in."""

    name: str
    unit: str
    valid: tuple[float, float]


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A number of the model, or one an instance. source: where it was calibrated or read."""

    value: float | tuple[float, ...]
    unit: str
    source: str


class Dynamics(Protocol):
    """One model at one rate. E is the instances."""

    kind: str
    instances: int
    initial: dict[str, Float64]
    """State tensors [E, width] by name."""

    def step(
        self, inputs: Mapping[str, Any], states: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """(outputs, next states); an input and an output are [E, 1]."""
        ...


def column(x: Any, i: int) -> Any:
    """[E, 1] of [E, width]."""
    return x if x.shape[1] == 1 else x[:, i : i + 1]


def columns(parts: Sequence[Any], instances: int) -> Any:
    """[E, width] from columns, of which some may be plain numbers."""
    wide = [x if getattr(x, "ndim", 0) else np.full((instances, 1), float(x)) for x in parts]
    return wide[0] if len(wide) == 1 else np.concatenate(wide, axis=1)


def per_instance(value: float | tuple[float, ...]) -> Any:
    """A parameter as a number, or as a column [E, 1]."""
    if isinstance(value, tuple):
        return value[0] if len(set(value)) == 1 else np.array(value)[:, None]
    return value


def advance(x: Any, carry: Any, increment: Any) -> tuple[Any, Any]:
    """x + increment, and what float32 rounded away, which the next step gives back.

    Kahan's compensated sum (CACM 8(1), 1965). Without it a slow state stalls: at 50 Hz the
    charge of a 5 Ah battery moves 1e-6 a step, of which float32 loses 5 %.
    """
    exact = increment - carry
    moved = x + exact
    return moved, (moved - x) - exact


def parameter_faults(parameters: Mapping[str, Parameter], instances: int) -> list[Fault]:
    """What is wrong with the numbers themselves."""
    if len(parameters) > PARAMETERS_MAX:
        what = f"{len(parameters)} of them"
        return [Fault("size", "parameters", what, f"at most {PARAMETERS_MAX}")]
    faults = []
    for name, parameter in parameters.items():
        values = parameter.value if isinstance(parameter.value, tuple) else (parameter.value,)
        place = f"parameter {name}"
        if isinstance(parameter.value, tuple) and len(values) != instances:
            what = f"{len(values)} values for {instances} instances"
            faults.append(Fault("size", place, what, "one for all, or one for each"))
        if not np.isfinite(values).all():
            faults.append(Fault("value", place, "is not a finite number"))
        if not parameter.source.strip():
            remedy = "where it was calibrated or read, or 'assumption'"
            faults.append(Fault("value", place, "has no source", remedy))
    return faults
