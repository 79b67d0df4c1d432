"""The outbox: commits, counters, journal, state, acks, epochs, bounds."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import pytest

from edge.outbox.database import PAGE_BYTES, move_aside
from edge.outbox.recovery import Copy
from edge.outbox.store import AckCounts, Outbox, RecordRef
from edge.outbox.streams import EPOCHS_MAX
from shared.clock import ManualClock
from shared.envelope import open_envelope
from shared.errors import ConfigError, Corrupt, Rejected, Unreachable
from shared.messages import Ack, Audit, Coverage, Drop, StreamPosition, decode
from shared.sync.sender import AckOutcome, Held, Limits, Sender
from tests.unit.edge.outbox.conftest import Open


def put(outbox: Outbox, cls: str, size: int = 50, stream: str | None = None) -> RecordRef:
    return outbox.append(
        cls, bytes(size), stream=stream, schema="test/1", flight="f1", t_event_ns=5, t_quality=2
    )


def ack(outbox: Outbox, received: dict[str, Coverage], safe: dict[str, Coverage]) -> Ack:
    return Ack(1, "n1", outbox.epoch, "ledger", b"", received, safe, 0)


def put_until_full(outbox: Outbox, cls: str) -> None:
    for _ in range(1000):
        put(outbox, cls, 8000)


def read_all(outbox: Outbox, cls: str) -> None:
    for record in held(outbox, cls):
        open_envelope(outbox.read(record) or b"")


def held(outbox: Outbox, cls: str, limit: int = 1000) -> list[Held]:
    return outbox.pending(cls, list(outbox.positions()), {}, limit)


def drops(outbox: Outbox) -> list[Drop]:
    found = [outbox.read(record) for record in held(outbox, "drop")]
    return [decode(Drop, open_envelope(data).payload, "drop", 1 << 20) for data in found if data]


def test_records_and_counters_outlive_a_restart(open_outbox: Open) -> None:
    outbox = open_outbox()
    assert outbox.opened.created and outbox.boot == 1
    assert put(outbox, "alert") == RecordRef(outbox.epoch, "alert", 0, put(outbox, "alert").bytes)
    put(outbox, "block", stream="block-air")
    outbox.close()
    again = open_outbox()
    assert not again.opened.created and again.boot == 2 and again.epoch == outbox.epoch
    assert again.next_seqs() == {"alert": 2, "block-air": 1}
    envelope = open_envelope(again.read(held(again, "block")[0]) or b"")
    assert envelope.identity == ("n1", again.epoch, "block-air", 0)
    assert (envelope.flight, envelope.t_event_ns, envelope.t_quality) == ("f1", 5, 2)


def test_a_transaction_is_all_or_nothing(open_outbox: Open) -> None:
    outbox = open_outbox()
    put(outbox, "kpi")

    def fail_halfway() -> None:
        with outbox.transaction():
            put(outbox, "kpi")
            outbox.put("key", b"value")
            outbox.journal("air", b"x", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert outbox.next_seqs() == {"kpi": 1}
    assert (outbox.get("key"), outbox.journal_entries()) == (None, [])
    assert put(outbox, "kpi").seq == 1


def test_an_outer_transaction_does_not_commit_over_an_inner_failure(open_outbox: Open) -> None:
    outbox = open_outbox()

    def carry_on_after_failure() -> None:
        with outbox.transaction(), suppress(ZeroDivisionError), outbox.transaction():
            put(outbox, "kpi")
            raise ZeroDivisionError

    with pytest.raises(AssertionError):
        carry_on_after_failure()
    assert outbox.next_seqs() == {}


def test_the_journal_comes_back_in_order_and_clears_by_group(open_outbox: Open) -> None:
    outbox = open_outbox()
    for group, data in (("air", b"1"), ("eng", b"2"), ("air", b"3")):
        outbox.journal(group, data, 1)
    outbox.close()
    again = open_outbox()
    assert again.journal_entries() == [("air", b"1"), ("eng", b"2"), ("air", b"3")]
    with again.transaction():
        put(again, "block", stream="block-air")
        again.journal_clear("air")
    assert again.journal_entries() == [("eng", b"2")]


def test_pending_is_oldest_first_over_streams_and_skips_what_is_received(
    open_outbox: Open,
) -> None:
    outbox = open_outbox()
    for stream in ("block-a", "block-b", "block-a", "block-b", "block-a"):
        put(outbox, "block", stream=stream)
    outbox.apply_ack(ack(outbox, {"block-a": Coverage(0, [(1, 2)])}, {}), answer=False)
    order = [(record.stream, record.seq) for record in held(outbox, "block")]
    assert order == [("block-a", 0), ("block-b", 0), ("block-b", 1), ("block-a", 2)]
    cursors = {(outbox.epoch, "block-a"): 1, (outbox.epoch, "block-b"): 1}
    rest = outbox.pending("block", [outbox.epoch], cursors, 1)
    assert [(record.stream, record.seq) for record in rest] == [("block-b", 1)]
    assert outbox.pending("block", [], {}, 9) == []
    assert outbox.read(Held(outbox.epoch, "block-a", 1, "block", 0)) is None


def test_an_ack_counts_once_and_an_answer_takes_back(open_outbox: Open) -> None:
    outbox = open_outbox()
    for _ in range(10):
        put(outbox, "kpi")
    told = ack(outbox, {"kpi": Coverage(8)}, {"kpi": Coverage(3)})
    counts = outbox.apply_ack(told, answer=False)
    assert (counts.received, counts.safe) == (8, 3)
    assert outbox.apply_ack(told, answer=False).received == 0
    assert outbox.stats().depth["kpi"] == 7
    outbox.close()
    again = open_outbox()
    assert [record.seq for record in held(again, "kpi")] == [8, 9]
    again.apply_ack(ack(again, {"kpi": Coverage(2)}, {}), answer=True)
    assert [record.seq for record in held(again, "kpi")] == list(range(2, 10))
    assert again.stats().depth["kpi"] == 10


def test_audit_records_are_a_hash_chain(open_outbox: Open) -> None:
    outbox = open_outbox()
    for decision in ("refused", "refused"):
        outbox.audit("update", decision, flight="f1", t_event_ns=1, t_quality=1, reasons=["brake"])
    outbox.close()
    again = open_outbox()
    again.audit("boot", "started", flight="", t_event_ns=2, t_quality=0)
    payloads = [open_envelope(again.read(r) or b"").payload for r in held(again, "audit")]
    chain = [decode(Audit, payload, "audit").previous for payload in payloads]
    assert chain == [b"", *(hashlib.sha256(payload).digest() for payload in payloads[:2])]


def test_stats_name_depth_and_the_oldest_unsafe(open_outbox: Open) -> None:
    outbox = open_outbox()
    put(outbox, "alert")
    outbox.append("kpi", b"", schema="t/1", flight="", t_event_ns=3, t_quality=0)
    stats = outbox.stats()
    assert (stats.records, stats.oldest_unsafe_ns) == (2, 3)
    assert stats.depth == {**dict.fromkeys(stats.depth, 0), "alert": 1, "kpi": 1}
    outbox.apply_ack(ack(outbox, {}, {"kpi": Coverage(1), "alert": Coverage(1)}), answer=False)
    assert outbox.stats().oldest_unsafe_ns is None


def test_another_tails_outbox_is_refused(open_outbox: Open) -> None:
    open_outbox().close()
    with pytest.raises(ConfigError, match="belongs to op/n1"):
        open_outbox(tail="n2")


def test_two_recorders_cannot_share_an_outbox(open_outbox: Open) -> None:
    open_outbox()
    with pytest.raises(Unreachable, match="another process"):
        open_outbox()


@pytest.mark.parametrize("damage", ["header", "middle", "rubbish"])
def test_a_corrupt_file_is_moved_aside_and_a_new_epoch_begins(
    damage: str, path: Path, open_outbox: Open
) -> None:
    outbox = open_outbox()
    for _ in range(50):
        put(outbox, "block", 5000)
    epoch = outbox.epoch
    outbox.close()
    data = bytearray(path.read_bytes())
    if damage == "rubbish":
        data = bytearray(b"not a database" * 999)
    else:
        at = 0 if damage == "header" else 4096
        data[at : at + 2048] = bytes(2048)
    path.write_bytes(data)
    again = open_outbox()
    opened = again.opened
    assert opened.created and opened.quarantined is not None and opened.reason
    assert opened.quarantined.read_bytes() == data
    assert again.epoch != epoch
    assert put(again, "alert").seq == 0


def test_damage_found_later_is_corrupt_and_the_next_open_checks_every_page(
    path: Path, open_outbox: Open
) -> None:
    outbox = open_outbox()
    for _ in range(20):
        put(outbox, "block", 9000)
    outbox.close()
    again = open_outbox()
    with path.open("r+b") as file:  # overflow pages of the records
        for page in range(12, 60):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    with pytest.raises((Corrupt, Unreachable, Rejected)):
        read_all(again, "block")
    again._db.close(True)
    assert open_outbox().opened.quarantined is not None


def test_a_newer_schema_or_another_database_is_refused_and_left_alone(
    path: Path, open_outbox: Open
) -> None:
    outbox = open_outbox()
    outbox._db.execute("PRAGMA user_version = 9")
    outbox.close()
    before = path.read_bytes()
    with pytest.raises(Rejected, match="schema 9"):
        open_outbox()
    assert path.read_bytes()[100:] == before[100:]


def test_over_its_size_bulk_goes_first_by_name_and_alerts_stay(
    path: Path, open_outbox: Open
) -> None:
    outbox = open_outbox(bytes_max=2 << 20)
    for number in range(400):
        put(outbox, "alert", 100)
        put(outbox, "block", 8000)
        if number % 10 == 0:
            outbox.maintain()
    outbox.maintain()
    stats = outbox.stats()
    assert stats.bytes <= 2 << 20
    assert stats.depth["alert"] == 400
    assert stats.evicted_unsafe > 100
    named = [seq for drop in drops(outbox) for seq in range(drop.low, drop.high)]
    kept = [record.seq for record in held(outbox, "block")]
    assert sorted(named + kept) == list(range(400))
    zeros = hashlib.sha256(bytes(8000)).digest()
    assert all(digest == zeros for drop in drops(outbox) for digest in drop.sha256)


def test_safe_records_are_a_cache_that_goes_without_a_trace(open_outbox: Open) -> None:
    outbox = open_outbox(bytes_max=2 << 20)
    for number in range(300):
        put(outbox, "block", 8000)
        outbox.apply_ack(ack(outbox, {}, {"block": Coverage(number)}), answer=False)
    outbox.maintain()
    assert drops(outbox) == []
    assert 50 < outbox.stats().records < 300
    first = outbox.positions()[outbox.epoch]["block"]
    assert first == StreamPosition(300 - outbox.stats().records, 300)


def test_the_file_shrinks_when_it_may_be_smaller(path: Path, open_outbox: Open) -> None:
    outbox = open_outbox(bytes_max=32 << 20)
    for _ in range(1200):
        put(outbox, "block", 8000)
    outbox.close()
    assert path.stat().st_size > 9 << 20
    again = open_outbox(bytes_max=4 << 20)
    for _ in range(60):
        again.maintain()
    assert path.stat().st_size < 6 << 20


def test_a_full_disk_is_a_typed_error_and_the_next_append_succeeds(open_outbox: Open) -> None:
    outbox = open_outbox()
    for _ in range(100):
        put(outbox, "block", 8000)
    pages = outbox._db.pragma("page_count")
    outbox._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unreachable, match="full"):
        put_until_full(outbox, "alert")
    seq = outbox.next_seqs().get("alert", 0)
    assert put(outbox, "alert", 8000).seq == seq
    assert outbox.stats().evicted_unsafe > 0
    assert {drop.stream for drop in drops(outbox)} == {"block"}


def test_with_nothing_left_to_evict_appends_fail_and_nothing_is_lost(open_outbox: Open) -> None:
    outbox = open_outbox(bytes_max=1 << 20)
    with pytest.raises(Unreachable, match="full"):
        put_until_full(outbox, "drop")
    assert outbox.stats().depth["drop"] == outbox.next_seqs()["drop"] > 50


def test_a_store_that_is_an_old_copy_starts_a_new_epoch_and_offers_its_records_again(
    path: Path, open_outbox: Open
) -> None:
    outbox = open_outbox()
    for _ in range(3):
        put(outbox, "alert")
    sender = Sender(outbox, "n1")
    sender.on_connect(b"n" * 16, Limits(1e6), 0)
    ahead = Ack(1, "n1", outbox.epoch, "l", b"n" * 16, {"alert": Coverage(9)}, {}, 0)
    assert sender.on_ack(ahead, 0) is AckOutcome.GROUND_AHEAD
    old = outbox.epoch
    assert outbox.new_epoch() == outbox.epoch != old
    put(outbox, "alert")
    sender.on_connect(b"m" * 16, Limits(1e6), 0)
    hellos = [sender.take(0), sender.take(0), sender.take(0)]
    assert [out.leaf for out in hellos if out] == ["hello", "hello"]
    sender.on_ack(Ack(1, "n1", outbox.epoch, "l", b"m" * 16, {}, {}, 0), 0)
    again = Ack(1, "n1", old, "l", b"m" * 16, {"alert": Coverage(9)}, {"alert": Coverage(9)}, 0)
    sender.on_ack(again, 0)
    sent = [sender.take(0) for _ in range(5)]
    assert [(o.held.epoch, o.held.seq) for o in sent if o and o.held] == [
        (old, 0), (old, 1), (old, 2), (outbox.epoch, 0),
    ]  # fmt: skip
    sender.on_ack(again, 10**9)  # too early to be an answer to what was just sent
    assert outbox.stats().depth["alert"] == 4
    sender.on_ack(again, 6 * 10**9)
    assert outbox.stats().depth["alert"] == 1
    outbox.close()
    assert open_outbox().is_diverged(old)


def test_evicted_records_of_an_older_epoch_are_named_with_their_epoch(open_outbox: Open) -> None:
    outbox = open_outbox(bytes_max=1 << 20)
    for _ in range(20):
        put(outbox, "block", 8000)
    old = outbox.epoch
    outbox.new_epoch()
    for _ in range(150):
        put(outbox, "kpi", 8000)
    assert {drop.epoch for drop in drops(outbox) if drop.stream == "block"} == {old}
    assert {drop.epoch for drop in drops(outbox) if drop.stream == "kpi"} == {""}


def test_every_commit_is_synced(open_outbox: Open) -> None:
    outbox = open_outbox()
    assert outbox._db.pragma("journal_mode") == "wal"
    assert outbox._db.pragma("synchronous") == 2  # FULL
    assert outbox._db.pragma("auto_vacuum") == 2  # incremental


def test_sqlite_is_recent_enough_for_an_ack_to_rest_on() -> None:
    assert tuple(int(part) for part in apsw.sqlite_lib_version().split(".")) >= (3, 51, 3)


def test_an_ack_said_again_changes_nothing_and_an_answer_still_takes_back(
    open_outbox: Open,
) -> None:
    outbox = open_outbox()
    for _ in range(3):
        put(outbox, "alert")
    said = ack(outbox, {"alert": Coverage(2)}, {"alert": Coverage(1)})
    assert outbox.apply_ack(said, answer=False) == AckCounts(2, 1)
    assert outbox.apply_ack(said, answer=False) == AckCounts(0, 0)
    assert len(held(outbox, "alert")) == 1
    outbox.apply_ack(ack(outbox, {}, {}), answer=True)  # the ground lost its ledger
    assert len(held(outbox, "alert")) == 3
    assert outbox.apply_ack(said, answer=False) == AckCounts(2, 1)


def test_an_ack_that_a_full_disk_undid_is_taken_again(
    open_outbox: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = open_outbox()
    put(outbox, "alert")
    said = ack(outbox, {"alert": Coverage(1)}, {"alert": Coverage(1)})
    with suppress(Unreachable), outbox.transaction():
        outbox.apply_ack(said, answer=False)
        raise Unreachable("disk full", "test")
    assert len(held(outbox, "alert")) == 1
    assert outbox.apply_ack(said, answer=False) == AckCounts(1, 1)


def test_a_power_cut_while_a_corrupt_file_is_moved_loses_no_part_of_it(
    path: Path, open_outbox: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest alerts are in the WAL only."""
    outbox = open_outbox()
    for _ in range(50):
        put(outbox, "block", 5000)
    outbox.close()
    outbox = open_outbox()
    for _ in range(20):
        put(outbox, "alert", 200)
    dead = path.parent / "dead" / path.name
    dead.parent.mkdir()
    for name in (path.name, path.name + "-wal"):
        (dead.parent / name).write_bytes((path.parent / name).read_bytes())
    with dead.open("r+b") as file:
        file.seek(30 * PAGE_BYTES)
        file.write(b"\xff" * PAGE_BYTES)
    for number, after in enumerate(("link", "rename", "unlink")):
        with monkeypatch.context() as power:
            cut_after(power, after)
            with pytest.raises(PowerCut):
                move_aside(dead, number)
        if not dead.exists():
            break
    else:
        pytest.fail("it was never moved")
    monkeypatch.undo()
    _open_at(dead).close()  # what the next boot makes does not touch it
    aside = next(p for p in dead.parent.glob("*.corrupt-*") if not p.name.endswith("-wal"))
    with Copy(aside) as copy:
        assert sum(held.cls == "alert" for held, _ in copy.records()) == 20


