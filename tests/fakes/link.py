"""A broker in memory and links to it: same contract as MQTT and NATS, for one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from shared.errors import Unreachable

UP = Callable[[str, bytes], None]


class FakeBroker:
    """Hands what links publish to `on_up` and what `send` is given to every session."""

    def __init__(self) -> None:
        self.on_up: UP = lambda leaf, data: None
        self.is_up = True
        self.swallows = False
        self.sessions: set[FakeSession] = set()
        self.connects = 0

    def send(self, tail: str, leaf: str, data: bytes) -> None:
        for session in self.sessions:
            if session.tail == tail and not self.swallows:
                session.incoming.put_nowait((leaf, data))

    def stop(self) -> None:
        """Gone, with every connection."""
        self.is_up = False
        for session in list(self.sessions):
            session.lose()


class FakeLink:
    """Sessions with a FakeBroker."""

    framing_bytes = 40

    def __init__(self, broker: FakeBroker, tail: str = "n1", password: str = "secret") -> None:
        self._broker, self._tail, self._password = broker, tail, password

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[FakeSession]:
        await asyncio.sleep(0)
        if not self._broker.is_up or self._password != "secret":
            raise Unreachable("no session", "fake", "check it")
        session = FakeSession(self._broker, self._tail)
        self._broker.sessions.add(session)
        self._broker.connects += 1
        try:
            yield session
        finally:
            self._broker.sessions.discard(session)


class FakeSession:
    """One connection."""

    def __init__(self, broker: FakeBroker, tail: str) -> None:
        self._broker, self.tail = broker, tail
        self.incoming: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue()
        self._lost = False

    def lose(self) -> None:
        self._lost = True
        self._broker.sessions.discard(self)
        self.incoming.put_nowait(None)

    async def publish(self, leaf: str, data: bytes) -> None:
        await asyncio.sleep(0)
        if self._lost:
            raise Unreachable("lost", "fake")
        if not self._broker.swallows:
            self._broker.on_up(leaf, data)

    async def flush(self) -> None:
        if self._lost:
            raise Unreachable("lost", "fake")

    async def messages(self) -> AsyncIterator[tuple[str, bytes]]:
        while (message := await self.incoming.get()) is not None:
            yield message
        raise Unreachable("lost", "fake")
