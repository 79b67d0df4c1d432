"""Disks that fail a sync, a write or a read, that flip bits, and disks of which there are two."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from edge.outbox.database import Unsynced, suspect_mark
from edge.outbox.keyring import Keyring
from edge.outbox.recovery import Copy
from edge.outbox.store import Outbox
from shared.clock import ManualClock
from shared.envelope import open_envelope
from shared.errors import Corrupt, Unreachable
from shared.messages import Ack, Coverage, Drop, decode
from shared.sync.receiver import Receiver, Verdict
from shared.sync.sender import AckOutcome, Held, Limits, Sender
from tests.unit.edge.outbox.faulty import Faults, faulty_disk

DEVICE = Keyring(b"d" * 32)
OpenAt = Callable[..., Outbox]


@pytest.fixture
def open_at(request: pytest.FixtureRequest) -> OpenAt:
    numbers = count(1)

    def make(path: Path, keyring: Keyring | None = DEVICE) -> Outbox:
        outbox = Outbox.open(
            path, operator="op", tail="n1", clock=ManualClock(), keyring=keyring,
            random=lambda n: next(numbers).to_bytes(n), bytes_max=64 << 20,
        )  # fmt: skip
        request.addfinalizer(lambda: outbox._db.close(True))
        return outbox

    return make


@pytest.fixture
def faults() -> Iterator[Faults]:
    with faulty_disk() as made:
        yield made


def put(outbox: Outbox, payload: bytes = b"x" * 500, cls: str = "kpi") -> int:
    return outbox.append(cls, payload, schema="t/1", flight="f", t_event_ns=1, t_quality=1).seq


def held(outbox: Outbox, cls: str = "kpi") -> dict[int, bytes]:
    waiting = outbox.pending(cls, list(outbox.positions()), {}, 10_000)
    return {one.seq: open_envelope(outbox.read(one) or b"").payload for one in waiting}


def test_after_a_failed_sync_nothing_is_written_until_the_disk_is_read_again(
    path: Path, faults: Faults, open_at: OpenAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = open_at(path)
    for number in range(20):
        put(outbox, bytes([number]) * 500)
    faults.sync = True
    with pytest.raises(Unsynced, match="sync failed"):
        put(outbox, b"never acknowledged")
    faults.sync = False  # the next one would be told that all is well: it is not
    before = faults.syncs
    for _ in range(3):
        with pytest.raises(Unsynced):
            put(outbox)
        with pytest.raises(Unsynced):
            outbox.put("key", b"value")
        with pytest.raises(Unsynced):
            outbox.maintain()
    assert faults.syncs == before and suspect_mark(path).exists()
    outbox._db.close(True)  # as the end of the process
    forgotten: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *args: forgotten.append(args[3]))
    again = open_at(path)
    assert forgotten and set(forgotten) == {os.POSIX_FADV_DONTNEED}
    assert again.opened.quarantined is None and again.epoch == outbox.epoch
    found = held(again)
    assert [found[number] for number in range(20)] == [bytes([n]) * 500 for n in range(20)]
    assert len(found) in (20, 21) and not suspect_mark(path).exists()
    assert put(again) == len(found)


def test_a_sync_that_fails_while_the_wal_is_moved_loses_nothing(
    path: Path, faults: Faults, open_at: OpenAt
) -> None:
    outbox = open_at(path)
    faults.sync_main = True
    known: list[int] = []

    def fill() -> None:
        while True:
            known.append(put(outbox, os.urandom(3000)))

    with pytest.raises(Unsynced):  # SQLite itself would not tell of it: apsw does
        fill()
    outbox._db.close(True)
    faults.sync_main = False
    found = held(open_at(path))
    assert len(known) > 10 and found.keys() >= set(known)


def test_a_disk_that_fails_every_sync_cannot_be_opened_and_loses_no_file(
    path: Path, faults: Faults, open_at: OpenAt
) -> None:
    outbox = open_at(path)
    put(outbox)
    outbox.close()
    faults.sync = True
    with pytest.raises(Unsynced):
        open_at(path)
    faults.sync = False
    assert list(path.parent.glob("*.corrupt-*")) == []
    assert len(held(open_at(path))) == 1


def test_a_failed_write_is_told_and_the_next_may_succeed(
    path: Path, faults: Faults, open_at: OpenAt
) -> None:
    outbox = open_at(path)
    assert put(outbox) == 0
    faults.write = True
    with pytest.raises(Unreachable, match="cannot read or write"):
        put(outbox)
    faults.write = False
    assert put(outbox) == 1
    assert set(held(outbox)) == {0, 1}


def test_a_page_that_cannot_be_read_is_moved_aside_with_its_file_and_the_rest_is_recovered(
    path: Path, faults: Faults, open_at: OpenAt
) -> None:
    outbox = open_at(path)
    for number in range(200):
        put(outbox, bytes([number]) * 9000)
    outbox.close()
    again = open_at(path)
    faults.reads_at = {page * 4096 for page in range(100, 120)}
    with pytest.raises(Corrupt, match="cannot be read"):
        held(again)
    again._db.close(True)
    fresh = open_at(path)
    assert fresh.opened.quarantined is not None and fresh.epoch != outbox.epoch
    assert put(fresh) == 0
    with Copy(fresh.opened.quarantined, DEVICE) as copy:
        found = {one.seq: open_envelope(data).payload for one, data in copy.records()}
        assert copy.damaged + len(found) == 200
    assert len(found) >= 180
    assert all(found[number] == bytes([number]) * 9000 for number in found)


@pytest.mark.parametrize("keyring", [DEVICE, None], ids=["sealed", "plain"])
def test_a_flipped_bit_is_never_handed_out_and_every_record_is_accounted_for(
    path: Path, open_at: OpenAt, keyring: Keyring | None
) -> None:
    outbox = open_at(path, keyring)
    put(outbox)
    made = {number: os.urandom(6000) for number in range(1, 60)}
    for payload in made.values():
        put(outbox, payload)
    epoch = outbox.epoch
    outbox.close()
    image = path.read_bytes()
    dice, seen = random.Random(7), Counter[str]()
    for _ in range(40):
        data = bytearray(image)
        for _ in range(dice.randint(1, 3)):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        path.with_name(path.name + "-wal").unlink(missing_ok=True)
        try:
            again = open_at(path, keyring)
        except (Corrupt, Unreachable):
            seen["refused"] += 1
            continue
        if again.opened.quarantined is not None:
            seen["moved aside"] += 1
        elif again.epoch == epoch:
            found: dict[int, bytes] = {}
            for one in again.pending("kpi", [epoch], {}, 100):
                sealed = again.read(one)
                if sealed is not None:
                    found[one.seq] = open_envelope(sealed).payload
            assert all(found[seq] == made[seq] for seq in found if seq in made)
            named = {
                seq for drop in held(again, "drop").values()
                for told in [decode(Drop, drop, "drop")] for seq in range(told.low, told.high)
            }  # fmt: skip
            assert set(found) | named == set(range(60))
            seen["dropped by name" if named else "no record hit"] += 1
        again._db.close(True)
    assert seen["dropped by name"] >= 20 and seen["refused"] == 0, seen


def clone(path: Path, name: str) -> Path:
    other = path.with_name(name) / path.name
    other.parent.mkdir()
    shutil.copy(path, other)
    return other


def test_two_clones_of_one_disk_are_a_fork_at_the_ground_which_trusts_neither(
    path: Path, open_at: OpenAt
) -> None:
    outbox = open_at(path)
    for _ in range(3):
        put(outbox)
    outbox.close()
    twins = [open_at(clone(path, name)) for name in ("left", "right")]
    assert twins[0].epoch == twins[1].epoch
    receiver = Receiver("n1", twins[0].epoch)
    known: dict[int, bytes] = {}
    verdicts: list[Verdict] = []
    for number, twin in enumerate(twins):
        put(twin, b"of clone %d" % number)
        for seq in range(4):
            data = twin.read(Held(twin.epoch, "kpi", seq, "kpi", 0)) or b""
            verdicts.append(receiver.classify("kpi", seq, data, lambda _, seq: known.get(seq)))
            if verdicts[-1] is Verdict.NEW:
                known[seq] = data
                receiver.commit([("kpi", seq)])
    assert [v.value for v in verdicts] == ["new"] * 4 + ["duplicate"] * 3 + ["fork"]
    keys = [twin._db.execute("SELECT data FROM sealed WHERE id & 255 = 3").get for twin in twins]
    assert keys[0] != keys[1]


def test_the_clone_that_is_behind_begins_an_epoch_of_its_own(path: Path, open_at: OpenAt) -> None:
    outbox = open_at(path)
    put(outbox)
    outbox.close()
    behind = open_at(clone(path, "behind"))
    sender = Sender(behind, "n1")
    sender.on_connect(b"n" * 16, Limits(1e6), 0)
    ahead = Ack(1, "n1", behind.epoch, "l", b"n" * 16, {"kpi": Coverage(5)}, {}, 0)
    assert sender.on_ack(ahead, 0) is AckOutcome.GROUND_AHEAD
    assert behind.new_epoch() != outbox.epoch and put(behind) == 0


def test_a_clone_on_another_board_cannot_go_on_in_the_same_epoch(
    path: Path, open_at: OpenAt
) -> None:
    outbox = open_at(path)
    put(outbox)
    outbox.close()
    elsewhere = open_at(clone(path, "elsewhere"), Keyring(b"another board".ljust(32)))
    assert elsewhere.epoch != outbox.epoch and elsewhere.opened.locked == 1


def test_a_sync_that_the_kernel_fails_ends_the_process_and_loses_no_acknowledged_record(
    path: Path, open_at: OpenAt
) -> None:
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    child = subprocess.run(
        ["strace", "-qq", "-f", "-o", os.devnull, "-e", "trace=fdatasync",
         "-e", "inject=fdatasync:error=EIO:when=40", sys.executable, "-m",
         "tests.unit.edge.outbox.appending", str(path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "ptrace" in child.stderr:
        pytest.skip("may not trace")
    assert "Unsynced" in child.stderr, child.stderr[-500:]
    told = Counter(line.split()[0] for line in child.stdout.splitlines()[1:])
    again = open_at(path, None)
    assert again.opened.quarantined is None and sum(told.values()) > 20
    for stream, count_ in told.items():
        assert again.next_seqs()[stream] >= count_
        assert len(held(again, stream)) >= count_