class PowerCut(BaseException):
    pass


def cut_after(power: pytest.MonkeyPatch, last: str) -> None:
    """The power goes once `last` was done."""
    owner: Any = os if last == "link" else Path
    do = getattr(owner, last)

    def act(*args: object, **kwargs: object) -> None:
        do(*args, **kwargs)
        raise PowerCut

    power.setattr(owner, last, act)


def _open_at(path: Path) -> Outbox:
    return Outbox.open(path, operator="op", tail="n1", clock=ManualClock(), random=os.urandom,
                       bytes_max=64 << 20)  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE stream SET stream = 'alezt' WHERE stream = 'alert'",
        "UPDATE stream SET cls = 'alezt'",
        "UPDATE stream SET epoch = 'f00'",
        "UPDATE stream SET next_seq = next_seq - 4",
        "UPDATE stream SET cls = CAST(x'616c65ff74' AS TEXT)",
    ],
)
def test_counters_that_the_disk_has_changed_are_not_recorded_on(
    change: str, path: Path, open_outbox: Open
) -> None:
    """Numbers would be given twice, or no append would ever succeed again."""
    outbox = open_outbox()
    for _ in range(5):
        put(outbox, "alert")
    outbox.close()
    db = apsw.Connection(str(path))
    index = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'stream'").get
    db.execute("PRAGMA writable_schema = on; UPDATE sqlite_schema SET sql = replace(sql,"
               " ',\n    UNIQUE (epoch, stream)', '') WHERE name = 'stream'")  # fmt: skip
    db.close()
    assert "UNIQUE" in str(index)
    db = apsw.Connection(str(path))
    db.execute("PRAGMA writable_schema = on")
    db.execute(change)  # in the table alone, as a flipped bit
    db.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'stream'", (index,))
    db.close()
    again = open_outbox()
    assert again.opened.quarantined is not None
    assert put(again, "alert").epoch != outbox.epoch


def test_of_many_epochs_those_that_have_something_to_send_are_offered(open_outbox: Open) -> None:
    outbox = open_outbox()
    first = put(outbox, "alert").epoch
    for _ in range(EPOCHS_MAX + 2):
        outbox.new_epoch()
        put(outbox, "state")
        outbox.apply_ack(ack(outbox, {}, {"state": Coverage(1)}), answer=False)
    offered = outbox.positions()
    assert first in offered and next(iter(offered)) == outbox.epoch
    assert len(offered) == EPOCHS_MAX
    assert [record.epoch for record in held(outbox, "alert")] == [first]
