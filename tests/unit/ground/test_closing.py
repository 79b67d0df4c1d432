from ground.ingest.closure import CAUSES
from shared.errors import Rejected
from shared.identity import verify
from shared.messages import Closure, Drop, Outage, decode, encode
from tests.unit.ground.stores import SETTLE_S, Store
from tests.unit.ground.synthetic import FLIGHT, T0_NS, TAIL, Tail


def gaps(closure: Closure) -> list[tuple[str, int, int, str]]:
    return [(gap.name, gap.low, gap.high, gap.cause) for gap in closure.gaps]


def test_with_every_record_here_it_is_complete_at_once_and_signed(store: Store, tail: Tail) -> None:
    store.put(tail, tail.signal_set(), tail.block("engine", 0, 30), tail.manifest())
    closure = store.close_due()[0]
    assert (closure.state, closure.revision, closure.records) == ("complete", 1, 2)
    found = store.records.signed_closure(TAIL, FLIGHT)
    assert found is not None
    body = verify("closure", found[1], store.signer.public, "test")
    assert decode(Closure, body, "test") == closure
    try:
        verify("ack", found[1], store.signer.public, "test")
    except Rejected:
        return
    raise AssertionError("a closure passed as an ack")


def test_a_flight_without_a_manifest_stays_open(store: Store, tail: Tail) -> None:
    store.put(tail, tail.signal_set(), tail.block("engine", 0, 30))
    assert store.close_due(1000) == []
    row = store.records.flight(FLIGHT)
    assert row is not None and row.state == "open"


def test_late_records_revise_the_closure_once_each_time_they_settle(
    store: Store, tail: Tail
) -> None:
    blocks = [tail.block("engine", 30 * i, 30) for i in range(10)]
    store.put(tail, tail.signal_set(), *blocks[:4], tail.manifest())
    assert store.close_due() == []
    first = store.close_due(SETTLE_S)[0]
    assert (first.state, first.revision, first.records_missing) == ("gaps", 1, 6)
    assert gaps(first) == [("block-engine", 4, 10, "not received")]
    for block in blocks[4:7]:
        store.put(tail, block)
        assert store.close_due(0.1) == []
    second = store.close_due(SETTLE_S)[0]
    assert (second.revision, gaps(second)) == (2, [("block-engine", 7, 10, "not received")])
    store.put(tail, *blocks)
    third = store.close_due()[0]
    assert (third.revision, third.state, third.gaps) == (3, "complete", [])
    store.put(tail, *blocks)
    assert store.close_due(1000) == []


def test_a_restart_between_commit_and_closure_forgets_nothing(store: Store, tail: Tail) -> None:
    store.put(tail, tail.signal_set(), tail.manifest())
    store.reopen()
    assert [closure.state for closure in store.close_due()] == ["complete"]


def test_an_outage_keeps_a_period_from_complete_and_is_named(store: Store, tail: Tail) -> None:
    outage = Outage("engine", 1_000, 5_000, 7, "recorder_down")
    store.put(tail, tail.signal_set(), tail.manifest(outages=(outage,)))
    closure = store.close_due(SETTLE_S)[0]
    assert (closure.state, closure.records_missing) == ("gaps", 0)
    gap = closure.gaps[0]
    assert (gap.kind, gap.name, gap.start_ns, gap.end_ns, gap.missing, gap.cause) == (
        "outage", "engine", 1_000, 5_000, 7, "recorder_down"
    )  # fmt: skip


def test_dropped_records_are_gaps_by_name_but_not_missing(store: Store, tail: Tail) -> None:
    blocks = [tail.block("engine", 30 * i, 30) for i in range(5)]
    drop = Drop(1, "block-engine", 1, 3, [b"h" * 32] * 2, "disk full")
    manifest = tail.manifest()
    store.put(tail, tail.signal_set(), blocks[0], blocks[3], manifest)
    assert gaps(store.close_due(SETTLE_S)[0]) == [
        ("block-engine", 1, 3, "not received"), ("block-engine", 4, 5, "not received")
    ]  # fmt: skip
    store.put(tail, tail.record("drop", encode(drop), flight=""))
    closure = store.close_due(SETTLE_S)[0]
    assert closure.revision == 2 and closure.records_missing == 1
    assert gaps(closure) == [
        ("block-engine", 1, 3, "dropped: disk full"), ("block-engine", 4, 5, "not received")
    ]  # fmt: skip


def test_a_fork_is_missing_in_the_closure(store: Store, tail: Tail) -> None:
    store.put(tail, tail.signal_set(), tail.block("engine", 0, 30), tail.manifest())
    assert store.close_due()[0].state == "complete"
    store.put(tail, tail.block("engine", 60, 30, seq=0))
    closure = store.close_due(SETTLE_S)[0]
    assert (closure.revision, closure.records_missing) == (2, 1)
    assert gaps(closure) == [("block-engine", 0, 1, CAUSES["fork"])]


def test_a_block_without_its_set_is_unreadable_until_the_set_comes(
    store: Store, tail: Tail
) -> None:
    store.put(tail, tail.block("engine", 0, 30), tail.manifest())
    closure = store.close_due(SETTLE_S)[0]
    assert gaps(closure) == [("block-engine", 0, 1, CAUSES["no_set"])]
    store.put(tail, tail.signal_set())
    store.ledger.reindex()
    assert store.close_due()[0].state == "complete"


def test_a_corrupt_block_is_held_and_named(store: Store, tail: Tail) -> None:
    bad = tail.record("block", b"TTB1 not a block", stream="block-engine")
    result = store.put(tail, tail.signal_set(), bad, tail.manifest())
    assert [problem for _, problem in result.problems]
    closure = store.close_due(SETTLE_S)[0]
    assert gaps(closure) == [("block-engine", 0, 1, CAUSES["corrupt"])]


def test_the_manifest_that_closes_last_counts(store: Store, tail: Tail) -> None:
    early = tail.manifest()
    block = tail.block("engine", 0, 30)
    late = tail.manifest(closed_ns=T0_NS + 2 * 10**12)
    store.put(tail, tail.signal_set(), late, early)
    closure = store.close_due(SETTLE_S)[0]
    assert gaps(closure) == [("block-engine", 0, 1, "not received")]
    store.put(tail, block)
    assert store.close_due()[0].state == "complete"
