"""Plays a compiled behavioural model step by step in onnxruntime, as the worker does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime

from shared.behaviour.compile import compile_dynamics
from shared.behaviour.dynamics import Parameter, Port
from shared.behaviour.model import Model, dynamics, faults


def port(name: str, unit: str = "1", low: float = -1.0, high: float = 1.0) -> Port:
    return Port(name=name, unit=unit, valid=(low, high))


def number(value: float | tuple[float, ...], unit: str = "1") -> Parameter:
    return Parameter(value=value, unit=unit, source="made up for a test")


def compiled(model: Model) -> bytes:
    """The graph of a model whose declaration has to be sound; its step is not examined here."""
    assert not faults(model), [str(x) for x in faults(model)]
    names = [x.name for x in model.inputs], [x.name for x in model.outputs]
    return compile_dynamics(dynamics(model), *names).onnx


def play(model: Model, rows: Any) -> tuple[Any, dict[str, Any]]:
    """(outputs [steps, E, outputs], the last states) for inputs [steps, E, inputs]."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        compiled(model), options, providers=["CPUExecutionProvider"]
    )
    states = {k: v.astype(np.float32) for k, v in dynamics(model).initial.items()}
    names = [x.name for x in session.get_outputs()]
    outputs = []
    for row in np.asarray(rows, np.float32):
        found = dict(zip(names, session.run(None, {"inputs": row, **states}), strict=True))
        outputs.append(found["outputs"])
        states = {k: found[f"{k}.next"] for k in states}
    return np.array(outputs, float), states


def held(levels: Sequence[Sequence[float]], steps: int, instances: int = 1) -> Any:
    """Inputs [steps, E, inputs]: each level in turn, held equally long; rounded to float32."""
    rows = np.repeat(np.asarray(levels, np.float32), -(-steps // len(levels)), axis=0)[:steps]
    return np.repeat(rows[:, None, :], instances, axis=1).astype(float)
