"""The aircraft half: order, window, pace, resends, and what it makes of acks."""

from __future__ import annotations

import msgspec
import pytest

from shared.errors import Rejected
from shared.messages import Ack, Coverage, Hello, decode
from shared.sync.receiver import Receiver
from shared.sync.sender import (
    HELLO_RETRY_NS,
    RESEND_NS,
    WINDOW_BYTES_MIN,
    AckOutcome,
    Limits,
    Outgoing,
    Sender,
)
from shared.topics import CLASSES
from tests.fakes.store import MemoryStore

NONCE = b"0123456789abcdef"
FAST = Limits(1e9)
S = 1_000_000_000


def connected(store: MemoryStore, limits: Limits = FAST) -> Sender:
    """A sender whose hello is answered."""
    sender = Sender(store, "n1")
    sender.on_connect(NONCE, limits, 0)
    assert [out.leaf for out in drain(sender, 0)] == ["hello"]
    assert sender.on_ack(ack(store, nonce=NONCE), 0) is AckOutcome.ACCEPTED
    return sender


def ack(store: MemoryStore, received: dict[str, int] | None = None, **other: object) -> Ack:
    fields = {"tail": "n1", "epoch": store.epoch, "ledger": "l", "nonce": NONCE} | other
    told = {stream: Coverage(up_to) for stream, up_to in (received or {}).items()}
    return Ack(v=1, received=told, safe={}, t_ground_ns=0, **fields)  # type: ignore[arg-type]


def drain(sender: Sender, now_ns: int) -> list[Outgoing]:
    found = []
    while (out := sender.take(now_ns)) is not None:
        found.append(out)
    return found


def seqs(found: list[Outgoing]) -> list[tuple[str, int]]:
    return [(out.held.stream, out.held.seq) for out in found if out.held]


def test_nothing_but_hellos_goes_before_the_answer_and_they_repeat() -> None:
    store = MemoryStore()
    store.append("alert", b"x")
    sender = Sender(store, "n1")
    assert sender.take(0) is None
    sender.on_connect(NONCE, FAST, 0)
    first = drain(sender, 0)
    hello = decode(Hello, first[0].data, "hello")
    assert (hello.nonce, hello.epoch, hello.streams["alert"].next_seq) == (NONCE, "e0", 1)
    assert drain(sender, HELLO_RETRY_NS - 1) == []
    assert drain(sender, HELLO_RETRY_NS) == first
    assert sender.on_ack(ack(store, nonce=b""), 0) is AckOutcome.STALE_NONCE
    assert drain(sender, 1) == []
    assert sender.on_ack(ack(store, nonce=NONCE), 0) is AckOutcome.ACCEPTED
    assert seqs(drain(sender, 1)) == [("alert", 0)]


def test_classes_go_in_order_and_a_late_alert_overtakes() -> None:
    store = MemoryStore()
    for cls in reversed(CLASSES):
        store.append(cls, b"x")
    sender = connected(store)
    assert seqs([sender.take(0) for _ in range(2)]) == [("alert", 0), ("manifest", 0)]  # type: ignore[misc]
    store.append("alert", b"late")
    assert [stream for stream, _ in seqs(drain(sender, 0))] == ["alert", *CLASSES[2:]]


def test_a_link_carries_only_its_classes() -> None:
    store = MemoryStore()
    store.append("block", b"x")
    store.append("kpi", b"x")
    sender = connected(store, Limits(1e9, classes=("alert", "kpi")))
    assert seqs(drain(sender, 0)) == [("kpi", 0)]


