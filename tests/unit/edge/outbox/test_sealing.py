"""Sealing at rest: nothing in the clear, nobody else opens it, and a lost key costs no record."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import apsw
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge.outbox.devicekey import load_keyring
from edge.outbox.keyring import Keyring, WrappedKey, load_recovery_private, make_recovery_key
from edge.outbox.store import Outbox
from shared.clock import ManualClock
from shared.envelope import open_envelope
from shared.errors import ConfigError
from shared.messages import Ack, Audit, Coverage, Drop, decode
from shared.sync.sender import Held

DEVICE, OTHER = b"d" * 32, b"o" * 32
RECOVERY = X25519PrivateKey.generate()
SECRET = b"what nobody may read"
OpenWith = Callable[..., Outbox]


@pytest.fixture
def open_with(path: Path, request: pytest.FixtureRequest) -> OpenWith:
    numbers = count(1)

    def make(keyring: Keyring | None, at: Path = path) -> Outbox:
        outbox = Outbox.open(
            at, operator="op", tail="n1", clock=ManualClock(), keyring=keyring,
            random=lambda n: next(numbers).to_bytes(n), bytes_max=64 << 20,
        )  # fmt: skip
        request.addfinalizer(lambda: outbox._db.close(True))
        return outbox

    return make


def keyring(device: bytes | None = DEVICE) -> Keyring:
    return Keyring(device, RECOVERY.public_key())


def put(outbox: Outbox, cls: str = "kpi") -> None:
    outbox.append(cls, SECRET, schema="t/1", flight="f", t_event_ns=1, t_quality=1)


def payloads(outbox: Outbox, cls: str = "kpi") -> list[bytes]:
    waiting = outbox.pending(cls, list(outbox.positions()), {}, 100)
    return [open_envelope(outbox.read(held) or b"").payload for held in waiting]


def everything(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.glob("outbox.db*"))


def test_no_byte_of_a_record_a_journal_or_a_value_rests_in_the_clear(
    path: Path, open_with: OpenWith
) -> None:
    for keys, found in ((None, 3), (keyring(), 0)):
        outbox = open_with(keys)
        put(outbox)
        outbox.journal("air", SECRET, 1)
        outbox.put("key", SECRET)
        assert len(re.findall(SECRET, everything(path))) == found
        outbox.close()
        assert len(re.findall(SECRET, everything(path))) == found
        path.unlink()


def test_it_comes_back_after_a_restart_under_another_data_key(open_with: OpenWith) -> None:
    outbox = open_with(keyring())
    put(outbox)
    outbox.journal("air", SECRET, 1)
    outbox.put("key", SECRET)
    epoch = outbox.epoch
    outbox.close()
    again = open_with(keyring())
    assert (again.epoch, again.opened.locked) == (epoch, 0)
    put(again)
    assert payloads(again) == [SECRET, SECRET]
    assert again.journal_entries() == [("air", SECRET)] and again.get("key") == SECRET
    keys = [key for (key,) in again._db.execute("SELECT data_key FROM record ORDER BY id")]
    assert keys == [1, 2]


def test_nonces_and_data_keys_never_repeat_not_even_over_a_rollback(open_with: OpenWith) -> None:
    seen: set[tuple[int, bytes]] = set()

    def look(outbox: Outbox) -> int:
        rows = outbox._db.execute(
            "SELECT data_key, data FROM record JOIN sealed USING (id)"
            " UNION ALL SELECT data_key, data FROM journal"
            " UNION ALL SELECT data_key, value FROM kv WHERE data_key"
        ).fetchall()
        seen.update((key, bytes(data[:8])) for key, data in rows)  # type: ignore[arg-type,index]
        return len(rows)

    def fail(outbox: Outbox) -> None:
        with outbox.transaction():
            put(outbox)
            outbox.journal("air", SECRET, 1)
            raise ZeroDivisionError

    total = 0
    for boot in range(3):
        outbox = open_with(keyring())
        put(outbox)
        total = look(outbox)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                fail(outbox)
        with outbox.transaction():
            put(outbox)
            outbox.journal("air", SECRET, 1)
            outbox.put("key", str(boot).encode())
        total = look(outbox)
        outbox.close()
    assert len(seen) >= total >= 9
    counts = sorted(int.from_bytes(nonce) for key, nonce in seen if key == 3)
    assert counts[-1] >= 7  # the rolled-back ones are spent
    wrapped = outbox_keys(open_with(keyring()))
    opened = [keyring().unwrap(row, b"op/n1") for row in wrapped]
    assert None not in opened and len(set(opened)) == len(opened)


def outbox_keys(outbox: Outbox) -> list[WrappedKey]:
    return [WrappedKey(*row) for row in outbox._db.execute("SELECT * FROM data_key")]  # type: ignore[arg-type]


def test_bytes_moved_to_another_row_do_not_open(path: Path, open_with: OpenWith) -> None:
    outbox = open_with(keyring())
    for _ in range(3):
        put(outbox)
    outbox.put("a", b"1")
    outbox.put("b", b"2")
    db = outbox._db
    rows = db.execute("SELECT id, data FROM sealed ORDER BY id").fetchall()
    db.execute("UPDATE sealed SET data = ? WHERE id = ?", (rows[0][1], rows[1][0]))
    db.execute("UPDATE kv SET value = (SELECT value FROM kv WHERE key = 'a') WHERE key = 'b'")
    outbox.close()
    again = open_with(keyring())
    assert again.get("a") == b"1" and again.get("b") is None
    assert again.read(Held(again.epoch, "kpi", 1, "kpi", 0)) is None
    drop = decode(Drop, payloads(again, "drop")[0], "drop")
    assert (drop.stream, drop.low, drop.high, drop.reason) == ("kpi", 1, 2, "damaged on disk")
    assert payloads(again) == [SECRET, SECRET]


@pytest.mark.parametrize("keys", [Keyring(OTHER), None], ids=["another key", "no key"])
def test_with_a_lost_device_key_recording_goes_on_and_the_old_records_stay_for_recovery(
    keys: Keyring | None, path: Path, open_with: OpenWith
) -> None:
    outbox = open_with(keyring())
    for _ in range(3):
        put(outbox)
    outbox.journal("air", SECRET, 1)
    outbox.put("key", SECRET)
    old = outbox.epoch
    outbox.close()
    lost = open_with(keys)
    assert lost.epoch != old and not lost.is_diverged(old)
    assert (lost.opened.quarantined, lost.opened.locked) == (None, 3)
    assert lost.get("key") is None and lost.journal_entries() == []
    told = decode(Audit, payloads(lost, "audit")[0], "audit")
    assert (told.kind, told.decision, told.subject) == ("store", "locked", old)
    assert told.detail == {"records": "3"}
    put(lost)
    lost.journal("air", b"new", 1)
    lost.journal_clear("air")
    assert payloads(lost) == [SECRET]  # the new one; locked ones are not offered
    assert lost.stats().depth["kpi"] == 1 and lost.stats().locked == 3
    new = lost.epoch
    lost.close()
    again = open_with(keys)
    assert again.epoch == new, "known by now"
    again.close()
    rescued = open_with(Keyring(None, RECOVERY))
    readable = [rescued.sealed(held) for held in rescued.records()]
    texts = [open_envelope(data).payload for data in readable if data]
    assert texts.count(SECRET) >= 3 and (old, "kpi") in {
        (held.epoch, held.stream) for held in rescued.records() if rescued.sealed(held)
    }
    assert ("air", SECRET) in rescued.journal_entries()


def test_a_key_that_comes_back_opens_what_it_sealed_and_it_is_sent(open_with: OpenWith) -> None:
    outbox = open_with(keyring())
    put(outbox)
    outbox.close()
    without = open_with(keyring(None))  # a TPM that did not answer
    assert without.stats().locked == 1
    put(without)
    assert payloads(without) == [SECRET]
    without.close()
    again = open_with(keyring())
    assert payloads(again) == [SECRET]
    assert again.stats().locked == 2, "kpi and audit of the boot without a device key"
    assert len(again.positions()) == 3, "an epoch each time the keys were others"


def test_locked_records_are_evicted_by_name_like_others(open_with: OpenWith, path: Path) -> None:
    outbox = open_with(keyring())
    for _ in range(100):
        outbox.append(
            "block", bytes(8000), stream="block-air", schema="t/1", flight="f", t_event_ns=1,
            t_quality=1,
        )  # fmt: skip
    old = outbox.epoch
    outbox.close()
    small = Outbox.open(
        path, operator="op", tail="n1", clock=ManualClock(), keyring=Keyring(OTHER),
        random=lambda n: b"r" * n, bytes_max=1 << 20,
    )  # fmt: skip
    for _ in range(5):
        small.maintain()
    waiting = small.pending("drop", list(small.positions()), {}, 100)
    drops = [
        (held.epoch, decode(Drop, open_envelope(small.read(held) or b"").payload, "drop", 1 << 20))
        for held in waiting
    ]
    named = {(drop.epoch or epoch, drop.stream, drop.reason) for epoch, drop in drops}
    assert named == {(old, "block-air", "outbox full")}
    assert small.stats().thinned == 0 and 0 < small.stats().locked < 100
    small._db.close(True)


def test_keys_that_nothing_needs_go(open_with: OpenWith) -> None:
    for _ in range(5):
        outbox = open_with(keyring())
        put(outbox)
        every = {"kpi": Coverage(outbox.next_seqs()["kpi"])}
        outbox.apply_ack(Ack(1, "n1", outbox.epoch, "l", b"", every, every, 0), answer=False)
        outbox.close()
    outbox = open_with(keyring())
    assert [key.id for key in outbox_keys(outbox)] == [1, 2, 3, 4, 5, 6]
    with outbox.transaction():
        outbox._books.evict_safe(1 << 30)
    outbox.close()
    assert [key.id for key in outbox_keys(open_with(keyring()))] == [7]


def test_a_store_of_the_schema_before_is_taken_over_as_it_is(
    path: Path, open_with: OpenWith
) -> None:
    outbox = open_with(None)
    put(outbox)
    outbox.put("key", SECRET)
    outbox.close()
    with apsw.Connection(str(path)) as db:
        for table in ("kv", "record", "journal"):
            db.execute(f"ALTER TABLE {table} DROP COLUMN data_key")
        db.execute("DROP TABLE data_key; PRAGMA user_version = 1")
    db.close()
    again = open_with(keyring())
    put(again)
    assert payloads(again) == [SECRET, SECRET] and again.get("key") == SECRET
    assert again.opened.locked == 0 and again.opened.quarantined is None


def test_a_wrapped_key_opens_only_for_its_own_store_and_id() -> None:
    ring = keyring()
    wrapped = ring.wrap(1, b"op/n1", b"k" * 32)
    assert ring.unwrap(wrapped, b"op/n1") == b"k" * 32
    assert ring.unwrap(wrapped, b"op/n2") is None
    moved = WrappedKey(2, *(getattr(wrapped, n) for n in WrappedKey.__slots__[1:]))
    assert ring.unwrap(moved, b"op/n1") is None
    assert keyring(OTHER).unwrap(wrapped, b"op/n1") is None
    assert Keyring(None, RECOVERY).unwrap(wrapped, b"op/n1") == b"k" * 32
    assert Keyring(None, X25519PrivateKey.generate()).unwrap(wrapped, b"op/n1") is None
    assert Keyring(None, RECOVERY.public_key()).unwrap(wrapped, b"op/n1") is None
    plain = AESGCM(DEVICE).decrypt(
        wrapped.for_device[:12], wrapped.for_device[12:],
        b"tailtwin-data-key-v1\0op/n1\0" + (1).to_bytes(8),
    )  # fmt: skip
    assert plain == b"k" * 32


def test_a_device_key_is_made_once_kept_private_and_put_aside_when_it_is_no_key(
    tmp_path: Path,
) -> None:
    first = load_keyring(tmp_path / "identity")
    file = tmp_path / "identity" / "storage.key"
    again = load_keyring(tmp_path / "identity")
    assert first is not None and again is not None
    assert first.device_key_id == again.device_key_id and first.recovery_key_id == ""
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("rubbish")
    other = load_keyring(tmp_path / "identity")
    assert other is not None and other.device_key_id != first.device_key_id
    assert file.with_name("storage.key.lost").read_text() == "rubbish"
    assert load_keyring(tmp_path / "identity", "none") is None


def test_a_recovery_key_is_a_pair_and_a_tpm_demands_one(tmp_path: Path) -> None:
    pem, public = make_recovery_key()
    (tmp_path / "fleet.key").write_bytes(pem)
    (tmp_path / "recovery.pub").write_bytes(public)
    ring = load_keyring(tmp_path)
    assert ring is not None
    offline = Keyring.from_recovery(tmp_path / "fleet.key")
    assert offline.recovery_key_id == ring.recovery_key_id
    wrapped = ring.wrap(1, b"op/n1", b"k" * 32)
    assert offline.unwrap(wrapped, b"op/n1") == b"k" * 32
    (tmp_path / "recovery.pub").write_text("ab")
    keyring = load_keyring(tmp_path)  # recording goes on, sealed for the device alone
    assert keyring is not None and keyring.recovery_key_id == ""
    with pytest.raises(ConfigError, match="no recovery key"):
        load_recovery_private(tmp_path / "recovery.pub")
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    with pytest.raises(ConfigError, match="dead board"):
        load_keyring(tmp_path, "tpm", "device:/dev/null")
    with pytest.raises(ConfigError, match="neither"):
        Keyring(None)


def test_a_data_key_that_is_lost_is_noticed_whatever_was_lost_before(open_with: OpenWith) -> None:
    """Between two losses nothing was sealed, so that the store held no key at all."""
    for _ in range(3):
        outbox = open_with(keyring())
        put(outbox)
        outbox._db.close(True)
    lost = open_with(keyring(OTHER))
    lost._db.execute("DELETE FROM record; DELETE FROM sealed")  # the ground has them, they are gone
    lost._db.close(True)
    plain = open_with(None)
    plain.put("audit.previous", b"in the clear")
    plain._db.close(True)
    open_with(None)._db.close(True)
    sealed = open_with(keyring())
    sealed.put("period", b"leg 7")
    sealed._db.close(True)
    again = open_with(keyring(OTHER))
    assert again.get("period") is None and again.epoch != sealed.epoch


def test_what_an_unsealed_store_left_goes_with_its_rows(open_with: OpenWith, path: Path) -> None:
    plain = open_with(None)
    for _ in range(50):
        plain.append("kpi", SECRET * 400, schema="t/1", flight="f", t_event_ns=1, t_quality=1)
    plain.put("period", SECRET)
    plain.close()
    outbox = open_with(keyring())
    outbox.put("period", b"another")
    everywhere = Coverage(50)
    outbox.apply_ack(
        Ack(1, "n1", outbox.epoch, "l", b"", {"kpi": everywhere}, {"kpi": everywhere}, 0),
        answer=False,
    )
    with outbox.transaction():
        outbox._books.evict_safe(1 << 30)
    assert outbox.stats().records == 0
    outbox.close()
    assert SECRET not in everything(path)
