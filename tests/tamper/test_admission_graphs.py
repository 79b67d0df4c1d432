"""Hostile graphs are refused before any session exists, by a reason that names them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge.models.graph import examine
from shared.bundle import Bundle, State
from shared.profile import ModelBounds
from tests.fakes.bundles import bundle, model_of

BUNDLE = bundle()
GOOD = model_of(BUNDLE)
BOUNDS = ModelBounds()


def broken(change: Callable[[ModelProto], object]) -> bytes:
    model = onnx.load_from_string(GOOD)
    change(model)
    return bytes(model.SerializeToString())


def _node(model: ModelProto, operator: str, **attributes: object) -> onnx.NodeProto:
    """A node between two of the graph, on [2, 2] float32."""
    node = helper.make_node(operator, ["outputs"], ["extra"], **attributes)
    model.graph.node.append(node)
    return node


def _external(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def _external_unmarked(model: ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="x")


def _branch(model: ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [])
    _node(model, "If", then_branch=inner, else_branch=inner)


def _loop(model: ModelProto) -> None:
    _node(model, "Loop", body=helper.make_graph([], "inner", [], []))


def _hidden_graph(model: ModelProto) -> None:
    model.graph.node[0].attribute.append(
        helper.make_attribute("body", helper.make_graph([], "inner", [], []))
    )


def _function(model: ModelProto) -> None:
    model.functions.append(
        helper.make_function("", "Sqrt", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])],
                             [helper.make_opsetid("", 21)])
    )  # fmt: skip


def _not_finite(value: float) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        for i, tensor in enumerate(model.graph.initializer):
            array = numpy_helper.to_array(tensor).copy()
            if array.dtype == np.float32 and array.size > 100:
                array.flat[7] = value
                model.graph.initializer[i].CopyFrom(numpy_helper.from_array(array, tensor.name))

    return change


def _symbolic(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"


def _grow(model: ModelProto) -> None:
    """[2, 2] x a wall of reshapes and products: 2 x 2**20 elements from little."""
    graph = model.graph
    for name, dims in (("tall", [2, 2, 1]), ("wide", [1, 1 << 19])):
        graph.initializer.append(
            numpy_helper.from_array(np.array(dims, np.int64), f"{name}_dims")
            if name == "tall"
            else numpy_helper.from_array(np.ones(dims, np.float32), name)
        )
    graph.node.append(helper.make_node("Reshape", ["outputs", "tall_dims"], ["tall"]))
    graph.node.append(helper.make_node("Mul", ["tall", "wide"], ["huge"]))


def _declared_huge(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.dims[:] = [1 << 18, 1 << 18]


def _overflowing(model: ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 32, 1 << 32]


def _negative(model: ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [-1]


def _lying_size(model: ModelProto) -> None:
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) > 400:
            tensor.dims[0] += 1


def _unknown_shape(model: ModelProto) -> None:
    """A reshape whose target is computed while it runs."""
    graph = model.graph
    graph.node.append(helper.make_node("Reshape", ["outputs", "target"], ["unknown"]))
    graph.input.append(helper.make_tensor_value_info("target", TensorProto.INT64, [2]))


def _rename(model: ModelProto) -> None:
    for node in model.graph.node:
        node.input[:] = ["x" if n == "inputs" else n for n in node.input]
    model.graph.input[0].name = "x"


def _double(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def _wider(model: ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3


def _swap_columns(model: ModelProto) -> None:
    helper.set_model_props(model, {"inputs": "mach,n1,altitude,tat,bleed", "outputs": "egt,ff"})


def _string(model: ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("s", TensorProto.STRING, [1], [b"x"]))


def _constant_is_input(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((2, 5), np.float32), "inputs"))


def _cycle(model: ModelProto) -> None:
    model.graph.node[0].input[0] = "outputs"


HOSTILE: dict[str, tuple[bytes, str]] = {
    "not a protobuf": (b"\xff" * 100, "not an ONNX model"),
    "empty": (b"", "operator sets"),
    "cut short": (GOOD[: len(GOOD) // 2], "not an ONNX model"),
    "unknown field": (GOOD + b"\xfa\x7f\x03abc", "unknown or written twice"),
    "second graph": (GOOD + b"\x3a\x02\x12\x00", "unknown or written twice"),
    "external data": (broken(_external), "external data"),
    "external data without its mark": (broken(_external_unmarked), "external data"),
    "unlisted operator": (broken(lambda m: _node(m, "Neg")), "operator 'Neg' is not listed"),
    "random numbers": (broken(lambda m: _node(m, "RandomNormalLike")), "is not listed"),
    "custom domain": (broken(lambda m: _node(m, "Sqrt", domain="evil")), "domain 'evil'"),
    "custom operator set": (
        broken(lambda m: m.opset_import.append(helper.make_opsetid("evil", 1))), "operator sets",
    ),
    "newer operator set": (
        broken(lambda m: setattr(m.opset_import[0], "version", 26)), "operator sets",
    ),
    "newer IR": (broken(lambda m: setattr(m, "ir_version", 13)), "IR version"),
    "If": (broken(_branch), "'If' is not listed"),
    "Loop": (broken(_loop), "'Loop' is not listed"),
    "graph hidden in an attribute": (broken(_hidden_graph), "is not a number"),
    "local function in a listed name": (broken(_function), "functions"),
    "training": (broken(lambda m: m.training_info.add()), "training_info"),
    "sparse constant": (broken(lambda m: m.graph.sparse_initializer.add()), "sparse_initializer"),
    "shapes told": (
        broken(lambda m: m.graph.value_info.append(
            helper.make_tensor_value_info("t0", TensorProto.FLOAT, [1]))),
        "value_info",
    ),
    "NaN weight": (broken(_not_finite(float("nan"))), "NaN or infinity"),
    "infinite weight": (broken(_not_finite(float("inf"))), "NaN or infinity"),
    "unbounded dimension": (broken(_symbolic), "'inputs' is None"),
    "tensor that grows": (broken(_grow), "over the profile's bound"),
    "constant of 2**36 elements": (broken(_declared_huge), "over the profile's bound"),
    "dimensions that overflow": (broken(_overflowing), "over the profile's bound"),
    "negative dimension": (broken(_negative), "over the profile's bound"),
    "constant shorter than it says": (broken(_lying_size), "constant"),
    "shape known only while it runs": (broken(_unknown_shape), "bundle.json has"),
    "other input name": (broken(_rename), "bundle.json has"),
    "double input": (broken(_double), "not float32"),
    "wider output": (broken(_wider), "is [2, 3], not [2, 2]"),
    "columns swapped": (broken(_swap_columns), "columns of the graph's inputs"),
    "string constant": (broken(_string), "neither float32 nor int64"),
    "constant over an input": (broken(_constant_is_input), "also an input"),
    "cycle": (broken(_cycle), "not a valid graph"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_hostile_graph_is_refused_without_a_session(case: str) -> None:
    data, words = HOSTILE[case]
    reasons = examine(data, BUNDLE, BOUNDS)
    assert any(words in reason for reason in reasons), reasons


def test_good_graph_is_let_through() -> None:
    assert examine(GOOD, BUNDLE, BOUNDS) == []


def test_bounds_of_the_profile_hold() -> None:
    few = msgspec.structs.replace(BOUNDS, nodes_max=50)
    small = msgspec.structs.replace(BOUNDS, tensor_elements_max=100)
    assert "nodes" in examine(GOOD, BUNDLE, few)[0]
    assert "bound" in examine(GOOD, BUNDLE, small)[0]


def test_model_that_needs_more_than_it_declares_is_refused() -> None:
    need = msgspec.structs.replace(BUNDLE.requirements, nodes=10)
    modest = msgspec.structs.replace(BUNDLE, requirements=need)
    assert "more than it declares" in examine(GOOD, modest, BOUNDS)[0]


def _stateful() -> Bundle:
    return msgspec.structs.replace(BUNDLE, states=(State(name="lag", initial=((0.0,), (0.0,))),))


def test_state_that_the_graph_lacks_is_refused() -> None:
    assert any("lag" in reason for reason in examine(GOOD, _stateful(), BOUNDS))
