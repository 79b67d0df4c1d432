"""Types and static shapes of every tensor of a graph, and the cost of a step, by arithmetic.

In: a model whose operators and constants were examined. Out: dimensions by name, operations, or
reasons. Always holds: no reason means that every tensor is a plain one of a listed type and of
static shape under the bound; nothing of those sizes is ever made. Shapes that the file itself
tells are not believed. Imports `onnx`: child process only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from edge.models.operands import Dims, against_operands, attributes, elements
from edge.models.operators import ML, OPERATORS
from edge.models.trees import examine_trees

TYPES = (TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL)
RANK_MAX = 8
ML_NODES_MAX = 16


class Shapes:
    """dims: of inputs, constants and everything computed. operations: of one step."""

    def __init__(self, model: ModelProto, elements_max: int) -> None:
        self.dims: dict[str, Dims] = {}
        self.types: dict[str, int] = {}
        self.reasons: list[str] = []
        self.operations = 0
        self._constants = {x.name: x for x in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.output:
                self._constants[node.output[0]] = _constant(node)
        try:
            self._infer(model)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            self.reasons.append(f"not a valid graph: {str(error).splitlines()[0][:200]}")
            return
        except (RuntimeError, ValueError) as error:  # how onnx says that a type does not fit
            self.reasons.append(f"not a valid graph: {str(error)[:200]}")
            return
        self.reasons += self._tensors(model, elements_max)
        if not self.reasons:
            self.reasons += self._declared(model)
        if not self.reasons:
            for node in model.graph.node:
                self.reasons += self._node(node)

    def _infer(self, model: ModelProto) -> None:
        onnx.checker.check_model(model)
        bare = ModelProto()
        bare.CopyFrom(model)
        del bare.graph.value_info[:]
        for output in bare.graph.output:
            output.type.tensor_type.ClearField("shape")
        ml = [x for x in bare.graph.node if x.domain == ML]
        if len(ml) > ML_NODES_MAX:
            self.reasons.append(f"{len(ml)} operators of {ML}, at most {ML_NODES_MAX}")
            return
        for _ in range(len(ml) + 1):
            inferred = onnx.shape_inference.infer_shapes(
                bare, check_type=True, strict_mode=True, data_prop=True
            )
            for value in (
                *inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output,
            ):  # fmt: skip
                dims = dims_of(value)
                if dims is not None:
                    self.dims[value.name] = dims
                    self.types[value.name] = value.type.tensor_type.elem_type
            for tensor in bare.graph.initializer:
                self.dims[tensor.name] = list(tensor.dims)
                self.types[tensor.name] = tensor.data_type
            # onnx infers no shapes for ai.onnx.ml: these operators follow here, as far as what
            # they read is known by now
            told = len(self.dims)
            for node in ml:
                shape = self._ml(node)
                if shape is not None and node.output[0] not in self.dims:
                    value = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, shape)
                    self.dims[value.name], self.types[value.name] = shape, TensorProto.FLOAT
                    _tell(bare, value)
            if len(self.dims) == told:
                return

    def _ml(self, node: NodeProto) -> Dims | None:
        """The output's shape of an ai.onnx.ml operator."""
        dims = self.dims.get(node.input[0])
        if dims is None or len(dims) != 2 or self.types[node.input[0]] != TensorProto.FLOAT:
            return None
        of = attributes(node)
        if node.op_type == "LinearRegressor":
            return [dims[0], of.get("targets", 1)]
        if node.op_type == "TreeEnsembleRegressor":
            return [dims[0], of.get("n_targets", 1)]
        if node.op_type == "ArrayFeatureExtractor":
            picked = self._constants.get(node.input[1])
            return None if picked is None else [dims[0], elements(picked.dims) or 0]
        return dims

    def _tensors(self, model: ModelProto, elements_max: int) -> Iterator[str]:
        for name in _all_names(model):
            dims = self.dims.get(name)
            count = None if dims is None else elements(dims)
            if dims is None or count is None:
                yield f"the shape of {name[:40]!r} is not known before it runs"
            elif count > elements_max:
                yield f"{name[:40]!r} of {dims[:8]}, over the profile's bound"
            elif not count and not (name in self._constants and len(dims) == 1):
                # onnxruntime's Conv over no channels never ends; only lists, as of axes, are empty
                yield f"{name[:40]!r} of {dims[:8]} holds nothing"
            elif len(dims) > RANK_MAX:
                yield f"{name[:40]!r} has {len(dims)} dimensions, at most {RANK_MAX}"
            elif self.types[name] not in TYPES:
                yield f"{name[:40]!r} is none of float32, int64, int32 and bool"

    def _declared(self, model: ModelProto) -> Iterator[str]:
        for value in model.graph.output:
            kind, told = value.type.tensor_type.elem_type, dims_of(value)
            if self.types[value.name] != kind:
                yield f"output {value.name[:40]!r} is not of the type it declares"
            if told is not None and told != self.dims[value.name]:
                yield f"output {value.name[:40]!r} is {self.dims[value.name]}, declared as {told}"

    def _node(self, node: NodeProto) -> Iterator[str]:
        """Operands that must be constants, what they may say, and what the node costs."""
        operator = OPERATORS[("" if node.domain == "ai.onnx" else node.domain, node.op_type)]
        given = dict(enumerate(node.input))
        for place in operator.constants:
            if given.get(place) and given[place] not in self._constants:
                yield f"operand {place} of {node.op_type!r} is not a constant"
                return
        yield from against_operands(node, self.dims, self.types, self._constants)
        outputs = sum(elements(self.dims[x]) or 0 for x in node.output if x)
        inputs = [self.dims[x] for x in node.input if x]
        of = attributes(node)
        if operator.cost == "product":
            self.operations += outputs * _inner(node, inputs, of)
        elif operator.cost in ("convolution", "window"):
            kernel = of.get("kernel_shape") or (inputs[1][2:] if len(inputs) > 1 else [1])
            depth = inputs[1][1] if operator.cost == "convolution" and len(inputs) > 1 else 1
            self.operations += outputs * depth * math.prod(kernel)
        elif operator.cost == "trees":
            reasons, steps = examine_trees(of, inputs[0][1])
            yield from reasons
            self.operations += inputs[0][0] * steps
        else:
            self.operations += max([outputs, *(elements(x) or 0 for x in inputs)])


