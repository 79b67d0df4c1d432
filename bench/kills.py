"""`kill -9` at seeded instants: what is lost, and how soon a restart records again.

`python -m bench.kills [--kills 1000] [--daemon-kills 20] [--seed 1]` kills a process that makes
outbox calls (tests/sim/killed.py), then the whole daemon while a bus broker brings it 200 readings
a second; prints a table, writes var/bench/kills.json; exit code 1 when anything was lost.
Restart to recording: of the process from its start to the return of its first append; of the
daemon from its start to the bus time of the first reading that it recorded.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.killed_daemon import kill_daemon
from tests.sim.kills import kill_often


def spread(values: list[float]) -> dict[str, float]:
    """p50, p99 and the largest."""
    p50, p99 = np.percentile(values, [50, 99])
    return {"p50": round(float(p50), 1), "p99": round(float(p99), 1), "max": round(max(values), 1)}


def processes(kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """The outbox alone in its process."""
    start_s = time.perf_counter()
    told = kill_often(folder / "outbox.db", kills, seed)
    return {
        "kills": told.kills, "at_start": told.at_start, "records_acknowledged": len(told.records),
        "journal_entries_acknowledged": told.journalled, "dropped_by_name": told.dropped,
        "lost_or_damaged": len(told.complaints), "examples": told.complaints[:10],
        "restart_to_recording_ms": spread(told.restart_ms),
        "seconds": round(time.perf_counter() - start_s, 1),
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; whether nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--daemon-kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    table: dict[str, dict[str, Any]] = {}
    print(f"kill -9, seed {args.seed}; {os.cpu_count()} cores {platform.machine()}")
    with tempfile.TemporaryDirectory() as name:
        if args.kills:
            table["process"] = processes(args.kills, args.seed, Path(name))
        if args.daemon_kills:
            table["daemon"] = kill_daemon(args.daemon_kills, args.seed, Path(name) / "daemon")
    for arm, row in table.items():
        print(arm)
        for key, value in row.items():
            print(f"  {key:32} {value}")
    out = Path("var/bench/kills.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(table, indent=2) + "\n")
    return int(any(row["lost_or_damaged"] for row in table.values()))


if __name__ == "__main__":
    raise SystemExit(main())
