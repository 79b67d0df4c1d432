"""What admission asks of a graph before any session may exist.

In: the bytes of `model.onnx`, its `bundle.json`, the bounds. Out: the reasons against it, and
what it costs.
Always holds: no reason means every operator is listed, every tensor is a plain one with a static
shape under the bound, every operand that decides a shape or an address is a constant, the cost of
a step is under the bound, and the graph's ports are those of the bundle. Imports `onnx`: child
process only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]  # no stubs are shipped
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from edge.models.operands import elements
from edge.models.operators import (
    IR_MAX,
    ML,
    ML_OPSET_MAX,
    ONNX,
    OPERATORS,
    OPSET_MAX,
    OPSET_MIN,
    Operator,
)
from edge.models.shapes import TYPES, Shapes, dims_of
from shared.bundle import Bundle
from shared.profile import ModelBounds

REASONS_MAX = 16
NAME_CHARS_MAX, STRING_BYTES_MAX, TREE_STRINGS_MAX = 256, 64, 65_536
CONSTANTS_PER_NODE = 4
_EMPTY = ("functions", "training_info", "configuration")
_GRAPH_EMPTY = ("sparse_initializer", "quantization_annotation")


class Examination(msgspec.Struct, frozen=True):
    """elements: of the largest tensor. operations: of one step."""

    reasons: list[str]
    nodes: int = 0
    constants: int = 0
    elements: int = 0
    operations: int = 0


def examine(data: bytes, bundle: Bundle | None, bounds: ModelBounds) -> list[str]:
    """Reasons to refuse, at most 16."""
    return examination(data, bundle, bounds).reasons


def examination(data: bytes, bundle: Bundle | None, bounds: ModelBounds) -> Examination:
    """Later checks run only on what earlier ones let through. Without a bundle: the graph alone."""
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        return Examination([f"not an ONNX model: {str(error)[:100]}"])
    steps: list[Callable[[], Iterator[str]]] = [
        lambda: _encoding(model, data),
        lambda: _model(model, bounds),
        lambda: _contents(model.graph, bounds),
        lambda: _names(model.graph),
    ]
    if bundle is not None:
        steps.append(lambda: _ports(model, bundle))
    for step in steps:
        reasons = _first(step())
        if reasons:
            return Examination(reasons)
    return _judged(model, bundle, bounds)


def _judged(model: ModelProto, bundle: Bundle | None, bounds: ModelBounds) -> Examination:
    """What can be said once every shape is known."""
    shapes = Shapes(model, bounds.tensor_elements_max)
    reasons = _first(iter(shapes.reasons))
    largest = max((elements(x) or 0 for x in shapes.dims.values()), default=0)
    if not reasons:
        reasons = _first(_requirements(model, bundle, bounds, largest, shapes.operations))
    return Examination(
        reasons, len(model.graph.node), len(model.graph.initializer), largest, shapes.operations
    )


def _first(reasons: Iterator[str]) -> list[str]:
    return [reason for _, reason in zip(range(REASONS_MAX), reasons, strict=False)]


def _encoding(model: ModelProto, data: bytes) -> Iterator[str]:
    """What this reader does not know, another one might act on. Sizes alone do not tell: integers
    that are packed leave room for it."""
    model.DiscardUnknownFields()
    if model.SerializeToString(deterministic=True) != data:
        yield "fields that are unknown or written twice"


def _model(model: ModelProto, bounds: ModelBounds) -> Iterator[str]:
    graph = model.graph
    sets = [("" if x.domain == "ai.onnx" else x.domain, x.version) for x in model.opset_import]
    allowed = {ONNX: range(OPSET_MIN, OPSET_MAX + 1), ML: range(1, ML_OPSET_MAX + 1)}
    versions = dict(sets)
    if (
        ONNX not in versions
        or len(versions) != len(set(sets))
        or any(version not in allowed.get(domain, ()) for domain, version in sets)
    ):
        yield (
            f"operator sets {sets[:4]}, want ONNX's own from {OPSET_MIN} to {OPSET_MAX}, and "
            f"with it at most {ML} up to {ML_OPSET_MAX}"
        )
    if not 3 <= model.ir_version <= IR_MAX:
        yield f"IR version {model.ir_version}, want up to {IR_MAX}"
    for holder, names in ((model, _EMPTY), (graph, _GRAPH_EMPTY)):
        for name in names:
            if len(getattr(holder, name, ())):
                yield f"{name} in the model"
    if len(graph.node) > bounds.nodes_max:
        yield f"{len(graph.node)} nodes, the profile allows {bounds.nodes_max}"
    if len(graph.initializer) > CONSTANTS_PER_NODE * bounds.nodes_max:
        yield f"{len(graph.initializer)} constants, over {CONSTANTS_PER_NODE} a node"


def _contents(graph: GraphProto, bounds: ModelBounds) -> Iterator[str]:
    for node in graph.node:
        domain = "" if node.domain == "ai.onnx" else node.domain
        operator = OPERATORS.get((domain, node.op_type))
        if domain not in (ONNX, ML):
            yield f"operator domain {node.domain[:40]!r}"
        if operator is None or node.overload:
            yield f"operator {node.op_type[:40]!r} is not listed"
        else:
            yield from _attributes(node, operator)
        if getattr(node, "device_configurations", ()):
            yield "a node placed on a device"
    for message in _inside(graph):
        if isinstance(message, GraphProto):
            yield "a sub-graph"
        if isinstance(message, TensorProto):
            yield from _tensor(message, bounds)


def _attributes(node: NodeProto, operator: Operator) -> Iterator[str]:
    if len({x.name for x in node.attribute}) != len(node.attribute):
        yield f"an attribute of {node.op_type!r} is there twice"
    for attribute in node.attribute:
        where = f"attribute {attribute.name[:40]!r} of {node.op_type!r}"
        kind = AttributeProto.AttributeType.Name(attribute.type)
        if attribute.name not in operator.attributes:
            yield f"{where} is not listed"
            continue
        if operator.attributes[attribute.name] != kind or attribute.ref_attr_name:
            yield f"{where} is {kind}, not {operator.attributes[attribute.name]}"
            continue
        yield from _attribute(attribute, where, operator)


def _attribute(attribute: AttributeProto, where: str, operator: Operator) -> Iterator[str]:
    if attribute.type == AttributeProto.TENSOR:
        return
    value = onnx.helper.get_attribute_value(attribute)
    name, many = attribute.name, value if isinstance(value, list) else [value]
    if attribute.type in (AttributeProto.FLOAT, AttributeProto.FLOATS):
        if not np.isfinite(np.array(many, float)).all():
            yield f"{where} holds NaN or infinity"
    elif attribute.type in (AttributeProto.STRING, AttributeProto.STRINGS):
        if len(many) > TREE_STRINGS_MAX or any(len(x) > STRING_BYTES_MAX for x in many):
            yield f"{where} is too long"
        many = [x.decode(errors="replace") for x in many]
    if name in operator.positive and any(x < 1 for x in many):
        yield f"{where} is below 1"
    if name in operator.zero_or_more and any(x < 0 for x in many):
        yield f"{where} is below 0"
    if name in operator.values and any(x not in operator.values[name] for x in many):
        yield f"{where} is {many[:4]}, want one of {list(operator.values[name])}"


def _tensor(tensor: TensorProto, bounds: ModelBounds) -> Iterator[str]:
    name = tensor.name[:40]
    if tensor.data_location != TensorProto.DEFAULT or len(tensor.external_data):
        yield f"external data of {name!r}"
        return
    if tensor.data_type not in TYPES:
        yield f"constant {name!r} is none of float32, int64, int32 and bool"
        return
    count = elements(tensor.dims)
    if count is None or count > bounds.tensor_elements_max:
        yield f"constant {name!r} of {list(tensor.dims)[:8]}, over the profile's bound"
        return
    try:
        array = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        yield f"constant {name!r}: {str(error)[:100]}"
        return
    if not np.isfinite(array).all():
        yield f"constant {name!r} holds NaN or infinity"


def _names(graph: GraphProto) -> Iterator[str]:
    """Every tensor has one name and one maker."""
    made = [x.name for x in (*graph.input, *graph.initializer)]
    made += [name for node in graph.node for name in node.output if name]
    twice = [name for name, count in Counter(made).items() if count > 1]
    for name in twice[:4]:
        yield f"{name[:40]!r} is made twice, or is a constant that is also an input"
    if any(not name or len(name) > NAME_CHARS_MAX for name in made):
        yield f"a tensor without a name, or with one over {NAME_CHARS_MAX} characters"


def _ports(model: ModelProto, bundle: Bundle) -> Iterator[str]:
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
            elif dims_of(value) != wanted[value.name]:
                yield f"{word} {value.name!r} is {dims_of(value)}, not {wanted[value.name]}"
    columns = {x.key: x.value for x in model.metadata_props}
    for key, ports in (("inputs", bundle.inputs), ("outputs", bundle.outputs)):
        if columns.get(key) != ",".join(x.name for x in ports):
            yield f"columns of the graph's {key} are not those of bundle.json"


def _requirements(
    model: ModelProto, bundle: Bundle | None, bounds: ModelBounds, largest: int, operations: int
) -> Iterator[str]:
    nodes = len(model.graph.node)
    if operations > bounds.operations_max:
        yield f"{operations} operations a step, the profile allows {bounds.operations_max}"
    if bundle is None:
        return
    need = bundle.requirements
    if nodes > need.nodes or largest > need.tensor_elements:
        yield f"asks for more than it declares: {nodes} nodes, {largest} elements"


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
