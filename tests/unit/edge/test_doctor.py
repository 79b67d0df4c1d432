"""`tailtwin-edge doctor`: what it finds wrong with a machine, a folder, a profile."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from edge import checkup, wiring
from edge.__main__ import main
from edge.checkup import Finding, file_system_of, machine, state_folder
from edge.commands.doctor import examine
from edge.config import load_profile
from shared.identity import Signer
from shared.profile import ComputeProfile

ROOT = Path(__file__).parents[3]
COMPUTE = ComputeProfile(name="x", arch="any")
PROFILE = f"""
name = "try"
signal_set = "{ROOT}/firmware_profiles/signals/b737_bench.toml"
[compute]
name = "x"
arch = "any"
[[source]]
kind = "mqtt"
host = "127.0.0.1"
port = 1
[air]
host = "127.0.0.1"
port = 1
bytes_per_s_max = 1000
[update]
sources = ["http://127.0.0.1:1/tuf"]
"""


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "profile.toml"
    path.write_text(PROFILE)
    return path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    identity = tmp_path / "state" / "identity"
    identity.mkdir(parents=True)
    Signer.create(identity / "device.key")
    for name in ("tail.toml", "enrolment.toml"):
        (identity / name).write_text("x")
        (identity / name).chmod(0o600)
    return tmp_path / "state"


def by_name(findings: object) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}  # type: ignore[attr-defined]


def test_a_machine_that_fits_has_no_fail_and_exit_code_0(
    profile: Path, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkup, "file_system_of", lambda *_: "ext4")  # tests may run in a tmpfs
    code = main(["doctor", "--profile", str(profile), "--state", str(state), "--json"])
    findings = {f["name"]: f for f in json.loads(capsys.readouterr().out)}
    assert [f for f in findings.values() if f["level"] == "fail"] == []
    assert code == 0
    for name in ("arch", "cores", "memory", "disk", "file system", "sync", "sqlite", "seccomp", "pidfd",
                 "no_new_privs", "clock", "python", "libraries", "bytecode", "identity", "gate",
                 "air link", "open files", "sizes"):  # fmt: skip
        assert name in findings, name


def test_each_finding_is_a_line_and_one_that_fails_has_its_remedy_and_exit_code_1(
    profile: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(checkup, "IMPORTS", ("numpy",))
    assert main(["doctor", "--profile", str(profile), "--state", str(tmp_path / "gone")]) == 1
    said = capsys.readouterr().out
    assert "fail state folder" in said
    assert "to do: make it with `tailtwin-edge init`" in said


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"arch": "sparc"}, "arch"),
        ({"cpu_percent_max": 6400.0}, "cores"),
        ({"memory_mb_max": 1 << 30}, "memory"),
    ],
)
def test_a_computer_that_is_another_one_than_the_profile_says_fails(
    change: dict[str, object], name: str
) -> None:
    compute = ComputeProfile(**{"name": "x", "arch": "any"} | change)  # type: ignore[arg-type]
    assert by_name(machine(compute))[name].level == "fail"


def test_an_outbox_that_does_not_fit_the_budget_fails(state: Path) -> None:
    assert by_name(state_folder(state, COMPUTE, 999 << 20))["sizes"].level == "fail"


def test_keys_that_others_may_read_fail(state: Path) -> None:
    (state / "identity" / "device.key").chmod(0o640)
    found = by_name(state_folder(state, COMPUTE, 1 << 20))["identity"]
    assert found.level == "fail"
    assert "device.key" in found.said


def test_a_folder_that_takes_no_sync_fails_and_a_slow_disk_is_warned_of(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", refuse)
        assert by_name(state_folder(state, COMPUTE, 1 << 20))["sync"].level == "fail"
    monkeypatch.setattr(checkup, "SYNC_WARN_MS", 0.0)
    assert by_name(state_folder(state, COMPUTE, 1 << 20))["sync"].level == "warn"
    assert not list(state.glob(".doctor*"))


def test_a_state_folder_in_memory_is_refused(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
        f"23 22 0:20 / {state.parent} rw,nosuid - tmpfs tmpfs rw\n"
        "24 22 0:21 / /other rw - nfs4 server:/x rw\n"
    )
    assert file_system_of(state, mounts) == "tmpfs"
    assert file_system_of(Path("/usr"), mounts) == "ext4"
    assert file_system_of(Path("/other/x"), mounts) == "nfs4"
    monkeypatch.setattr(checkup, "file_system_of", lambda *_: "tmpfs")
    assert by_name(state_folder(state, COMPUTE, 1 << 20))["file system"].level == "fail"


def test_a_library_that_is_missing_fails() -> None:
    found = checkup._imports(("numpy", "no_such_library"))
    assert found.level == "fail"
    assert "no_such_library" in found.said


def test_an_old_sqlite_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "SQLITE_MIN", (9, 0, 0))
    assert checkup._sqlite().level == "fail"


def test_a_gate_that_can_never_open_says_which_inputs_are_missing(
    profile: Path, tmp_path: Path
) -> None:
    text = (ROOT / "firmware_profiles/signals/b737_bench.toml").read_text()
    text = text.replace('parking_brake = "PARK_BRAKE"\n', "")
    (tmp_path / "set.toml").write_text(text)
    profile.write_text(
        PROFILE.replace(f"{ROOT}/firmware_profiles/signals/b737_bench.toml", "set.toml")
    )
    found = by_name(wiring.roles(*load_profile(profile)))["gate"]
    assert found.level == "fail"
    assert "parking_brake has never been seen" in found.said


def test_a_broker_that_answers_is_told_from_one_that_does_not(profile: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        profile.write_text(PROFILE.replace("[air]\nhost = \"127.0.0.1\"\nport = 1",
                                           f"[air]\nhost = \"127.0.0.1\"\nport = {port}"))  # fmt: skip
        found = by_name(wiring.addresses(load_profile(profile)[0], profile.parent))
    assert (found["air link"].level, found["source 1"].level) == ("ok", "warn")


def test_a_broken_profile_is_the_first_finding_and_no_trace(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(PROFILE + "\nnonsense = 1\n")
    first = examine(tmp_path / "bad.toml", None)[0]
    assert (first.name, first.level) == ("profile", "fail")
    assert "nonsense" in first.said


def test_every_kind_of_source_is_looked_at_in_its_own_way(profile: Path, tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("t\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        profile.write_text(
            PROFILE
            + f"""
[[source]]
kind = "csv"
path = "there.csv"
[[source]]
kind = "csv"
path = "missing.csv"
[[source]]
kind = "arinc429"
port = {port}
channels = {{ 0 = "ADR_L" }}
[[source]]
kind = "opcua"
url = "opc.tcp://127.0.0.1:1/x"
namespace = "urn:x"
"""
        )
        loaded, _ = load_profile(profile)
        found = by_name(wiring.addresses(loaded, profile.parent))
    levels = [found[f"source {n}"].level for n in range(1, 6)]
    assert levels == ["warn", "ok", "warn", "warn", "warn"]
    assert "127.0.0.1:1 does not answer" in found["source 5"].said
    assert wiring.libraries(loaded) == ("asyncua",)
