"""The ground half: verdicts, acks and their pace."""

from __future__ import annotations

import pytest

from shared.errors import Rejected
from shared.messages import Coverage, Hello, StreamPosition
from shared.sync import receiver as module
from shared.sync.ranges import RangeSet
from shared.sync.receiver import DUPLICATE, FORK, NEW, Receiver

HELD = {("alert", 0): b"a", ("alert", 1): b"b"}


def make() -> Receiver:
    receiver = Receiver("n1", "e1")
    receiver.commit([("alert", 0), ("alert", 1)])
    return receiver


def lookup(stream: str, seq: int) -> bytes | None:
    return HELD.get((stream, seq))


def test_a_record_is_new_until_committed_then_a_duplicate_or_a_fork() -> None:
    receiver = make()
    assert receiver.classify("alert", 2, b"c", lookup) is NEW
    assert receiver.classify("alert", 1, b"b", lookup) is DUPLICATE
    assert receiver.classify("alert", 1, b"other", lookup) is FORK
    assert receiver.classify("state", 0, b"x", lookup) is NEW


def test_a_record_given_up_by_a_drop_is_new_when_it_comes_after_all() -> None:
    receiver = make()
    receiver.cover("block-air", 0, 10)
    assert receiver.ack(b"", "l", 0).received["block-air"] == Coverage(10, [])
    assert receiver.classify("block-air", 3, b"x", lookup) is NEW


def test_safe_never_exceeds_received() -> None:
    receiver = make()
    receiver.mark_safe("alert", 0, 100)
    receiver.mark_safe("kpi", 0, 100)
    ack = receiver.ack(b"n", "ledger", 7)
    assert ack.safe == {"alert": Coverage(2, [])}
    again = Receiver("n1", "e1", receiver.received, {"alert": RangeSet([(0, 9)])})
    assert again.safe["alert"] == RangeSet([(0, 2)])


def test_a_hello_tells_what_is_ahead_and_what_is_gone() -> None:
    receiver = make()
    streams = {"alert": StreamPosition(0, 1), "kpi": StreamPosition(4, 9)}
    outcome = receiver.on_hello(Hello(1, b"n", 1, "e1", streams))
    assert outcome.ahead == ("alert",)
    assert outcome.gone == (("kpi", 0, 4),)
    with pytest.raises(Rejected):
        receiver.on_hello(Hello(1, b"n", 1, "e2", {}))


def test_a_stream_the_hello_does_not_name_counts_as_ahead() -> None:
    assert make().on_hello(Hello(1, b"n", 1, "e1", {})).ahead == ("alert",)


def test_acks_are_paced_by_time_or_by_records() -> None:
    receiver = make()
    assert receiver.ack_due(0)
    receiver.acked(0)
    assert not receiver.ack_due(10**12)
    receiver.commit([("alert", 2)])
    assert not receiver.ack_due(249_999_999)
    assert receiver.ack_due(250_000_000)
    receiver.commit([("alert", seq) for seq in range(3, 258)])
    assert receiver.ack_due(1)


def test_a_resend_is_acked_again() -> None:
    receiver = make()
    receiver.acked(0)
    receiver.classify("alert", 1, b"b", lookup)
    assert receiver.ack_due(10**9)


def test_gaps_and_streams_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GAPS_MAX", 3)
    monkeypatch.setattr(module, "STREAMS_MAX", 2)
    receiver = Receiver("n1", "e1")
    receiver.commit([("alert", 0), ("alert", 2), ("alert", 4)])
    with pytest.raises(Rejected):
        receiver.classify("alert", 6, b"", lookup)
    assert receiver.classify("alert", 3, b"", lookup) is NEW
    receiver.commit([("kpi", 0)])
    with pytest.raises(Rejected):
        receiver.classify("state", 0, b"", lookup)


def test_a_coverage_out_of_order_is_refused() -> None:
    for bad in (
        Coverage(5, [(4, 6)]),
        Coverage(-1),
        Coverage(0, [(3, 3)]),
        Coverage(0, [(1, 2)] * 65),
    ):
        with pytest.raises(Rejected):
            RangeSet.from_coverage(bad)
