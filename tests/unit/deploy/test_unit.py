"""The systemd unit: it verifies, and scores at most 2.0 of 10 in exposure."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[3] / "deploy/systemd"
UNIT = DEPLOY / "tailtwin-edge.service"
SCORE_MAX = 2.0

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here"
)


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@needs_systemd
def test_exposure_is_at_most_2(capsys: pytest.CaptureFixture[str]) -> None:
    done = analyze("security", "--offline=true", "--threshold=20", str(UNIT))
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze has no --offline (before 250)")
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stderr
    with capsys.disabled():
        print(f"\n  systemd-analyze security: {found[1]}, at most {SCORE_MAX}")
    assert float(found[1]) <= SCORE_MAX
    assert done.returncode == 0


@needs_systemd
def test_the_unit_verifies(tmp_path: Path) -> None:
    """With a program that exists here; nothing else may be complained of."""
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE)
    (tmp_path / UNIT.name).write_text(text)
    done = analyze("verify", "--man=no", str(tmp_path / UNIT.name))
    assert UNIT.name not in done.stderr, done.stderr


def settings(path: Path = UNIT) -> dict[str, str]:
    lines = (line.partition("=") for line in path.read_text().splitlines() if "=" in line)
    return {key: value for key, _, value in lines if not key.startswith("#")}


def test_the_hardening_that_the_issue_names_is_there() -> None:
    said = settings()
    expected = {
        "Type": "notify", "DynamicUser": "yes", "StateDirectory": "tailtwin",
        "ProtectSystem": "strict", "CapabilityBoundingSet": "", "NoNewPrivileges": "yes",
        "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX", "OOMPolicy": "continue",
    }  # fmt: skip
    assert {key: said.get(key) for key in expected} == expected
    assert all(said[key] for key in ("WatchdogSec", "MemoryMax", "CPUQuota", "SystemCallFilter"))


def test_the_watchdog_waits_longer_than_it_is_fed_and_stopping_longer_than_a_drain() -> None:
    from edge.daemon import DRAIN_S
    from edge.watchdog import PERIOD_S

    said = settings()
    assert int(said["WatchdogSec"]) >= 10 * PERIOD_S
    assert int(said["TimeoutStopSec"]) >= DRAIN_S + 20
