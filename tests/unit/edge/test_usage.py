"""What all processes use: against psutil on this machine, and on a procfs made up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from edge.usage import Processes, storage_mb

SPIN = (
    "import time\nheld = b'x' * (32 << 20)\nwhile time.process_time() < 0.3: pass\n"
    "print('done', flush=True)\ninput()"
)


def made_up(proc: Path, pid: int, ppid: int, ticks: int, pss_kib: int | None = None) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    fields = ["S", str(ppid), *["0"] * 9, str(ticks), "0", "0", "0", *["0"] * 20]
    (folder / "stat").write_text(f"{pid} (a (very) odd name) {' '.join(fields)}\n")
    (folder / "status").write_text("Name: x\nVmRSS:\t   5000 kB\n")
    if pss_kib is not None:
        (folder / "smaps_rollup").write_text(f"Rss: 9999 kB\nPss:  {pss_kib} kB\n")


def test_a_child_counts_while_it_runs_and_after_it_ended() -> None:
    meter = Processes()
    before = meter.used()
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", SPIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    running = meter.used()
    child.communicate(b"\n")
    after = meter.used()
    assert before.cpu_s is not None and running.cpu_s is not None and after.cpu_s is not None
    assert running.processes == before.processes + 1
    assert running.cpu_s - before.cpu_s >= 0.28
    assert after.cpu_s >= running.cpu_s - 0.02
    assert before.memory_mb is not None and running.memory_mb is not None
    # this process shares pages with what runs beside it, so its own share moves by a few MB
    assert running.memory_mb > before.memory_mb + 16


def test_it_agrees_with_psutil() -> None:
    used, other = Processes().used(), psutil.Process()
    times = other.cpu_times()
    expected_s = times.user + times.system + times.children_user + times.children_system
    assert used.cpu_s == pytest.approx(expected_s, abs=0.1)
    assert used.memory_mb is not None
    full = other.memory_full_info()
    assert used.memory_mb == pytest.approx((full.pss or full.rss) / 1e6, rel=0.1)


def test_only_what_is_below_this_process_counts(tmp_path: Path) -> None:
    made_up(tmp_path, 10, 1, 100, 1000)
    made_up(tmp_path, 11, 10, 20, 2000)
    made_up(tmp_path, 12, 11, 3)  # a grandchild that does not let itself be asked
    made_up(tmp_path, 13, 1, 5000, 5000)
    used = Processes(10, tmp_path).used()
    hz = os.sysconf("SC_CLK_TCK")
    assert (used.cpu_s, used.processes) == (123 / hz, 3)
    assert used.memory_mb == pytest.approx((1000 + 2000 + 5000) * 1024 / 1e6)


def test_a_machine_without_procfs_says_nothing(tmp_path: Path) -> None:
    used = Processes(10, tmp_path / "none").used()
    assert (used.cpu_s, used.memory_mb, used.processes) == (None, None, 0)


def test_storage_is_what_the_files_take_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "full").write_bytes(os.urandom(1 << 20))
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "loop").symlink_to(tmp_path)
    assert 1.0 <= storage_mb(tmp_path) <= 1.3
    assert storage_mb(tmp_path / "gone") == 0
