"""An outbox is verified and exported while another process records to it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge.__main__ import main


def test_verify_and_export_beside_a_recording_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "outbox.db"
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.sim.killed", str(path), "5"], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    try:
        while b'"recording"' not in child.stdout.readline():
            assert child.poll() is None
        counts = []
        for number in range(3):
            for _ in range(200):  # it records on while it is heard
                child.stdout.readline()
            out = tmp_path / f"{number}.ttx"
            assert main(["export", "--store", str(path), str(out), "--json"]) == 0
            counts.append(json.loads(capsys.readouterr().out)["records"])
            for file in (out, path):
                main(["verify", str(file), "--json"])
                said = json.loads(capsys.readouterr().out)
                assert said["counts"]["records"] >= counts[-1] > 0
                # the journal of this child has numbers for readings, which is told
                said["faults"].pop("journal", None)
                assert not any(said["faults"].values()), said["faults"]
        assert counts == sorted(counts) and counts[0] < counts[-1]
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
