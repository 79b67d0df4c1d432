"""`tailtwin-edge admit` says accepted with the cost, or every reason."""

from __future__ import annotations

from pathlib import Path

import msgspec
import onnx
import pytest
from onnx import helper

from edge.__main__ import main
from edge.models.admission import AdmissionResult
from shared.bundle import pack
from tests.fakes.bundles import bundle, model_of, packed, selftest_of

PROFILES = Path(__file__).parents[4] / "firmware_profiles"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """The bench's profile with its blanks filled in."""
    text = (PROFILES / "bench.toml").read_text()
    for blank, value in {
        "signal_set": str(PROFILES / "signals" / "b737_bench.toml"), "bus_port": "1",
        "air_port": "2", "stand_port": "3", "http_port": "4", "air_bytes_per_s": "0",
        "flight_rate": "1.0",
    }.items():  # fmt: skip
        text = text.replace("{" + blank + "}", value)
    path = tmp_path / "profile.toml"
    path.write_text(text)
    return path


def admit(profile: Path, name: str, data: bytes, *more: str) -> int:
    path = profile.parent / name
    path.write_bytes(data)
    return main(["admit", str(path), "--profile", str(profile), *more])


def test_accepted_bundle_is_told_with_its_cost(
    profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, data = packed()
    assert admit(profile, name, data) == 0
    out = capsys.readouterr().out
    assert out.startswith("accepted: egt_rom 1.0.0, release 1\n")
    for words in ("87 nodes", "operations a step", "us of CPU a step", "MB of memory"):
        assert words in out


def test_every_reason_is_told_and_the_exit_code_says_refused(
    profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load_from_string(model_of(bundle()))
    for i, operator in enumerate(("NonZero", "Loop", "RandomNormal")):
        model.graph.node.append(helper.make_node(operator, ["outputs"], [f"extra{i}"]))
    data = pack(bundle(), model.SerializeToString(), selftest_of(bundle()))
    assert admit(profile, "bad.tar.zst", data) == 65
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "refused: bad.tar.zst"
    assert [x.split("'")[1] for x in lines[1:]] == ["NonZero", "Loop", "RandomNormal"]


def test_json_is_the_decision(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert admit(profile, "x.tar.zst", b"none", "--json") == 65
    result = msgspec.json.decode(capsys.readouterr().out, type=AdmissionResult)
    assert not result.ok and "zstd" in result.reasons[0]


def test_bare_graph_is_judged_for_itself(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert admit(profile, "model.onnx", model_of(bundle())) == 0
    assert "nothing against the graph of model.onnx; it needs a bundle" in capsys.readouterr().out
    assert admit(profile, "broken.onnx", b"\xff" * 9) == 65
    assert "not an ONNX model" in capsys.readouterr().out


def test_file_that_is_not_there_is_a_refusal(
    profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("none.onnx", "none.tar.zst"):
        assert main(["admit", str(profile.parent / name), "--profile", str(profile)]) == 65
        assert f"cannot read {name}" in capsys.readouterr().out