def dims_of(value: ValueInfoProto) -> Dims | None:
    """Static dimensions, or None when one is symbolic or unknown, or it is no plain tensor."""
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    dims = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
    return dims if all(d >= 0 for d in dims) else None


def _inner(node: NodeProto, inputs: Sequence[Dims], of: dict[str, Any]) -> int:
    """Length of the sums of a product."""
    first = inputs[0]
    if node.op_type == "Gemm" and of.get("transA"):
        return first[0]
    return first[-1] if first else 1


def _constant(node: NodeProto) -> TensorProto:
    """The tensor of a Constant node, whichever way it says it."""
    of = attributes(node)
    if isinstance(of.get("value"), TensorProto):
        tensor: TensorProto = of["value"]
        return tensor
    kind = np.float32 if {"value_float", "value_floats"} & set(of) else np.int64
    return numpy_helper.from_array(np.array(next(iter(of.values()), 0), kind))


def _all_names(model: ModelProto) -> Iterator[str]:
    graph = model.graph
    yield from (x.name for x in (*graph.input, *graph.initializer, *graph.output))
    for node in graph.node:
        yield from (name for name in node.output if name)


def _tell(model: ModelProto, value: ValueInfoProto) -> None:
    """Make a shape known to the next inference."""
    for output in model.graph.output:
        if output.name == value.name:
            output.type.CopyFrom(value.type)
            return
    model.graph.value_info.append(value)
