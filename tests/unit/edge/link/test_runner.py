"""The runner over fake links: connect, carry, switch, recover."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge.config import Settings
from edge.link import sender as module
from edge.link.sender import LinkRunner
from edge.outbox.store import Outbox, RecordRef
from shared.clock import SystemClock
from shared.messages import Notice, encode
from shared.phases import Phase
from shared.sync.sender import Limits
from tests.fakes.ground import FakeGround
from tests.fakes.link import FakeBroker, FakeLink


class Rig:
    """A runner with an air and a stand link, each to a broker of its own, and one ground."""

    def __init__(self, outbox: Outbox, cap_bytes_s: float = 1e6) -> None:
        self.outbox, self.phase = outbox, Phase.CRUISE
        self.air, self.stand = FakeBroker(), FakeBroker()
        self.ground = FakeGround(self._send)
        self.notices: list[Notice] = []
        self.handed: list[tuple[RecordRef, int]] = []
        self.air.on_up = self.stand.on_up = self.ground.on_up
        settings = SimpleNamespace(
            tail=SimpleNamespace(operator="op", tail="n1"),
            enrolment=SimpleNamespace(ground_pub=self.ground.signer.public.hex()),
        )
        self.runner = LinkRunner(
            cast(Settings, settings), outbox, SystemClock(), phase=lambda: self.phase,
            on_notice=self.notices.append, on_handed=lambda ref, ns: self.handed.append((ref, ns)),
            links={
                "air": (FakeLink(self.air), Limits(cap_bytes_s, framing_bytes=40)),
                "stand": (FakeLink(self.stand), Limits(1e7, framing_bytes=40)),
            },
        )  # fmt: skip

    def _send(self, leaf: str, data: bytes) -> None:
        for broker in (self.air, self.stand):
            broker.send("n1", leaf, data)

    def put(self, cls: str, size: int = 50) -> RecordRef:
        return self.outbox.append(
            cls, os.urandom(size), schema="t/1", flight="f1", t_event_ns=1, t_quality=0
        )

    def unsafe(self) -> int:
        return sum(self.outbox.stats().depth.values())

    async def wait(self, condition: Callable[[], object], limit_s: float = 8.0) -> None:
        async with asyncio.timeout(limit_s):
            while not condition():
                await asyncio.sleep(0.005)


@pytest.fixture
def outbox(tmp_path: Path) -> Any:
    made = Outbox.open(
        tmp_path / "outbox.db", operator="op", tail="n1", clock=SystemClock(), random=os.urandom,
        bytes_max=64 << 20,
    )  # fmt: skip
    yield made
    made.close()


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[Rig]:
    task = asyncio.create_task(rig.runner.run())
    try:
        yield rig
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def play(rig: Rig, scenario: Callable[[Rig], Any]) -> None:
    async def body() -> None:
        async with running(rig):
            await scenario(rig)

    asyncio.run(body())


def test_everything_appended_before_and_after_becomes_safe_once(outbox: Outbox) -> None:
    rig = Rig(outbox)
    for cls in ("block", "kpi", "state", "alert"):
        rig.put(cls, 2000)

    async def scenario(rig: Rig) -> None:
        await rig.wait(lambda: rig.unsafe() == 0)
        rig.put("report")
        rig.runner.kick()
        await rig.wait(lambda: rig.unsafe() == 0)
        status = rig.runner.status
        assert (status.link, status.in_flight_bytes, status.records_up) == ("air", 0, 5)
        assert status.bytes_up > 6000 and status.last_ack_ns and status.connected_since_ns
        assert status.refused == 0

    play(rig, scenario)
    assert [e.cls for e in rig.ground.order] == ["alert", "state", "kpi", "block", "report"]
    assert rig.ground.repeats == 0


def test_an_alert_leaves_at_once_and_before_a_backlog(outbox: Outbox) -> None:
    rig = Rig(outbox, cap_bytes_s=40_000)
    with outbox.transaction():
        for _ in range(60):
            rig.put("block", 3000)

    async def scenario(rig: Rig) -> None:
        await rig.wait(lambda: len(rig.ground.order) >= 3)
        delays = []
        for _ in range(20):
            await asyncio.sleep(0.01)
            ref = rig.put("alert", 100)
            start = time.monotonic_ns()
            rig.runner.kick()
            await rig.wait(lambda: rig.handed and rig.handed[-1][0].seq == ref.seq)  # noqa: B023
            delays.append((rig.handed[-1][1] - start) / 1e6)
        assert len(rig.ground.order) < 80
        assert sorted(delays)[10] < 5.0

    play(rig, scenario)


def test_an_ack_of_another_key_is_refused(outbox: Outbox) -> None:
    rig = Rig(outbox)
    rig.put("alert")
    rig.ground.answers = False

    async def scenario(rig: Rig) -> None:
        await rig.wait(lambda: rig.ground.hellos)
        rig.ground.forged(outbox.epoch, rig.ground.hellos[0].nonce)
        await rig.wait(lambda: rig.runner.status.refused == 1)
        assert rig.unsafe() == 1
        assert "signature" in rig.runner.status.why
        assert rig.runner.ground_time_ns() is None

    play(rig, scenario)


def test_notices_arrive_and_rubbish_is_counted(outbox: Outbox) -> None:
    rig = Rig(outbox)

    async def scenario(rig: Rig) -> None:
        await rig.wait(lambda: rig.runner.status.link == "air")
        rig.air.send("n1", "notice", b"\xff" * 70_000)
        rig.air.send("n1", "ack", b"rubbish")
        rig.air.send("n1", "notice", encode(Notice(1, "offer", "rom-2.tar.zst")))
        await rig.wait(lambda: rig.notices)
        assert rig.notices[0].target == "rom-2.tar.zst"
        assert rig.runner.status.refused == 2

    play(rig, scenario)


def test_the_stand_link_is_used_while_parked_and_only_then(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PHASE_LOOK_S", 0.02)
    monkeypatch.setattr(module, "PROBE_S", 0.05)
    rig = Rig(outbox)

    async def scenario(rig: Rig) -> None:
        await rig.wait(lambda: rig.runner.status.link == "air")
        rig.stand.is_up = False
        rig.phase = Phase.PARKED
        await asyncio.sleep(0.2)
        assert (rig.runner.status.link, rig.air.connects) == ("air", 1)  # and stays there
        rig.stand.is_up = True
        await rig.wait(lambda: rig.runner.status.link == "stand")
        rig.put("kpi")
        rig.runner.kick()
        await rig.wait(lambda: rig.unsafe() == 0)
        rig.phase = Phase.TAXI_OUT
        await rig.wait(lambda: rig.runner.status.link == "air")
        assert rig.ground.repeats == 0

    play(rig, scenario)


def test_a_lost_broker_costs_a_reconnect_and_no_record(outbox: Outbox) -> None:
    rig = Rig(outbox)

    async def scenario(rig: Rig) -> None:
        for _ in range(3):
            await rig.wait(lambda: rig.runner.status.link == "air")
            rig.put("block", 500)
            rig.air.stop()
            await rig.wait(lambda: rig.runner.status.link == "none")
            rig.put("block", 500)
            rig.air.is_up = True
        await rig.wait(lambda: rig.unsafe() == 0)

    play(rig, scenario)
    assert len(rig.ground.records) == 6


def test_silence_ends_a_connection_that_looks_alive(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENT_NS", 100_000_000)
    rig = Rig(outbox)

    async def scenario(rig: Rig) -> None:
        await rig.wait(lambda: rig.runner._sender.answered)
        rig.air.swallows = True
        rig.put("alert")
        rig.runner.kick()
        await rig.wait(lambda: "does not answer" in rig.runner.status.why)
        rig.air.swallows = False
        await rig.wait(lambda: rig.unsafe() == 0)

    play(rig, scenario)


def test_a_ground_that_is_ahead_makes_a_new_epoch(outbox: Outbox) -> None:
    rig = Rig(outbox)
    old = outbox.epoch
    rig.ground.claim(old, "alert", 5)

    async def scenario(rig: Rig) -> None:
        await rig.wait(lambda: outbox.epoch != old)
        rig.put("alert")
        rig.runner.kick()
        await rig.wait(lambda: rig.unsafe() == 0)
        assert rig.air.connects == 1

    play(rig, scenario)
    assert [e.epoch for e in rig.ground.order] == [outbox.epoch]


def test_another_ledger_makes_a_new_hello_and_all_is_sent_again(outbox: Outbox) -> None:
    rig = Rig(outbox)
    rig.put("kpi")

    async def scenario(rig: Rig) -> None:
        await rig.wait(lambda: rig.unsafe() == 0)
        rig.ground.ledger = "ledger-2"
        rig.ground.receivers.clear()
        rig.ground.records.clear()
        rig.put("state")
        rig.runner.kick()
        await rig.wait(lambda: len(rig.ground.records) == 2)

    play(rig, scenario)


def test_the_answer_gives_the_time_of_the_ground(outbox: Outbox) -> None:
    rig = Rig(outbox)

    async def scenario(rig: Rig) -> None:
        await rig.wait(lambda: rig.runner.ground_time_ns() is not None)
        told = rig.runner.ground_time_ns() or 0
        assert 0 <= told - 1_800_000_000 * 10**9 < 5 * 10**9

    play(rig, scenario)


def test_a_flood_of_messages_ends_the_connection_for_a_while(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[bytes] = []
    monkeypatch.setattr(module, "verify", lambda domain, data, *_: verified.append(data) or b"")
    rig = Rig(outbox)

    async def scenario(rig: Rig) -> None:
        await rig.wait(lambda: rig.runner.status.link == "air")
        for _ in range(5000):
            rig.air.send("n1", "ack", b"rubbish")
        await rig.wait(lambda: "messages a second" in rig.runner.status.why)
        assert len(verified) < module.MESSAGES_BURST + 50
        await asyncio.sleep(0.6)  # far longer than the first delay of the back-off
        assert rig.air.connects == 1

    play(rig, scenario)


def test_a_nested_message_is_refused_and_the_link_goes_on(outbox: Outbox) -> None:
    rig = Rig(outbox)
    nested = b"\x91" * 60_000 + b"\xc0"

    async def scenario(rig: Rig) -> None:
        await rig.wait(lambda: rig.runner.status.link == "air")
        rig.air.send("n1", "notice", b"\x95\x01\xa5offer\xa1x\xa0" + nested)
        rig.air.send("n1", "ack", b"\x94\xc4\x00\xa0\xc4\x00" + nested)
        rig.put("alert")
        rig.runner.kick()
        await rig.wait(lambda: rig.unsafe() == 0)
        assert (rig.runner.status.refused, rig.air.connects) == (2, 1)

    play(rig, scenario)


def test_a_ground_that_is_always_ahead_gets_a_few_epochs_a_day(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(outbox)
    begun: list[str] = []
    greet = rig.ground.on_up

    def ahead(leaf: str, data: bytes) -> None:
        rig.ground.claim(outbox.epoch, "alert", 5)
        greet(leaf, data)

    rig.air.on_up = ahead
    rig.runner._on_epoch = begun.append

    async def scenario(rig: Rig) -> None:
        await rig.wait(lambda: "new epochs within a day" in rig.runner.status.why)
        count = rig.air.connects
        await rig.wait(lambda: rig.air.connects > count)

    play(rig, scenario)
    assert len(begun) == module.EPOCHS_MAX and "knows more" in begun[0]
    again = Rig(outbox)  # a restart does not start the count over
    again.air.on_up = lambda leaf, data: (
        again.ground.claim(outbox.epoch, "alert", 5),
        again.ground.on_up(leaf, data),
    )[1]
    epoch = outbox.epoch

    async def refused(rig: Rig) -> None:
        await rig.wait(lambda: "new epochs within a day" in rig.runner.status.why)

    play(again, refused)
    assert outbox.epoch == epoch
