"""A session keeps its states between steps, and its inputs are bound without a copy."""

from __future__ import annotations

import msgspec
import numpy as np
from onnx import TensorProto, helper

from edge.models.graph import examine
from edge.models.session import ModelSession
from shared.bundle import BundleFiles, State
from shared.profile import ModelBounds
from tests.fakes.bundles import bundle


def counting() -> BundleFiles:
    """outputs = lag + first two inputs; lag.next = lag + 1: by hand, no kind makes one yet."""
    declared = msgspec.structs.replace(
        bundle(), states=(State(name="lag", initial=((5.0, 5.0), (7.0, 7.0))),)
    )

    def value(name: str, width: int) -> object:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, width])

    def constant(name: str, kind: int, numbers: list[float]) -> object:
        return helper.make_tensor(name, kind, [len(numbers)], numbers)

    graph = helper.make_graph(
        [
            helper.make_node("Slice", ["inputs", "zero", "two", "one"], ["head"]),
            helper.make_node("Add", ["head", "lag"], ["outputs"]),
            helper.make_node("Add", ["lag", "unit"], ["lag.next"]),
        ],
        "counting", [value("inputs", 5), value("lag", 2)],
        [value("outputs", 2), value("lag.next", 2)],
        [constant("zero", TensorProto.INT64, [0]), constant("two", TensorProto.INT64, [2]),
         constant("one", TensorProto.INT64, [1]), constant("unit", TensorProto.FLOAT, [1.0])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    names = ",".join(x.name for x in declared.inputs)
    helper.set_model_props(model, {"inputs": names, "outputs": "egt,ff"})
    return BundleFiles(declared, b"", model.SerializeToString(), b"", "")


def test_states_advance_and_reset() -> None:
    files = counting()
    assert examine(files.model, files.bundle, ModelBounds()) == []
    session = ModelSession(files)
    session.inputs[:] = [[1, 2, 9, 9, 9], [3, 4, 9, 9, 9]]
    seen = []
    for _ in range(3):
        session.step()
        seen.append(session.outputs.copy())
    session.reset()
    session.step()
    np.testing.assert_array_equal(seen[0], [[6, 7], [10, 11]])
    np.testing.assert_array_equal(seen[2], seen[0] + 2)
    np.testing.assert_array_equal(session.outputs, seen[0])
