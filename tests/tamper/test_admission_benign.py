"""The benign corpus: small models of several exporters are all accepted, alone and together."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import pytest

from edge.models.admission import admit_bytes, decide
from edge.models.fuse import operator_sets
from edge.models.session import FusedSession, together
from shared.bundle import (
    Applicability,
    Bundle,
    BundleFiles,
    Calibration,
    Input,
    Instance,
    ModelCard,
    Output,
    Requirements,
    Trained,
    unpack,
)
from shared.bundlefile import build_bundle
from shared.profile import ModelBounds
from shared.trained import adopt, pack_trained

FOLDER = Path(__file__).parents[1] / "corpus" / "benign"
DECLARED = Path(__file__).parents[2] / "firmware_profiles" / "models"
FILES = sorted(FOLDER.glob("*.onnx"))
BOUNDS = ModelBounds()


def widths(model: bytes) -> tuple[int, int]:
    """Columns of the input and of the output, by the graph itself or by a run of it."""
    proto = onnx.shape_inference.infer_shapes(onnx.load_from_string(model), data_prop=True)
    constants = {x.name for x in proto.graph.initializer}
    (given,) = (x for x in proto.graph.input if x.name not in constants)
    columns = given.type.tensor_type.shape.dim[1].dim_value
    rows = np.zeros((2, columns), np.float32)
    (out,) = onnx.reference.ReferenceEvaluator(proto).run(None, {given.name: rows})
    return columns, out.shape[1]


def bundle_of(name: str, model: bytes) -> tuple[Bundle, bytes]:
    """A declaration made for the graph, and the graph with a bundle's ports."""
    columns, width = widths(model)
    inputs = [f"x{i}" for i in range(columns)]
    outputs = [f"y{i}" for i in range(width)]
    adopted = adopt(model, inputs, outputs, instances=2)
    bundle = Bundle(
        name=hashlib.sha256(name.encode()).hexdigest()[:12], version="1.0.0", release=1, rate_hz=1.0,
        instances=tuple(
            Instance(position=i, esn=f"E{i}", inputs={x: f"S{i}_{x}" for x in inputs}, measured={})
            for i in (1, 2)
        ),
        inputs=tuple(Input(name=x, unit="1", valid=(-2.0, 2.0)) for x in inputs),
        outputs=tuple(Output(name=x, unit="1", lsb=0.001) for x in outputs),
        applicability=Applicability(), ata="720000",
        requirements=Requirements(nodes=64, tensor_elements=4096),
        model_card=ModelCard(purpose="test", method="drawn", limits="none"),
        calibration=Calibration(source="none", seeds=(), fitted_by="", signal_set_sha256=""),
        full_fidelity="none", behaviour=Trained(exporter=name.partition("_")[0]),
    )  # fmt: skip
    return bundle, adopted


def packed(path: Path) -> bytes:
    return pack_trained(*bundle_of(path.stem, path.read_bytes()))[1]


def test_corpus_is_as_large_and_as_mixed_as_the_issue_asks() -> None:
    exporters = Counter(path.stem.partition("_")[0] for path in FILES)
    assert len(FILES) >= 45 and len(exporters) == 5 and min(exporters.values()) >= 4
    assert all(path.stat().st_size < 20_000 for path in FILES)
    assert sum(path.stat().st_size for path in FILES) < 400_000
    readme = (FOLDER / "README.md").read_text()
    assert all(f"`{name}`" in readme for name in exporters)


@pytest.mark.parametrize("path", FILES, ids=lambda x: x.stem)
def test_benign_model_is_accepted_and_reproduces_the_reference(path: Path) -> None:
    data = packed(path)
    for stage in ("graph", "session"):
        result = decide(stage, data, BOUNDS)
        assert result.ok, result.reasons
    cost = result.cost
    assert cost.step_us is not None and cost.step_us < 20_000


def test_all_of_them_fused_answer_bit_for_bit_like_each_alone() -> None:
    files = [unpack(packed(path), BOUNDS) for path in FILES]
    groups = together([x.bundle for x in files], [operator_sets(x.model) for x in files])
    assert len(groups) < 10 and max(map(len, groups)) >= 8
    rng = np.random.default_rng(3)
    for places in groups:
        members = [files[i] for i in places]
        fused, alone = FusedSession(members), [FusedSession([x]) for x in members]
        for _ in range(3):
            for view, single in zip(fused.inputs, alone, strict=True):
                view[:] = single.inputs[0][:] = rng.normal(size=view.shape)
                single.step()
            fused.step()
            for view, single in zip(fused.outputs, alone, strict=True):
                assert view.tobytes() == single.outputs[0].tobytes()


def declared() -> list[BundleFiles]:
    """What this repository ships."""
    paths = [x for x in sorted(DECLARED.glob("*.json")) if b'"instances"' in x.read_bytes()]
    return [unpack(build_bundle(path)[1], BOUNDS) for path in paths]


def test_what_this_repository_ships_is_accepted_by_the_real_children() -> None:
    shipped = declared()
    assert len(shipped) >= 2
    for path in sorted(DECLARED.glob("*.json")):
        if b'"instances"' in path.read_bytes():
            result = asyncio.run(admit_bytes(build_bundle(path)[1], BOUNDS))
            assert result.ok, (path.name, result.reasons)


def test_model_of_trees_is_accepted_by_the_real_children() -> None:
    path = next(x for x in FILES if x.stem == "skl2onnx_boosted")
    result = asyncio.run(admit_bytes(packed(path), BOUNDS))
    assert result.ok, result.reasons
