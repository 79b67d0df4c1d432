"""What every full-fidelity model is to those who run it: named columns in, named columns out.

In: a column [n] for each input port, in the port's unit. Out: a column [n] for each output port.
Always holds: a missing, unknown or misshapen column is refused by name; where the model does not
speak its outputs are NaN, never a number. A model with memory (`step_s` above 0) takes the rows as
moments `step_s` apart, inputs held in between; from the first row that it cannot take, it knows
its state no longer and stays NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shared.behaviour.dynamics import Port
from shared.errors import Rejected

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

ROWS_MAX = 1_000_000
"""Of one call: 11 days at 1 Hz; an assumption that bounds memory."""


class FullFidelity(Protocol):
    """A parent model: the turbofan, a tank, a pack, or an FMU that stands in for one."""

    name: str
    sha256: str
    """Of everything that decides its numbers beside its inputs: data, or the FMU's file."""
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    step_s: float
    """0 for a model without memory."""

    def evaluate(self, inputs: Mapping[str, Float64]) -> dict[str, Float64]:
        """Outputs [n] by name for inputs [n] by name; Rejected names what is wrong."""
        ...


def columns_of(
    given: Mapping[str, Float64], ports: tuple[Port, ...], where: str
) -> dict[str, Float64]:
    """`given` as float64 columns of one length, in the order of `ports`; Rejected by name."""
    names = [x.name for x in ports]
    unknown, missing = sorted(set(given) - set(names)), [x for x in names if x not in given]
    if unknown or missing:
        what = "; ".join(
            [f"no input {x!r}" for x in unknown] + [f"input {x!r} is missing" for x in missing]
        )
        raise Rejected(what, where, f"the inputs are {', '.join(names)}")
    columns = {x: _column(given[x], f"{where}: {x}") for x in names}
    sizes = {x: len(v) for x, v in columns.items()}
    if len(set(sizes.values())) > 1:
        text = ", ".join(f"{k} {v}" for k, v in sizes.items())
        raise Rejected(f"columns of unequal length: {text}", where, "one row for each moment")
    if any(v > ROWS_MAX for v in sizes.values()):
        raise Rejected("too many rows", where, f"at most {ROWS_MAX} a call")
    return columns


def _column(value: Float64, where: str) -> Float64:
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise Rejected("is not a column of numbers", where) from None
    if array.ndim != 1:
        raise Rejected(f"has {array.ndim} dimensions", where, "give one number a row")
    return array


def in_range(columns: Mapping[str, Float64], ports: tuple[Port, ...]) -> Bool:
    """[n] true where every column is inside its port's valid range; NaN is not."""
    inside = np.ones(len(next(iter(columns.values()))), bool)
    for port in ports:
        value = columns[port.name]
        inside &= (value >= port.valid[0]) & (value <= port.valid[1])
    return inside


def usable_rows(columns: Mapping[str, Float64], ports: tuple[Port, ...]) -> int:
    """How many rows from the first a model with memory can take."""
    inside = in_range(columns, ports)
    return len(inside) if inside.all() else int(np.argmin(inside))
