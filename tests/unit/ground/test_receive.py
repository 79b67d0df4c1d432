"""Ingest with a broker in memory: what it does when the disk is full, and how it acknowledges."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ground.config import GroundConfig, HttpConfig, IngestConfig, NatsConfig
from ground.ingest.hellos import BURST
from ground.ingest.receive import Ingest, fitted
from shared.messages import CONTROL_BYTES_MAX, Ack, Coverage, decode
from tests.unit.ground.stores import Store
from tests.unit.ground.synthetic import EPOCH, OPERATOR, TAIL, Tail, open_ack, wait_for


@dataclass
class Message:
    subject: str
    data: bytes
    reply: str = ""


@dataclass
class Broker:
    """The part of a NATS client that ingest uses."""

    published: list[tuple[str, bytes]] = field(default_factory=list)
    handlers: dict[str, Callable[[Message], Awaitable[None]]] = field(default_factory=dict)

    async def subscribe(
        self, name: str, cb: Callable[[Message], Awaitable[None]], **_: object
    ) -> "Broker":
        self.handlers[name] = cb
        return self

    async def unsubscribe(self) -> None: ...
    async def flush(self) -> None: ...

    async def publish(self, name: str, data: bytes) -> None:
        self.published.append((name, data))

    async def deliver(self, *messages: tuple[str, bytes]) -> None:
        for name, data in messages:
            leaf = name.rpartition(".")[2]
            await self.handlers[f"aero.v1.{OPERATOR}.*.{leaf}"](Message(name, data))


@dataclass
class Rig:
    store: Store
    tail: Tail
    broker: Broker = field(default_factory=Broker)
    free: int = 1 << 40

    def run(self, script: Callable[["Rig", Ingest], Awaitable[None]]) -> None:
        config = GroundConfig(
            operator=OPERATOR, nats=NatsConfig(port=1, mqtt_port=2), http=HttpConfig(port=3),
            ingest=IngestConfig(batch_wait_ms=1),
        )  # fmt: skip
        ingest = Ingest(
            self.broker, config, self.store.ledger, self.store.closing,  # type: ignore[arg-type]
            self.store.signer, self.store.clock, lambda: {TAIL: self.tail.signer.public},
            lambda: self.free,
        )  # fmt: skip

        async def go() -> None:
            stop = asyncio.Event()
            running = asyncio.create_task(ingest.run(stop))
            await wait_for(lambda: f"ground.v1.{OPERATOR}.ingest" in self.broker.handlers)
            await script(self, ingest)
            stop.set()
            await running

        asyncio.run(go())

    def acks(self) -> list[Ack]:
        return [open_ack(data, self.store.signer.public) for _, data in self.broker.published]


@pytest.fixture
def rig(store: Store, tail: Tail) -> Rig:
    return Rig(store, tail)


def test_a_full_disk_stops_acks_raises_an_alarm_and_clears_by_itself(rig: Rig) -> None:
    async def script(rig: Rig, ingest: Ingest) -> None:
        rig.free = 1000
        await rig.broker.deliver(rig.tail.signal_set())
        await wait_for(lambda: "disk" in ingest.alarms.standing)
        assert not ingest.health().ok
        assert ingest.counters["not_taken"] == 1
        assert rig.acks() == []
        rig.free = 1 << 40
        await wait_for(lambda: ingest.health().ok)
        await rig.broker.deliver(rig.tail.block("engine", 0, 3))
        await wait_for(lambda: len(rig.acks()) == 1)
        assert set(rig.acks()[0].received) == {"block-engine"}

    rig.run(script)


def test_acks_wait_250_ms_and_a_hello_does_not(rig: Rig) -> None:
    async def script(rig: Rig, ingest: Ingest) -> None:
        await rig.broker.deliver(rig.tail.block("engine", 0, 3))
        await wait_for(lambda: len(rig.acks()) == 1)
        await rig.broker.deliver(rig.tail.block("engine", 3, 3))
        await wait_for(lambda: ingest.counters["records_new"] == 2)
        await asyncio.sleep(0.15)
        assert len(rig.acks()) == 1
        rig.store.clock.advance_s(0.25)
        await wait_for(lambda: len(rig.acks()) == 2)
        assert rig.acks()[1].received["block-engine"] == Coverage(2, [])
        await rig.broker.deliver(rig.tail.hello(b"abc"))
        await wait_for(lambda: len(rig.acks()) == 3)
        assert rig.acks()[2].nonce == b"abc"
        rig.store.clock.advance_s(0.25)
        await rig.broker.deliver(rig.tail.block("engine", 6, 3))
        await wait_for(lambda: len(rig.acks()) == 4)
        assert rig.acks()[3].nonce == b"abc"

    rig.run(script)


def test_a_resent_record_is_acknowledged_again(rig: Rig) -> None:
    async def script(rig: Rig, _ingest: Ingest) -> None:
        message = rig.tail.block("engine", 0, 3)
        await rig.broker.deliver(message)
        await wait_for(lambda: len(rig.acks()) == 1)
        rig.store.clock.advance_s(1)
        await rig.broker.deliver(message)
        await wait_for(lambda: len(rig.acks()) == 2)

    rig.run(script)


def test_a_fork_is_told_and_does_not_stop_anything(rig: Rig) -> None:
    async def script(rig: Rig, ingest: Ingest) -> None:
        await rig.broker.deliver(
            rig.tail.block("engine", 0, 3), rig.tail.block("engine", 9, 3, seq=0)
        )
        await wait_for(lambda: "fork" in ingest.alarms.standing)
        assert ingest.health().ok

    rig.run(script)


def test_what_does_not_fit_the_queue_is_counted_and_not_acknowledged(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ground.ingest.inbox.RECORDS_MAX", 4)

    async def script(rig: Rig, ingest: Ingest) -> None:
        await rig.broker.deliver(*(rig.tail.block("engine", i, 1) for i in range(6)))
        await wait_for(lambda: ingest.counters["records_new"] == 2)
        assert ingest.counters["queue_full"] == 4
        await wait_for(lambda: bool(rig.acks()))
        assert rig.acks()[-1].received["block-engine"] == Coverage(2, [])

    rig.run(script)


def test_an_ack_of_many_torn_streams_still_fits_a_control_message(tmp_path: Path) -> None:
    ranges = [(10**9 + 10 * i, 10**9 + 10 * i + 1) for i in range(64)]
    torn = {f"stream-{i:020d}": Coverage(10**8, ranges) for i in range(200)}
    body = fitted(Ack(1, TAIL, EPOCH, "l", b"", torn, torn, 0))
    assert len(body) <= CONTROL_BYTES_MAX - 200
    ack = decode(Ack, body, "test")
    assert set(ack.received) == set(torn)
    assert all(c.ranges == ranges[: len(c.ranges)] for c in ack.received.values())
    small = Ack(1, TAIL, EPOCH, "l", b"", {"s": Coverage(1, ranges)}, {}, 0)
    assert decode(Ack, fitted(small), "test") == small


def test_a_set_that_comes_late_is_used_while_records_keep_coming(rig: Rig) -> None:
    async def script(rig: Rig, ingest: Ingest) -> None:
        late = rig.tail.signal_set()
        await rig.broker.deliver(rig.tail.block("engine", 0, 3), late)

        async def traffic() -> None:
            for i in range(1000):
                await rig.broker.deliver(rig.tail.block("air", i, 1))
                await asyncio.sleep(0.005)

        busy = asyncio.create_task(traffic())
        await wait_for(
            lambda: not rig.store.ledger.waiting() and ingest.counters["records_new"] > 2
        )
        busy.cancel()
        assert ingest.counters["payload_unreadable"] == 1

    rig.run(script)


def test_hellos_beyond_a_burst_wait_and_the_latest_is_answered(rig: Rig) -> None:
    async def script(rig: Rig, ingest: Ingest) -> None:
        for i in range(50):
            await rig.broker.deliver(rig.tail.hello(b"n%d" % i))
            await wait_for(lambda: not ingest._inbox)
        await asyncio.sleep(0.05)
        assert ingest.counters["hellos"] <= BURST
        rig.store.clock.advance_s(1)
        await wait_for(lambda: rig.acks()[-1].nonce == b"n49")
        assert ingest.counters["hellos"] == BURST + 1

    rig.run(script)
