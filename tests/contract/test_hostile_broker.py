"""A broker that announces huge messages or speaks nonsense costs a connection and no memory."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Awaitable, Callable

import pytest

from edge.link.base import IN_BYTES_MAX, Endpoint, Link
from edge.link.mqtt import MqttLink
from edge.link.nats import NatsLink
from shared.errors import Unreachable

HUGE = 200 << 20
SENT_MAX = 4 << 20  # what socket buffers and one read may take of it
INFO = b'INFO {"server_id":"x","version":"2.10","max_payload":1048576,"headers":true}\r\n'
TOPIC = b"aero/v1/op/n1/ack"

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def publish(topic: bytes, length: int) -> bytes:
    """MQTT PUBLISH of QoS 0, up to its payload."""
    left, size = 2 + len(topic) + length, b""
    while True:
        left, digit = left >> 7, left & 127
        size += bytes([digit | (128 if left else 0)])
        if not left:
            return b"\x30" + size + struct.pack(">H", len(topic)) + topic


def mqtt(then: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(b"\x20\x02\0\0")
        subscribe = await reader.read(4096)
        writer.write(b"\x90\x04" + subscribe[2:4] + b"\0\0" + then)

    return talk


def nats(then: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(INFO)
        pings = 0
        while pings < 2:  # of connect and of the flush behind the subscriptions
            if (await reader.readline()).startswith(b"PING"):
                pings += 1
                writer.write(b"PONG\r\n")
        writer.write(then)

    return talk


async def suffer(kind: str, talk: Talk) -> tuple[str, int]:
    """What the link says, and how many bytes it took of all that the broker wanted to send."""
    taken = 0

    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        this = asyncio.current_task()
        assert this is not None
        tasks.append(this)
        try:
            await talk(reader, writer)
            while taken < HUGE:
                writer.write(bytes(1 << 16))
                await writer.drain()
                taken += 1 << 16
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = (MqttLink if kind == "mqtt" else NatsLink)(
        Endpoint("127.0.0.1", port, "u", "p", "op", "n1"), os.urandom
    )
    try:
        async with asyncio.timeout(8):
            await listen(link)
    except Unreachable as error:
        return error.what, taken
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.02)
    return "it was heard to its end", taken


async def listen(link: Link) -> None:
    async with link.connect() as session:
        async for _ in session.messages():
            pass


@pytest.mark.parametrize(
    ("kind", "talk"),
    [
        ("mqtt", mqtt(publish(TOPIC, HUGE))),
        ("mqtt", mqtt(publish(TOPIC, IN_BYTES_MAX))),
        ("mqtt", mqtt(publish(b"\xff\xfe/#\xc3", 10) + bytes(10))),
        ("nats", nats(b"MSG aero.v1.op.n1.ack 1 %d\r\n" % HUGE)),
        ("nats", nats(b"HMSG aero.v1.op.n1.ack 1 10 %d\r\n" % HUGE)),
        ("nats", nats(b"MSG " + b"a" * 100_000)),
        ("nats", nats(b"MSG \xff\xfe 1 5\r\nhello\r\n" + b"INFO " + b"[" * 60_000 + b"\r\n")),
        ("nats", nats(b"")),
    ],
)
def test_what_a_broker_may_cost_is_a_connection(kind: str, talk: Talk) -> None:
    what, taken = asyncio.run(suffer(kind, talk))
    assert "lost" in what
    assert taken < SENT_MAX


@pytest.mark.parametrize("kind", ["mqtt", "nats"])
@pytest.mark.parametrize("first", [b"INFO {}\r\n", b"INFO " + b"[" * 60_000 + b"\r\n", bytes(99)])
def test_a_broker_that_begins_with_nonsense_is_unreachable(kind: str, first: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)

    _, taken = asyncio.run(suffer(kind, talk))
    assert taken < SENT_MAX
