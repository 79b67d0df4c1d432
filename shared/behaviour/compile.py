"""Compiles a behavioural model to an ONNX graph, by tracing its numpy evaluation.

In: dynamics and the names of inputs and outputs. Out: the bytes of `model.onnx`, one step:
`inputs` float32 [instances, inputs] and each state NAME [instances, width] to `outputs` float32
[instances, outputs] and `NAME.next`.
Always holds: the same declaration gives the same bytes; static shapes, no control flow, no
functions, opset 21 and IR 10, which onnxruntime 1.31 runs (it takes up to 26 and 13).
Not used aboard: `onnx` builds the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.lib.mixins import NDArrayOperatorsMixin
from onnx import TensorProto, helper, numpy_helper

from shared.behaviour.dynamics import Dynamics
from shared.behaviour.kinds import LookupTable
from shared.behaviour.model import TableDynamics
from shared.errors import Rejected

OPSET, IR_VERSION = 21, 10

_OPERATORS = {
    np.add: "Add", np.subtract: "Sub", np.multiply: "Mul", np.divide: "Div",
    np.minimum: "Min", np.maximum: "Max", np.sqrt: "Sqrt", np.power: "Pow", np.exp: "Exp",
    np.matmul: "MatMul", np.absolute: "Abs", np.negative: "Neg", np.log: "Log", np.sin: "Sin",
    np.cos: "Cos", np.tanh: "Tanh", np.greater: "Greater", np.logical_and: "And",
    np.logical_or: "Or",
}  # fmt: skip


class _Traced(NDArrayOperatorsMixin):
    """A tensor of the graph under construction; numpy ufuncs on it become nodes."""

    def __init__(self, graph: _Graph, name: str, shape: tuple[int, ...]) -> None:
        self.graph, self.name, self.shape, self.ndim = graph, name, shape, len(shape)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, **options: Any) -> Any:
        assert method == "__call__" and not options, (ufunc, method, options)
        names = [self.graph.operand(x) for x in operands]
        # The shape numpy would give, from operands that hold one element in memory.
        shape = ufunc(*(_hollow(x) for x in operands)).shape
        return self.graph.node(_OPERATORS[ufunc], names, shape)

    def __array_function__(self, function: Any, _types: Any, operands: Any, options: Any) -> Any:
        assert function is np.concatenate and options == {"axis": 1}, (function, options)
        (parts,) = operands
        names = [self.graph.operand(x) for x in parts]
        shape = np.concatenate([_hollow(x) for x in parts], axis=1).shape
        return self.graph.node("Concat", names, shape, axis=1)

    def astype(self, dtype: Any) -> _Traced:
        assert dtype is np.float32, dtype
        return self.graph.node("Cast", [self.name], self.shape, to=TensorProto.FLOAT)

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
    """Nodes and constants in order of use.

    tidy: the same operation on the same tensors is one node, and what no result needs is left
    out. Tables are not tidied, so that bundles made before this keep their bytes.
    """

    def __init__(self, instances: int, tidy: bool) -> None:
        self.instances, self.tidy = instances, tidy
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self.initializers: list[TensorProto] = []
        self._made: dict[tuple[Any, ...], _Traced] = {}

    def operand(self, x: Any) -> str:
        return x.name if isinstance(x, _Traced) else self.constant(np.asarray(x, np.float32))

    def constant(self, array: np.ndarray[Any, Any]) -> str:
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.constants:
            self.constants[key] = f"c{len(self.constants)}"
            self.initializers.append(numpy_helper.from_array(array, self.constants[key]))
        return self.constants[key]

    def node(
        self, operator: str, names: Sequence[str], shape: tuple[int, ...], **attributes: int
    ) -> _Traced:
        key = (operator, *names, *attributes.items())
        if key not in self._made or not self.tidy:
            name = f"t{len(self.nodes)}"
            self.nodes.append(_node(operator, names, name, attributes))
            self._made[key] = _Traced(self, name, shape)
        return self._made[key]

    def port(self, name: str, width: int) -> _Traced:
        return _Traced(self, name, (self.instances, width))

    def result(self, name: str, parts: Sequence[Any]) -> None:
        """Name the columns `parts` side by side as an output of the graph."""
        wide = [x if getattr(x, "ndim", 0) else np.full((self.instances, 1), x) for x in parts]
        names = [self.operand(x) for x in wide]
        self.nodes.append(_node("Concat", names, name, {"axis": 1}))

    def prune(self, wanted: Iterable[str]) -> None:
        """Drop what no result needs."""
        needed, kept = set(wanted), []
        for node in reversed(self.nodes):
            if needed & set(node.output):
                needed |= set(node.input)
                kept.append(node)
        self.nodes = kept[::-1]
        self.initializers = [x for x in self.initializers if x.name in needed]


def _node(
    operator: str, names: Sequence[str], name: str, attributes: Mapping[str, int]
) -> onnx.NodeProto:
    node = helper.make_node(operator, names, [name])
    node.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
    return node


def _hollow(x: Any) -> np.ndarray[Any, Any]:
    """An array of the operand's shape without its memory, for shape arithmetic."""
    shape = x.shape if isinstance(x, _Traced) else np.shape(x)
    return np.broadcast_to(np.ones((), np.float32), shape)


