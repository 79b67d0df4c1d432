"""One aircraft's data, however it is made, never stops the records and closures of the others."""

import asyncio
import dataclasses
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, select

from ground.ingest import closure, schema
from ground.ingest.closing import fitted
from ground.ingest.index import CORRUPT, NO_SET
from ground.ingest.receive import Ingest
from ground.ingest.sets import CACHE_TEXT_BYTES_MAX, SetCache
from shared.block import encode_block
from shared.envelope import seal
from shared.messages import (
    MANIFEST_BYTES_MAX,
    Closure,
    Drop,
    Gap,
    Hello,
    Outage,
    PartStream,
    encode,
)
from shared.signals import parse_signal_set
from shared.topics import subject
from tests.unit.ground.stores import SETTLE_S, Store
from tests.unit.ground.synthetic import OPERATOR, SET_TEXT, TAIL, Tail, make_block, open_ack

Message = tuple[str, bytes]


@dataclass
class Fleet:
    """Ingest without a broker: an honest tail and a hostile one."""

    store: Store
    honest: Tail
    hostile: Tail
    published: list[tuple[str, bytes]]
    ingest: Ingest

    def run(self, *batches: list[Message], settles: int = 3) -> None:
        async def go() -> None:
            for batch in batches:
                await self.ingest._step(batch)
            for _ in range(settles):
                self.store.clock.advance_s(SETTLE_S + 1)
                self.ingest._settled_s = 0.0
                await self.ingest._step([])

        asyncio.run(go())

    def mark(self, tail: Tail) -> str:
        table = schema.records
        with self.store.read_engine.begin() as db:
            return db.scalar(select(table.c.mark).where(
                table.c.tail == tail.tail, table.c.cls == "block")) or ""  # fmt: skip

    def state(self, tail: Tail) -> str:
        row = self.store.records.flight(tail.flight)
        return row.state if row else "unknown"

    def flight_of_honest(self) -> list[Message]:
        return [self.honest.signal_set(), self.honest.block("engine", 0, 30),
                self.honest.manifest()]  # fmt: skip


@pytest.fixture
def fleet(store: Store) -> Fleet:
    honest, hostile = Tail(), Tail(tail="A320-00007")
    published: list[tuple[str, bytes]] = []

    class Broker:
        async def publish(self, name: str, data: bytes) -> None:
            published.append((name, data))

    limits = SimpleNamespace(disk_free_bytes_min=0, batch_wait_ms=1, batch_records_max=256)
    config: Any = SimpleNamespace(operator=OPERATOR, ingest=limits)
    broker: Any = Broker()
    keys = {one.tail: one.signer.public for one in (honest, hostile)}
    ingest = Ingest(broker, config, store.ledger, store.closing, store.signer, store.clock,
                    lambda: keys, lambda: 1 << 40)  # fmt: skip
    return Fleet(store, honest, hostile, published, ingest)


def wild_manifest(tail: Tail) -> Message:
    parts = [PartStream("e", f"s{i}", 0, (1 << 62) - 1) for i in range(5)]
    return tail.manifest(parts=parts)


def deep_envelope(tail: Tail) -> Message:
    name, sealed = tail.record("state", b"x")
    return name, b"\xdc\x00\x10" + sealed[1:] + b"\x91" * 50_000 + b"\xc0"


def version(digits: bytes) -> Callable[[Tail], Message]:
    text = SET_TEXT.replace(b"version = 1", b"version = " + digits)
    return lambda tail: tail.record("state", text, schema="signal-set/1")


