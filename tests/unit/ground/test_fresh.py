"""Answers that many ask for: made once, never older than said, bounded."""

import asyncio
import re
import threading

import pytest
from starlette.types import Message, Receive, Scope, Send

from ground.api.fresh import ENTRIES_MAX, Fresh, Shortcut


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_an_answer_is_made_again_only_when_it_is_too_old() -> None:
    made: list[str] = []

    def make(key: str) -> bytes:
        made.append(key)
        return f"{key}{len(made)}".encode()

    async def go() -> None:
        clock = Clock()
        fresh = Fresh(make, 0.25, clock)
        assert [await fresh.get("a"), await fresh.get("a")] == [b"a1", b"a1"]
        clock.now_s = 0.25
        assert await fresh.get("a") == b"a1"
        clock.now_s = 0.26
        assert await fresh.get("a") == b"a2"
        assert await fresh.get("b") == b"b3"

    asyncio.run(go())


def test_a_crowd_costs_one_making() -> None:
    gate, made = threading.Event(), []

    def make(key: str) -> bytes:
        made.append(key)
        assert gate.wait(5)
        return b"x"

    async def go() -> None:
        fresh = Fresh(make, 1.0, Clock())
        crowd = [asyncio.create_task(fresh.get("a")) for _ in range(50)]
        await asyncio.sleep(0)
        crowd[0].cancel()
        gate.set()
        answers = await asyncio.gather(*crowd, return_exceptions=True)
        assert answers[1:] == [b"x"] * 49 and made == ["a"]

    asyncio.run(go())


def test_who_comes_late_into_a_slow_making_gets_what_was_so_when_he_came() -> None:
    gate, now, made = threading.Event(), ["old"], []

    def make(_key: str) -> bytes:
        found = now[0].encode()
        made.append(found)
        assert gate.wait(5)
        return found

    async def go() -> None:
        clock = Clock()
        fresh = Fresh(make, 0.25, clock)
        early = asyncio.create_task(fresh.get("a"))
        while not made:
            await asyncio.sleep(0.001)
        clock.now_s, now[0] = 0.2, "new"
        soon = asyncio.create_task(fresh.get("a"))
        await asyncio.sleep(0)
        clock.now_s = 2.0
        late = [asyncio.create_task(fresh.get("a")) for _ in range(9)]
        await asyncio.sleep(0)
        gate.set()
        assert await early == await soon == b"old"
        assert await asyncio.gather(*late) == [b"new"] * 9 and made == [b"old", b"new"]

    asyncio.run(go())


def test_an_error_is_told_to_all_and_kept_for_nobody() -> None:
    fail = [True]

    def make(_key: str) -> bytes:
        if fail[0]:
            raise KeyError("no twin")
        return b"ok"

    async def go() -> None:
        fresh = Fresh(make, 1.0, Clock())
        told = await asyncio.gather(fresh.get("a"), fresh.get("a"), return_exceptions=True)
        assert [type(x) for x in told] == [KeyError, KeyError]
        fail[0] = False
        assert await fresh.get("a") == b"ok"

    asyncio.run(go())


@pytest.mark.parametrize("count", [ENTRIES_MAX + 100])
def test_the_cache_is_bounded(count: int) -> None:
    async def go() -> int:
        fresh = Fresh(lambda key: key.encode(), 1e9, Clock())
        for k in range(count):
            await fresh.get(str(k))
        return len(fresh._ready)

    assert asyncio.run(go()) == ENTRIES_MAX


def test_the_shortcut_answers_only_what_is_ready() -> None:
    async def go() -> list[str]:
        clock, fresh_seen = Clock(), []
        fresh = Fresh(lambda key: key.encode(), 1.0, clock)

        async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
            fresh_seen.append(f"{scope['method']} {scope['path']}")

        answers: list[Message] = []

        async def send(message: Message) -> None:
            answers.append(message)

        async def receive() -> Message:
            raise AssertionError("nothing to read")

        shortcut = Shortcut(app, re.compile(r"/t/([a-z]{1,3})/state\Z"), fresh)
        await fresh.get("a")
        for method, path, age_s in (("GET", "/t/a/state", 0), ("POST", "/t/a/state", 0),
                                    ("GET", "/t/b/state", 0), ("GET", "/t/a/states", 0),
                                    ("GET", "/t/a/state", 2)):  # fmt: skip
            clock.now_s = age_s
            await shortcut({"type": "http", "method": method, "path": path}, receive, send)
        assert [m.get("status") or m["body"] for m in answers] == [200, b"a"]
        return fresh_seen

    assert asyncio.run(go()) == ["POST /t/a/state", "GET /t/b/state", "GET /t/a/states",
                                 "GET /t/a/state"]  # fmt: skip
