"""The edge as a service manager sees it: a real process, a real notification socket."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.identity import Signer
from tests.unit.edge.test_daemon import PROFILE, SET, TAIL

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]


def provision(folder: Path) -> None:
    identity = folder / "state" / "identity"
    identity.mkdir(parents=True)
    Signer.create(identity / "device.key")
    (identity / "tail.toml").write_text(TAIL)
    (identity / "enrolment.toml").write_text(
        f'user = "T-1"\npassword = "x"\nground_pub = "{"00" * 32}"\n'
    )
    (folder / "set.toml").write_text(SET)
    (folder / "profile.toml").write_text(PROFILE + '\n[seal]\nkind = "none"\n')


def wait_for(manager: socket.socket, text: str) -> list[str]:
    """Every message until one begins with `text`."""
    found: list[str] = []
    while not found or not found[-1].startswith(text):
        found.append(manager.recv(4096).decode())
    return found


def test_it_says_ready_feeds_the_watchdog_and_dies_of_its_signal_with_a_trace(
    tmp_path: Path,
) -> None:
    provision(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        edge = subprocess.Popen(
            [sys.executable, "-m", "edge", "run", "--profile", str(tmp_path / "profile.toml"),
             "--state", str(tmp_path / "state")],
            env={"NOTIFY_SOCKET": str(tmp_path / "notify")}, stderr=subprocess.PIPE, text=True,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        try:
            assert "READY=1" in wait_for(manager, "READY=1")
            fed = wait_for(manager, "WATCHDOG=1")[-1]
            assert "STATUS=unknown" in fed
            time.sleep(0.1)
            edge.send_signal(signal.SIGABRT)  # what the manager sends when it was not fed
            _, said = edge.communicate(timeout=20)
        finally:
            edge.kill()
    assert edge.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in said and "edge/commands/run.py" in said
