"""A type whose numbers may be calibrated, and calibrations of it."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import numpy_helper

from shared.bundle import Bundle, BundleFiles, Calibratable, unpack
from shared.bundlefile import pack_declared
from shared.profile import ModelBounds
from shared.request import FILE, SigningRequest
from tests.fakes.bundles import bundle, model_of

replace = msgspec.structs.replace


def constants(declared: Bundle) -> dict[str, np.ndarray]:
    graph = onnx.load_from_string(model_of(declared)).graph
    return {x.name: numpy_helper.to_array(x) for x in graph.initializer}


VALUES, EFFECTS = (
    next(name for name, array in constants(bundle()).items() if array.shape == shape)
    for shape in ((2, 5, 36), (2, 2))
)
TYPE = replace(
    bundle(),
    calibratable={
        VALUES: Calibratable(low=0.9, high=1.1, of="parent"),
        EFFECTS: Calibratable(low=0.0, high=2.0),
    },
    outputs=(replace(bundle().outputs[0], valid=(0.0, 1500.0)), bundle().outputs[1]),
)


def files(declared: Bundle) -> BundleFiles:
    return unpack(pack_declared(declared)[1], ModelBounds())


def scaled(factor: float) -> Bundle:
    """Every value of the table times `factor`, and other effects."""
    table: Any = TYPE.behaviour
    values = tuple(tuple(tuple(factor * x for x in c) for c in e) for e in table.values)
    effects = (replace(table.effects[0], coefficients=((0.01, 0.02), (0.02, 0.01))),)
    return replace(
        TYPE, version="2.0.0", release=2, calibratable=msgspec.UNSET,
        behaviour=replace(table, values=values, effects=effects),
    )  # fmt: skip


def request_files(parent: bytes) -> dict[str, bytes]:
    """A signing request as the ground writes it, file by file. parent: the published bundle file."""
    made_from = replace(TYPE.calibration, baselines={}, flights=())
    made = replace(scaled(1.01), calibration=made_from)
    name, packed = pack_declared(made)
    declaration, of = msgspec.json.encode(made), unpack(parent, ModelBounds())
    request = SigningRequest(
        name="egt_rom", version="2.0.0", release=2, bundle=name,
        bundle_sha256=hashlib.sha256(packed).hexdigest(), declaration="d.json",
        declaration_sha256=hashlib.sha256(declaration).hexdigest(), tail="T1", parent=of.filename,
        parent_sha256=of.sha256, replaces="release 1", by="ab", reason="test", made_ns=1,
        full_fidelity=TYPE.full_fidelity, baselines={}, flights=(), model_error=(),
    )  # fmt: skip
    text = msgspec.json.encode(request)
    return {name: packed, "d.json": declaration, of.filename: parent, FILE: text}
