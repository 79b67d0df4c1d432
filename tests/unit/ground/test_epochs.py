"""Several lives of one outbox: what a drop record covers, and when a period is given up."""

import os
from pathlib import Path

from sqlalchemy import select

from edge.outbox.store import Outbox
from ground.ingest import schema
from ground.ingest.intake import Arrival, examine
from shared.envelope import open_envelope
from shared.messages import Coverage, Drop, Hello, PartStream, State, decode, encode
from shared.topics import subject
from tests.unit.ground.stores import SETTLE_S, Store
from tests.unit.ground.synthetic import FLIGHT, OPERATOR, T0_NS, TAIL, Tail

OLD, NEW = "aaaaaa", "bbbbbb"


def both(store: Store) -> tuple[Tail, Tail]:
    old = Tail(epoch=OLD)
    return old, Tail(epoch=NEW, signer=old.signer)


def greet(store: Store, *tails: Tail) -> None:
    for one in tails:
        store.ledger.greet(TAIL, decode(Hello, one.hello()[1], "hello"))


def received(store: Store, epoch: str) -> dict[str, Coverage]:
    return store.ledger.receiver(TAIL, epoch).ack(b"", "", 0).received


def test_a_drop_record_covers_the_epoch_it_names_and_no_other(store: Store) -> None:
    _, new = both(store)
    drop = Drop(1, "kpi", 0, 500, [b"h" * 32], "outbox full", OLD)
    store.put(new, new.record("kpi", b"x"), new.record("drop", encode(drop)))
    for _ in range(2):
        assert received(store, OLD) == {"kpi": Coverage(500, [])}
        assert received(store, NEW) == {"kpi": Coverage(1, []), "drop": Coverage(1, [])}
        store.reopen()


def test_an_outbox_that_evicts_an_older_epoch_forgets_no_record_of_the_newer(
    store: Store, tmp_path: Path
) -> None:
    outbox = Outbox.open(
        tmp_path / "outbox.db", operator=OPERATOR, tail=TAIL, clock=store.clock,
        random=os.urandom, bytes_max=2 << 20,
    )  # fmt: skip

    def fill(count: int) -> None:
        for _ in range(count):
            outbox.append("block", os.urandom(1000), schema="t/1", flight=FLIGHT,
                          t_event_ns=T0_NS, t_quality=1)  # fmt: skip

    fill(600)
    old = outbox.epoch
    outbox.new_epoch()
    fill(900)
    for _ in range(40):
        outbox.maintain()
    keys = {TAIL: b"k" * 32}
    sealed = [outbox.read(held) for held in outbox.pending("drop", [outbox.epoch], {}, 500)]
    drops = [decode(Drop, open_envelope(data).payload, "drop") for data in sealed if data]
    assert any(drop.epoch == old for drop in drops)
    arrivals = [
        examine(subject(OPERATOR, TAIL, "drop"), data, OPERATOR, keys) for data in sealed if data
    ]
    store.ledger.commit([one for one in arrivals if isinstance(one, Arrival)])
    receiver = store.ledger.receiver(TAIL, outbox.epoch)
    receiver.mark_all_safe()
    before = [held.seq for held in outbox.pending("block", [outbox.epoch], {}, 10_000)]
    outbox.apply_ack(receiver.ack(b"", "ledger", 1), answer=True)
    after = [held.seq for held in outbox.pending("block", [outbox.epoch], {}, 10_000)]
    assert after == before
    outbox.close()


def test_a_drop_revises_only_the_flight_it_touches(store: Store, tail: Tail) -> None:
    flights = [f"{TAIL}-e-F0000{i}" for i in (1, 2)]
    for flight in flights:
        first = tail.next_seq.get("block-air", 0)
        tail.block("air", 10 * first, 4, flight=flight)  # never sent
        part = PartStream(tail.epoch, "block-air", first, first + 1)
        store.put(tail, tail.manifest(flight, parts=[part]))
    assert len(store.close_due(SETTLE_S)) == 2
    drop = Drop(1, "block-air", 1, 2, [b"h" * 32], "disk")
    store.put(tail, tail.record("drop", encode(drop), flight=""))
    with store.read_engine.begin() as db:
        table = schema.flights
        dirty = list(db.scalars(select(table.c.flight).where(table.c.dirty)))
    assert dirty == [flights[1]]
    assert [closure.gaps[0].cause for closure in store.close_due()] == ["dropped: disk"]


