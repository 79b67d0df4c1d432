"""Hostile graphs, made by code: each a change of a good one, or a whole one of its own.

`GRAPHS` maps a case's name to (maker of the bytes of `model.onnx`, words its reason must hold).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.fakes.bundles import bundle, model_of

BUNDLE = bundle()
GOOD = model_of(BUNDLE)
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
ML = "ai.onnx.ml"

Change = Callable[[ModelProto], object]
Case = tuple[Callable[[], bytes], str]


def broken(change: Change) -> Callable[[], bytes]:
    """The good graph after `change`."""

    def make() -> bytes:
        model = onnx.load_from_string(GOOD)
        change(model)
        return bytes(model.SerializeToString())

    return make


def constant(model: ModelProto, name: str, array: object, kind: type = np.int64) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.array(array, kind), name))
    return name


def add(model: ModelProto, operator: str, more: Sequence[str] = (), **attributes: Any) -> NodeProto:
    """A node on the graph's output, [2, 2] float32, and on `more`."""
    name = f"extra{len(model.graph.node)}"
    model.graph.node.append(helper.make_node(operator, ["outputs", *more], [name], **attributes))
    return model.graph.node[-1]


def node(operator: str, *constants: object, **attributes: Any) -> Callable[[], bytes]:
    """The good graph with a node on its output and on these int64 constants."""

    def change(model: ModelProto) -> None:
        names = [constant(model, f"operand{i}", x) for i, x in enumerate(constants)]
        add(model, operator, names, **attributes)

    return broken(change)


# -- what a tensor may be


def _external(location: str, node_constant: bool = False) -> Change:
    def change(model: ModelProto) -> None:
        tensor = TensorProto(name="far", data_type=FLOAT, dims=[2, 2])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        if node_constant:
            model.graph.node.append(helper.make_node("Constant", [], ["far"], value=tensor))
        else:
            model.graph.initializer.append(tensor)

    return change


def _tensor(**fields: Any) -> Change:
    """One more constant, field by field."""
    return lambda model: model.graph.initializer.append(TensorProto(name="odd", **fields))


def _first_tensor(change: Callable[[TensorProto], object]) -> Change:
    return lambda model: change(next(x for x in model.graph.initializer if x.data_type == FLOAT))


def _not_finite(value: float) -> Change:
    def change(model: ModelProto) -> None:
        for i, tensor in enumerate(model.graph.initializer):
            array = numpy_helper.to_array(tensor).copy()
            if array.dtype == np.float32 and array.size > 100:
                array.flat[7] = value
                model.graph.initializer[i].CopyFrom(numpy_helper.from_array(array, tensor.name))

    return change


def _lying_size(model: ModelProto) -> None:
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) > 400:
            tensor.dims[0] += 1


def _double_filled(tensor: TensorProto) -> None:
    tensor.raw_data = b""
    tensor.float_data.extend([1.0] * 3)


# -- control flow and what hides it


def _inner(name: str = "inner") -> onnx.GraphProto:
    return helper.make_graph([], name, [], [])


def _endless(model: ModelProto) -> None:
    """A loop whose condition stays true for 2**63 rounds."""
    model.graph.initializer.append(numpy_helper.from_array(np.array(2**63 - 1), "rounds"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "go"))
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Add", ["x", "x"], ["x2"])],
        "body",
        [helper.make_tensor_value_info("i", INT64, []),
         helper.make_tensor_value_info("c", TensorProto.BOOL, []),
         helper.make_tensor_value_info("x", FLOAT, [2, 2])],
        [helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
         helper.make_tensor_value_info("x2", FLOAT, [2, 2])],
    )  # fmt: skip
    model.graph.node.append(helper.make_node("Loop", ["rounds", "go", "outputs"], ["y"], body=body))


def _graph_in(operator: str) -> Change:
    """A sub-graph as an attribute of a listed operator."""

    def change(model: ModelProto) -> None:
        add(model, operator).attribute.append(helper.make_attribute("body", _inner()))

    return change


