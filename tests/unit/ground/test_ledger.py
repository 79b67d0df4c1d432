import errno
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select

from ground.ingest import schema
from ground.ingest.segments import OsDisk, Place
from shared.errors import Rejected, Unreachable
from shared.messages import Coverage, Drop, Hello, encode
from tests.unit.ground.stores import Store, arrivals, verdicts
from tests.unit.ground.synthetic import EPOCH, FLIGHT, TAIL, Tail


def count(store: Store, table: object) -> int:
    with store.read_engine.begin() as db:
        return db.scalar(select(func.count()).select_from(table)) or 0  # type: ignore[arg-type]


def received(store: Store, epoch: str = EPOCH) -> dict[str, Coverage]:
    return store.ledger.receiver(TAIL, epoch).ack(b"", "", 0).received


def test_a_record_sent_twice_is_held_once_and_read_again_as_it_was(
    store: Store, tail: Tail
) -> None:
    message = tail.block("engine", 0, 30)
    assert verdicts(store.put(tail, message)) == ["new"]
    assert verdicts(store.put(tail, message)) == ["duplicate"]
    assert count(store, schema.records) == 1
    with store.read_engine.begin() as db:
        row = db.execute(select(schema.records)).one()
    assert store.reader.read(Place(row.segment, row.offset, row.length)) == message[1]


def test_a_record_twice_in_one_batch_is_held_once(store: Store, tail: Tail) -> None:
    message = tail.block("engine", 0, 30)
    assert verdicts(store.put(tail, message, message)) == ["new", "duplicate"]
    assert received(store) == {"block-engine": Coverage(1, [])}


def test_records_out_of_order_make_ranges_that_close(store: Store, tail: Tail) -> None:
    messages = [tail.block("engine", 30 * i, 30) for i in range(40)]
    random.Random(7).shuffle(messages)
    store.put(tail, *messages[:20])
    assert received(store)["block-engine"].up_to < 40
    store.put(tail, *messages[10:])
    assert received(store) == {"block-engine": Coverage(40, [])}
    assert count(store, schema.blocks) == 40


def test_after_a_restart_the_same_is_acknowledged(store: Store, tail: Tail) -> None:
    messages = [tail.block("engine", 30 * i, 30) for i in range(8)]
    store.put(tail, tail.signal_set(), *messages[:3], *messages[5:])
    before = received(store)
    store.reopen()
    assert received(store) == before
    assert (
        verdicts(store.put(tail, *messages)) == ["duplicate"] * 3 + ["new"] * 2 + ["duplicate"] * 3
    )


def test_the_ledger_keeps_its_name_over_a_restart_and_a_new_one_has_another(
    store: Store, tmp_path: Path
) -> None:
    name = store.ledger.id
    store.reopen()
    assert store.ledger.id == name
    other = Store(tmp_path / "other")
    assert other.ledger.id != name
    other.close()


def test_same_identity_with_other_bytes_is_kept_twice_and_trusted_nowhere(
    store: Store, tail: Tail
) -> None:
    store.put(tail, tail.signal_set(), tail.block("engine", 0, 30))
    forged = tail.block("engine", 900, 30, seq=0)
    assert verdicts(store.put(tail, forged)) == ["fork"]
    assert verdicts(store.put(tail, forged)) == ["duplicate"]
    assert (count(store, schema.records), count(store, schema.forks)) == (2, 1)
    assert count(store, schema.blocks) == 0
    with store.read_engine.begin() as db:
        row = db.execute(select(schema.forks)).one()
    assert store.reader.read(Place(row.segment, row.offset, row.length)) == forged[1]


def test_a_fork_inside_one_batch_is_noticed(store: Store, tail: Tail) -> None:
    result = store.put(tail, tail.block("engine", 0, 30), tail.block("engine", 30, 30, seq=0))
    assert verdicts(result) == ["new", "fork"]
    assert count(store, schema.blocks) == 0


def test_a_block_before_its_signal_set_is_indexed_once_the_set_is_here(
    store: Store, tail: Tail
) -> None:
    signal_set = tail.signal_set()
    store.put(tail, tail.block("engine", 0, 30))
    store.reopen()
    assert not store.ledger.waiting()
    store.put(tail, signal_set)
    assert store.ledger.waiting()
    assert store.ledger.reindex().done == 1
    assert not store.ledger.waiting()
    with store.read_engine.begin() as db:
        assert db.scalar(select(func.length(schema.blocks.c.summary))) == 4 * 4 * 8