class Compiled(msgspec.Struct, frozen=True):
    """`model.onnx`, and what it asks of the computer."""

    onnx: bytes
    nodes: int
    tensor_elements: int
    """Of the largest tensor."""


def compile_model(table: LookupTable, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The graph of `table`, its columns in the order of `outputs`."""
    return compile_dynamics(TableDynamics(table), inputs, outputs).onnx


def compile_dynamics(moving: Dynamics, inputs: Sequence[str], outputs: Sequence[str]) -> Compiled:
    """The graph of one step: `inputs` and each state tensor, to `outputs` and `NAME.next`.

    Rejected where a constant is beyond float32.
    """
    with np.errstate(all="ignore"):  # of constants; looked at below
        return _compile(moving, inputs, outputs)


def _compile(moving: Dynamics, inputs: Sequence[str], outputs: Sequence[str]) -> Compiled:
    count = moving.instances
    graph = _Graph(count, tidy=moving.kind != "lookup-table")
    whole = graph.port("inputs", len(inputs))
    columns = {name: whole[:, i : i + 1] for i, name in enumerate(inputs)}
    widths = {name: first.shape[1] for name, first in moving.initial.items()}
    values, moved = moving.step(columns, {k: graph.port(k, w) for k, w in widths.items()})
    graph.result("outputs", [values[name] for name in outputs])
    for name in widths:
        graph.result(f"{name}.next", [moved[name]])
    taken = {"inputs": len(inputs), **widths}
    given = {"outputs": len(outputs)} | {f"{k}.next": w for k, w in widths.items()}
    if graph.tidy:
        graph.prune(given)
    if not all(np.isfinite(numpy_helper.to_array(x)).all() for x in graph.initializers):
        what = "a constant of the model is beyond what float32 holds"
        raise Rejected(what, "behaviour", "bring its parameters to like size")
    proto = helper.make_graph(
        graph.nodes,
        moving.kind,
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, [count, w]) for k, w in taken.items()],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, [count, w]) for k, w in given.items()],
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
    return Compiled(
        bytes(model.SerializeToString(deterministic=True)), len(graph.nodes), _largest(model)
    )


def _largest(model: onnx.ModelProto) -> int:
    """Elements of the largest tensor, as admission counts them."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = [[d.dim_value for d in x.type.tensor_type.shape.dim] for x in inferred.value_info]
    shapes += [[d.dim_value for d in x.type.tensor_type.shape.dim] for x in inferred.output]
    shapes += [list(x.dims) for x in inferred.initializer]
    return max(int(np.prod(x)) for x in shapes)
