"""Usage: what all processes aboard use of this computer, from /proc and the state folder.

In: the process tree below this one. Out: CPU, memory and storage as numbers; None where this
machine does not say. Always holds: short-lived children count, also after their end, because
what a parent waited for is in its own account; a process that ends while it is read costs
nothing; every walk is bounded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

PROCESSES_MAX = 64  # the recorder, a worker and a child or two; more is not ours to walk
FILES_MAX = (
    20_000  # of the state folder; assumption: an outbox, two slots and metadata are below 500
)
_UTIME = 11  # utime, stime, cutime, cstime follow each other from here in /proc/PID/stat
KIB_PER_MB, BYTES_PER_MB = 1e6 / 1024, 1e6


class Processes:
    """This process and all below it. proc: where procfs is."""

    def __init__(self, pid: int | None = None, proc: Path = Path("/proc")) -> None:
        self._pid, self._proc = pid or os.getpid(), proc
        self._ticks_per_s = os.sysconf("SC_CLK_TCK")

    def pids(self) -> list[int]:
        """This one first."""
        found = [self._pid]
        for pid in found:
            if len(found) >= PROCESSES_MAX:
                break
            found += self._children(pid)
        return found[:PROCESSES_MAX]

    def cpu_s(self) -> float | None:
        """CPU time so far of all that run and of all that they waited for."""
        ticks = 0
        for pid in self.pids():
            fields = self._stat(pid)
            if fields:
                ticks += sum(int(x) for x in fields[_UTIME : _UTIME + 4])
        return ticks / self._ticks_per_s if ticks else None

    def memory_mb(self) -> float | None:
        """Proportional share of memory, so that a page shared by two counts once; resident
        memory of a process that does not let itself be asked."""
        kib = [self._memory_kib(pid) for pid in self.pids()]
        known = [k for k in kib if k is not None]
        return sum(known) / KIB_PER_MB if known else None

    def _children(self, pid: int) -> list[int]:
        """Of every thread: a child belongs to the one that started it."""
        found: list[int] = []
        try:
            for thread in (self._proc / str(pid) / "task").iterdir():
                found += [int(x) for x in (thread / "children").read_text().split()]
        except (OSError, ValueError):
            pass
        return found

    def _stat(self, pid: int) -> list[str]:
        """Fields of /proc/PID/stat after the name, which may hold spaces."""
        try:
            return (self._proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except (OSError, UnicodeDecodeError):
            return []

    def _memory_kib(self, pid: int) -> int | None:
        folder = self._proc / str(pid)
        for name, key in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
            try:
                for line in (folder / name).read_text().splitlines():
                    if line.startswith(key):
                        return int(line.split()[1])
            except (OSError, ValueError, IndexError):
                continue
        return None


def storage_mb(folder: Path) -> float:
    """What the files below `folder` take of the disk."""
    blocks = 0
    for count, entry in enumerate(_files(folder)):
        if count >= FILES_MAX:
            break
        try:
            blocks += entry.stat(follow_symlinks=False).st_blocks
        except OSError:
            pass  # gone meanwhile
    return blocks * 512 / BYTES_PER_MB


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(Path(entry.path))
                else:
                    yield entry
    except OSError:
        return
