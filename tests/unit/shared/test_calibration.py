"""A calibration is its parent with other numbers, within the parent's bounds, and nothing more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, numpy_helper

from shared.bundle import BundleFiles, Calibratable, Trained
from shared.calibration import REASONS_MAX, against
from tests.fakes.bundles import bundle
from tests.fakes.calibrated import EFFECTS, TYPE, VALUES, constants, files, scaled

replace = msgspec.structs.replace


PARENT = files(TYPE)
CHILD = scaled(1.02)
GOOD = files(CHILD)


def test_other_numbers_within_bounds_are_a_calibration() -> None:
    assert GOOD.model != PARENT.model and against(GOOD, PARENT) == []
    tighter = replace(
        CHILD,
        monitors=(replace(CHILD.monitors[0], onset=9.0, clear=4.0),),
        inputs=(replace(CHILD.inputs[0], valid=(30.0, 100.0)), *CHILD.inputs[1:]),
        outputs=(replace(CHILD.outputs[0], valid=(100.0, 1000.0)),
                 replace(CHILD.outputs[1], valid=(0.0, 9000.0))),
        applicability=replace(CHILD.applicability, tails=("T1",), esns=("ESN1",)),
        model_card=replace(CHILD.model_card, limits="none but these engines"),
        calibration=replace(CHILD.calibration, source="flights", flights=("F1#1",)),
        instances=(CHILD.instances[0], replace(CHILD.instances[1], esn="ESN1")),
    )  # fmt: skip
    assert against(files(tighter), PARENT) == []


def changed(**fields: Any) -> BundleFiles:
    """Another declaration, whatever it says, with the graph of a good calibration."""
    return replace(GOOD, bundle=replace(CHILD, **fields))


def first_instance(**fields: Any) -> dict[str, Any]:
    return {"instances": (replace(CHILD.instances[0], **fields), CHILD.instances[1])}


def monitor(**fields: Any) -> dict[str, Any]:
    return {"monitors": (replace(CHILD.monitors[0], **fields),)}


def first_input(**fields: Any) -> dict[str, Any]:
    return {"inputs": (replace(CHILD.inputs[0], **fields), *CHILD.inputs[1:])}


def first_output(**fields: Any) -> dict[str, Any]:
    return {"outputs": (replace(CHILD.outputs[0], **fields), CHILD.outputs[1])}


TABLE: Any = CHILD.behaviour
DECLARED: dict[str, dict[str, Any]] = {
    "name is not the parent's": {"name": "other"},
    "rate_hz is not": {"rate_hz": 2.0},
    "ata is not": {"ata": "000000"},
    "states is not": {"states": ("x",)},
    "requirements is not": {"requirements": replace(CHILD.requirements, nodes=512)},
    "full_fidelity is not": {"full_fidelity": "a kinder model"},
    "release 1 does not grow": {"release": 1},
    "it says itself what a calibration": {"calibratable": {"c1": Calibratable(low=0, high=9)}},
    "instances: positions or signals": first_instance(inputs={"n1": "ENG2_N1"}),
    "positions or signals": first_instance(measured={}),
    "ESN NEW is not one": first_instance(esn="NEW"),
    "inputs: names": first_input(unit="1"),
    "input n1: its valid range is wider": first_input(valid=(20.0, 106.0)),
    "outputs: names": first_output(lsb=5.0),
    "output egt: its valid range is wider": first_output(valid=(-1.0, 1500.0)),
    "output egt: its valid range": first_output(valid=msgspec.UNSET),
    "monitors: not those": {"monitors": ()},
    "onset 16, clear 8 is wider than the parent's 15, 8": monitor(onset=16.0),
    "onset 15, clear 9 is wider": monitor(clear=9.0),
    "more than its limits": monitor(persistence_s=600.0),
    "monitor egt_deviation: more than": monitor(severity="advisory"),
    "applicability: types reach": {"applicability": replace(CHILD.applicability, types=("A320",))},
    "applicability: esns reach": {"applicability": replace(CHILD.applicability, esns=())},
    "behaviour is not": {"behaviour": Trained(exporter="x")},
    "behaviour: corrections": {"behaviour": replace(TABLE, corrections=())},
    "behaviour: corrections, axes": {"behaviour": replace(TABLE, axes=TABLE.axes[:3])},
    "behaviour: corrections, axes, columns": {"behaviour": replace(TABLE, effects=())},
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(DECLARED))
def test_anything_else_in_the_declaration_is_refused_by_name(what: str) -> None:
    reasons = against(changed(**DECLARED[what]), PARENT)
    assert any(what in reason for reason in reasons), reasons


def graph(change: Callable[[ModelProto], object]) -> BundleFiles:
    model = onnx.load_from_string(GOOD.model)
    change(model)
    return replace(GOOD, model=bytes(model.SerializeToString(deterministic=True)))


def tensor(model: ModelProto, name: str) -> TensorProto:
    found: TensorProto = next(x for x in model.graph.initializer if x.name == name)
    return found


@settings(max_examples=100, deadline=None)
@given(st.floats(0.8, 1.2))
def test_numbers_are_taken_up_to_their_bounds(factor: float) -> None:
    def scale(model: ModelProto) -> None:
        array = factor * numpy_helper.to_array(tensor(onnx.load_from_string(PARENT.model), VALUES))
        tensor(model, VALUES).CopyFrom(numpy_helper.from_array(array.astype("<f4"), VALUES))

    reasons = against(graph(scale), PARENT)
    if 0.9001 <= factor <= 1.0999:
        assert reasons == []
    elif not 0.8999 <= factor <= 1.1001:
        assert f"constant '{VALUES}': 360 of 360 elements are beyond 0.9 to 1.1 times" in reasons[0]


def put(name: str, index: int, value: float) -> BundleFiles:
    def change(model: ModelProto) -> None:
        found = tensor(model, name)
        array = numpy_helper.to_array(found).copy()
        array.flat[index] = value
        found.CopyFrom(numpy_helper.from_array(array, name))

    return graph(change)


def as_double(model: ModelProto) -> None:
    found = tensor(model, VALUES)
    found.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(found).astype(float), VALUES))


def as_float_data(model: ModelProto) -> None:
    found = tensor(model, VALUES)
    values = numpy_helper.to_array(found).ravel().tolist()
    found.ClearField("raw_data")
    found.float_data.extend(values)


def reshaped(model: ModelProto) -> None:
    found = tensor(model, VALUES)
    del found.dims[:]
    found.dims.extend([2, 36, 5])


def external(model: ModelProto) -> None:
    tensor(model, VALUES).data_location = TensorProto.EXTERNAL


def cut(model: ModelProto) -> None:
    found = tensor(model, VALUES)
    found.raw_data = found.raw_data[:-4]


AXIS = next(name for name, array in constants(bundle()).items() if array.shape == (5,))
GRAPHS = {
    "a node": (graph(lambda m: m.graph.node.pop()), "more than its constants differs"),
    "an operator": (graph(lambda m: setattr(m.graph.node[3], "op_type", "Sub")), "more than its"),
    "an output": (graph(lambda m: m.graph.output.pop()), "more than its constants differs"),
    "metadata": (graph(lambda m: m.metadata_props.add(key="k", value="v")), "more than its"),
    "a text": (graph(lambda m: setattr(m, "doc_string", "hello")), "more than its constants"),
    "a text in a tensor": (graph(lambda m: setattr(tensor(m, VALUES), "doc_string", "x")),
                           "not plain float32"),
    "a constant more": (graph(lambda m: m.graph.initializer.append(
        numpy_helper.from_array(np.zeros(1, np.float32), "new"))), "constants are not those"),
    "a constant twice": (graph(lambda m: m.graph.initializer.append(m.graph.initializer[0])),
                         "more than its constants"),
    "an axis": (put(AXIS, 1, 55.0), f"constant '{AXIS}' differs, which a calibration may not"),
    "a shape": (graph(reshaped), "type or shape [2, 36, 5] is not the parent's [2, 5, 36]"),
    "a type": (graph(as_double), "type or shape"),
    "another encoding": (graph(as_float_data), "not plain float32"),
    "data elsewhere": (graph(external), "not plain float32"),
    "an element less": (graph(cut), "not plain float32"),
    "NaN": (put(VALUES, 3, np.nan), f"constant '{VALUES}': holds NaN or infinity"),
    "a signalling NaN": (graph(lambda m: setattr(tensor(m, VALUES), "raw_data",
        b"\x01\x00\x80\x7f" + tensor(m, VALUES).raw_data[4:])), "holds NaN or infinity"),
    "infinity": (put(EFFECTS, 0, np.inf), f"constant '{EFFECTS}': holds NaN or infinity"),
    "one element": (put(VALUES, 7, 5.0), "1 of 360 elements are beyond 0.9 to 1.1 times the"),
    "a value beyond": (put(EFFECTS, 1, -0.5), "1 of 4 elements are beyond 0 to 2; element 1 is -0.5"),
    "no graph": (replace(GOOD, model=b"\xff\xff"), "not an ONNX model"),
    "a field of nobody": (replace(GOOD, model=GOOD.model + b"\xfa\x7f\x01x"), "constants differs"),
    "a field twice": (replace(GOOD, model=GOOD.model + b"\x08\x0a"), "fields written twice"),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(GRAPHS))
def test_anything_else_in_the_graph_is_refused_by_name(what: str) -> None:
    child, words = GRAPHS[what]
    reasons = against(child, PARENT)
    assert any(words in reason for reason in reasons), reasons


def test_parent_that_declares_nothing_or_what_it_has_not_has_no_calibration() -> None:
    silent = replace(PARENT, bundle=replace(TYPE, calibratable=msgspec.UNSET))
    assert against(GOOD, silent) == ["egt_rom 1.0.0 lets a calibration change nothing"]
    for name, what in (("zz", "has no such constant"), ("c0", "not plain float32")):
        bounds = {name: Calibratable(low=0.0, high=1.0)}
        other = replace(PARENT, bundle=replace(TYPE, calibratable=bounds))
        assert any(what in x for x in against(GOOD, other))


def test_reasons_are_bounded() -> None:
    many = {f"no{i}": Calibratable(low=0.0, high=1.0) for i in range(60)}
    reasons = against(GOOD, replace(PARENT, bundle=replace(TYPE, calibratable=many)))
    assert len(reasons) == REASONS_MAX


def test_negative_number_stays_within_its_share() -> None:
    model = onnx.load_from_string(PARENT.model)
    negative = -numpy_helper.to_array(tensor(model, VALUES))
    tensor(model, VALUES).CopyFrom(numpy_helper.from_array(negative, VALUES))
    parent = replace(PARENT, model=bytes(model.SerializeToString(deterministic=True)))
    for factor, ok in ((1.05, True), (1.2, False), (-1.0, False)):
        child = onnx.load_from_string(parent.model)
        array = (factor * negative).astype(np.float32)
        tensor(child, VALUES).CopyFrom(numpy_helper.from_array(array, VALUES))
        made = replace(GOOD, model=bytes(child.SerializeToString(deterministic=True)))
        assert (against(made, parent) == []) == ok
