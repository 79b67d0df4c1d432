"""Thinned blocks on the ground: named in closures, never complete, never twice in the lake."""

import random
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from sqlalchemy import and_, select

from edge.outbox.store import Outbox
from ground.ingest import schema
from ground.ingest.closure import Holding, compare
from ground.ingest.segments import Place
from ground.ingest.thinned import kept_of
from shared.block import decode_block, encode_block
from shared.clock import ManualClock
from shared.envelope import open_envelope
from shared.messages import Closure, Drop, Manifest, Oooi, PartStream, encode
from shared.sync.ranges import RangeSet
from shared.topics import subject
from tests.unit.ground.stores import SETTLE_S, Store
from tests.unit.ground.synthetic import EPOCH, FLIGHT, OPERATOR, TAIL, Tail, make_block

Message = tuple[str, bytes]
ORIGINAL, HALF, QUARTER = ("block-engine", 0), ("thin2-engine", 0), ("thin4-engine", 0)


def messages(tail: Tail) -> dict[tuple[str, int], Message]:
    """A block, and the two that were made of it one after the other."""
    original = make_block("engine", 0, 32)
    replaced = [(EPOCH, *ORIGINAL), (EPOCH, *HALF)]
    made = {ORIGINAL: tail.block("engine", 0, 32)}
    for every, (stream, seq) in ((2, HALF), (4, QUARTER)):
        rows = original.rows(0, 32)
        columns = ("t_ns", "counter", "raw", "f64", "status", "quality")
        thin = replace(rows, **{name: getattr(rows, name)[::every] for name in columns})
        thin = replace(thin, keep_every=every, replaces=tuple(replaced[: every // 2]))
        made[stream, seq] = tail.record(
            "block", encode_block(thin), stream=stream, schema="block/1"
        )
    return made


def drop(tail: Tail, of: tuple[str, int], every: int) -> Message:
    stream, seq = of
    reason = f"thinned to 1 of {every} readings"
    return tail.record("drop", encode(Drop(1, stream, seq, seq + 1, [b"h" * 32], reason)))


def counted(store: Store) -> list[tuple[str, int]]:
    with store.read_engine.begin() as db:
        blocks = schema.blocks.c
        return [(row.stream, row.seq) for row in db.execute(select(blocks.stream, blocks.seq))]


def causes(closure: Closure) -> list[tuple[str, int, int, str]]:
    return [(gap.name, gap.low, gap.high, gap.cause) for gap in closure.gaps]


@pytest.mark.parametrize("order", list(permutations((ORIGINAL, HALF, QUARTER))))
def test_whatever_order_they_come_in_the_lake_has_the_fullest_one(
    store: Store, tail: Tail, order: tuple[tuple[str, int], ...]
) -> None:
    made = messages(tail)
    here: list[tuple[str, int]] = []
    store.put(tail, tail.signal_set())
    for which in order:
        store.put(tail, made[which])
        here.append(which)
        fullest = min(here, key=(ORIGINAL, HALF, QUARTER).index)
        assert counted(store) == [fullest]
        store.reopen()


def test_in_one_batch_too(store: Store, tail: Tail) -> None:
    made = messages(tail)
    store.put(tail, tail.signal_set(), *made.values())
    assert counted(store) == [ORIGINAL]


def test_a_thinned_block_that_waited_for_its_signal_set_is_counted_once(
    store: Store, tail: Tail
) -> None:
    made = messages(tail)
    signal_set = tail.signal_set()
    store.put(tail, made[HALF])
    store.put(tail, made[ORIGINAL])
    store.put(tail, signal_set)
    assert store.ledger.reindex().done == 1
    assert counted(store) == [ORIGINAL] and not store.ledger.waiting()


def test_a_closure_says_thinned_and_by_how_much_and_never_complete(
    store: Store, tail: Tail
) -> None:
    made = messages(tail)
    other = tail.block("engine", 32, 32)
    parts = [PartStream(EPOCH, "block-engine", 0, 2), PartStream(EPOCH, "state", 0, 1)]
    manifest = tail.manifest(parts=parts)
    store.put(tail, tail.signal_set(), other, manifest, drop(tail, ORIGINAL, 2))
    first = store.close_due(SETTLE_S)[0]
    assert causes(first) == [("block-engine", 0, 1, "dropped: thinned to 1 of 2 readings")]
    store.put(tail, drop(tail, HALF, 4), made[QUARTER])
    second = store.close_due(SETTLE_S)[0]
    assert causes(second) == [("block-engine", 0, 1, "thinned: 1 of 4 readings kept")]
    store.put(tail, made[HALF])
    third = store.close_due(SETTLE_S)[0]
    assert causes(third) == [("block-engine", 0, 1, "thinned: 1 of 2 readings kept")]
    assert (third.state, third.records_missing, third.flight) == ("gaps", 0, FLIGHT)
    store.put(tail, made[ORIGINAL])
    assert store.close_due()[0].state == "complete"


def test_a_thinned_block_of_another_tail_changes_nothing(store: Store, tail: Tail) -> None:
    other = Tail(tail="X-2", signer=tail.signer)
    store.put(tail, tail.signal_set(), messages(tail)[ORIGINAL])
    store.put(other, other.signal_set(), messages(other)[HALF])
    assert sorted(counted(store)) == [ORIGINAL, HALF]


def test_gaps_of_one_kind_are_told_as_runs() -> None:
    manifest = Manifest(1, "OPX", "T", "T-F1", "flight", 1, 0, 1, Oooi(),
                        [PartStream("e", "s", 0, 10)], [], [], [1], b"", [], [])  # fmt: skip
    holding = Holding(
        RangeSet([(8, 10)]), [(0, 6, "outbox full")], kept={0: 2, 1: 2, 2: 4, 7: 2, 8: 2, 99: 2}
    )
    found = compare(manifest, {("e", "s"): holding})
    assert [(gap.low, gap.high, gap.cause) for gap in found.gaps] == [
        (0, 2, "thinned: 1 of 2 readings kept"),
        (2, 3, "thinned: 1 of 4 readings kept"),
        (3, 6, "dropped: outbox full"),
        (6, 7, "not received"),
        (7, 8, "thinned: 1 of 2 readings kept"),
    ]
    assert (found.records, found.records_missing) == (2, 1)


def test_what_an_aircraft_thinned_after_a_lost_ack_is_in_the_lake_once(
    store: Store, tmp_path: Path
) -> None:
    """A real outbox: some originals arrive and their acks do not, then it thins and resends."""
    tail, dice = Tail(), random.Random(5)
    outbox = Outbox.open(
        tmp_path / "outbox.db", operator=OPERATOR, tail=TAIL, clock=ManualClock(),
        random=lambda n: b"e" * n, bytes_max=64 << 20,
    )  # fmt: skip
    for number in range(24):
        made = make_block("air", 400 * number, 400)
        outbox.append(
            "block", encode_block(made), stream="block-air", schema="block/1", flight=FLIGHT,
            t_event_ns=int(made.t_ns[0]), t_quality=2,
        )  # fmt: skip

    def messages_of() -> list[Message]:
        waiting = [
            h for cls in ("block", "drop") for h in outbox.pending(cls, [outbox.epoch], {}, 99)
        ]
        return [(subject(OPERATOR, TAIL, h.cls), outbox.read(h) or b"") for h in waiting]

    store.put(tail, tail.signal_set())
    store.put(tail, *dice.sample(messages_of(), 8))
    for _ in range(2):
        with outbox.transaction():
            assert outbox._books.thin(8) == 8
        store.put(tail, *dice.sample(messages_of(), 6))
    with outbox.transaction():
        assert outbox._books.thin(8) == 8
    rest = messages_of()
    dice.shuffle(rest)
    store.put(tail, *rest)
    counters: list[int] = []
    with store.read_engine.begin() as db:
        b, r = schema.blocks, schema.records
        on = [b.c[name] == r.c[name] for name in ("tail", "epoch", "stream", "seq")]
        rows = db.execute(select(r.c.segment, r.c.offset, r.c.length).join(b, and_(*on))).all()
    for row in rows:
        sealed = store.reader.read(Place(*row))
        counters += decode_block(open_envelope(sealed).payload).counter.tolist()
    assert len(counters) == len(set(counters)), "no reading twice"
    assert {counter // 400 for counter in counters} == set(range(24)), "something of every block"
    outbox.close()


def test_a_closure_reads_only_what_was_thinned_of_its_own_period(store: Store, tail: Tail) -> None:
    """An epoch may have thinned for months: a second a closure, at 300,000 records."""
    store.put(tail, tail.signal_set(), *list(messages(tail).values())[1:])
    with store.read_engine.begin() as db:
        assert kept_of(db, TAIL, EPOCH, ORIGINAL[0], 0, 1) == {0: 2}
        assert kept_of(db, TAIL, EPOCH, ORIGINAL[0], 1, 9) == {}
