"""The stand link: NATS.

In: leaf and bytes. Out: acks and notices. Always holds: nats-py never reconnects by itself, for
a new connection begins with a hello; at most FLUSH_BYTES and one record wait in this process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.protocol.parser import AWAITING_MSG_PAYLOAD, Parser

from edge.link.base import (
    CONNECT_S,
    IN_BYTES_MAX,
    IN_MESSAGES_MAX,
    LEAVES_DOWN,
    PUBLISH_S,
    Endpoint,
)
from shared.errors import Rejected, Unreachable
from shared.topics import parse_subject, subject

FLUSH_BYTES = 64 * 1024
PING_S = 5  # with two unanswered a dead stand link is noticed after 15 s
FRAMING_BYTES = 56  # TCP and IPv4 40, `PUB `, spaces, size digits and line ends 16
IN_WAITING_MAX = 1024  # messages inside nats-py; it drops further ones
URGENT = ("alert", "hello")


class NatsLink:
    """Sessions with one server."""

    def __init__(self, endpoint: Endpoint, random: Callable[[int], bytes]) -> None:
        self._endpoint, self._random = endpoint, random

    @property
    def framing_bytes(self) -> int:
        at = self._endpoint
        return FRAMING_BYTES + len(subject(at.operator, at.tail, "manifest"))

    def connect(self) -> AbstractAsyncContextManager[NatsSession]:
        return self._connect()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[NatsSession]:
        at = self._endpoint
        client = Client()
        client._ps = CappedParser(client, IN_BYTES_MAX)
        session = NatsSession(client, at)
        try:
            try:
                async with asyncio.timeout(CONNECT_S):
                    await client.connect(
                        f"nats://{at.where}", user=at.user, password=at.password,
                        name=self._random(8).hex(), allow_reconnect=False, connect_timeout=4,
                        max_reconnect_attempts=1, reconnect_time_wait=0,
                        ping_interval=PING_S, max_outstanding_pings=2, closed_cb=session.on_closed,
                        error_cb=session.on_error, pending_size=2 * FLUSH_BYTES,
                    )  # fmt: skip
                    for leaf in LEAVES_DOWN:
                        name = subject(at.operator, at.tail, leaf)
                        await client.subscribe(
                            name, cb=session.on_message, pending_msgs_limit=IN_WAITING_MAX,
                            pending_bytes_limit=8 * IN_BYTES_MAX,
                        )  # fmt: skip
                    await client.flush()
            except Exception as error:  # nats-py passes on whatever a server's nonsense raises
                raise Unreachable(
                    f"no NATS session: {error or type(error).__name__}", at.where,
                    "check address, user and password",
                ) from None  # fmt: skip
            yield session
        finally:
            with suppress(nats.errors.Error, OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await client.close()


class CappedParser(Parser):
    """nats-py waits for whatever length a message announces, and for a line without an end. It
    reads 32 kB at a time, so looking after each of them bounds what is held.
    tests/contract/test_hostile_broker.py fails when an upgrade moves this seam."""

    def __init__(self, client: Client, bytes_max: int) -> None:
        super().__init__(client)
        self._bytes_max = bytes_max

    async def parse(self, data: bytes = b"") -> None:
        try:
            await super().parse(data)
        except (nats.errors.Error, OSError):
            raise
        except Exception as error:  # else nats-py logs it and the connection hangs
            raise nats.errors.ProtocolError from error
        announced = self.needed if self.state == AWAITING_MSG_PAYLOAD else len(self.buf)
        if announced > self._bytes_max:
            raise nats.errors.ProtocolError


class NatsSession:
    """One connection to the server."""

    def __init__(self, client: Client, endpoint: Endpoint) -> None:
        self._client, self._endpoint = client, endpoint
        self._in: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue(IN_MESSAGES_MAX)
        self._unflushed = 0
        self._why = "closed"

    async def publish(self, leaf: str, data: bytes) -> None:
        """Return once the server has an alert or hello; bulk is handed over in batches."""
        name = subject(self._endpoint.operator, self._endpoint.tail, leaf)
        self._unflushed += len(data)
        try:
            async with asyncio.timeout(
                PUBLISH_S
            ):  # its flusher may be dead, and then it waits for ever
                await self._client.publish(name, data)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise Unreachable(f"publish failed: {error!r}", self._endpoint.where) from None
        if leaf in URGENT or self._unflushed >= FLUSH_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Return once the server answered that it read everything."""
        self._unflushed = 0
        try:
            async with asyncio.timeout(PUBLISH_S):
                await self._client.flush(int(PUBLISH_S))
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise Unreachable(f"flush failed: {error!r}", self._endpoint.where) from None

    async def messages(self) -> AsyncIterator[tuple[str, bytes]]:
        while True:
            message = await self._in.get()
            if message is None:
                raise Unreachable(f"connection lost: {self._why}", self._endpoint.where)
            yield message

    async def on_message(self, message: Msg) -> None:
        with suppress(Rejected, asyncio.QueueFull):
            _, _, leaf = parse_subject(message.subject)
            self._in.put_nowait((leaf, message.data))

    async def on_error(self, error: Exception) -> None:
        self._why = str(error) or type(error).__name__

    async def on_closed(self) -> None:
        while True:
            try:
                return self._in.put_nowait(None)
            except asyncio.QueueFull:
                self._in.get_nowait()  # what is lost is said again on the next connection
