"""What is freed goes back to the machine: shown in a process of its own, by its resident pages."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edge import heap

_HOLES = """
import sys, numpy as np
from edge import heap
if sys.argv[1] == "settled":
    assert heap.settle()
def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
first = resident_mb()
for _ in range(3):  # large arrays come and go: unsettled, the threshold grows with each
    del (_ := [np.ones(3_000_000)])[:]
held = [np.ones(40_000) for _ in range(200)]  # 320 kB each
kept = held[1::2]
del held
{then}
print(round(resident_mb() - first))
"""


def _grown_mb(how: str, then: str) -> int:
    run = subprocess.run(
        [sys.executable, "-c", _HOLES.replace("{then}", then), how],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    return int(run.stdout)


@pytest.mark.skipif(heap._libc() is None, reason="the C library is not glibc")
def test_what_is_freed_between_what_lives_goes_back() -> None:
    assert _grown_mb("settled", "") <= 34  # 32 MB live on
    assert _grown_mb("plain", "") >= 60  # the heap keeps the holes: what the setting is for
    assert _grown_mb("plain", "assert heap.give_back()") <= 34


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_libc", lambda: None)
    assert not heap.settle()
    assert not heap.give_back()
