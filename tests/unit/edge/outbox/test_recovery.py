"""Recovery: what a dead board leaves is read with the offline key, damage or not."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import apsw
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge.outbox.keyring import Keyring
from edge.outbox.recovery import Copy
from edge.outbox.store import Outbox
from shared.clock import ManualClock
from shared.envelope import open_envelope
from shared.errors import Rejected

RECOVERY = X25519PrivateKey.generate()
BOARD = Keyring(b"d" * 32, RECOVERY.public_key())
OFFLINE = Keyring(None, RECOVERY)


def fill(path: Path, keyring: Keyring | None = BOARD, records: int = 60) -> dict[int, bytes]:
    """A store of a board that dies: records, a journal, a WAL that nobody moved."""
    numbers = count(1)
    outbox = Outbox.open(
        path, operator="op", tail="n1", clock=ManualClock(), keyring=keyring,
        random=lambda n: next(numbers).to_bytes(n), bytes_max=64 << 20,
    )  # fmt: skip
    made = {}
    for _ in range(records):
        payload = os.urandom(9000)
        ref = outbox.append(
            "block", payload, stream="block-air", schema="t/1", flight="f", t_event_ns=1,
            t_quality=1,
        )  # fmt: skip
        made[ref.seq] = payload
    outbox.journal("air", b"readings", 10)
    for name in (path.name, f"{path.name}-wal"):  # as the power goes
        data = path.with_name(name).read_bytes()
        path.with_name(f"copy-{name}").write_bytes(data)
    outbox.close()
    return made


def read(path: Path, keyring: Keyring | None) -> tuple[dict[int, bytes], Copy]:
    with Copy(path, keyring) as copy:
        return {held.seq: open_envelope(data).payload for held, data in copy.records()}, copy


def test_the_offline_key_reads_everything_and_nobody_else_anything(path: Path) -> None:
    made = fill(path)
    copy = path.with_name("copy-outbox.db")
    before = copy.read_bytes()
    found, state = read(copy, OFFLINE)
    assert found == made and (state.operator, state.tail) == ("op", "n1")
    with Copy(copy, OFFLINE) as again:
        assert list(again.journal()) == [("air", b"readings")]
    assert copy.read_bytes() == before
    for keyring in (None, Keyring(b"x" * 32), Keyring(None, X25519PrivateKey.generate())):
        found, state = read(copy, keyring)
        assert (found, state.locked) == ({}, len(made))
    assert read(path, BOARD)[0] == made  # a file that was closed in order, without its WAL


def test_a_store_in_the_clear_and_one_of_the_schema_before_are_read_too(path: Path) -> None:
    made = fill(path, keyring=None, records=5)
    assert read(path, OFFLINE)[0] == made
    with apsw.Connection(str(path)) as db:
        for table in ("kv", "record", "journal"):
            db.execute(f"ALTER TABLE {table} DROP COLUMN data_key")
        db.execute("DROP TABLE data_key; PRAGMA user_version = 1")
    db.close()
    assert read(path, None)[0] == made


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_page_costs_the_records_on_it(path: Path, seed: int) -> None:
    made = fill(path)
    data = bytearray(path.read_bytes())
    page = 12 + seed * 20
    data[page * 4096 : page * 4096 + 4096] = os.urandom(4096)
    path.write_bytes(data)
    found, state = read(path, OFFLINE)
    assert len(found) >= len(made) - 8, "a page of the tree has a few records below it"
    assert all(found[seq] == made[seq] for seq in found)
    assert len(found) + state.damaged >= len(made) - 8


def test_a_lost_table_of_rows_is_made_good_by_the_bytes_themselves(path: Path) -> None:
    made = fill(path)
    with apsw.Connection(str(path)) as db:
        db.execute("DELETE FROM record WHERE id % 2")
    db.close()
    assert read(path, OFFLINE)[0] == made


def test_what_is_no_outbox_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"rubbish" * 1000):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(Rejected, match="outbox"):
            Copy(tmp_path / "x", OFFLINE)
    with pytest.raises(Rejected):
        Copy(tmp_path / "missing", OFFLINE)