def test_a_drop_record_counts_as_coverage_and_survives_a_restart(store: Store, tail: Tail) -> None:
    store.put(tail, tail.block("air", 0, 4, seq=0), tail.block("air", 40, 4, seq=5))
    drop = Drop(1, "block-air", 1, 5, [b"h" * 32] * 4, "disk")
    store.put(tail, tail.record("drop", encode(drop)))
    assert received(store)["block-air"] == Coverage(6, [])
    store.reopen()
    assert received(store)["block-air"] == Coverage(6, [])
    assert verdicts(store.put(tail, tail.block("air", 8, 4, seq=2))) == ["new"]


def test_a_hello_of_a_new_epoch_abandons_what_has_no_manifest(store: Store, tail: Tail) -> None:
    store.put(tail, tail.block("engine", 0, 30))
    store.ledger.greet(TAIL, Hello(1, b"", 1, EPOCH, {}))
    assert store.close_due() == []
    store.ledger.greet(TAIL, Hello(1, b"", 1, "newlife", {}))
    closure = store.close_due(60)[0]
    assert (closure.flight, closure.state, closure.records) == (FLIGHT, "abandoned", 1)


def test_a_tail_cannot_make_epochs_without_end(
    store: Store, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ground.ingest.ledger.EPOCHS_MAX", 3)
    for i in range(3):
        store.ledger.receiver(TAIL, f"e{i}")
    with pytest.raises(Rejected, match="epochs"):
        store.ledger.receiver(TAIL, "e3")
    assert [r.reason for r in store.put(tail, tail.block("engine", 0, 1)).refused] == ["bound"]


class FailingDisk(OsDisk):
    """Fails the syncs that a test names."""

    fail = False

    def sync(self, handle: int) -> None:
        if self.fail:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().sync(handle)


def test_a_full_disk_takes_nothing_and_the_next_try_takes_all(tmp_path: Path, tail: Tail) -> None:
    disk = FailingDisk()
    store = Store(tmp_path, disk)
    first, second = tail.block("engine", 0, 30), tail.block("engine", 30, 30)
    store.put(tail, first)
    disk.fail = True
    with pytest.raises(Unreachable, match="No space left"):
        store.put(tail, tail.signal_set(), second)
    assert received(store) == {"block-engine": Coverage(1, [])}
    disk.fail = False
    assert verdicts(store.put(tail, first, second)) == ["duplicate", "new"]
    assert received(store) == {"block-engine": Coverage(2, [])}
    store.close()


CRASH = """
import os, signal, sys
from pathlib import Path
from tests.unit.ground.stores import Store
from tests.unit.ground.synthetic import Tail
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from shared.identity import Signer
folder, step = Path(sys.argv[1]), sys.argv[2]
tail = Tail(signer=Signer(Ed25519PrivateKey.from_private_bytes(b"k" * 32)))
messages = [tail.signal_set()] + [tail.block("engine", 30 * i, 30) for i in range(6)]
armed = []
def fault(at):
    if armed and at == step:
        os.kill(os.getpid(), signal.SIGKILL)
store = Store(folder, fault=fault)
store.put(tail, *messages[:3])
armed.append(True)
store.put(tail, *messages[3:])
"""


@pytest.mark.parametrize(
    ("step", "kept"), [("appended", 3), ("inserted", 3), ("committed", 7), ("never", 7)]
)
def test_killed_at_any_step_nothing_is_lost_or_counted_twice(
    tmp_path: Path, step: str, kept: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASH, str(tmp_path), step], cwd=Path.cwd(), timeout=60,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    assert done.returncode == (0 if step == "never" else -9)
    store = Store(tmp_path)
    assert count(store, schema.records) == kept
    assert (store.ledger.bytes_cut > 0) is (kept == 3)
    again = Tail()
    messages = [again.signal_set()] + [again.block("engine", 30 * i, 30) for i in range(6)]
    result = store.ledger.commit(arrivals(again, *messages))
    assert verdicts(result) == ["duplicate"] * kept + ["new"] * (7 - kept)
    assert received(store) == {"state": Coverage(1, []), "block-engine": Coverage(6, [])}
    with store.read_engine.begin() as db:
        for row in db.execute(select(schema.records)):
            store.reader.read(Place(row.segment, row.offset, row.length))
    store.close()