def test_the_hello_of_an_older_epoch_does_not_abandon_the_live_flight(store: Store) -> None:
    old, new = both(store)
    flight = f"{TAIL}-{NEW}-F00002"
    greet(store, old, new)
    store.put(new, new.record("kpi", b"x", flight=flight))
    assert store.close_due(10) == []
    greet(store, old)  # the first of a round, and the link is cut behind it
    assert store.close_due(60) == []
    greet(store, old, new)
    assert store.close_due(60) == []
    row = store.records.flight(flight)
    assert row is not None and row.state == "open"


def test_a_flight_is_abandoned_only_once_nothing_more_comes_of_its_epoch(store: Store) -> None:
    old, new = both(store)
    greet(store, old)
    store.put(old, old.record("kpi", b"x"))
    greet(store, old, new)
    assert store.close_due(SETTLE_S / 2) == []
    store.put(old, old.record("kpi", b"y"))
    assert store.close_due(SETTLE_S * 0.9) == []
    assert [(c.state, c.records) for c in store.close_due(SETTLE_S)] == [("abandoned", 2)]
    assert store.close_due(60) == []


def test_an_abandoned_flight_that_goes_on_in_the_new_epoch_opens_again(store: Store) -> None:
    old, new = both(store)
    greet(store, old)
    store.put(old, old.signal_set())
    greet(store, new)
    assert [c.state for c in store.close_due(SETTLE_S)] == ["abandoned"]
    store.put(new, new.record("kpi", b"x"))
    assert [(c.state, c.revision) for c in store.close_due()] == [("open", 2)]
    store.put(old, old.record("kpi", b"late"))  # a backlog of the old epoch changes nothing
    assert store.close_due(60) == []
    store.put(new, new.manifest())
    assert [(c.state, c.revision) for c in store.close_due()] == [("complete", 3)]


def test_acks_of_an_epoch_carry_the_nonce_of_its_last_hello_over_a_restart(store: Store) -> None:
    old, new = both(store)
    store.ledger.greet(TAIL, decode(Hello, old.hello(b"first")[1], "hello"))
    store.ledger.greet(TAIL, decode(Hello, new.hello(b"second")[1], "hello"))
    store.ledger.greet(TAIL, decode(Hello, old.hello(b"third")[1], "hello"))
    store.reopen()
    assert store.ledger.nonces == {(TAIL, OLD): b"third", (TAIL, NEW): b"second"}


def state(phase: str) -> bytes:
    return encode(State(
        phase=phase, confidence="", gate_open=False, gate_reasons=[], link="", slot="", bundles=[],
        alerts=[], worker="", boot=1, outbox_records=0, outbox_bytes=0, oldest_unsafe_ns=None,
        esns=[],
    ))  # fmt: skip


def phase(store: Store) -> str:
    with store.read_engine.begin() as db:
        payload = db.scalar(select(schema.states.c.payload))
    assert payload is not None
    return decode(State, payload, "state").phase


def test_a_bus_time_far_in_the_future_does_not_freeze_the_twin(store: Store, tail: Tail) -> None:
    far_ns = T0_NS + 70 * 365 * 86_400 * 10**9
    first, second, third = (
        tail.record("state", state(name), t_ns=t_ns)
        for name, t_ns in (("climb", T0_NS), ("cruise", far_ns), ("parked", T0_NS + 1))
    )
    store.put(tail, first, second)
    store.put(tail, third)
    assert phase(store) == "parked"


def test_a_late_state_of_the_same_or_an_older_epoch_is_history(store: Store) -> None:
    old, new = both(store)
    greet(store, old, new)
    late = new.record("state", state("climb"))
    store.put(new, new.record("state", state("cruise")))
    store.put(new, late)
    store.put(old, old.record("state", state("taxi_out")))
    assert phase(store) == "cruise"
