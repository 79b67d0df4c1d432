"""A ROM beside its parent: plays the declared model as it flies, and says how far off it is.

In: a declaration, and inputs as columns [n] or [n, k] (k runs side by side). Out: outputs of the
same shape, from the compiled graph in onnxruntime; differences from a parent by output.
Always holds: the graph is the one a bundle of this declaration carries; a row where the parent
does not speak is not compared, and the count of those compared is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from ground.models.model import Float64
from shared.behaviour.compile import compile_dynamics
from shared.behaviour.declaration import Declaration
from shared.behaviour.equations import DifferentialEquation
from shared.behaviour.faults import refuse
from shared.behaviour.model import Model, dynamics, faults
from shared.errors import Rejected

RUNS_MAX = 64  # instances of a declaration


@dataclass(frozen=True)
class Difference:
    """ROM minus parent for one output, in its unit, over `count` rows."""

    unit: str
    rms: float
    worst: float
    count: int


class Rom:
    """A declaration compiled for k runs side by side."""

    def __init__(self, declared: Declaration, runs: int = 1) -> None:
        if not 0 < runs <= RUNS_MAX:
            raise Rejected(f"{runs} runs side by side", declared.name, f"1 to {RUNS_MAX}")
        self.declared, self.runs = declared, runs
        self.session = session_of(instanced(declared, runs, {}))

    def play(
        self, inputs: Mapping[str, Float64], start: Mapping[str, Float64] | None = None
    ) -> dict[str, Float64]:
        """Outputs [n, runs] for inputs [n] or [n, runs], one step a row, rounded to float32.

        start: initial states of a differential equation by name, one number or [runs].
        """
        model = instanced(self.declared, self.runs, start or {})
        states = {k: v.astype(np.float32) for k, v in dynamics(model).initial.items()}
        rows = self._rows(inputs)
        names = [x.name for x in self.session.get_outputs()]
        found = np.empty((len(rows), self.runs, len(model.outputs)))
        for i, row in enumerate(rows):
            values = dict(
                zip(names, self.session.run(None, {"inputs": row, **states}), strict=True)
            )
            found[i] = values["outputs"]
            states = {k: values[f"{k}.next"] for k in states}
        return {x.name: found[:, :, j] for j, x in enumerate(model.outputs)}

    def _rows(self, inputs: Mapping[str, Float64]) -> Any:
        """[n, runs, inputs] as float32."""
        columns = []
        for port in self.declared.inputs:
            value = np.asarray(inputs[port.name], np.float32)
            wide = value[:, None] if value.ndim == 1 else value
            columns.append(np.broadcast_to(wide, (len(value), self.runs)))
        return np.ascontiguousarray(np.stack(columns, axis=2))


def compare(rom: Float64, parent: Float64, unit: str) -> Difference:
    """How far the ROM is off where the parent speaks; Rejected if that is nowhere."""
    error = (rom - parent)[np.isfinite(parent)]
    if not error.size:
        raise Rejected("the parent speaks on no row", "rom", "compare inside its valid range")
    return Difference(
        unit, float(np.sqrt(np.mean(error**2))), float(np.abs(error).max()), int(error.size)
    )


def instanced(
    declared: Declaration,
    runs: int,
    start: Mapping[str, Float64],
    rate_hz: float | None = None,
) -> Model:
    """The declared model for `runs` side by side, from `start`; rate_hz: another than declared."""
    behaviour = declared.behaviour
    if start:
        if not isinstance(behaviour, DifferentialEquation):
            raise Rejected("has no named states", declared.name, "leave the start out")
        unknown = set(start) - {x.name for x in behaviour.states}
        if unknown:
            raise Rejected(f"no states {', '.join(sorted(unknown))}", declared.name)
        states = tuple(
            msgspec.structs.replace(x, initial=_spread(start[x.name], runs))
            if x.name in start
            else x
            for x in behaviour.states
        )
        behaviour = msgspec.structs.replace(behaviour, states=states)
    return Model(behaviour, declared.inputs, declared.outputs, rate_hz or declared.rate_hz, runs)


def _spread(value: Float64 | float, runs: int) -> tuple[float, ...]:
    return tuple(np.broadcast_to(np.asarray(value, float), runs).tolist())


def session_of(model: Model) -> Any:
    import onnxruntime  # a ground process that plays no ROM does without it

    refuse(faults(model), "rom")
    names = [x.name for x in model.inputs], [x.name for x in model.outputs]
    graph = compile_dynamics(dynamics(model), *names).onnx
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
