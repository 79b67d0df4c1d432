"""What admission asks of a graph before any session may exist.

In: the bytes of `model.onnx`, its `bundle.json`, the bounds. Out: the reasons against it.
Always holds: no reason means every operator is listed, every tensor has a static shape under
the bound, and the graph's ports are those of the bundle. Imports `onnx`: child process only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]  # no stubs are shipped
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, ValueInfoProto

from shared.bundle import Bundle
from shared.profile import ModelBounds

OPERATORS = frozenset(
    ("Add", "Sub", "Mul", "Div", "Min", "Max", "Sqrt", "Pow", "Exp", "MatMul", "Reshape",
     "Slice", "Concat")
)  # fmt: skip
"""What the compiler of shared.behaviour writes; each new kind extends it here by what it needs."""

OPSET_MAX, IR_MAX = 21, 10
REASONS_MAX = 16
_PLAIN_ATTRIBUTES = (AttributeProto.INT, AttributeProto.INTS)
_EMPTY = ("functions", "training_info", "configuration")
_GRAPH_EMPTY = ("sparse_initializer", "quantization_annotation", "value_info", "metadata_props")


def examine(data: bytes, bundle: Bundle, bounds: ModelBounds) -> list[str]:
    """Reasons to refuse, at most 16; later checks run only on what earlier ones let through."""
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        return [f"not an ONNX model: {error}"]
    for step in (_encoding, _contents, _ports, _shapes):
        reasons = list(step(model, data, bundle, bounds))
        if reasons:
            return reasons[:REASONS_MAX]
    return []


def _encoding(
    model: ModelProto, data: bytes, _bundle: Bundle, _bounds: ModelBounds
) -> Iterator[str]:
    """What this reader does not know, another one might act on."""
    model.DiscardUnknownFields()
    if model.ByteSize() != len(data):
        yield "fields that are unknown or written twice"


def _contents(
    model: ModelProto, _data: bytes, _bundle: Bundle, bounds: ModelBounds
) -> Iterator[str]:
    graph = model.graph
    opsets = [(x.domain, x.version) for x in model.opset_import]
    if len(opsets) != 1 or opsets[0][0] not in ("", "ai.onnx") or opsets[0][1] > OPSET_MAX:
        yield f"operator sets {opsets[:4]}, want one, ONNX's own, up to {OPSET_MAX}"
    if not 3 <= model.ir_version <= IR_MAX:
        yield f"IR version {model.ir_version}, want up to {IR_MAX}"
    for holder, names in ((model, _EMPTY), (graph, _GRAPH_EMPTY)):
        for name in names:
            if len(getattr(holder, name, ())):
                yield f"{name} in the model"
    if len(graph.node) > bounds.nodes_max:
        yield f"{len(graph.node)} nodes, the profile allows {bounds.nodes_max}"
        return
    for node in graph.node:
        if node.domain not in ("", "ai.onnx"):
            yield f"operator domain {node.domain[:40]!r}"
        if node.op_type not in OPERATORS:
            yield f"operator {node.op_type[:40]!r} is not listed"
        for attribute in node.attribute:
            if attribute.type not in _PLAIN_ATTRIBUTES or attribute.ref_attr_name:
                yield f"attribute {attribute.name[:40]!r} of {node.op_type[:40]!r} is not a number"
    for message in _inside(graph):
        if isinstance(message, GraphProto):
            yield "a sub-graph"
        if isinstance(message, TensorProto):
            yield from _tensor(message, bounds)


def _tensor(tensor: TensorProto, bounds: ModelBounds) -> Iterator[str]:
    name = tensor.name[:40]
    if tensor.data_location != TensorProto.DEFAULT or len(tensor.external_data):
        yield f"external data of {name!r}"
        return
    if tensor.data_type not in (TensorProto.FLOAT, TensorProto.INT64):
        yield f"constant {name!r} is neither float32 nor int64"
        return
    elements = _elements(tensor.dims)
    if elements is None or elements > bounds.tensor_elements_max:
        yield f"constant {name!r} of {list(tensor.dims)[:8]}, over the profile's bound"
        return
    try:
        array = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        yield f"constant {name!r}: {error}"
        return
    if not np.isfinite(array).all():
        yield f"constant {name!r} holds NaN or infinity"


def _ports(model: ModelProto, _data: bytes, bundle: Bundle, _bounds: ModelBounds) -> Iterator[str]:
    count = len(bundle.instances)
    state = {s.name: [count, len(s.initial[0])] for s in bundle.states}
    inputs = {"inputs": [count, len(bundle.inputs)], **state}
    outputs = {"outputs": [count, len(bundle.outputs)]}
    outputs |= {f"{name}.next": shape for name, shape in state.items()}
    for word, wanted, found in (
        ("input", inputs, model.graph.input),
        ("output", outputs, model.graph.output),
    ):
        names = [x.name for x in found]
        if sorted(names) != sorted(wanted):
            yield f"{word}s {[n[:40] for n in names[:8]]}, bundle.json has {list(wanted)[:8]}"
            continue
        for value in found:
            if value.type.tensor_type.elem_type != TensorProto.FLOAT:
                yield f"{word} {value.name!r} is not float32"
            elif _dims(value) != wanted[value.name]:
                yield f"{word} {value.name!r} is {_dims(value)}, not {wanted[value.name]}"
    if {x.name for x in model.graph.initializer} & set(inputs):
        yield "a constant that is also an input"
    columns = {x.key: x.value for x in model.metadata_props}
    for key, ports in (("inputs", bundle.inputs), ("outputs", bundle.outputs)):
        if columns.get(key) != ",".join(x.name for x in ports):
            yield f"columns of the graph's {key} are not those of bundle.json"


def _shapes(model: ModelProto, _data: bytes, bundle: Bundle, bounds: ModelBounds) -> Iterator[str]:
    """Infer every tensor's shape, by arithmetic on shapes: nothing of that size is made."""
    try:
        onnx.checker.check_model(model)
        inferred = onnx.shape_inference.infer_shapes(
            model, check_type=True, strict_mode=True, data_prop=True
        )
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        yield f"not a valid graph: {str(error).splitlines()[0][:200]}"
        return
    known = {x.name: x for x in (*inferred.graph.value_info, *inferred.graph.output)}
    largest = max((_elements(x.dims) or 0 for x in model.graph.initializer), default=0)
    for node in model.graph.node:
        for name in node.output:
            dims = _dims(known[name]) if name in known else None
            elements = None if dims is None else _elements(dims)
            if elements is None:
                yield f"the shape of {name[:40]!r} is not known before it runs"
            elif elements > bounds.tensor_elements_max:
                yield f"{name[:40]!r} of {dims}, over the profile's bound"
            else:
                largest = max(largest, elements)
    need = bundle.requirements
    if len(model.graph.node) > need.nodes or largest > need.tensor_elements:
        yield f"asks for more than it declares: {len(model.graph.node)} nodes, {largest} elements"


def _dims(value: ValueInfoProto) -> list[int] | None:
    """Static dimensions, or None when one is symbolic or unknown."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    dims = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
    return dims if all(d >= 0 for d in dims) else None


def _elements(dims: object) -> int | None:
    """Product in Python integers, which do not overflow; None for a negative dimension."""
    product = 1
    for dim in dims:  # type: ignore[attr-defined]  # a protobuf container of int
        if dim < 0:
            return None
        product *= int(dim)
    return product


def _inside(message: Message) -> Iterator[Message]:
    """Every message below `message`, at any depth."""
    waiting = [message]
    while waiting:
        for field, value in waiting.pop().ListFields():
            if field.type != field.TYPE_MESSAGE:
                continue
            for part in value if field.is_repeated else (value,):
                yield part
                waiting.append(part)
