"""What the processes of an edge use: CPU time and memory, by process.

In: a pid. Out: `Use`. Always holds: children that have ended already are counted with their
parent; memory is said twice, as the sum of RSS (shared pages counted in each process) and as the
sum of PSS (each shared page split among those that have it).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Use:
    """At one moment. By process: `recorder`, `worker`, or the name of the program."""

    cpu_s: dict[str, float]
    rss_mb: dict[str, float]
    pss_mb: dict[str, float]


def use_of(pid: int) -> Use:
    """The tree under `pid`, itself included."""
    cpu: dict[str, float] = {}
    rss: dict[str, float] = {}
    pss: dict[str, float] = {}
    root = psutil.Process(pid)
    for one in [root, *root.children(recursive=True)]:
        try:
            name = _name(one, root.pid)
            times, memory = one.cpu_times(), _rollup(one.pid)
        except (psutil.Error, OSError):
            continue  # it has ended meanwhile; its parent has its CPU time
        spent = times.user + times.system + times.children_user + times.children_system
        cpu[name] = cpu.get(name, 0.0) + spent
        rss[name] = rss.get(name, 0.0) + memory["Rss"]
        pss[name] = pss.get(name, 0.0) + memory["Pss"]
    return Use(cpu, rss, pss)


def _name(process: psutil.Process, root_pid: int) -> str:
    if process.pid == root_pid:
        return "recorder"
    words = process.cmdline()
    module = words[words.index("-m") + 1] if "-m" in words else process.name()
    return str(module.rpartition(".")[2])


def _rollup(pid: int) -> dict[str, float]:
    """Rss and Pss in MB (10^6)."""
    out = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, _, rest = line.partition(":")
        if key in ("Rss", "Pss"):
            out[key] = int(rest.split()[0]) * 1024 / 1e6
    return out
