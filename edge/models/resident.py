"""Resident memory of a process, as the kernel counts it.

In: a process id. Out: bytes, 0 when there is no such process. Linux only (proc(5): statm, status).
"""

from __future__ import annotations

import os
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int) -> int:
    """RSS, shared pages included."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_bytes().split()
    except OSError:
        return 0
    return int(fields[1]) * _PAGE_BYTES if len(fields) > 1 else 0


class PeakMemory:
    """The most that this process ever had resident. Made while a file may still be opened."""

    def __init__(self) -> None:
        self._status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)

    def read_bytes(self) -> int:
        """So far, by VmHWM."""
        os.lseek(self._status, 0, os.SEEK_SET)
        said = os.read(self._status, 8192).partition(b"VmHWM:")[2].split()
        return int(said[0]) * 1024

    def close(self) -> None:
        os.close(self._status)
