"""Child process of test_kill: appends and journals until it is killed, printing what returned."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edge.outbox.store import Outbox
from shared.clock import SystemClock

outbox = Outbox.open(
    Path(sys.argv[1]), operator="op", tail="n1", clock=SystemClock(), random=os.urandom,
    bytes_max=64 << 20,
)  # fmt: skip
print("open", outbox.epoch, outbox.boot, flush=True)
while True:
    for cls, size in (("alert", 200), ("block", 9000), ("kpi", 500)):
        with outbox.transaction():
            ref = outbox.append(
                cls, os.urandom(size), schema="test/1", flight="f1", t_event_ns=1, t_quality=1
            )
            outbox.put("last", f"{ref.stream} {ref.seq}".encode())
            outbox.journal("air", os.urandom(100), 10)
        sys.stdout.write(f"{ref.stream} {ref.seq}\n")
        sys.stdout.flush()
