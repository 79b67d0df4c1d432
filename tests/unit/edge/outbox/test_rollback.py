"""A transaction that is refused leaves the books as they were, without reading the store again."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from edge.outbox import books
from edge.outbox.store import Outbox
from edge.outbox.streams import Stream, Streams
from shared.errors import Unreachable
from shared.messages import Ack, Coverage
from tests.unit.edge.outbox.blocks import block, put_block
from tests.unit.edge.outbox.conftest import Open

SIZE = 1 << 20


class Refused(Exception):
    pass


def put(outbox: Outbox, cls: str, size: int = 300, stream: str | None = None) -> None:
    outbox.append(cls, b"x" * size, stream=stream, schema="t/1", flight="f", t_event_ns=1,
                  t_quality=1)  # fmt: skip


def state(streams: Streams) -> tuple[list[str], set[str], dict[tuple[str, str], Stream]]:
    return streams.epochs, streams.diverged, streams.all


def acknowledge(outbox: Outbox, dice: random.Random) -> None:
    told = {name: Coverage(dice.randrange(n + 1)) for name, n in outbox.next_seqs().items()
            if name != "drop"}  # fmt: skip
    safe = told if dice.random() < 0.5 else {}
    outbox.apply_ack(
        Ack(1, "n1", outbox.epoch, "l", b"", told, safe, 1), answer=dice.random() < 0.3
    )


def act(outbox: Outbox, dice: random.Random) -> None:
    """Anything that changes the books."""
    what = dice.randrange(9)
    if what < 3:
        cls = dice.choice(["alert", "kpi"])
        put(outbox, cls, dice.randrange(1, 9000), f"{cls}-{dice.randrange(3)}")
    elif what == 3:
        put_block(outbox, block("air", 20, dice.randrange(9)))
    elif what == 4:
        acknowledge(outbox, dice)
    elif what == 5:
        outbox.put("key", dice.randbytes(9))
        outbox.audit("test", "done", flight="", t_event_ns=1, t_quality=1)
    elif what == 6:
        outbox.journal("air", b"readings", 3)
    elif what == 7:
        outbox._books.evict(20_000)
        outbox._books.fold(0)
        outbox._books.thin(2)
    elif dice.random() < 0.1:
        outbox.new_epoch()


@pytest.mark.parametrize("seed", range(6))
def test_after_a_refused_transaction_the_books_say_what_the_disk_says(
    open_outbox: Open, seed: int
) -> None:
    outbox, dice = open_outbox(SIZE), random.Random(seed)
    outbox._db.execute("PRAGMA synchronous = off")
    for number in range(120):
        refused = number % 3 == 0
        before = outbox.get("key"), outbox.get("audit.previous"), outbox.journal_entries()
        with suppress(Refused, Unreachable), outbox.transaction():
            for _ in range(dice.randrange(1, 6)):
                act(outbox, dice)
            if refused:
                raise Refused
        if refused:
            assert (
                outbox.get("key"), outbox.get("audit.previous"), outbox.journal_entries()
            ) == before  # fmt: skip
        read = Streams(outbox._db, outbox._sealing.has)
        assert state(outbox._streams) == state(read)
        books_, fresh = outbox._books, books.Books(
            outbox._db, "op", "n1", outbox._sealing, lambda n: bytes(n)
        )  # fmt: skip
        assert books_.drop_bytes() == fresh.drop_bytes() and books_._born >= fresh._born
    assert outbox.stats().evicted_unsafe > 0


def test_a_refused_transaction_does_not_read_the_store_again(
    open_outbox: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk refuses each one, and 240,000 records take 0.3 s to read, on the event loop."""
    outbox = open_outbox(SIZE)
    with outbox.transaction():
        for _ in range(50):
            put(outbox, "kpi")
    monkeypatch.setattr(books.Books, "load", lambda _: pytest.fail("read again"))
    for _ in range(3):
        with suppress(Refused), outbox.transaction():
            put(outbox, "kpi")
            put(outbox, "alert", stream="another")
            raise Refused
    assert outbox.next_seqs() == {"kpi": 50}
    put(outbox, "alert", stream="another")
    assert outbox.next_seqs() == {"kpi": 50, "another": 1}


def test_where_the_disk_says_otherwise_it_is_read_again(open_outbox: Open) -> None:
    """A commit that was reported as failed but is there."""
    outbox = open_outbox(SIZE)
    put(outbox, "kpi")
    with suppress(Refused), outbox.transaction():
        put(outbox, "kpi")
        outbox._db.execute("COMMIT")
        raise Refused
    assert outbox.next_seqs() == {"kpi": 2}
    put(outbox, "kpi")
    assert [held.seq for held in outbox.records()] == [0, 1, 2]
