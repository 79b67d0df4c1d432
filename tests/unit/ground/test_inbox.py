import asyncio

import pytest

from ground.ingest import inbox
from ground.ingest.hellos import BURST, WAITING_MAX, Hellos
from ground.ingest.inbox import Inbox
from ground.ingest.intake import Greeting
from shared.messages import Hello


def subject(tail: str) -> str:
    return f"aero.v1.OPX.{tail}.block"


def test_messages_leave_in_the_order_they_came() -> None:
    box = Inbox()
    for i in range(3):
        assert box.put(subject("A"), b"%d" % i)
    assert [box.take(), box.take(), box.take(), box.take()] == [
        (subject("A"), b"0"), (subject("A"), b"1"), (subject("A"), b"2"), None
    ]  # fmt: skip


def test_one_tail_fills_half_and_the_others_still_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "BYTES_MAX", 40_000)
    box = Inbox()
    taken = sum(box.put(subject("A"), b"x" * 800) for _ in range(100))
    assert taken == 20
    assert box.put(subject("B"), b"x" * 800)
    assert not box.put(subject("B"), b"x" * 40_000)
    while box.take():
        pass
    assert box.put(subject("A"), b"x" * 800)


def test_small_messages_are_bounded_by_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "RECORDS_MAX", 10)
    box = Inbox()
    assert sum(box.put(subject("A"), b"") for _ in range(20)) == 5
    assert sum(box.put(subject("B"), b"") for _ in range(20)) == 5
    assert not box.put(subject("C"), b"")


def test_waiting_ends_when_something_arrives_or_time_is_up() -> None:
    async def go() -> None:
        box = Inbox()
        assert not await box.wait_arrival(0.01)
        waiting = asyncio.create_task(box.wait_arrival(5))
        await asyncio.sleep(0)
        box.put(subject("A"), b"x")
        assert await waiting

    asyncio.run(go())


def greeting(tail: str, epoch: str, nonce: bytes = b"n") -> Greeting:
    return Greeting(tail, Hello(1, nonce, 1, epoch, {}))


def test_a_round_of_hellos_is_answered_at_once_in_its_order() -> None:
    hellos = Hellos()
    for epoch in ("old", "older", "living"):
        hellos.add(greeting("A", epoch))
    assert [one.hello.epoch for one in hellos.due(0)] == ["old", "older", "living"]
    assert hellos.due(10**9) == []


def test_a_flood_of_hellos_gets_one_answer_a_second_and_delays_nobody() -> None:
    hellos = Hellos()
    answered = 0
    for i in range(1000):
        hellos.add(greeting("A", f"e{i % 40}", b"%d" % i))
        answered += len(hellos.due(i * 10_000_000))
    assert answered <= BURST + 10
    hellos.add(greeting("B", "e"))
    assert "B" in [one.tail for one in hellos.due(10**10)]


def test_epochs_that_wait_are_bounded() -> None:
    hellos = Hellos()
    assert sum(hellos.add(greeting("A", f"e{i}")) for i in range(100)) == WAITING_MAX
    assert hellos.add(greeting("A", "e0", b"newer"))
