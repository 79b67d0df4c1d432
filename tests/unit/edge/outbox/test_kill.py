"""`kill -9` at any moment loses nothing that append returned for."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from shared.envelope import open_envelope
from shared.sync.sender import Held
from tests.unit.edge.outbox.conftest import Open

KILLS = 30


def run_and_kill(path: Path, after_s: float) -> list[str]:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.edge.outbox.appending", str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    first = child.stdout.readline()
    time.sleep(after_s)
    child.send_signal(signal.SIGKILL)
    lines = [first, *child.stdout.readlines()]
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    return [line.strip() for line in lines if line.endswith("\n")]


def test_thirty_kills_lose_no_appended_record(path: Path, open_outbox: Open) -> None:
    dice = random.Random(1)
    told: Counter[str] = Counter()
    epochs: set[str] = set()
    for _ in range(KILLS):
        first, *lines = run_and_kill(path, dice.uniform(0.0, 0.06))
        epochs.add(first.split()[1])
        for line in lines:
            stream, seq = line.split()
            told[stream] = max(told[stream], int(seq) + 1)
    outbox = open_outbox()
    assert epochs == {outbox.epoch}
    assert outbox.boot == KILLS + 1
    held = 0
    for stream, position in outbox.positions()[outbox.epoch].items():
        assert position.first_held == 0
        assert told[stream] <= position.next_seq <= told[stream] + KILLS
        for seq in range(position.next_seq):
            data = outbox.read(Held(outbox.epoch, stream, seq, stream, 0))
            assert data is not None
            envelope = open_envelope(data)
            assert (envelope.stream, envelope.seq) == (stream, seq)
            held += 1
    assert sum(told.values()) > KILLS
    assert held == outbox.stats().records == len(outbox.journal_entries())
    stream, seq = (outbox.get("last") or b"").decode().split()
    assert outbox.next_seqs()[stream] == int(seq) + 1