def _graphs_in(model: ModelProto) -> None:
    add(model, "Neg").attribute.append(helper.make_attribute("bodies", [_inner(), _inner("b")]))


def _function(model: ModelProto) -> None:
    model.functions.append(
        helper.make_function("", "Sqrt", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])],
                             [helper.make_opsetid("", 21)])
    )  # fmt: skip


def _overload(model: ModelProto) -> None:
    add(model, "Neg").overload = "mine"


# -- names


def _rename(model: ModelProto) -> None:
    for each in model.graph.node:
        each.input[:] = ["x" if n == "inputs" else n for n in each.input]
    model.graph.input[0].name = "x"


def _dangling(model: ModelProto) -> None:
    model.graph.node[3].input[0] = "nobody"


def _made_twice(model: ModelProto) -> None:
    model.graph.node[1].output[0] = model.graph.node[0].output[0]


def _constant_twice(model: ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def _constant_is_computed(model: ModelProto) -> None:
    constant(model, model.graph.node[0].output[0], [1.0], np.float32)


def _constant_is_input(model: ModelProto) -> None:
    constant(model, "inputs", np.zeros((2, 5)), np.float32)


def _long_name(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Neg", ["outputs"], ["x" * 100_000]))


def _more_input(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", FLOAT, [2, 2]))


def _more_output(model: ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("t0", FLOAT, [2, 1]))


def _input_of(kind: onnx.TypeProto) -> Change:
    return lambda model: model.graph.input[0].type.CopyFrom(kind)


def _swap_columns(model: ModelProto) -> None:
    helper.set_model_props(model, {"inputs": "mach,n1,altitude,tat,bleed", "outputs": "egt,ff"})


# -- size and cost


def _grow(model: ModelProto) -> None:
    """[2, 2, 1] x [1, 2**19]: 2**21 elements from little."""
    add(model, "Reshape", [constant(model, "tall", [2, 2, 1])])
    wide = constant(model, "wide", np.ones((1, 1 << 19)), np.float32)
    model.graph.node.append(
        helper.make_node("Mul", [model.graph.node[-1].output[0], wide], ["huge"])
    )


def _outer(model: ModelProto) -> None:
    """[2**18, 1] @ [1, 2**18]: 2**36 elements."""
    tall = constant(model, "tall", np.ones((1 << 18, 1)), np.float32)
    wide = constant(model, "wide", np.ones((1, 1 << 18)), np.float32)
    model.graph.node.append(helper.make_node("MatMul", [tall, wide], ["huge"]))


def _doubling(model: ModelProto) -> None:
    name = "outputs"
    for i in range(60):
        model.graph.node.append(helper.make_node("Concat", [name, name], [f"twice{i}"], axis=0))
        name = f"twice{i}"


def _slow(model: ModelProto) -> None:
    """Every tensor within its bound, and 10**9 multiplications a step."""
    square = constant(model, "square", np.ones((1000, 1000)), np.float32)
    model.graph.node.append(helper.make_node("MatMul", [square, square], ["slow"]))


def _many_nodes(model: ModelProto) -> None:
    name = "outputs"
    for i in range(5000):
        model.graph.node.append(helper.make_node("Neg", [name], [f"more{i}"]))
        name = f"more{i}"


def _many_constants(model: ModelProto) -> None:
    for i in range(20_000):
        model.graph.initializer.add(name=f"c{i}x", data_type=FLOAT, dims=[0])


def _deep_type() -> bytes:
    """A value whose type is a sequence of sequences, 500 deep."""
    inner = b""
    for _ in range(500):
        inner = _field(4, _field(1, inner))
    value = _field(1, b"deep") + _field(2, inner)
    return GOOD + _field(7, _field(13, value))


def _field(number: int, data: bytes) -> bytes:
    size, out = len(data), bytearray()
    while size >= 0x80:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *out, size]) + data


def _conv(**attributes: Any) -> Change:
    def change(model: ModelProto) -> None:
        add(model, "Reshape", [constant(model, "shape", [2, 1, 2])])
        weights = constant(model, "weights", np.ones((1, 1, 1)), np.float32)
        model.graph.node.append(
            helper.make_node("Conv", [model.graph.node[-1].output[0], weights], ["y"], **attributes)
        )

    return change


def _no_channels(model: ModelProto) -> None:
    """onnxruntime 1.31 never returns from it."""
    add(model, "Slice", [constant(model, x, [0]) for x in ("zero", "also", "first")])
    shaped = constant(model, "shape", [1, 0, 6])
    model.graph.node.append(
        helper.make_node("Reshape", [model.graph.node[-1].output[0], shaped], ["x"], allowzero=1)
    )
    weights = constant(model, "weights", np.ones((1, 0, 1)), np.float32)
    model.graph.node.append(helper.make_node("Conv", ["x", weights], ["y"], pads=[2, 2]))


def _packed_to_make_room() -> bytes:
    """An unknown field as long as what packed integers save: the size is that of the model."""
    plain = helper.make_attribute("value_ints", list(range(100))).SerializeToString()
    numbers = b"".join(b"\x40" + bytes([i]) for i in range(100))  # field 8, a hundred times
    packed = plain.replace(numbers, _field(8, bytes(range(100))))
    node = _field(2, b"list") + _field(4, b"Constant") + _field(5, packed)
    data = GOOD + _field(7, _field(1, node))
    room = onnx.load_from_string(data).ByteSize() - len(data)
    data += b"\xfa\x7f" + bytes([room - 3]) + bytes(room - 3)
    assert onnx.load_from_string(data[:-room]).ByteSize() == len(data)
    return data


def _bias(model: ModelProto) -> None:
    bias = constant(model, "bias", np.ones((7, 3)), np.float32)
    model.graph.node.append(helper.make_node("Gemm", ["outputs", "outputs", bias], ["y"]))


# -- numbers that only a run would look at


def _computed(operator: str) -> Change:
    """The operand that decides the shape or the address is computed from the inputs."""

    def change(model: ModelProto) -> None:
        model.graph.node.append(helper.make_node("Cast", ["outputs"], ["whole"], to=INT64))
        model.graph.node.append(
            helper.make_node("Reshape", ["whole", constant(model, "four", [4])], ["flat"])
        )
        shape = [2, 2, 1, 1] if operator == "Reshape" else [4, 4]
        model.graph.node.append(helper.make_node(operator, ["outputs", "flat"], ["wild"]))
        model.graph.value_info.append(helper.make_tensor_value_info("wild", FLOAT, shape))

    return change


def _integer_division(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Cast", ["outputs"], ["whole"], to=INT64))
    model.graph.node.append(helper.make_node("Div", ["whole", "whole"], ["trap"]))


def _division_by_zero(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Cast", ["outputs"], ["whole"], to=INT64))
    model.graph.node.append(
        helper.make_node("Div", ["whole", constant(model, "none", [0])], ["trap"])
    )


# -- ai.onnx.ml

TREE: dict[str, Any] = {
    "nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [0, 0, 0],
    "nodes_values": [0.5, 0.0, 0.0], "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
    "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0], "target_treeids": [0, 0],
    "target_nodeids": [1, 2], "target_ids": [0, 0], "target_weights": [1.0, 2.0], "n_targets": 1,
}  # fmt: skip
"""A good one: x[0] <= 0.5 ? 1 : 2."""


def ml(operator: str, *constants: object, **attributes: Any) -> Callable[[], bytes]:
    def change(model: ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid(ML, 3))
        names = [constant(model, f"operand{i}", x) for i, x in enumerate(constants)]
        add(model, operator, names, domain=ML, **attributes)

    return broken(change)


def tree(**changes: Any) -> Callable[[], bytes]:
    return ml("TreeEnsembleRegressor", **(TREE | changes))


def _deep_tree() -> Callable[[], bytes]:
    """A path of 200 branches."""
    inner, size = 200, 401
    modes = ["BRANCH_LEQ"] * inner + ["LEAF"] * (size - inner)
    yes = [i + 1 for i in range(inner)] + [0] * (size - inner)
    no = [inner + 1 + i for i in range(inner)] + [0] * (size - inner)
    return tree(
        nodes_treeids=[0] * size, nodes_nodeids=list(range(size)), nodes_featureids=[0] * size,
        nodes_values=[0.0] * size, nodes_modes=modes, nodes_truenodeids=yes, nodes_falsenodeids=no,
        target_treeids=[0], target_nodeids=[size - 1], target_ids=[0], target_weights=[1.0],
    )  # fmt: skip


def _sets(*versions: tuple[str, int]) -> Change:
    def change(model: ModelProto) -> None:
        del model.opset_import[:]
        model.opset_import.extend(helper.make_opsetid(*x) for x in versions)

    return change


def _attribute(name: str, value: object) -> Change:
    return lambda m: add(m, "Softmax").attribute.append(helper.make_attribute(name, value))


def _reference(model: ModelProto) -> None:
    attribute = add(model, "Softmax").attribute.add(name="axis", ref_attr_name="outer")
    attribute.type = onnx.AttributeProto.INT


def _sequence() -> onnx.TypeProto:
    return helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, [2, 5]))


LISTED, EXTERNAL, KNOWN = "is not listed", "external data", "is not known before it runs"
BOUND, INVALID, CONST = "over the profile's bound", "not a valid graph", "is not a constant"

GRAPHS: dict[str, Case] = {
    # bytes
    "not a protobuf": (lambda: b"\xff" * 100, "not an ONNX model"),
    "empty": (lambda: b"", "operator sets"),
    **{
        f"cut short to {percent} %": (
            lambda percent=percent: GOOD[: len(GOOD) * percent // 100], "not an ONNX model")
        for percent in (1, 10, 50, 90, 99)
    },
    "the mark of the ORT format": (lambda: b"\x18\x00\x00\x00ORTM" + GOOD, "not an ONNX model"),
    "unknown field": (lambda: GOOD + b"\xfa\x7f\x03abc", "unknown or written twice"),
    "unknown field of a node": (
        lambda: GOOD + _field(7, _field(1, _field(15, b"x"))), "unknown or written twice"),
    "unknown field behind packed integers": (_packed_to_make_room, "unknown or written twice"),
    "second graph": (lambda: GOOD + b"\x3a\x02\x12\x00", "unknown or written twice"),
    "types nested 500 deep": (_deep_type, "not an ONNX model"),
    # versions and sections
    "newer operator set": (broken(_sets(("", 27))), "operator sets"),
    "older operator set": (broken(_sets(("", 12))), "operator sets"),
    "operator set twice": (broken(_sets(("", 21), ("ai.onnx", 17))), "operator sets"),
    "no operator set": (broken(_sets()), "operator sets"),
    "custom operator set": (broken(_sets(("", 21), ("evil", 1))), "operator sets"),
    "operator set of a vendor": (broken(_sets(("", 21), ("com.microsoft", 1))), "operator sets"),
    "newer operator set of ai.onnx.ml": (broken(_sets(("", 21), (ML, 6))), "operator sets"),
    "newer IR": (broken(lambda m: setattr(m, "ir_version", 14)), "IR version"),
    "IR of the beginning": (broken(lambda m: setattr(m, "ir_version", 1)), "IR version"),
    "training": (broken(lambda m: m.training_info.add()), "training_info"),
    "placed on devices": (broken(lambda m: m.configuration.add()), "configuration"),
    "quantisation notes": (
        broken(lambda m: m.graph.quantization_annotation.add()), "quantization_annotation"),
    "sparse constant": (
        broken(lambda m: m.graph.sparse_initializer.add()), "sparse_initializer"),
    # operators
    "custom operator": (node("Evil"), LISTED),
    "custom domain": (node("Sqrt", domain="evil"), "domain 'evil'"),
    "domain of a vendor": (node("Gelu", domain="com.microsoft"), "domain 'com.microsoft'"),
    "operator of ai.onnx.ml that is not listed": (ml("SVMRegressor"), LISTED),
    "operator of one domain in the other": (node("Neg", domain=ML), LISTED),
    "random numbers": (node("RandomNormalLike"), LISTED),
    "strings": (node("StringNormalizer"), LISTED),
    "a sequence": (node("SequenceConstruct"), LISTED),
    "an optional": (node("Optional"), LISTED),
    "quantised": (node("DynamicQuantizeLinear"), LISTED),
    "quantised product": (node("QLinearMatMul"), LISTED),
    "output as big as its values": (node("NonZero"), LISTED),
    "Resize bomb": (node("Resize", [1], [1], [1 << 20, 1 << 20]), LISTED),
    "Range bomb": (node("Range", 1 << 40, 1), LISTED),
    "If": (broken(lambda m: add(m, "If", then_branch=_inner(), else_branch=_inner())), LISTED),
    "endless Loop": (broken(_endless), "'Loop' is not listed"),
    "Scan": (broken(lambda m: add(m, "Scan", body=_inner(), num_scan_inputs=1)), LISTED),
    "SequenceMap": (broken(lambda m: add(m, "SequenceMap", body=_inner())), LISTED),
    "sub-graph in an attribute": (broken(_graph_in("Neg")), "'body' of 'Neg' is not listed"),
    "sub-graphs in an attribute": (broken(_graphs_in), "a sub-graph"),
    "local function in a listed name": (broken(_function), "functions"),
    "overload of a listed name": (broken(_overload), LISTED),
    # attributes
    "attribute that is not listed": (broken(_attribute("evil", 1)), "'evil' of 'Softmax'"),
    "attribute of another kind": (broken(_attribute("axis", "1")), "is STRING, not INT"),
    "attribute twice": (
        broken(lambda m: add(m, "Softmax", axis=0).attribute.append(
            helper.make_attribute("axis", 1))), "is there twice"),
    "attribute of an outer function": (broken(_reference), "'axis' of 'Softmax'"),
    "attribute that is infinite": (node("LeakyRelu", alpha=float("inf")), "NaN or infinity"),
    "constant of NaN in an attribute": (
        node("Constant", value_float=float("nan")), "NaN or infinity"),
    "constant of text": (node("Constant", value_string="x"), LISTED),
    "batch norm that learns": (node("BatchNormalization", training_mode=1), "want one of [0]"),
    "cast to text": (node("Cast", to=TensorProto.STRING), "want one of"),
    "cast to double": (node("Cast", to=TensorProto.DOUBLE), "want one of"),
    "padding that mirrors": (node("Pad", [0, 0, 9, 9], mode="reflect"), "want one of"),
    "stride of 0": (broken(_conv(strides=[0])), "below 1"),
    "dilation below 0": (broken(_conv(dilations=[-1])), "below 1"),
    "group of 0": (broken(_conv(group=0)), "below 1"),
    "padding below 0": (broken(_conv(pads=[-9, 0])), "below 0"),
    # tensors
    "external data by traversal": (broken(_external("../../etc/passwd")), EXTERNAL),
    "external data by an absolute path": (broken(_external("/etc/passwd")), EXTERNAL),
    "external data by a hard link": (broken(_external("hard-link-to-a-key")), EXTERNAL),
    "external data by a symlink": (broken(_external("symlink/model.onnx")), EXTERNAL),
    "external data of a Constant": (broken(_external("x", True)), EXTERNAL),
    "external data in memory": (broken(_external("*/_ORT_MEM_ADDR_/*")), EXTERNAL),
    "external data without its mark": (
        broken(_first_tensor(lambda t: t.external_data.add(key="location", value="x"))), EXTERNAL),
    "NaN weight": (broken(_not_finite(float("nan"))), "NaN or infinity"),
    "infinite weight": (broken(_not_finite(float("-inf"))), "NaN or infinity"),
    "string constant": (
        broken(_tensor(data_type=8, dims=[1], string_data=[b"x"])), "is none of float32"),
    "double constant": (
        broken(_tensor(data_type=11, dims=[1], double_data=[1.0])), "is none of float32"),
    "half-precision constant": (
        broken(_tensor(data_type=10, dims=[1], raw_data=b"\0\0")), "is none of float32"),
    "complex constant": (
        broken(_tensor(data_type=14, dims=[1], raw_data=b"\0" * 8)), "is none of float32"),
    "4-bit constant": (broken(_tensor(data_type=22, dims=[2], raw_data=b"\0")), "is none of"),
    "constant of no type": (broken(_tensor(dims=[1])), "is none of float32"),
    "constant of type 999": (broken(_tensor(data_type=999, dims=[1])), "is none of float32"),
    "constant of 2**36 elements": (
        broken(_first_tensor(lambda t: t.dims.__setitem__(slice(None), [1 << 18, 1 << 18]))),
        BOUND),
    "dimensions that overflow": (
        broken(_tensor(data_type=1, dims=[1 << 32, 1 << 32])), BOUND),
    "negative dimension": (broken(_tensor(data_type=1, dims=[-1])), BOUND),
    "constant shorter than it says": (broken(_lying_size), "constant"),
    "constant with no content": (broken(_tensor(data_type=1, dims=[64])), "constant 'odd'"),
    "constant with two contents": (broken(_first_tensor(_double_filled)), "constant"),
    # names and ports
    "cycle": (broken(lambda m: m.graph.node[0].input.__setitem__(0, "outputs")), INVALID),
    "node that reads itself": (
        broken(lambda m: m.graph.node.append(helper.make_node("Neg", ["me"], ["me"]))), INVALID),
    "input from nobody": (broken(_dangling), INVALID),
    "tensor made twice": (broken(_made_twice), "made twice"),
    "constant twice": (broken(_constant_twice), "made twice"),
    "constant over a computed tensor": (broken(_constant_is_computed), "made twice"),
    "constant over an input": (broken(_constant_is_input), "also an input"),
    "name of 100,000 characters": (broken(_long_name), "over 256 characters"),
    "other input name": (broken(_rename), "bundle.json has"),
    "one more input": (broken(_more_input), "bundle.json has"),
    "one more output": (broken(_more_output), "bundle.json has"),
    "double input": (broken(lambda m: setattr(
        m.graph.input[0].type.tensor_type, "elem_type", 11)), "not float32"),
    "integer output": (broken(lambda m: setattr(
        m.graph.output[0].type.tensor_type, "elem_type", 7)), "not float32"),
    "wider output": (broken(lambda m: setattr(
        m.graph.output[0].type.tensor_type.shape.dim[1], "dim_value", 3)), "is [2, 3], not [2, 2]"),
    "unbounded dimension": (broken(lambda m: setattr(
        m.graph.input[0].type.tensor_type.shape.dim[0], "dim_param", "n")), "'inputs' is None"),
    "input without a shape": (broken(lambda m: m.graph.input[0].type.tensor_type.ClearField(
        "shape")), "'inputs' is None"),
    "sequence as an input": (broken(_input_of(_sequence())), "not float32"),
    "optional as an input": (
        broken(_input_of(helper.make_optional_type_proto(_sequence()))), "not float32"),
    "map as an input": (
        broken(_input_of(helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(
            FLOAT, [1])))), "not float32"),
    "sparse input": (
        broken(_input_of(helper.make_sparse_tensor_type_proto(FLOAT, [2, 5]))), "not float32"),
    "columns swapped": (broken(_swap_columns), "columns of the graph's inputs"),
    "columns not told": (
        broken(lambda m: m.metadata_props.__delitem__(slice(None))), "columns of the graph's"),
    # size and cost
    "broadcast bomb": (broken(_grow), BOUND),
    "product bomb": (broken(_outer), BOUND),
    "ConstantOfShape bomb": (
        broken(lambda m: m.graph.node.append(helper.make_node(
            "ConstantOfShape", [constant(m, "s", [1 << 20, 1 << 20])], ["huge"]))), BOUND),
    "Expand bomb": (node("Expand", [1 << 20, 1 << 20, 2, 2]), BOUND),
    "Tile bomb": (node("Tile", [1 << 20, 1 << 20]), BOUND),
    "Pad bomb": (node("Pad", [0, 0, 1 << 30, 1 << 30]), BOUND),
    "Conv over no channels": (broken(_no_channels), "holds nothing"),
    "Conv bomb by its padding": (broken(_conv(pads=[1 << 30, 1 << 30])), BOUND),
    "Concat that doubles sixty times": (broken(_doubling), BOUND),
    "sizes that overflow": (node("Tile", [1 << 62, 1 << 62]), INVALID),
    "more work than a step may be": (broken(_slow), "operations a step"),
    "thousands of nodes": (broken(_many_nodes), "nodes, the profile allows"),
    "thousands of constants": (broken(_many_constants), "constants, over"),
    "nine dimensions": (node("Reshape", [1] * 7 + [2, 2]), "9 dimensions"),
    # what only a run would look at
    "Reshape to what is computed": (broken(_computed("Reshape")), KNOWN),
    "Expand to what is computed": (broken(_computed("Expand")), KNOWN),
    "Reshape to more than there is": (node("Reshape", [2, 3, 175]), "'Reshape' of [2, 2] to"),
    "bias of another size": (broken(_bias), "'Gemm' with a bias"),
    "groups that the channels do not have": (broken(_conv(group=101)), ""),
    "Gather at what is computed": (broken(_computed("Gather")), CONST),
    "Gather beyond the end": (node("Gather", [7], axis=1), "'Gather' beyond"),
    "Gather before the start": (node("Gather", [-3], axis=1), "'Gather' beyond"),
    "Slice with a step of 0": (node("Slice", [0], [2], [1], [0]), INVALID),
    "integer division by what is computed": (broken(_integer_division), "integer 'Div'"),
    "integer division by 0": (broken(_division_by_zero), "integer 'Div'"),
    "axis that is not there": (node("Softmax", axis=5), INVALID),
    "permutation of one axis twice": (node("Transpose", perm=[0, 0]), INVALID),
    # trees
    "tree that never ends": (tree(nodes_truenodeids=[0, 0, 0]), "tree ensemble"),
    "trees that end in each other": (
        tree(nodes_modes=["BRANCH_LEQ", "BRANCH_LEQ", "LEAF"], nodes_falsenodeids=[2, 2, 0]),
        "tree ensemble"),
    "tree with a child that is not there": (tree(nodes_truenodeids=[77, 0, 0]), "a child that"),
    "tree on a feature that is not there": (tree(nodes_featureids=[9, 0, 0]), "a feature that"),
    "tree of 200 branches in a row": (_deep_tree(), "a path over 64"),
    "tree with arrays of other lengths": (tree(nodes_values=[0.5]), "nodes_values is not one"),
    "tree with two roots": (
        tree(nodes_modes=["LEAF", "LEAF", "LEAF"]), "a tree without one root"),
    "tree to a target that is not there": (tree(target_ids=[0, 4]), "a target that is not there"),
    "tree with a target at a branch": (tree(target_nodeids=[0, 2]), "a target that is no leaf"),
    "tree with a NaN threshold": (tree(nodes_values=[float("nan"), 0.0, 0.0]), "NaN or infinity"),
    "tree of an unknown mode": (tree(nodes_modes=["EVIL", "LEAF", "LEAF"]), "mode b'EVIL'"),
    "regressor with too few coefficients": (
        ml("LinearRegressor", coefficients=[1.0], intercepts=[0.0]), "'coefficients'"),
    "regressor of 2**40 targets": (
        ml("LinearRegressor", coefficients=[1.0], targets=1 << 40), BOUND),
    "features picked beyond the end": (
        ml("ArrayFeatureExtractor", [5]), "'ArrayFeatureExtractor' beyond"),
    "scaler with too many scales": (ml("Scaler", offset=[0.0], scale=[1.0] * 9), "'scale'"),
}  # fmt: skip
