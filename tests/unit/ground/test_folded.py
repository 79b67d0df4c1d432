"""Folded drop records: whatever came before, between or never, they cover and close the same."""

import random
from pathlib import Path

import pytest

from edge.outbox import rows
from edge.outbox.store import Outbox
from ground.ingest import ledger as ledger_module
from ground.ingest.closure import Holding, compare
from shared.clock import ManualClock
from shared.messages import Closure, Drop, Manifest, Oooi, PartStream, encode
from shared.sync.ranges import RangeSet
from shared.topics import subject
from tests.unit.ground.stores import SETTLE_S, Store
from tests.unit.ground.synthetic import FLIGHT, OPERATOR, TAIL, Tail

Message = tuple[str, bytes]
Gaps = list[tuple[str, int, int, str]]
DROPPED = 240
DAMAGED_EVERY = 40


class Flown:
    """All but the last record of two streams went, two at a time; then its drop records were
    folded twice, with others made between."""

    def __init__(self, folder: Path) -> None:
        self.outbox = Outbox.open(
            folder / "outbox.db", operator=OPERATOR, tail=TAIL, clock=ManualClock(),
            random=lambda n: b"e" * n, bytes_max=1 << 20,
        )  # fmt: skip
        with self.outbox.transaction():
            for number in range(DROPPED + 2):
                self.outbox.append(
                    "kpi", b"x", stream=f"kpi-{number % 2}", schema="t/1", flight=FLIGHT,
                    t_event_ns=1, t_quality=2,
                )  # fmt: skip
        self._evict(range(DROPPED // 4))
        self.originals = self.waiting("drop")
        self._fold()
        self.once = self.waiting("drop")
        self._evict(range(DROPPED // 4, DROPPED // 2))
        self.originals += [one for one in self.waiting("drop") if one not in self.once]
        self._fold()
        self.folded = self.waiting("drop")
        self.rest = self.waiting("kpi")
        self.parts = [PartStream(self.outbox.epoch, name, 0, made)
                      for name, made in self.outbox.next_seqs().items()]  # fmt: skip
        self.outbox.close()

    def _evict(self, numbers: range) -> None:
        books = self.outbox._books
        with self.outbox.transaction():
            for number in numbers:
                stream = books.streams.all[self.outbox.epoch, f"kpi-{number % 2}"]
                oldest = rows.pending(self.outbox._db, stream, 0, 2)
                is_damaged = number % DAMAGED_EVERY < 2
                books._evict(oldest, "damaged on disk" if is_damaged else "outbox full")

    def _fold(self) -> None:
        with self.outbox.transaction():
            assert self.outbox._books.fold(0)

    def waiting(self, cls: str) -> list[Message]:
        held = self.outbox.pending(cls, [self.outbox.epoch], {}, 1000)
        return [(subject(OPERATOR, TAIL, h.cls), self.outbox.read(h) or b"") for h in held]


@pytest.fixture
def flown(tmp_path: Path) -> Flown:
    return Flown(tmp_path)


def closed(store: Store, tail: Tail, flown: Flown, messages: list[Message]) -> Closure:
    """In batches, with a look at the period after each and restarts between."""
    store.put(tail, tail.manifest(parts=flown.parts))
    closure = store.close_due(SETTLE_S)[-1]
    for low in range(0, len(messages), 23):
        store.put(tail, *messages[low : low + 23])
        closure = [closure, *store.close_due(SETTLE_S)][-1]
        if low % 3 == 0:
            store.reopen()
    return closure


def causes(closure: Closure, *names: str) -> Gaps:
    return [(g.name, g.low, g.high, g.cause) for g in closure.gaps if not names or g.name in names]


def test_folded_alone_they_name_everything(store: Store, tail: Tail, flown: Flown) -> None:
    closure = closed(store, tail, flown, flown.folded + flown.rest)
    assert (closure.state, closure.records_missing) == ("gaps", 0)
    assert {cause for *_, cause in causes(closure)} == {
        "dropped: outbox full", "dropped: damaged on disk", "dropped: folded",
    }  # fmt: skip
    for name in ("kpi-0", "kpi-1"):
        runs = RangeSet((low, high) for _, low, high, _ in causes(closure, name))
        assert list(runs) == [(0, DROPPED // 2)]
        assert len(causes(closure, name)) == 6, "one a run of one reason"
        received = store.ledger.receivers[TAIL, flown.parts[0].epoch].received[name]
        assert list(received) == [(0, DROPPED // 2 + 1)]
    assert len(flown.folded) < len(flown.originals) / 4


@pytest.mark.parametrize("seed", range(3))
def test_whatever_came_of_the_originals_and_when_the_closure_is_the_same(
    tmp_path: Path, flown: Flown, seed: int
) -> None:
    """Some of them were sent and their acks lost; links reorder and repeat."""
    dice = random.Random(seed)
    sent = dice.sample(flown.originals, dice.choice((0, 7, 60, len(flown.originals))))
    sent += dice.sample(flown.once, dice.randrange(len(flown.once)))
    messages = [*sent, *flown.folded, *flown.rest, *dice.sample(sent, len(sent) // 3)]
    found: list[Closure] = []
    for order in range(3):
        store = Store(tmp_path / f"ground-{order}")
        dice.shuffle(messages)
        found.append(closed(store, Tail(), flown, messages))
        store.close()
    first = found[0]
    for closure in found[1:]:
        assert causes(closure) == causes(first)
        assert (closure.records, closure.records_missing) == (first.records, 0)
    alone = Store(tmp_path / "alone")
    reference = closed(alone, Tail(), flown, flown.folded + flown.rest)
    alone.close()
    assert causes(first, "kpi-0", "kpi-1") == causes(reference, "kpi-0", "kpi-1")
    assert {cause for *_, cause in causes(first, "drop")} <= {"dropped: folded"}


def test_where_reasons_differ_the_one_that_knows_more_is_told() -> None:
    """Ranges of several reasons were joined; one of the originals is here too."""
    manifest = Manifest(1, "OPX", "T", "T-F1", "flight", 1, 0, 1, Oooi(),
                        [PartStream("e", "s", 0, 100)], [], [], [1], b"", [], [])  # fmt: skip
    dropped = [(0, 100, "several reasons"), (8, 16, "thinned to 1 of 2 readings"),
               (16, 24, "thinned to 1 of 2 readings"), (90, 95, "outbox full")]  # fmt: skip
    expected = [
        (0, 8, "dropped: several reasons"),
        (8, 24, "dropped: thinned to 1 of 2 readings"),
        (24, 90, "dropped: several reasons"),
        (90, 95, "dropped: outbox full"),
        (95, 100, "dropped: several reasons"),
    ]
    for order in (dropped, dropped[::-1]):
        found = compare(manifest, {("e", "s"): Holding(RangeSet(), order)})
        assert [(gap.low, gap.high, gap.cause) for gap in found.gaps] == expected


def test_a_stream_at_its_bound_of_gaps_takes_a_drop_that_closes_some(
    store: Store, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "GAPS_MAX", 3)
    made = [tail.record("kpi", b"x", seq=seq) for seq in (1, 3, 5)]
    drops = [tail.record("drop", encode(Drop(1, "kpi", low, high, [], "outbox full")))
             for low, high in ((8, 9), (2, 5))]  # fmt: skip
    store.put(tail, *made)
    store.put(tail, *drops)
    received = store.ledger.receivers[tail.tail, tail.epoch].received["kpi"]
    assert list(received) == [(1, 6)]