POISONS: dict[str, Callable[[Tail], Message]] = {
    "nested envelope": deep_envelope,
    "hello of boot 2^63": lambda t: (t.hello()[0], encode(Hello(1, b"n", 2**63, "e", {}))),
    "manifest that closes at 2^63": lambda t: t.manifest(closed_ns=2**63),
    "manifest of 2^64 records": wild_manifest,
    "manifest of endless outages": lambda t: t.manifest(
        outages=(Outage("g", 0, 2**63, 2**63, "bus_gap"),) * 1500
    ),
    "set version 10^20": version(b"1" + b"0" * 20),
    "set version of 5000 digits": version(b"1" * 5000),
    "nested set": lambda t: t.record("state", b"a=" + b"[" * 5000, schema="signal-set/1"),
    "time quality 2^63": lambda t: (subject(OPERATOR, t.tail, "state"), seal(
        operator=OPERATOR, tail=t.tail, epoch=t.epoch, stream="state", seq=0, cls="state",
        flight="", t_event_ns=0, t_quality=2**63, schema="", codec="", payload=b"x")[1]),
}  # fmt: skip


@pytest.mark.parametrize("name", POISONS)
def test_a_poisoned_message_beside_a_flight_does_not_keep_it_from_closing(
    fleet: Fleet, name: str
) -> None:
    poison = POISONS[name](fleet.hostile)
    fleet.run([poison, *fleet.flight_of_honest(), poison])
    assert fleet.state(fleet.honest) == "complete"


def break_at(monkeypatch: pytest.MonkeyPatch, place: str, hostile: Tail, real: Any) -> None:
    """Our own bug: `place` fails on anything of the hostile tail."""

    def broken(*args: Any, **kwargs: Any) -> Any:
        if hostile.tail in repr(args[:2]):
            raise OverflowError("a bug")
        return real(*args, **kwargs)

    monkeypatch.setattr(place, broken)


