"""The program that is killed: makes an outbox's calls and says each one that returned.

`python -m tests.sim.killed FILE SEED`. Lines of JSON on stdout, each in one write: what it found
at the start, before a call what it will do to the journal, after a call what is acknowledged.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path

from edge.outbox.store import Outbox
from shared.clock import SystemClock
from shared.sync.sender import Held

BYTES_MAX = 4 << 20  # full after some hundred kills, so that evictions are killed too


def say(kind: str, *what: object) -> None:
    os.write(1, json.dumps([kind, *what]).encode() + b"\n")


def main() -> None:
    path, draw = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
    outbox = Outbox.open(
        path, operator="op", tail="n1", clock=SystemClock(), random=os.urandom,
        bytes_max=BYTES_MAX,
    )  # fmt: skip
    quarantined = outbox.opened.quarantined is not None
    numbers = [int.from_bytes(data[:8]) for _, data in outbox.journal_entries()]
    say("open", outbox.boot, quarantined, numbers)
    number = max(numbers, default=0) + (outbox.boot << 32)

    def append(cls: str, stream: str, size: int) -> tuple[object, ...]:
        ref = outbox.append(
            cls, draw.randbytes(size), stream=stream, schema="test/1", flight="n1-F1",
            t_event_ns=1, t_quality=1,
        )  # fmt: skip
        data = outbox.read(Held(ref.epoch, ref.stream, ref.seq, cls, ref.bytes)) or b""
        return ref.epoch, ref.stream, ref.seq, hashlib.sha256(data).hexdigest()

    say("record", *append("state", "state", 200))
    say("recording", time.monotonic_ns())
    while True:
        chance = draw.random()
        if chance < 0.5:
            cls = draw.choice(("alert", "report", "kpi", "manifest"))
            say("record", *append(cls, cls, draw.randrange(1, 2000)))
        elif chance < 0.85:
            number += 1
            say("will", "journal", number)
            outbox.journal("air", number.to_bytes(8) + draw.randbytes(300), 10)
            say("journal", number)
        elif chance < 0.97:
            say("will", "seal")
            with outbox.transaction():
                record = append("block", "block-air", draw.randrange(1000, 15_000))
                outbox.journal_clear("air")
            say("seal")
            say("record", *record)
        else:
            outbox.maintain()


if __name__ == "__main__":
    main()
