"""`kill -9` of a process that records, at seeded instants, and what its outbox still has.

In: a number of kills, a seed, a folder. Out: `Kills`: what was acknowledged, what of it is lost,
and the time from each start of the process to its first record. Always holds: what the child said
in full before it died counts as acknowledged, nothing else; every wait is bounded.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.outbox.store import Outbox
from shared.clock import SystemClock
from shared.envelope import open_envelope
from shared.messages import Drop, decode
from shared.sync.ranges import RangeSet
from tests.sim.killed import BYTES_MAX

RUN_S_MAX = 0.06  # after its first record
START_KILLS = 0.15  # of all kills, before it said anything
WAIT_S_MAX = 20.0


@dataclass(slots=True)
class Kills:
    """records: acknowledged, key to sha-256. restart_ms: process start to first record."""

    kills: int = 0
    at_start: int = 0
    records: dict[tuple[str, str, int], str] = field(default_factory=dict)
    journalled: int = 0
    dropped: int = 0
    restart_ms: list[float] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _journal: list[int] = field(default_factory=list)
    _will: list[Any] = field(default_factory=list)

    def hear(self, line: list[Any], started_ns: int) -> None:
        kind, *what = line
        if kind == "open":
            self._opened(*what)
        elif kind == "recording":
            self.restart_ms.append((what[0] - started_ns) / 1e6)
        elif kind == "record":
            epoch, stream, seq, sha256 = what
            if self.records.setdefault((epoch, stream, seq), sha256) != sha256:
                self.complaints.append(f"{stream} {seq} was given out twice")
        elif kind == "will":
            self._will = what
        elif kind == "journal":
            self._journal.append(what[0])
            self.journalled += 1
            self._will = []
        elif kind == "seal":
            self._journal, self._will = [], []

    def _opened(self, boot: int, quarantined: bool, found: list[int]) -> None:
        """The journal is what was acknowledged, or with the call that was under way."""
        allowed = [self._journal]
        if self._will[:1] == ["journal"]:
            allowed.append([*self._journal, self._will[1]])
        elif self._will[:1] == ["seal"]:
            allowed.append([])
        if quarantined:
            self.complaints.append(f"boot {boot}: the store was corrupt")
        if found not in allowed:
            self.complaints.append(f"boot {boot}: journal {found} is none of {allowed}")
        self._journal, self._will = found, []


def kill_often(path: Path, kills: int, seed: int) -> Kills:
    """Start, kill, start again; then look into the outbox."""
    draw, told = random.Random(seed), Kills()
    for number in range(kills):
        started_ns = time.monotonic_ns()
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.sim.killed", str(path), str(seed * 100_000 + number)],
            stdout=subprocess.PIPE,
        )
        at_start = bool(told.restart_ms) and draw.random() < START_KILLS
        run_s = draw.uniform(0.0, RUN_S_MAX)
        if at_start:
            run_s = draw.uniform(0.3, 1.0) * min(told.restart_ms) / 1e3
        lines = _run(child, run_s, from_start=at_start)
        told.kills += 1
        told.at_start += at_start
        for line in lines:
            told.hear(json.loads(line), started_ns)
    _look(path, told)
    return told


def _run(child: subprocess.Popen[bytes], run_s: float, *, from_start: bool) -> list[bytes]:
    """Whole lines that it said until it was killed, `run_s` after its start or first record."""
    assert child.stdout is not None
    lines: list[bytes] = []
    guard = threading.Timer(WAIT_S_MAX, child.kill)
    guard.start()
    try:
        while not from_start and not (lines and lines[-1].startswith(b'["recording"')):
            line = child.stdout.readline()
            assert line, "the child ended by itself, or did not record in time"
            lines.append(line)
        time.sleep(run_s)
        os.kill(child.pid, signal.SIGKILL)
        lines += child.stdout.read().splitlines(keepends=True)
        child.wait()
    finally:
        guard.cancel()
        child.kill()
        child.wait()
        child.stdout.close()
    return [line for line in lines if line.endswith(b"\n")]


def _look(path: Path, told: Kills) -> None:
    """Every acknowledged record is held with its bytes, or named by a drop record."""
    outbox = Outbox.open(
        path, operator="op", tail="n1", clock=SystemClock(), random=os.urandom,
        bytes_max=BYTES_MAX,
    )  # fmt: skip
    with outbox:
        found: dict[tuple[str, str, int], str] = {}
        known: dict[tuple[str, str], RangeSet] = {}
        for held in outbox.records():
            data = outbox.sealed(held) or b""
            envelope = open_envelope(data)
            found[held.epoch, held.stream, held.seq] = hashlib.sha256(data).hexdigest()
            known.setdefault((held.epoch, held.stream), RangeSet()).add(held.seq)
            if envelope.cls == "drop":
                drop = decode(Drop, envelope.payload, "drop", 1 << 20)
                of = (drop.epoch or envelope.epoch, drop.stream)
                known.setdefault(of, RangeSet()).add_range(drop.low, drop.high)
                told.dropped += drop.high - drop.low
        for key, sha256 in told.records.items():
            if key in found and found[key] != sha256:
                told.complaints.append(f"{key} has other bytes")
            elif key[2] not in known.get(key[:2], RangeSet()):
                told.complaints.append(f"{key} is lost")
        for epoch, streams in outbox.positions().items():
            for stream, position in streams.items():
                gaps = known.get((epoch, stream), RangeSet()).missing(0, position.next_seq)
                if gaps:
                    told.complaints.append(f"{stream} has gaps {gaps[:3]}")