@pytest.mark.parametrize(
    "place", ["receive.examine", "index._message", "ledger.record", "ledger.note_hello"]
)
def test_a_bug_of_ours_costs_one_message_is_counted_and_told(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    module, name = place.split(".")
    real = getattr(importlib.import_module(f"ground.ingest.{module}"), name)
    break_at(monkeypatch, f"ground.ingest.{place}", fleet.hostile, real)
    poison = [fleet.hostile.record("alert", b"x"), fleet.hostile.hello()]
    fleet.run([poison[0], *fleet.flight_of_honest(), *poison, fleet.honest.hello(b"mine")])
    assert fleet.state(fleet.honest) == "complete"
    acks = [open_ack(data, fleet.store.signer.public) for name, data in fleet.published
            if fleet.honest.tail in name]  # fmt: skip
    assert acks and acks[-1].nonce == b"mine"
    told = fleet.ingest.counters["refused_bug"] + fleet.ingest.counters["payload_unreadable"]
    assert told >= 1


def test_a_flight_that_cannot_be_compared_is_marked_and_told_and_the_others_close(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_at(monkeypatch, "ground.ingest.closing.compare", fleet.hostile, closure.compare)
    fleet.run([fleet.hostile.manifest()], fleet.flight_of_honest())
    assert fleet.state(fleet.honest) == "complete"
    assert fleet.hostile.flight in fleet.ingest.alarms.standing["closing"]
    assert not fleet.store.closing.pending
    monkeypatch.undo()
    fleet.run([fleet.hostile.record("kpi", b"x")])
    assert fleet.state(fleet.hostile) == "complete"


def test_a_block_of_an_unknown_set_does_not_stop_the_closures_of_the_fleet(fleet: Fleet) -> None:
    block = dataclasses.replace(make_block("engine", 0, 30), set_sha256=b"u" * 32)
    unknown = fleet.hostile.record("block", encode_block(block), stream="block-engine")
    fleet.run([unknown], fleet.flight_of_honest())
    assert fleet.state(fleet.honest) == "complete"
    assert fleet.mark(fleet.hostile) == NO_SET
    assert not fleet.store.ledger.waiting()


def test_a_damaged_byte_in_a_segment_costs_one_block_and_raises_an_alarm(fleet: Fleet) -> None:
    fleet.run([fleet.hostile.block("engine", 0, 30)])
    path = next((fleet.store.folder / "segments").glob("*.seg"))
    data = bytearray(path.read_bytes())
    data[-50] ^= 1
    path.write_bytes(data)
    fleet.run(fleet.flight_of_honest())
    assert fleet.state(fleet.honest) == "complete"
    assert fleet.mark(fleet.hostile) == CORRUPT
    assert "damaged" in fleet.ingest.alarms.standing
    assert not fleet.store.ledger.waiting()


def test_sets_of_one_tail_are_bounded_and_few_are_kept_parsed(
    store: Store, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ground.ingest.ledger.SETS_OF_TAIL_MAX", 3)

    def one(number: int) -> Message:
        text = SET_TEXT.replace(b"version = 1", b"version = %d" % number)
        return tail.record("state", text, schema="signal-set/1")

    assert [len(store.put(tail, one(i)).problems) for i in range(1, 6)] == [0, 0, 0, 1, 1]
    store.reopen()
    assert len(store.put(tail, one(9)).problems) == 1
    assert len(store.put(tail, one(2)).problems) == 0
    with store.read_engine.begin() as db:
        assert db.scalar(select(func.count()).select_from(schema.signal_sets)) == 3
    cache = SetCache()
    for number in range(9):
        text = SET_TEXT.replace(b"version = 1", b"version = %d" % number)
        cache.put(parse_signal_set(text + b"#" * 1_000_000, "test"))
    assert cache.text_bytes <= CACHE_TEXT_BYTES_MAX


def test_drop_records_cannot_make_streams_without_end_and_the_ack_goes_out(fleet: Fleet) -> None:
    drops = [
        fleet.hostile.record("drop", encode(Drop(1, f"{i:032d}", 0, 1, [], "x")))
        for i in range(1500)
    ]
    fleet.run(*(drops[k : k + 256] for k in range(0, len(drops), 256)), [fleet.hostile.hello()])
    ack = open_ack(fleet.published[-1][1], fleet.store.signer.public)
    assert ack.received["drop"].up_to == len(drops)
    assert len(ack.received) <= 256
    fleet.store.reopen()
    receiver = fleet.store.ledger.receiver(fleet.hostile.tail, fleet.hostile.epoch)
    assert len(receiver.received) <= 256


def test_a_closure_is_never_longer_than_its_readers_take() -> None:
    gaps = [Gap("records", "s" * 32, "e" * 32, missing=1, cause="\N{SNOWMAN}" * 200)] * 1000
    long = Closure(1, OPERATOR, TAIL, "F", "flight", 1, "gaps", 0, 1000, gaps, b"", 0)
    short = fitted(long)
    assert len(encode(long)) > MANIFEST_BYTES_MAX >= len(encode(short)) + 1000
    assert sum(gap.missing for gap in short.gaps) == 1000
    assert fitted(short) == short


def test_a_fork_revises_the_flight_of_the_record_that_was_trusted(store: Store, tail: Tail) -> None:
    store.put(tail, tail.signal_set(), tail.block("engine", 0, 30), tail.manifest())
    assert [c.state for c in store.close_due()] == ["complete"]
    other = f"{TAIL}-{tail.epoch}-F00002"
    store.put(tail, tail.block("engine", 900, 30, flight=other, seq=0))
    revised = store.close_due(SETTLE_S)
    assert [(c.flight, c.state, c.revision) for c in revised] == [(tail.flight, "gaps", 2)]


def test_one_tail_with_many_open_periods_does_not_delay_another(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ground.ingest.closing.FLIGHTS_MAX", 4)
    honest, hostile = Tail(), Tail(tail="A320-00007")
    for i in range(20):
        part = [PartStream(hostile.epoch, "kpi", 0, 9)]
        store.put(hostile, hostile.manifest(f"A320-00007-e-F{i:05d}", parts=part))
    store.clock.advance_s(0.1)
    store.put(honest, honest.signal_set(), honest.manifest())
    assert [c.flight for c in store.close_due()] == [honest.flight]


def test_closures_stop_after_their_time_and_go_on_in_the_next_pass(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ground.ingest.closing.PASS_NS", -1)
    tails = [Tail(tail=f"T{i}") for i in range(3)]
    for one in tails:
        store.put(one, one.signal_set(), one.manifest())
    passes = []
    while store.closing.pending:
        passes.append(len(store.close_due()))
    assert passes == [1, 1, 1, 0]
