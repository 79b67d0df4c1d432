"""How records get into the outbox, and what happens when it refuses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.logbook import UNSTORED_MAX, Logbook, Now
from edge.outbox.store import Outbox
from shared.clock import ManualClock
from shared.errors import Unreachable


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(
        tmp_path / "outbox.db", operator="OPX", tail="T-1", clock=ManualClock(),
        random=lambda n: hashlib.sha256(b"seed").digest()[:n], bytes_max=8 << 20,
    ) as one:  # fmt: skip
        yield one


def logbook(outbox: Outbox) -> Logbook:
    def die(error: Exception) -> None:
        raise AssertionError(error)

    return Logbook(outbox, lambda: Now("p1", 5, "cruise"), die)


def test_alerts_and_what_is_kept_with_them_are_one_commit(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = []
    whole = outbox.transaction

    @contextmanager
    def counted() -> Iterator[None]:
        commits.append(outbox._depth)
        with whole():
            yield

    monkeypatch.setattr(outbox, "transaction", counted)
    refs = logbook(outbox).emit_all("alert", [b"a", b"b"], "alert/1", "alerts", b"state")
    assert [ref.seq for ref in refs if ref] == [0, 1] and outbox.get("alerts") == b"state"
    assert commits.count(0) == 1


def test_what_a_full_disk_refuses_together_is_kept_one_by_one(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = logbook(outbox)

    @contextmanager
    def full() -> Iterator[None]:
        raise Unreachable("disk full", "test")
        yield

    with monkeypatch.context() as broken:
        broken.setattr(outbox, "transaction", full)
        assert book.emit_all("alert", [b"a", b"b"], "alert/1", "k", b"v") == [None, None]
    book.retry()
    assert outbox.next_seqs() == {"alert": 2}


def test_while_the_disk_takes_nothing_alerts_are_the_last_to_be_forgotten(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = logbook(outbox)

    @contextmanager
    def full() -> Iterator[None]:
        raise Unreachable("disk full", "test")
        yield

    with monkeypatch.context() as broken:
        broken.setattr(outbox, "transaction", full)
        book.emit("alert", b"engine fire", "alert/1")
        for number in range(UNSTORED_MAX + 5):
            book.emit("kpi", number.to_bytes(2), "kpi/1")
    book.retry()
    assert outbox.next_seqs() == {"alert": 1, "kpi": UNSTORED_MAX - 1}
