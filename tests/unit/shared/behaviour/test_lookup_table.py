"""The lookup-table kind: what it refuses, and the compiled graph against scipy."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from shared.behaviour.compile import compile_model
from shared.behaviour.kinds import Axis, LookupTable, check
from shared.errors import Rejected
from tests.fakes.bundles import INPUTS, table

UNITS = {x.name: x.unit for x in INPUTS}
OUTPUTS = {"egt": "Cel", "ff": "kg/h"}
TABLE = table()
GRAPH = compile_model(TABLE, list(UNITS), list(OUTPUTS))
SESSION = onnxruntime.InferenceSession(GRAPH, providers=["CPUExecutionProvider"])


def by_hand(engine: int, x: dict[str, float]) -> tuple[float, float]:
    """EGT and fuel flow by scipy's interpolation and formulas written out again."""
    theta = (x["tat"] + 273.15) / 288.15
    total = 1 + 0.2 * x["mach"] ** 2
    isa = max(288.15 - 0.0019812 * x["altitude"], 216.65)
    troposphere = min(x["altitude"], 36089.24)
    pressure = (1 - 6.87559e-6 * troposphere) ** 5.25588
    pressure *= np.exp(-max(x["altitude"] - 36089.24, 0) / 20805.8)
    point = (x["n1"] / theta**0.5, x["mach"], x["altitude"], (x["tat"] + 273.15) / total - isa)
    axes = [np.array(a.points) for a in TABLE.axes]
    point = tuple(np.clip(p, a[0], a[-1]) for p, a in zip(point, axes, strict=True))
    found = []
    for column in range(2):
        grid = np.array(TABLE.values[engine][column]).reshape([len(a) for a in axes])
        value = np.ravel(RegularGridInterpolator(axes, grid)(point)).item()
        found.append(value * (1 + x["bleed"] * TABLE.effects[0].coefficients[engine][column]))
    return found[0] * theta - 273.15, found[1] * pressure * total**3.5 * theta**0.5


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries({x.name: st.floats(*x.valid) for x in INPUTS}))
def test_graph_agrees_with_scipy_within_a_fiftieth_of_a_step(x: dict[str, float]) -> None:
    rows = np.array([[x[name] for name in UNITS]] * 2, np.float32)
    x = dict(zip(UNITS, rows[0].tolist(), strict=True))
    got = SESSION.run(None, {"inputs": rows})[0]
    for engine in range(2):
        egt, flow = by_hand(engine, x)
        assert got[engine, 0] == pytest.approx(egt, abs=0.5 / 50)
        assert got[engine, 1] == pytest.approx(flow, abs=4.0 / 50)


def test_table_is_clamped_beyond_its_axes() -> None:
    rows = [np.array([[n1, 0.4, 0.0, 15.0, 0.0]] * 2, np.float32) for n1 in (100.0, 105.0)]
    last, beyond = (SESSION.run(None, {"inputs": x})[0] for x in rows)
    np.testing.assert_array_equal(last, beyond)


def test_same_declaration_compiles_to_same_bytes() -> None:
    assert compile_model(table(), list(UNITS), list(OUTPUTS)) == GRAPH


def test_outputs_keep_the_order_asked_for() -> None:
    swapped = compile_model(TABLE, list(UNITS), ["ff", "egt"])
    session = onnxruntime.InferenceSession(swapped, providers=["CPUExecutionProvider"])
    rows = np.array([[80, 0.4, 10000, 0, 1]] * 2, np.float32)
    first = SESSION.run(None, {"inputs": rows})[0]
    np.testing.assert_array_equal(session.run(None, {"inputs": rows})[0], first[:, ::-1])


def _replace(**changes: Any) -> LookupTable:
    return msgspec.structs.replace(TABLE, **changes)


first, *others = TABLE.corrections
REFUSED = {
    "no formula": _replace(corrections=(msgspec.structs.replace(first, formula="eval"), *others)),
    "named twice": _replace(corrections=(first, first)),
    "argument names nothing": _replace(
        corrections=(msgspec.structs.replace(first, arguments=("tta",)), *others)
    ),
    "argument in %": _replace(
        corrections=(msgspec.structs.replace(first, arguments=("n1",)), *others)
    ),
    "wrong number of arguments": _replace(
        corrections=(msgspec.structs.replace(first, arguments=("tat", "tat")), *others)
    ),
    "rising points": _replace(axes=(Axis("n1c", (50.0, 20.0)), *TABLE.axes[1:])),
    "unknown quantity": _replace(axes=(Axis("n3", (20.0, 50.0)), *TABLE.axes[1:])),
    "1 to 4 axes": _replace(axes=(*TABLE.axes, TABLE.axes[0])),
    "values are not": _replace(values=TABLE.values[:1]),
    "no output of that unit": _replace(
        columns=(msgspec.structs.replace(TABLE.columns[0], output="ff"), TABLE.columns[1])
    ),
    "columns are not the outputs": _replace(columns=TABLE.columns[:1]),
    "effect of unknown": _replace(
        effects=(msgspec.structs.replace(TABLE.effects[0], quantity="pack"),)
    ),
    "instance": _replace(effects=(msgspec.structs.replace(TABLE.effects[0], coefficients=()),)),
}


@pytest.mark.parametrize("words", sorted(REFUSED))
def test_bad_declaration_is_refused_by_name(words: str) -> None:
    with pytest.raises(Rejected, match=words):
        check(REFUSED[words], UNITS, OUTPUTS, 2, "here")


def test_good_declaration_passes() -> None:
    check(TABLE, UNITS, OUTPUTS, 2, "here")
