"""The runner over the real links and a real nats-server that dies and comes back empty."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import nats
import pytest

from edge.config import Settings
from edge.link.sender import LinkRunner
from edge.outbox.store import Outbox
from shared.clock import SystemClock
from shared.phases import Phase
from shared.topics import parse_subject, subject
from tests.fakes.ground import FakeGround
from tests.fakes.nats_server import GROUND, PASSWORD, TAIL, NatsServer

BACKLOG = 150


async def ground_client(server: NatsServer, ground: FakeGround) -> Any:
    client = await nats.connect(
        f"nats://127.0.0.1:{server.port}", user=GROUND, password=PASSWORD, allow_reconnect=False
    )

    async def take(message: Any) -> None:
        leaf = parse_subject(message.subject)[2]
        if leaf not in ("ack", "notice"):
            ground.on_up(leaf, message.data)

    await client.subscribe("aero.v1.op.n1.*", cb=take)
    await client.flush()
    return client


@pytest.mark.parametrize(("phase", "name"), [(Phase.CRUISE, "air"), (Phase.PARKED, "stand")])
def test_a_backlog_reaches_the_ground_once_over_a_broker_that_dies(
    phase: Phase, name: str, tmp_path: Path
) -> None:
    server = NatsServer(tmp_path)
    outbox = Outbox.open(
        tmp_path / "outbox.db", operator="op", tail="n1", clock=SystemClock(), random=os.urandom,
        bytes_max=64 << 20,
    )  # fmt: skip
    with outbox.transaction():
        for _ in range(BACKLOG):
            for cls in ("block", "kpi"):
                outbox.append(
                    cls, os.urandom(4000), schema="t/1", flight="f", t_event_ns=1, t_quality=0
                )

    async def scenario() -> None:
        clients: list[Any] = []
        tasks: set[Any] = set()

        def send(leaf: str, data: bytes) -> None:
            task = asyncio.ensure_future(clients[-1].publish(subject("op", "n1", leaf), data))
            tasks.add(task)
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

        ground = FakeGround(send)
        air, stand = (
            SimpleNamespace(host="127.0.0.1", port=port, bytes_per_s_max=1_000_000)
            for port in (server.mqtt_port, server.port)
        )
        settings = SimpleNamespace(
            tail=SimpleNamespace(operator="op", tail="n1"),
            enrolment=SimpleNamespace(
                user=TAIL, password=PASSWORD, ground_pub=ground.signer.public.hex()
            ),
            profile=SimpleNamespace(air=air, stand=stand),
        )
        runner = LinkRunner(
            cast(Settings, settings), outbox, SystemClock(), phase=lambda: phase,
            on_notice=lambda notice: None, on_handed=lambda ref, ns: None,
        )  # fmt: skip
        clients.append(await ground_client(server, ground))
        task = asyncio.create_task(runner.run())
        try:
            async with asyncio.timeout(60):
                while len(ground.records) < 20:
                    await asyncio.sleep(0.01)
                assert runner.status.link == name
                server.stop()
                shutil.rmtree(tmp_path / "store", ignore_errors=True)
                while runner.status.link != "none":
                    await asyncio.sleep(0.01)
                server.start()
                clients.append(await ground_client(server, ground))
                while any(outbox.stats().depth.values()):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            held = outbox.stats().depth
            raise AssertionError(
                f"{runner.status}, {held}, {len(ground.records)} arrived"
            ) from None
        else:
            assert len(ground.records) == 2 * BACKLOG
            assert runner.status.connections == 2
            assert runner.status.refused == 0
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            for client in clients:
                with suppress(Exception):
                    await client.close()

    try:
        asyncio.run(scenario())
    finally:
        server.stop()
        outbox.close()
