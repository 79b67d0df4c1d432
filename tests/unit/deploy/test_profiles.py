"""The profiles that are shipped: each parses, fits its own budget, and its gate can open."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.checkup import state_folder
from edge.config import load_profile
from edge.wiring import gate_never

FOLDER = Path(__file__).parents[3] / "firmware_profiles"
SHIPPED = sorted(p for p in FOLDER.glob("*.toml") if p.name != "bench.toml")  # that is a template


def ids(path: Path) -> str:
    return path.stem


def test_there_is_one_for_each_computer_that_the_issue_names() -> None:
    assert {"acms_x86", "arm64_512mb", "hil_bench", "laptop", "shop_bench"} <= {
        p.stem for p in SHIPPED
    }


@pytest.mark.parametrize("path", SHIPPED, ids=ids)
def test_a_shipped_profile_parses_and_is_called_like_its_file(path: Path) -> None:
    profile, _ = load_profile(path)
    assert profile.name == path.stem


@pytest.mark.parametrize("path", SHIPPED, ids=ids)
def test_what_it_keeps_fits_the_storage_that_it_allows(path: Path, tmp_path: Path) -> None:
    profile, _ = load_profile(path)
    sizes = next(state_folder(tmp_path, profile.compute, profile.recording.outbox_bytes_max))
    assert (sizes.name, sizes.level) == ("sizes", "ok"), sizes.said


@pytest.mark.parametrize("path", SHIPPED, ids=ids)
def test_its_gate_can_open_where_it_takes_updates(path: Path) -> None:
    profile, signals = load_profile(path)
    if profile.update is not None:
        assert gate_never(profile, signals) == []


@pytest.mark.parametrize("path", SHIPPED, ids=ids)
def test_only_a_bench_is_paced_loose_or_unconfined(path: Path) -> None:
    profile, _ = load_profile(path)
    if not profile.bench:
        assert profile.pace.flight_rate == 1.0
        assert profile.compute.models.seccomp_required
        assert profile.gate.dwell_s >= 30
        assert profile.compute.memory_mb_max <= 256
