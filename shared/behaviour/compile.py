"""Compiles a behavioural model to an ONNX graph, by tracing its numpy evaluation.

In: a `LookupTable` and the names of its inputs and outputs. Out: the bytes of `model.onnx`:
`inputs` float32 [instances, inputs] to `outputs` float32 [instances, outputs].
Always holds: the same declaration gives the same bytes; static shapes, no control flow, no
functions, opset 21 and IR 10, which onnxruntime 1.31 runs (it takes up to 26 and 13).
Not used aboard: `onnx` builds the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.lib.mixins import NDArrayOperatorsMixin
from onnx import TensorProto, helper, numpy_helper

from shared.behaviour.kinds import LookupTable, evaluate

OPSET, IR_VERSION = 21, 10

_OPERATORS = {
    np.add: "Add", np.subtract: "Sub", np.multiply: "Mul", np.divide: "Div",
    np.minimum: "Min", np.maximum: "Max", np.sqrt: "Sqrt", np.power: "Pow", np.exp: "Exp",
    np.matmul: "MatMul",
}  # fmt: skip


class _Traced(NDArrayOperatorsMixin):
    """A tensor of the graph under construction; numpy ufuncs on it become nodes."""

    def __init__(self, graph: _Graph, name: str, shape: tuple[int, ...]) -> None:
        self.graph, self.name, self.shape = graph, name, shape

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, **options: Any) -> Any:
        assert method == "__call__" and not options, (ufunc, method, options)
        names = [self.graph.operand(x) for x in operands]
        # The shape numpy would give, from operands that hold one element in memory.
        shape = ufunc(*(_hollow(x) for x in operands)).shape
        return self.graph.node(_OPERATORS[ufunc], names, shape)

    def reshape(self, *shape: int) -> _Traced:
        full = _hollow(self).reshape(*shape).shape
        target = self.graph.constant(np.array(full, np.int64))
        return self.graph.node("Reshape", [self.name, target], full)

    def __getitem__(self, key: tuple[slice, slice]) -> _Traced:
        rows, columns = key
        assert rows == slice(None) and columns.step is None, key
        bounds = [np.array([x], np.int64) for x in (columns.start, columns.stop, 1)]
        names = [self.name, *(self.graph.constant(x) for x in bounds)]
        return self.graph.node("Slice", names, _hollow(self)[key].shape)


class _Graph:
    """Nodes and constants in order of use."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self.initializers: list[TensorProto] = []

    def operand(self, x: Any) -> str:
        return x.name if isinstance(x, _Traced) else self.constant(np.asarray(x, np.float32))

    def constant(self, array: np.ndarray[Any, Any]) -> str:
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.constants:
            self.constants[key] = f"c{len(self.constants)}"
            self.initializers.append(numpy_helper.from_array(array, self.constants[key]))
        return self.constants[key]

    def node(self, operator: str, names: Sequence[str], shape: tuple[int, ...]) -> _Traced:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [name]))
        return _Traced(self, name, shape)


def _hollow(x: Any) -> np.ndarray[Any, Any]:
    """An array of the operand's shape without its memory, for shape arithmetic."""
    shape = x.shape if isinstance(x, _Traced) else np.shape(x)
    return np.broadcast_to(np.ones((), np.float32), shape)


def compile_model(table: LookupTable, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The graph of `table`, its columns in the order of `outputs`."""
    count = len(table.values)
    graph = _Graph()
    whole = _Traced(graph, "inputs", (count, len(inputs)))
    traced = {name: whole[:, i : i + 1] for i, name in enumerate(inputs)}
    by_output = dict(zip((c.output for c in table.columns), evaluate(table, traced), strict=True))
    names = [by_output[name].name for name in outputs]
    graph.nodes.append(helper.make_node("Concat", names, ["outputs"], axis=1))
    proto = helper.make_graph(
        graph.nodes,
        "lookup-table",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, [count, len(inputs)])],
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, [count, len(outputs)])],
        graph.initializers,
    )
    model = helper.make_model(
        proto,
        producer_name="tailtwin",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    # The names of the columns travel in the graph, so that admission can compare them.
    helper.set_model_props(model, {"inputs": ",".join(inputs), "outputs": ",".join(outputs)})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
