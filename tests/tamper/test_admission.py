"""Admission end to end: the children, their bounds, and what they say."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import helper

from edge.models.admission import STAGES, AdmissionResult, admit, admit_bytes
from edge.models.confine import ENVIRONMENT
from shared.bundle import Requirements, pack
from shared.profile import ModelBounds
from tests.fakes.bundles import bundle, model_of, packed, selftest_of

BOUNDS = ModelBounds()
NAME, DATA = packed()


def judge(data: bytes, bounds: ModelBounds = BOUNDS) -> AdmissionResult:
    return asyncio.run(admit_bytes(data, bounds))


def test_the_real_bundle_is_admitted_and_its_hash_told(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(DATA)
    result = asyncio.run(admit(path, BOUNDS))
    assert result.ok, result.reasons
    assert result.sha256 == hashlib.sha256(DATA).hexdigest()
    assert (result.name, result.version, result.release) == ("egt_rom", "1.0.0", 1)


def test_missing_file_is_a_refusal(tmp_path: Path) -> None:
    assert "cannot read" in asyncio.run(admit(tmp_path / "none", BOUNDS)).reasons[0]


def test_bytes_that_are_no_bundle_are_a_refusal() -> None:
    result = judge(b"\x28\xb5\x2f\xfd" + b"x" * 100)
    assert not result.ok and result.reasons


def test_hostile_graph_in_a_good_bundle_is_a_refusal() -> None:
    model = onnx.load_from_string(model_of(bundle()))
    model.graph.node.append(helper.make_node("NonZero", ["outputs"], ["extra"]))
    result = judge(pack(bundle(), model.SerializeToString(), selftest_of(bundle())))
    assert result.reasons == ["operator 'NonZero' is not listed"]


def test_child_without_memory_is_a_refusal() -> None:
    result = judge(DATA, msgspec.structs.replace(BOUNDS, worker_address_space_mb=40))
    assert not result.ok and "child" in result.reasons[0]


def test_child_over_its_deadline_is_killed_and_a_refusal() -> None:
    started = time.monotonic()
    result = judge(DATA, msgspec.structs.replace(BOUNDS, admission_deadline_s=0.02))
    assert result.reasons == ["no decision in 0.02 s"]
    assert time.monotonic() - started < 5


def test_more_instances_than_the_profile_allows_is_a_refusal() -> None:
    assert "instances" in judge(DATA, msgspec.structs.replace(BOUNDS, instances_max=1)).reasons[0]


def test_recorder_side_imports_neither_onnx_nor_onnxruntime() -> None:
    code = (
        "import sys, edge.models.admission, edge.models.host, edge.models.exceedances, "
        "edge.models.deviations, edge.models.means;"
        "print([m for m in ('onnx', 'onnxruntime', 'google.protobuf', 'scipy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert out.stdout.strip() == "[]"


def test_both_children_are_filtered_before_they_read_a_byte() -> None:
    """A child that tries to open a file after its filter is refused it, and judges all the same."""
    for stage in STAGES:
        code = (
            "import sys, edge.models.admission as a; decide = a.decide\n"
            "def spy(*args):\n"
            "    try: open('/etc/hostname')\n"
            "    except PermissionError: return decide(*args)\n"
            "    return a.AdmissionResult(False, ['a file was opened'])\n"
            "a.decide = spy; sys.exit(a.main(sys.argv[1:]))"
        )
        command = [sys.executable, "-c", code, f"--{stage}"]
        command += [msgspec.json.encode(BOUNDS).decode(), str(os.getpid())]
        done = subprocess.run(command, input=DATA, capture_output=True, check=True, env=ENVIRONMENT)
        assert msgspec.json.decode(done.stdout, type=AdmissionResult).ok


def test_cost_of_a_model_is_told() -> None:
    cost = judge(DATA).cost
    assert cost.nodes == 87 and cost.elements_largest is not None and cost.operations is not None
    assert 0 < cost.elements_largest <= 4096 and 500 < cost.operations < 100_000
    assert cost.step_us is not None and cost.session_mb is not None
    assert 1 < cost.step_us < 50_000 and 0.1 < cost.session_mb < 48


def slow_and_large(rate_hz: float) -> bytes:
    """One 4 MB tensor and 8 tangents of it: few operations by count, each dear."""
    declared = msgspec.structs.replace(
        bundle(), rate_hz=rate_hz, requirements=Requirements(nodes=512, tensor_elements=1 << 20)
    )
    model = onnx.load_from_string(model_of(bundle()))
    shape = onnx.numpy_helper.from_array(np.array([1 << 18, 2, 2]), "large")
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("Expand", ["outputs", "large"], ["tan0"]))
    for i in range(8):
        model.graph.node.append(helper.make_node("Tan", [f"tan{i}"], [f"tan{i + 1}"]))
    return pack(declared, model.SerializeToString(), selftest_of(bundle()))


def test_what_is_measured_counts_beside_what_is_counted() -> None:
    """Each of these operations is dear, and there are 50 steps a second: three cores of it."""
    result = judge(slow_and_large(50.0), msgspec.structs.replace(BOUNDS, session_mb_max=4))
    assert result.cost.operations is not None
    assert result.cost.operations < BOUNDS.operations_max
    if "CPU time or memory" in result.reasons[0]:
        return  # the limit of the child came first: a machine that is busy makes CPU time dear
    assert "of a core at 50 Hz, the profile allows 5 %" in result.reasons[0]
    assert "for its session, the profile allows 4" in result.reasons[1]


def test_a_bundle_json_that_would_fill_the_recorder_is_a_refusal() -> None:
    """A map of many keys packs well, and takes 15 times its size once decoded."""
    figures = {f"f{i}": 1.0 for i in range(100_000)}
    card = msgspec.structs.replace(bundle().model_card, figures=figures)
    large = msgspec.structs.replace(bundle(), model_card=card)
    result = judge(pack(large, model_of(bundle()), selftest_of(bundle())))
    assert result.reasons == ["bundle.json: over 1048576 bytes"]


def test_more_work_a_step_than_the_profile_allows_is_a_refusal() -> None:
    few = msgspec.structs.replace(BOUNDS, operations_max=100)
    assert "operations a step, the profile allows 100" in judge(DATA, few).reasons[0]
