"""Usage: what all processes aboard use of this computer, from /proc and the state folder.

In: the process tree below this one. Out: CPU, memory and storage as numbers; None where this
machine does not say. Always holds: short-lived children count, also after their end, because
what a parent waited for is in its own account; a process that ends while it is read costs
nothing; every walk is bounded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

PIDS_MAX = 4096  # processes of the machine that are looked at, to find ours among them
FILES_MAX = (
    20_000  # of the state folder; assumption: an outbox, two slots and metadata are below 500
)
_PPID, _UTIME = 1, 11  # /proc/PID/stat after the name; stime, cutime and cstime follow utime
KIB_PER_MB, BYTES_PER_MB = 1e6 / 1024, 1e6


class Used(msgspec.Struct, frozen=True):
    """cpu_s: CPU time so far of all that run and of all that they waited for.

    memory_mb: proportional share, so that a page shared by two counts once; resident memory of a
    process that does not let itself be asked. None: this machine does not say.
    """

    cpu_s: float | None
    memory_mb: float | None
    processes: int


class Processes:
    """This process and all below it. proc: where procfs is."""

    def __init__(self, pid: int | None = None, proc: Path = Path("/proc")) -> None:
        self._pid, self._proc = pid or os.getpid(), proc
        self._ticks_per_s = os.sysconf("SC_CLK_TCK")

    def used(self) -> Used:
        """Now. Takes some milliseconds of reading; not for the tick."""
        ours = self._ours()
        ticks = sum(int(x) for fields in ours.values() for x in fields[_UTIME : _UTIME + 4])
        kib = [k for k in map(self._memory_kib, ours) if k is not None]
        return Used(
            ticks / self._ticks_per_s if ours else None, sum(kib) / KIB_PER_MB if kib else None,
            len(ours),
        )  # fmt: skip

    def _ours(self) -> dict[int, list[str]]:
        """Fields of /proc/PID/stat of this process and all below it, by pid."""
        everybody = {pid: fields for pid in self._pids() if (fields := self._stat(pid))}
        below: dict[int, list[int]] = {}
        for pid, fields in everybody.items():
            below.setdefault(int(fields[_PPID]), []).append(pid)
        ours = [self._pid] if self._pid in everybody else []
        for pid in ours:
            ours += below.get(pid, ())
        return {pid: everybody[pid] for pid in ours}

    def _pids(self) -> list[int]:
        try:
            names = (entry.name for entry in self._proc.iterdir())
            return [int(name) for name in islice(filter(str.isdigit, names), PIDS_MAX)]
        except OSError:
            return []

    def _stat(self, pid: int) -> list[str]:
        """The fields after the name, which may hold spaces and brackets."""
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
