"""One suite for every link: the fake, MQTT and NATS, the latter two on a real nats-server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest

from edge.link.base import Endpoint, Link
from edge.link.mqtt import MqttLink
from edge.link.nats import NatsLink
from shared.errors import Unreachable
from shared.topics import parse_subject, subject
from tests.fakes.link import FakeBroker, FakeLink
from tests.fakes.nats_server import GROUND, PASSWORD, TAIL, NatsServer

KINDS = ("fake", "mqtt", "nats")


class Rig:
    """One link and the ground's view of it: what arrived, and a way to send down."""

    def __init__(self, link: Link, wrong: Link, send: Callable[..., Awaitable[None]]) -> None:
        self.link, self.wrong, self.send = link, wrong, send
        self.arrived: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.stop: Callable[[], None] = lambda: None

    async def next(self) -> tuple[str, bytes]:
        async with asyncio.timeout(5):
            return await self.arrived.get()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    yield server
    server.stop()


def real(kind: str, server: NatsServer, password: str = PASSWORD) -> Link:
    made = MqttLink if kind == "mqtt" else NatsLink
    port = server.mqtt_port if kind == "mqtt" else server.port
    return made(Endpoint("127.0.0.1", port, TAIL, password, "op", "n1"), os.urandom)


@asynccontextmanager
async def rig_of(kind: str, server: NatsServer) -> AsyncIterator[Rig]:
    if kind == "fake":
        broker = FakeBroker()

        async def send(tail: str, leaf: str, data: bytes) -> None:
            broker.send(tail, leaf, data)

        rig = Rig(FakeLink(broker), FakeLink(broker, password="no"), send)
        broker.on_up = lambda leaf, data: rig.arrived.put_nowait((leaf, data))
        rig.stop = broker.stop
        yield rig
        return
    client = await nats.connect(
        f"nats://127.0.0.1:{server.port}", user=GROUND, password=PASSWORD, allow_reconnect=False
    )

    async def publish(tail: str, leaf: str, data: bytes) -> None:
        await client.publish(subject("op", tail, leaf), data)
        await client.flush()

    rig = Rig(real(kind, server), real(kind, server, "no"), publish)
    rig.stop = server.stop

    async def take(message: Any) -> None:
        leaf = parse_subject(message.subject)[2]
        if leaf not in ("ack", "notice"):
            rig.arrived.put_nowait((leaf, message.data))

    await client.subscribe("aero.v1.op.n1.*", cb=take)
    await client.flush()
    try:
        yield rig
    finally:
        await client.close()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_published_arrives_in_order_and_whole(kind: str, server: NatsServer) -> None:
    async def scenario() -> None:
        async with rig_of(kind, server) as rig, rig.link.connect() as session:
            sent = [("hello", b"h"), *(("block", os.urandom(9000)) for _ in range(50))]
            sent += [("alert", b""), ("block", os.urandom(500 * 1024))]
            for leaf, data in sent:
                await session.publish(leaf, data)
            await session.flush()
            assert [await rig.next() for _ in sent] == sent

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_acks_and_notices_of_this_tail_come_down_and_nothing_else(
    kind: str, server: NatsServer
) -> None:
    async def scenario() -> None:
        async with rig_of(kind, server) as rig, rig.link.connect() as session:
            await rig.send("n2", "ack", b"of another tail")
            await rig.send("n1", "ack", b"one")
            await rig.send("n1", "notice", b"two")
            incoming = session.messages()
            async with asyncio.timeout(5):
                got = [await anext(incoming), await anext(incoming)]
            assert sorted(got) == [("ack", b"one"), ("notice", b"two")]

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_connection_hears_nothing_of_before(kind: str, server: NatsServer) -> None:
    async def scenario() -> None:
        async with rig_of(kind, server) as rig:
            async with rig.link.connect():
                pass
            await rig.send("n1", "ack", b"while away")
            async with rig.link.connect() as session:
                heard = asyncio.ensure_future(anext(session.messages()))
                async with asyncio.timeout(20):
                    while not heard.done():  # the broker may not know the subscription yet
                        await rig.send("n1", "ack", b"now")
                        await asyncio.wait({heard}, timeout=0.5)
                assert heard.result() == ("ack", b"now")

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_password_is_unreachable_and_says_what_to_do(kind: str, server: NatsServer) -> None:
    async def scenario() -> None:
        async with rig_of(kind, server) as rig:
            with pytest.raises(Unreachable) as caught:
                async with rig.wrong.connect():
                    pass
            assert caught.value.remedy

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_a_broker_that_dies_ends_messages_and_publish(kind: str, tmp_path: Path) -> None:
    server = NatsServer(tmp_path)

    async def scenario() -> None:
        async with rig_of(kind, server) as rig:
            async with rig.link.connect() as session:
                await session.publish("alert", b"x")
                rig.stop()
                with pytest.raises(Unreachable):
                    async with asyncio.timeout(5):
                        await anext(session.messages())
                with pytest.raises(Unreachable):
                    await session.publish("alert", b"x")
            with pytest.raises(Unreachable):
                async with rig.link.connect():
                    pass

    try:
        asyncio.run(scenario())
    finally:
        server.stop()
