"""A session keeps its states between steps, and its inputs are bound without a copy."""

from __future__ import annotations

import platform
import subprocess
import sys

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge.models.fuse import fuse, operator_sets
from edge.models.graph import examine
from edge.models.session import _COPY, FusedSession, together, warm
from shared.bundle import BundleFiles, State
from shared.errors import Rejected
from shared.profile import ModelBounds
from tests.fakes.bundles import bundle, model_of
from tests.fakes.bundles import table as lookup

ROWS = [[1, 2, 9, 9, 9], [3, 4, 9, 9, 9]]


def table(seed: int) -> BundleFiles:
    declared = msgspec.structs.replace(bundle(), behaviour=lookup(seed))
    return BundleFiles(declared, b"", model_of(declared), b"", "")


def _of_opset(version: int) -> bytes:
    model = onnx.load_from_string(counting().model)
    model.opset_import[0].version = version
    return bytes(model.SerializeToString())


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
    session = FusedSession([files])
    session.inputs[0][:] = ROWS
    seen = []
    for _ in range(3):
        session.step()
        seen.append(session.outputs[0].copy())
    session.reset()
    session.step()
    np.testing.assert_array_equal(seen[0], [[6, 7], [10, 11]])
    np.testing.assert_array_equal(seen[2], seen[0] + 2)
    np.testing.assert_array_equal(session.outputs[0], seen[0])


def test_fused_models_answer_bit_for_bit_like_each_alone() -> None:
    """Twice the same model with states, and two tables of other numbers, in one graph."""
    members = [counting(), table(1), counting(), table(2)]
    fused, alone = FusedSession(members), [FusedSession([x]) for x in members]
    rng = np.random.default_rng(5)
    low = np.array([x.valid[0] for x in bundle().inputs])
    high = np.array([x.valid[1] for x in bundle().inputs])
    for _ in range(50):
        for view, single in zip(fused.inputs, alone, strict=True):
            view[:] = single.inputs[0][:] = low + rng.uniform(size=(2, 5)) * (high - low)
            single.step()
        assert fused.step() == []
        for view, single in zip(fused.outputs, alone, strict=True):
            assert view.tobytes() == single.outputs[0].tobytes()
    assert not np.array_equal(fused.outputs[1], fused.outputs[3])


def test_fused_graph_is_valid_onnx_and_holds_every_node_once() -> None:
    members = [counting(), table(1), counting()]
    whole = onnx.load_from_string(fuse([x.model for x in members]))
    onnx.checker.check_model(whole, full_check=True)
    parts = [onnx.load_from_string(x.model).graph for x in members]
    assert [x.op_type for x in whole.graph.node] == [x.op_type for g in parts for x in g.node]
    assert len(whole.graph.initializer) == sum(len(g.initializer) for g in parts)
    assert [x.name for x in whole.graph.input] == [
        "0/inputs",
        "0/lag",
        "1/inputs",
        "2/inputs",
        "2/lag",
    ]


@pytest.mark.parametrize("size", [1, 3, 40, 200])
def test_bytes_that_break_off_are_no_model_to_fuse(size: int) -> None:
    with pytest.raises(Rejected):
        fuse([counting().model[:size]])


def test_models_share_a_session_by_rate_and_operator_set() -> None:
    slow, fast = bundle(), msgspec.structs.replace(bundle(), rate_hz=10.0)
    one, other = {"": 21}, {"": 17}
    assert together([slow, fast, slow, slow], [one, one, one, other]) == [[0, 2], [1], [3]]
    assert operator_sets(table(1).model) == {"": 21}
    with pytest.raises(Rejected, match="operator set"):
        fuse([table(1).model, _of_opset(17)])


def test_row_without_real_inputs_keeps_its_states() -> None:
    session = FusedSession([counting()])
    session.inputs[0][:] = ROWS
    for _ in range(4):
        assert session.step([np.array([True, False])]) == []
    session.step()
    np.testing.assert_array_equal(session.outputs[0], [[10, 11], [10, 11]])


def test_state_that_is_no_number_starts_anew_and_is_told() -> None:
    session = FusedSession([table(1), counting()])
    for view in session.inputs:
        view[:] = 30.0
    session.step()
    session._sides[session._now][0][1, 0] = np.nan  # as an overflow in the graph would leave it
    assert session.step() == [(1, 1)]
    assert np.isnan(session.outputs[1][1]).all() and np.isfinite(session.outputs[1][0]).all()
    assert np.isfinite(session.outputs[0]).all()
    assert session.step() == []
    np.testing.assert_array_equal(session.outputs[1], [[37, 37], [37, 37]])


def test_warming_up_runs_a_valid_model() -> None:
    onnx.checker.check_model(onnx.load_from_string(_COPY), full_check=True)
    warm()


def test_a_child_takes_the_least_numbers_for_zero() -> None:
    """On them a product of matrices is 170 times slower, which no self-test has to show. x86 only:
    onnxruntime has no such switch elsewhere, where they cost less."""
    code = (
        "from edge.models.session import warm; import numpy as np; warm(); "
        "print(float(np.full(64, 1e-30, np.float32).dot(np.full(64, 1e-10, np.float32))))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert (float(said.stdout) == 0) == (platform.machine() == "x86_64")