def test_the_window_bounds_what_is_in_flight_and_alerts_have_their_own() -> None:
    store = MemoryStore()
    for _ in range(10):
        store.append("block", bytes(5000))
    sender = connected(store, Limits(8000.0))
    sent = []
    for now_ns in range(0, 5 * S, S // 10):
        sent += drain(sender, now_ns)
    assert seqs(sent) == [("block", 0), ("block", 1), ("block", 2)]
    assert 15_000 < sender.in_flight_bytes <= WINDOW_BYTES_MIN
    for _ in range(10):
        store.append("alert", bytes(3000))
    assert len(drain(sender, 5 * S)) == 5
    sender.on_ack(ack(store, {"alert": 5, "block": 1}), 5 * S)
    assert [stream for stream, _ in seqs(drain(sender, 9 * S))] == ["alert"] * 5


def test_a_record_over_the_window_waits_for_a_bigger_link_and_its_stream_with_it() -> None:
    store = MemoryStore()
    for size in (100, 20_000, 100):
        store.append("block", bytes(size), "block-air")
        store.append("block", bytes(100), "block-eng")
    sender = connected(store, Limits(1000.0))
    found = seqs(drain(sender, S))
    assert found == [("block-air", 0), ("block-eng", 0), ("block-eng", 1), ("block-eng", 2)]
    assert sender.too_big == 1
    store.append("block", bytes(100), "block-air")
    assert drain(sender, 2 * S) == []
    assert seqs(drain(sender, RESEND_NS + S))[0] == ("block-air", 0)
    assert len(drain(connected(store), 0)) == 7


def test_records_over_the_window_do_not_put_acks_out_of_reach() -> None:
    """Every second one too big would make more ranges than an ack can name."""
    store = MemoryStore()
    for number in range(400):
        store.append("block", bytes(17_500 if number % 2 else 900), "block-ine")
        store.append("block", bytes(900), "block-air")
    sender, receiver = Sender(store, "n1"), Receiver("n1", "e0")
    sender.on_connect(NONCE, Limits(4000.0), 0)
    for now_ns in range(0, 300 * S, S // 10):
        for out in drain(sender, now_ns):
            if out.held is not None:
                receiver.commit([(out.held.stream, out.held.seq)])
        sender.on_ack(receiver.ack(NONCE, "l", 0), now_ns)
    assert receiver.received["block-air"].up_to() == 400
    assert store.received["e0", "block-air"].up_to() == 400


def test_the_pace_is_the_cap_over_time() -> None:
    store = MemoryStore()
    for _ in range(300):
        store.append("kpi", bytes(900))
    sender = connected(store, Limits(10_000.0, framing_bytes=60))
    start, now_ns, sent = sender.bytes_sent, 0, 0
    while now_ns < 20 * S:
        for out in drain(sender, now_ns):
            sent += 1
            assert out.held is not None
            sender.on_ack(ack(store, {"kpi": out.held.seq + 1}), now_ns)
        now_ns += max(1, sender.wait_ns(now_ns))
    assert 0.95 * 200_000 < sender.bytes_sent - start < 200_000 + 2 * 2500
    assert sent < 220


def test_an_alert_does_not_wait_for_the_pace() -> None:
    store = MemoryStore()
    for _ in range(5):
        store.append("kpi", bytes(2000))
    sender = connected(store, Limits(1000.0))
    drain(sender, 0)
    store.append("alert", bytes(1000))
    assert seqs(drain(sender, 1)) == [("alert", 0)]


def test_what_is_not_acknowledged_is_sent_again_and_what_is_never() -> None:
    store = MemoryStore()
    for _ in range(4):
        store.append("kpi", b"x")
    sender = connected(store)
    assert len(drain(sender, 0)) == 4
    told = Ack(1, "n1", "e0", "l", NONCE, {"kpi": Coverage(1, [(2, 3)])}, {}, 0)
    sender.on_ack(told, S)
    assert drain(sender, RESEND_NS - 1) == []
    assert sender.wait_ns(RESEND_NS - 1) == 1
    assert seqs(drain(sender, RESEND_NS)) == [("kpi", 1), ("kpi", 3)]
    sender.on_connect(b"another nonce 16", FAST, 30 * S)
    drain(sender, 30 * S)
    sender.on_ack(ack(store, {"kpi": 3}, nonce=b"another nonce 16"), 30 * S)
    assert seqs(drain(sender, 30 * S)) == [("kpi", 3)]


@pytest.mark.parametrize(
    ("wrong", "outcome"),
    [
        ({"tail": "n2"}, AckOutcome.WRONG_TAIL),
        ({"epoch": "e9"}, AckOutcome.WRONG_EPOCH),
        ({"nonce": b"of another hello"}, AckOutcome.STALE_NONCE),
        ({"nonce": b""}, AckOutcome.STALE_NONCE),
        ({"ledger": "another"}, AckOutcome.OTHER_LEDGER),
        ({"received": {"alert": 7}}, AckOutcome.GROUND_AHEAD),
        ({"received": {"unheard": 1}}, AckOutcome.GROUND_AHEAD),
    ],
)
def test_an_ack_that_does_not_fit_changes_nothing(
    wrong: dict[str, object], outcome: AckOutcome
) -> None:
    store = MemoryStore()
    store.append("alert", b"x")
    sender = connected(store)
    fields = {"received": {"alert": 1}} | wrong
    assert sender.on_ack(ack(store, **fields), 0) is outcome  # type: ignore[arg-type]
    assert store.received == {} or not any(store.received.values())
    assert sender.on_ack(ack(store, {"alert": 1}), 0) is AckOutcome.ACCEPTED


def test_an_ack_out_of_bounds_is_rejected_before_it_changes_anything() -> None:
    store = MemoryStore()
    store.append("alert", b"x")
    sender = connected(store)
    for bad in (
        Coverage(-1),
        Coverage(0, [(3, 1)]),
        Coverage(0, [(i * 2, i * 2 + 1) for i in range(65)]),
    ):
        for fields in (
            {"received": {"alert": bad}, "safe": {}},
            {"received": {}, "safe": {"alert": bad}},
        ):
            with pytest.raises(Rejected):
                sender.on_ack(Ack(1, "n1", "e0", "l", NONCE, t_ground_ns=0, **fields), 0)
    with pytest.raises(Rejected, match="version 2"):
        sender.on_ack(Ack(2, "n1", "e0", "l", NONCE, {}, {}, 0), 0)
    assert not any(store.received.values()) and not any(store.safe.values())


def test_older_epochs_greet_first_and_wait_for_their_own_answer() -> None:
    store = MemoryStore()
    store.append("kpi", b"old")
    store.new_epoch("e1")
    store.append("kpi", b"new")
    sender = Sender(store, "n1")
    sender.on_connect(NONCE, FAST, 0)
    assert [decode(Hello, out.data, "h").epoch for out in drain(sender, 0)] == ["e0", "e1"]
    sender.on_ack(ack(store, nonce=NONCE), 0)
    assert [out.held.epoch for out in drain(sender, 0) if out.held] == ["e1"]
    again = [decode(Hello, out.data, "h").epoch for out in drain(sender, HELLO_RETRY_NS)]
    assert again == ["e0", "e1"]
    sender.on_ack(ack(store, nonce=NONCE, epoch="e0"), HELLO_RETRY_NS)
    assert [out.held.epoch for out in drain(sender, HELLO_RETRY_NS) if out.held] == ["e0"]


def test_silence_counts_only_while_the_ground_owes_an_ack() -> None:
    store = MemoryStore()
    sender = connected(store)
    assert sender.silent_ns(100 * S) == 0
    store.append("alert", b"x")
    drain(sender, 100 * S)
    assert sender.silent_ns(103 * S) == 3 * S
    sender.on_ack(ack(store, {"alert": 1}), 103 * S)
    assert sender.silent_ns(200 * S) == 0
    sender.on_connect(NONCE, FAST, 200 * S)
    assert sender.silent_ns(207 * S) == 7 * S


@pytest.mark.parametrize("count", [1, 40])
def test_silence_is_noticed_however_often_the_same_records_are_sent_again(count: int) -> None:
    store = MemoryStore()
    for _ in range(count):
        store.append("kpi", b"x")
    sender = connected(store)
    for now_ns in range(0, 40 * S, S // 10):
        drain(sender, now_ns)
    assert sender.silent_ns(40 * S) == 40 * S


def test_nothing_is_owed_for_records_that_are_gone_from_the_store() -> None:
    store = MemoryStore()
    store.append("kpi", b"x")
    sender = connected(store)
    drain(sender, 0)
    store.records.clear()
    drain(sender, RESEND_NS)
    assert sender.silent_ns(60 * S) == 0


def test_an_ack_is_cut_to_what_was_made_and_safe_to_received() -> None:
    store = MemoryStore()
    for _ in range(3):
        store.append("kpi", b"x")
    sender = connected(store)
    told = Ack(1, "n1", "e0", "l", NONCE, {"kpi": Coverage(1)}, {"kpi": Coverage(3)}, 0)
    assert sender.on_ack(told, 0) is AckOutcome.ACCEPTED
    assert store.safe["e0", "kpi"].end == 1
    beyond = Ack(1, "n1", "e0", "l", NONCE, {}, {"kpi": Coverage(1 << 40)}, 0)
    assert sender.on_ack(beyond, 0) is AckOutcome.GROUND_AHEAD
    store.new_epoch("e1")
    store.diverged.clear()  # as when the first epoch ended for another reason
    sender.on_connect(NONCE, FAST, 0)
    drain(sender, 0)
    old = Ack(1, "n1", "e0", "l", NONCE, {"kpi": Coverage(9)}, {"kpi": Coverage(9)}, 0)
    assert sender.on_ack(old, 0) is AckOutcome.ACCEPTED
    assert (store.received["e0", "kpi"].end, store.safe["e0", "kpi"].end) == (3, 3)


def test_an_ack_that_a_newer_one_overtook_says_nothing() -> None:
    store = MemoryStore()
    for _ in range(3):
        store.append("kpi", b"x")
    sender = connected(store)
    newer = Ack(1, "n1", "e0", "l", NONCE, {"kpi": Coverage(1)}, {}, 2000)
    older = Ack(1, "n1", "e0", "l", NONCE, {"kpi": Coverage(3)}, {}, 1000)
    assert sender.on_ack(newer, 0) is AckOutcome.ACCEPTED
    assert sender.on_ack(older, 0) is AckOutcome.OUT_OF_ORDER
    assert store.received["e0", "kpi"].end == 1


@pytest.mark.parametrize(
    ("now", "outcome"),
    [
        (Coverage(1), AckOutcome.OTHER_LEDGER),  # the hole of 1 is lost again
        (Coverage(0, [(1, 3)]), AckOutcome.OTHER_LEDGER),
        (Coverage(3), AckOutcome.ACCEPTED),
    ],
)
def test_a_ground_that_restored_an_older_ledger_is_asked_anew(
    now: Coverage, outcome: AckOutcome
) -> None:
    store = MemoryStore()
    for _ in range(4):
        store.append("kpi", b"x")
    sender = connected(store)
    had = Ack(1, "n1", "e0", "l", NONCE, {"kpi": Coverage(1, [(2, 3)])}, {}, 1000)
    assert sender.on_ack(had, 0) is AckOutcome.ACCEPTED
    assert sender.on_ack(msgspec.structs.replace(had, received={"kpi": now}, t_ground_ns=2000),
                         0) is outcome  # fmt: skip
