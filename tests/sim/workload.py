"""A seeded stretch of an outbox's life, recorded.

In: a seed, a folder in memory, maybe what an earlier power cut left. Out: a `Trace`: every
operation on the disk, and what was acknowledged after how many of them.
Always holds: the same seed, files and history make the same trace; only public calls are made.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from edge.outbox.keyring import KEY_BYTES, Keyring
from edge.outbox.store import Outbox
from shared.block import Block, encode_block
from shared.clock import ManualClock
from shared.errors import Unreachable
from shared.messages import Ack, Coverage
from shared.sync.ranges import RangeSet
from tests.sim.disk import Op, recorded
from tests.sim.told import History, Told

BYTES_MAX = 1 << 20  # the smallest that an outbox may have, so that a burst makes it evict
CLASSES = ("alert", "state", "report", "kpi", "block", "manifest")
GROUPS = ("air", "engine")
DEVICE_KEY = bytes(range(KEY_BYTES))
KEPT = ("last", "tally")
FILL_DROPS = 1  # of a life that begins with a full store
Synchronous = Literal["full", "normal", "off"]
"""Of the connection. `full` is what aboard is; the others are arms that must fail."""


@dataclass(slots=True)
class Trace:
    """files: what was there before. acks: (operations done, what had been told by then)."""

    files: dict[str, bytes]
    ops: list[Op]
    acks: list[tuple[int, Told]]
    history: History
    is_sealed: bool
    calls: dict[str, int] = field(default_factory=dict)


def record(
    seed: int, folder: Path, *, calls: int, synchronous: Synchronous = "full",
    files: dict[str, bytes] | None = None, history: History | None = None, told: Told | None = None,
    fill: bool = False, is_sealed: bool = False,
) -> Trace:  # fmt: skip
    """Live `calls` calls in `folder`, which holds nothing; `files`, `history` and `told` go on.

    fill: until the outbox is at its size, before the calls. is_sealed: with a device key.
    """
    files = dict(files or {})
    put(folder, files)
    try:
        with recorded(seed) as ops:
            life = _Life(
                seed, folder, ops, synchronous, history or History(), told or Told(), is_sealed
            )  # fmt: skip
            if fill:
                life.fill()
            for _ in range(calls):
                life.step()
            life.end()
    finally:
        clear(folder)
    return Trace(files, ops, life.acks, life.history, is_sealed, life.calls)


def put(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).write_bytes(data)


def clear(folder: Path) -> None:
    for file in folder.iterdir():
        with suppress(FileNotFoundError):
            file.unlink()


def open_outbox(folder: Path, random_bytes: Callable[[int], bytes], *, is_sealed: bool) -> Outbox:
    """As the daemon does."""
    keyring = Keyring(DEVICE_KEY, random=random_bytes) if is_sealed else None
    return Outbox.open(
        folder / "outbox.db", operator="op", tail="n1", clock=ManualClock(), random=random_bytes,
        bytes_max=BYTES_MAX, keyring=keyring,
    )  # fmt: skip


class _Life:
    def __init__(
        self, seed: int, folder: Path, ops: list[Op], synchronous: Synchronous, history: History,
        told: Told, is_sealed: bool,
    ) -> None:  # fmt: skip
        self._draw, self._folder, self._ops = random.Random(seed), folder, ops
        self._synchronous, self.history, self._is_sealed = synchronous, history, is_sealed
        self._known = {key for key, _ in history.records}
        self._kept, self._safe = dict(told.kept), dict(told.safe)
        self.acks: list[tuple[int, Told]] = [(0, told)]
        self.calls: dict[str, int] = {}
        self._outbox = self._open()
        self._acts: tuple[tuple[int, Callable[[], None]], ...] = (
            (24, self._append), (6, self._audit), (16, self._journal), (8, self._seal),
            (10, self._acknowledge), (8, self._maintain), (3, self._several), (6, self._burst),
            (2, self._new_epoch), (2, self._reopen), (2, self._reopen_as_killed), (2, self._fail),
            (6, self._thin),
        )  # fmt: skip

    def step(self) -> None:
        weights = [weight for weight, _ in self._acts]
        act = self._draw.choices([act for _, act in self._acts], weights)[0]
        self.calls[act.__name__] = self.calls.get(act.__name__, 0) + 1
        before = dict(self._kept), dict(self._safe)
        try:
            act()
        except Unreachable:  # full: nothing of this call was kept, the next one may succeed
            self.calls["refused"] = self.calls.get("refused", 0) + 1
            self._kept, self._safe = before
        self._note()

    def fill(self) -> None:
        """Up to where retention begins."""
        while sum(key[1] == "drop" for key, _ in self.history.records) < FILL_DROPS:
            with suppress(Unreachable):
                self._burst()
            self._note()

    def _thin(self) -> None:
        """Just over the share at which `maintain` thins, and below that at which appends evict."""
        for _ in range(40):
            if not self._is_full or self._outbox._room.bytes_over(0.87):
                break
            with suppress(Unreachable):
                self._put_block(self._draw.choice(GROUPS), 2000)
            self._note()
        self._outbox.maintain()

    def end(self) -> None:
        self._outbox.__exit__(None, None, None)

    def _open(self) -> Outbox:
        outbox = open_outbox(self._folder, self._draw.randbytes, is_sealed=self._is_sealed)
        if self._synchronous != "full":
            outbox._db.execute(f"PRAGMA synchronous = {self._synchronous}")
        self._outbox = outbox
        if outbox.epoch not in self.history.epochs:
            self.history.epochs.append(outbox.epoch)
        for key in KEPT:  # a call under way at a power cut may have been done
            value = outbox.get(key)
            if value is not None:
                self._kept[key] = value
        self._note()
        return outbox

    def _note(self) -> None:
        """What returned is acknowledged now."""
        for held in self._outbox.records():
            key = (held.epoch, held.stream, held.seq)
            if key not in self._known:
                self._known.add(key)
                data = self._outbox.sealed(held)
                assert data is not None
                self.history.records.append((key, hashlib.sha256(data).digest()))
        told = Told(
            len(self.history.records), len(self.history.epochs),
            tuple(self._outbox.journal_entries()), dict(self._kept), dict(self._safe),
        )  # fmt: skip
        self.acks.append((len(self._ops), told))

    # -- calls

    def _payload(self, bytes_max: int = 3000) -> bytes:
        return self._draw.randbytes(self._draw.randrange(1, bytes_max))

    def _put_record(self, bytes_max: int = 3000) -> None:
        cls = self._draw.choice(CLASSES)
        if cls == "block":
            self._put_block(self._draw.choice(GROUPS), self._draw.randrange(2, bytes_max // 8))
            return
        self._outbox.append(
            cls, self._payload(bytes_max), schema="test/1", flight="n1-F1",
            t_event_ns=self._draw.randrange(1 << 60), t_quality=1,
        )  # fmt: skip

    def _put_block(self, group: str, n: int) -> None:
        """A real one, so that a store at its size can thin it."""
        numbers = np.random.default_rng(self._draw.randrange(1 << 32))
        ramp, flags = np.arange(n, dtype=np.int64), np.zeros((n, 4), np.uint8)
        raw = numbers.integers(0, 1 << 16, (n, 4))
        block = Block(group, b"s" * 32, "n1-F1", 1, 0, 1, ramp * 20_000_000, ramp, raw,
                      np.zeros((n, 0)), flags, flags)  # fmt: skip
        self._outbox.append(
            "block", encode_block(block), stream=f"block-{group}", schema="block/1",
            flight="n1-F1", t_event_ns=1, t_quality=1,
        )  # fmt: skip

    def _append(self) -> None:
        self._put_record()

    def _burst(self) -> None:
        """Enough, a few times, to be over the size: retention."""
        with self._outbox.transaction():
            for _ in range(self._draw.randrange(1, 4)):
                self._put_record(60_000)

    def _audit(self) -> None:
        self._outbox.audit("test", "done", flight="", t_event_ns=1, t_quality=1)

    def _journal(self) -> None:
        with self._outbox.transaction():
            for group in GROUPS:
                self._outbox.journal(group, self._payload(), 10)
            self._keep("last", self._draw.randbytes(8))

    def _seal(self) -> None:
        """A block and the end of its journal are one commit."""
        group = self._draw.choice(GROUPS)
        with self._outbox.transaction():
            self._put_block(group, self._draw.randrange(20, 900))
            self._outbox.journal_clear(group)
            self._keep("tally", self._draw.randbytes(40))

    def _several(self) -> None:
        with self._outbox.transaction():
            for _ in range(5):
                self._put_record(500)

    def _keep(self, key: str, value: bytes) -> None:
        self._outbox.put(key, value)
        self._kept[key] = value

    def _acknowledge(self) -> None:
        """Some of some streams; never drop records, which the judge needs."""
        epoch, streams = self._draw.choice(list(self._outbox.positions().items()))
        received: dict[str, Coverage] = {}
        safe: dict[str, Coverage] = {}
        for name, position in streams.items():
            if name == "drop" or self._draw.random() < 0.4:
                continue
            up_to = self._draw.randrange(position.next_seq + 1)
            beyond = [(up_to + 1, up_to + 3)] if self._draw.random() < 0.3 else []
            received[name] = Coverage(up_to, beyond)
            if self._draw.random() < 0.7:
                safe[name] = received[name]
        self._outbox.apply_ack(Ack(1, "n1", epoch, "ledger", b"", received, safe, 1), answer=False)
        for name, coverage in safe.items():
            made = RangeSet([(0, streams[name].next_seq)])
            now = RangeSet.from_coverage(coverage).intersection(made)
            before = RangeSet(self._safe.get((epoch, name), ()))
            self._safe[epoch, name] = tuple(now.union(before))

    def _maintain(self) -> None:
        self._outbox.maintain()

    @property
    def _is_full(self) -> bool:
        """It has been at its size, so that a few records more are over a share of it."""
        return any(key[1] == "drop" for key, _ in self.history.records)

    def _new_epoch(self) -> None:
        self.history.epochs.append(self._outbox.new_epoch())

    def _reopen(self) -> None:
        self._outbox.close()
        self._open()

    def _reopen_as_killed(self) -> None:
        """The WAL is not moved into the file."""
        self._outbox.__exit__(None, None, None)
        self._open()

    def _fail(self) -> None:
        """A transaction that is given up leaves nothing."""
        with suppress(_GivenUp), self._outbox.transaction():
            self._put_record()
            raise _GivenUp


class _GivenUp(Exception):
    pass
