"""The air link: MQTT 3.1.1 through aiomqtt.

In: leaf and bytes. Out: acks and notices. Always holds: each connection has a new client, a
random client id and a clean session, since reused clients repeat or lose messages and ids can
be taken over; QoS 0, since the outbox resends; the kernel buffers little, so that an alert
does not queue behind what was sent before it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import aiomqtt

from edge.link.base import (
    CONNECT_S,
    IN_BYTES_MAX,
    IN_MESSAGES_MAX,
    KEEPALIVE_S,
    LEAVES_DOWN,
    PUBLISH_S,
    Endpoint,
)
from shared.errors import Rejected, Unreachable
from shared.topics import parse_subject, topic

SNDBUF_BYTES = 8 * 1024  # the kernel doubles it: as much as the smallest window
FRAMING_BYTES = 46  # TCP and IPv4 40, MQTT fixed header 4, topic length 2


class MqttLink:
    """Sessions with one broker."""

    def __init__(self, endpoint: Endpoint, random: Callable[[int], bytes]) -> None:
        self._endpoint, self._random = endpoint, random

    @property
    def framing_bytes(self) -> int:
        return FRAMING_BYTES + len(topic(self._endpoint.operator, self._endpoint.tail, "manifest"))

    def connect(self) -> AbstractAsyncContextManager[MqttSession]:
        return self._connect()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[MqttSession]:
        at = self._endpoint
        client = aiomqtt.Client(
            at.host, at.port, username=at.user, password=at.password,
            identifier=self._random(8).hex(), protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=True, timeout=CONNECT_S, keepalive=KEEPALIVE_S,
            max_queued_incoming_messages=IN_MESSAGES_MAX,
            socket_options=[(socket.SOL_SOCKET, socket.SO_SNDBUF, SNDBUF_BYTES),
                            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )  # fmt: skip
        _cap_incoming(client)
        try:
            try:
                await client.__aenter__()
                await client.subscribe(
                    [(topic(at.operator, at.tail, leaf), 0) for leaf in LEAVES_DOWN]
                )
            except (aiomqtt.MqttError, ValueError) as error:  # ValueError: the broker's nonsense
                raise Unreachable(
                    f"no MQTT session: {error}", at.where, "check address, user and password"
                ) from None
            yield MqttSession(client, at)
        finally:
            await _leave(client)


class MqttSession:
    """One connection to the broker."""

    def __init__(self, client: aiomqtt.Client, endpoint: Endpoint) -> None:
        self._client, self._endpoint = client, endpoint

    async def publish(self, leaf: str, data: bytes) -> None:
        """Return once the socket took it."""
        where = topic(self._endpoint.operator, self._endpoint.tail, leaf)
        try:
            await self._client.publish(where, data, qos=0, timeout=PUBLISH_S)
        except (aiomqtt.MqttError, ValueError) as error:  # ValueError: over MQTT's 256 MB
            raise Unreachable(f"publish failed: {error}", self._endpoint.where) from None

    async def flush(self) -> None:
        """Nothing waits: `publish` awaited the socket."""

    async def messages(self) -> AsyncIterator[tuple[str, bytes]]:
        try:
            async for message in self._client.messages:
                with suppress(Rejected):
                    _, _, leaf = parse_subject(str(message.topic))
                    yield (
                        leaf,
                        bytes(message.payload) if isinstance(message.payload, bytes) else b"",
                    )
        except aiomqtt.MqttError as error:
            raise Unreachable(f"connection lost: {error}", self._endpoint.where) from None


def _cap_incoming(client: aiomqtt.Client) -> None:
    """paho reads whatever length a packet announces, up to 256 MB. It asks its socket for all
    that is left of a packet at once; asking for more than IN_BYTES_MAX is a lost connection.
    And it handles a message whose topic is no text over and over; that one is dropped.
    tests/contract/test_hostile_broker.py fails when an upgrade moves these seams."""
    paho = client._client
    receive, take = paho._sock_recv, paho.on_message
    assert take is not None, "aiomqtt has set it"

    def take_text(inner: Any, userdata: Any, message: Any) -> None:
        with suppress(UnicodeDecodeError):
            message.topic.encode()
            take(inner, userdata, message)

    def receive_capped(size: int) -> bytes:
        if size > IN_BYTES_MAX:
            raise OSError(errno.EMSGSIZE, f"the broker announces {size} bytes")
        return receive(size)

    paho._sock_recv = receive_capped  # type: ignore[assignment]  # the seam
    paho.on_message = take_text


async def _leave(client: aiomqtt.Client) -> None:
    """Say goodbye if the broker still listens, and close the socket in any case.

    aiomqtt forgets the socket when connecting or disconnecting times out; shutting it down
    makes its own reader see the end and clean up.
    """
    sock = client._client.socket()
    with suppress(aiomqtt.MqttError, TimeoutError):
        async with asyncio.timeout(1.0):
            await client.__aexit__(None, None, None)
    if isinstance(sock, socket.socket) and sock.fileno() >= 0:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        await asyncio.sleep(0)
    if client._disconnected.done() and not client._disconnected.cancelled():
        client._disconnected.exception()  # seen, so that asyncio does not complain of it
