"""Boards with a TPM each, by swtpm. Skips where there is none."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.ground.synthetic import free_ports

Board = Callable[[str], str]


@contextmanager
def boards(folder: Path) -> Iterator[Board]:
    """Power up a board by its name, the one before it being down; how its TPM is reached.

    TSS2_LOG=all+none keeps the library from writing about every failure to stderr.
    """
    if not shutil.which("swtpm"):
        pytest.skip("needs swtpm (Debian: apt install swtpm libtss2-dev)")
    if importlib.util.find_spec("tpm2_pytss") is None:
        pytest.skip("needs tpm2-pytss (pip install -r requirements/tpm.txt)")
    running: list[subprocess.Popen[bytes]] = []

    def down() -> None:
        for one in running:
            one.terminate()
            one.wait()
        running.clear()

    def power_up(name: str) -> str:
        down()
        (folder / name).mkdir(exist_ok=True)
        for _ in range(20):  # the control port is the next one, by swtpm's own habit
            port = free_ports(1)[0]
            running.append(subprocess.Popen(
                ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder / name}",
                 "--server", f"type=tcp,port={port}", "--ctrl", f"type=tcp,port={port + 1}",
                 "--flags", "startup-clear,not-need-init"], stderr=subprocess.DEVNULL,
            ))  # fmt: skip
            time.sleep(0.1)
            if running[-1].poll() is None:
                break
            running.pop()
        return f"swtpm:host=127.0.0.1,port={port}"

    try:
        yield power_up
    finally:
        down()
