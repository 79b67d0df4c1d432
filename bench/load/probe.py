"""What this machine itself adds to an alert: a process that wakes up and commits, and nothing else.

`python -m bench.load.probe DB SECONDS`. Out: one JSON: how late it woke up and how long a commit of
1 kB took (apsw, WAL, synchronous=FULL), ms, 40 times a second, as alerts come in the storm.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Final

import apsw
import numpy as np

PERIOD_S: Final = 0.025


def main(arguments: list[str]) -> int:
    path = Path(arguments[0])
    path.unlink(missing_ok=True)
    db = apsw.Connection(str(path))
    db.execute("PRAGMA journal_mode = wal")
    db.execute("PRAGMA synchronous = full")
    db.execute("CREATE TABLE raw (id INTEGER PRIMARY KEY, data BLOB)")
    late_ms, commit_ms, data = [], [], bytes(1024)
    due_s = time.monotonic()
    end_s = due_s + float(arguments[1])
    while due_s < end_s:
        due_s += PERIOD_S
        time.sleep(max(0.0, due_s - time.monotonic()))
        woke_s = time.monotonic()
        with db:
            db.execute("INSERT INTO raw (data) VALUES (?)", (data,))
        late_ms.append(1e3 * (woke_s - due_s))
        commit_ms.append(1e3 * (time.monotonic() - woke_s))
    both = np.array(late_ms) + np.array(commit_ms)
    print(json.dumps({
        "n": len(both), "woke_late_ms": _marks(np.array(late_ms)),
        "commit_ms": _marks(np.array(commit_ms)), "both_ms": _marks(both),
    }))  # fmt: skip
    db.close()
    return 0


def _marks(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> dict[str, float]:
    marks = {"p50": 50, "p99": 99, "p99_9": 99.9, "max": 100}
    return {name: round(float(np.percentile(values, mark)), 2) for name, mark in marks.items()}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
