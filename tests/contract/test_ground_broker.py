"""What a device may do at the broker: speak for itself, hear its own acks, nothing else."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import nats.errors
import paho.mqtt.client as mqtt
import pytest

from ground.twins.control import Control
from shared.topics import subject, topic
from tests.contract.ground_site import Site, linked
from tests.unit.ground.synthetic import OPERATOR, TAIL, Tail, wait_for

OTHER = "A320-00007"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path)
    one.enrol(Tail())
    one.enrol(Tail(tail=OTHER))
    one.start_broker()
    yield one
    one.stop()


def service(site: Site, name: str) -> str:
    return Control.open(site.paths.control).password(name)


def test_a_device_publishes_and_hears_only_what_is_its_own(site: Site) -> None:
    asyncio.run(_nats(site))


async def _nats(site: Site) -> None:
    errors: list[str] = []
    heard: list[str] = []
    ingest = await site.join("ingest", service(site, "ingest"))

    async def hear(message: object) -> None:
        heard.append(message.subject)  # type: ignore[attr-defined]

    for leaf in ("block", "hello"):
        await ingest.subscribe(f"aero.v1.{OPERATOR}.*.{leaf}", queue="ingest", cb=hear)
    await ingest.flush()
    device = await site.join(TAIL, errors=errors)
    refused = [
        subject(OPERATOR, TAIL, "ack"), subject(OPERATOR, TAIL, "notice"),
        subject(OPERATOR, OTHER, "block"), subject(OPERATOR, OTHER, "ack"),
        f"ground.v1.{OPERATOR}.ingest", f"ground.v1.{OPERATOR}.jobs.reconcile.x", "$JS.API.INFO",
        "$JS.API.STREAM.PURGE.JOBS", "$MQTT.sub.x", "_INBOX.a", "x",
    ]  # fmt: skip
    for name in refused:
        await device.publish(name, b"x")
        await device.flush()
    await wait_for(lambda: len(errors) >= len(refused))
    assert all("permissions violation" in error.lower() for error in errors)
    await device.publish(subject(OPERATOR, TAIL, "block"), b"x")
    await device.publish(subject(OPERATOR, TAIL, "hello"), b"x")
    await wait_for(lambda: len(heard) == 2)
    errors.clear()
    spied = [
        subject(OPERATOR, OTHER, "ack"), f"aero.v1.{OPERATOR}.*.ack", "aero.>", ">",
        subject(OPERATOR, TAIL, "block"), "$SYS.>", "_INBOX.>", "$MQTT.>",
    ]  # fmt: skip
    for name in spied:
        await device.subscribe(name, cb=hear)
        await device.flush()
    await wait_for(lambda: len(errors) >= len(spied))
    for leaf in ("ack", "notice"):
        await device.subscribe(subject(OPERATOR, TAIL, leaf), cb=hear)
    await device.flush()
    assert len(errors) == len(spied)
    await ingest.publish(subject(OPERATOR, TAIL, "ack"), b"x")
    await ingest.flush()
    await wait_for(lambda: heard[-1] == subject(OPERATOR, TAIL, "ack"))
    await device.close()
    await ingest.close()


def test_only_ingest_may_acknowledge(site: Site) -> None:
    asyncio.run(_acks(site))


async def _acks(site: Site) -> None:
    for name in ("api", "worker"):
        errors: list[str] = []
        client = await site.join(name, service(site, name), errors)
        await client.publish(subject(OPERATOR, TAIL, "ack"), b"x")
        await client.publish(subject(OPERATOR, TAIL, "block"), b"x")
        await client.flush()
        await wait_for(lambda found=errors: len(found) == 2)  # type: ignore[misc]
        await client.close()


@pytest.mark.parametrize(
    ("user", "password"), [(TAIL, "guess"), (TAIL, ""), (OTHER, TAIL), ("", ""), ("nobody", "x")]
)
def test_without_the_password_nobody_joins(site: Site, user: str, password: str) -> None:
    password = site.passwords.get(password, password)
    assert "Authorization Violation" in _connect(site, user, password)
    assert "PONG" in _connect(site, TAIL, site.passwords[TAIL])


def _connect(site: Site, user: str, password: str) -> str:
    """What the broker says to CONNECT and PING."""
    address = (site.config.host, site.config.nats.port)
    with socket.create_connection(address, 5) as link, link.makefile("rb") as answers:
        answers.readline()
        options = json.dumps({"user": user, "pass": password, "verbose": False})
        link.sendall(f"CONNECT {options}\r\nPING\r\n".encode())
        return answers.readline().decode()


class Mqtt:
    """An MQTT client of one tail, in a thread of paho's."""

    def __init__(self, site: Site, user: str) -> None:
        self.got: list[tuple[str, bytes]] = []
        self.granted: list[int] = []
        self.connected = False
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, clean_session=True)
        self.client.username_pw_set(user, site.passwords[user])
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.on_subscribe = self._on_subscribe
        self.client.connect(site.config.host, site.config.nats.mqtt_port)
        self.client.loop_start()

    def _on_connect(self, *arguments: object) -> None:
        self.connected = True

    def _on_message(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        self.got.append((message.topic, message.payload))

    def _on_subscribe(
        self, _client: object, _data: object, _mid: int, codes: list[object], _more: object
    ) -> None:
        self.granted += [code.value for code in codes]  # type: ignore[attr-defined]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def test_over_mqtt_the_same_rights_suffice_at_qos_0_and_1(site: Site) -> None:
    asyncio.run(_mqtt(site))


async def _mqtt(site: Site) -> None:
    heard: list[tuple[str, bytes]] = []

    async def hear(message: object) -> None:
        heard.append((message.subject, message.data))  # type: ignore[attr-defined]

    ingest = await site.join("ingest", service(site, "ingest"))
    await ingest.subscribe(f"aero.v1.{OPERATOR}.*.alert", queue="ingest", cb=hear)
    await ingest.flush()
    device = Mqtt(site, TAIL)
    await wait_for(lambda: device.connected)
    for qos in (0, 1):
        device.client.publish(topic(OPERATOR, TAIL, "alert"), b"mine %d" % qos, qos)
    await wait_for(lambda: len(heard) == 2)
    assert {data for _, data in heard} == {b"mine 0", b"mine 1"}
    device.client.subscribe(
        [(topic(OPERATOR, TAIL, "ack"), 0), (topic(OPERATOR, TAIL, "notice"), 1)]
    )
    await wait_for(lambda: len(device.granted) == 2)
    assert device.granted == [0, 1]
    device.client.subscribe([(topic(OPERATOR, OTHER, "ack"), 0), ("#", 0), ("$MQTT/#", 0)])
    await wait_for(lambda: len(device.granted) == 5)
    assert device.granted[2:] == [128, 128, 128]
    await ingest.publish(subject(OPERATOR, TAIL, "ack"), b"ack")
    await wait_for(lambda: bool(device.got))
    assert device.got == [(topic(OPERATOR, TAIL, "ack"), b"ack")]
    device.client.publish(topic(OPERATOR, OTHER, "alert"), b"forged", 0)
    device.client.publish(topic(OPERATOR, TAIL, "ack"), b"forged", 0)
    device.client.publish(topic(OPERATOR, TAIL, "alert"), b"last", 0)
    with contextlib.suppress(TimeoutError):
        await wait_for(lambda: len(heard) == 3, 1)
    assert all(name == subject(OPERATOR, TAIL, "alert") for name, _ in heard)
    assert device.got == [(topic(OPERATOR, TAIL, "ack"), b"ack")]
    device.close()
    await ingest.close()


def test_a_qos_2_publish_is_refused_and_keeps_nothing_on_disk(site: Site) -> None:
    device = Mqtt(site, TAIL)

    async def publish() -> None:
        await wait_for(lambda: device.connected)
        device.client.on_disconnect = lambda *_: setattr(device, "connected", False)
        sent = device.client.publish(topic(OPERATOR, TAIL, "state"), b"x" * 100_000, 2)
        await wait_for(lambda: not device.connected)
        assert not sent.is_published()

    asyncio.run(publish())
    device.close()
    kept = sum(path.stat().st_size for path in site.paths.nats_store.rglob("*") if path.is_file())
    assert kept < 100_000


def test_a_tail_enrolled_while_the_broker_runs_may_join(site: Site) -> None:
    late = Tail(tail="LATE-1")
    site.enrol(late)

    async def join() -> None:
        async with asyncio.timeout(5):
            while True:
                try:
                    async with linked(site, late):
                        return
                except nats.errors.Error:
                    await asyncio.sleep(0.05)

    asyncio.run(join())
