"""The MQTT source before a broker that breaks the protocol; what all sources share is in
test_sources.py."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import edge.acquire.mqtt as mqtt
from edge.acquire.mqtt import MqttSource
from shared.errors import Unreachable
from shared.signals import SignalSet, parse_signal_set

CONNACK, SUBACK = b"\x20\x02\x00\x00", b"\x90\x03\x00\x01\x00"


@pytest.fixture(scope="module")
def signals() -> SignalSet:
    return parse_signal_set(
        b"""
name = "t"
version = 1
airframe = "T"
[[group]]
name = "g"
rate_hz = 10
signal = [{ name = "X", unit = "1" }]
""",
        "t.toml",
    )


class Broker:
    """Answers CONNECT and SUBSCRIBE with what it was given, then says what it is told."""

    def __init__(self, connack: bytes, suback: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._answers = (connack, suback)
        self.up = threading.Event()
        self.conn: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            self.conn, _ = self._listener.accept()
            for answer in self._answers:
                if not self.conn.recv(4096):
                    return
                self.conn.sendall(answer)
        except OSError:
            return
        self.up.set()

    def say(self, data: bytes) -> None:
        assert self.conn is not None
        self.conn.sendall(data)

    def close(self) -> None:
        for sock in (self.conn, self._listener):
            if sock is not None:
                sock.close()
        self._thread.join(5)


@contextmanager
def broker(connack: bytes = CONNACK, suback: bytes = SUBACK) -> Iterator[Broker]:
    one = Broker(connack, suback)
    try:
        yield one
    finally:
        one.close()


def drained(source: MqttSource, seconds: float = 2.0) -> int:
    """Messages until the source closes or something came."""
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end and source.is_open and not count:
        count += source.drain(1000)
        time.sleep(0.002)
    return count


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (b"\x32\x06\x00\x01t\x00\x01x", "mqtt: QoS that was not asked for"),
        (b"\x30\xff\xff\xff\xff\x7f", "mqtt: length that is none"),
        (b"\x30\x02\xff\xff", "mqtt: topic beyond its packet"),
        (b"\xa2\x02\x00\x01", "mqtt: UNSUBSCRIBE from a broker"),
    ],
)
def test_a_broker_that_breaks_the_protocol_is_left_and_the_cause_counted(
    said: bytes, cause: str, signals: SignalSet
) -> None:
    with broker() as bus:
        source = MqttSource("127.0.0.1", bus.port, "bus/#", signals)
        source.open(2.0)
        bus.say(said)
        assert drained(source) == 0 and not source.is_open
        assert source.refused == {cause: 1}


def test_a_broker_that_is_gone_closes_the_source(signals: SignalSet) -> None:
    with broker() as bus:
        source = MqttSource("127.0.0.1", bus.port, "bus/#", signals)
        source.open(2.0)
        assert bus.up.wait(2.0) and bus.conn is not None
        bus.conn.close()
        drained(source)
        assert not source.is_open and source.refused == {"mqtt: connection lost": 1}


@pytest.mark.parametrize(
    ("connack", "suback", "what"),
    [
        (b"\x20\x02\x00\x05", SUBACK, "refused: not authorised"),
        (CONNACK, b"\x90\x03\x00\x01\x80", "refuses the topic"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", SUBACK, "from a broker"),
        (CONNACK, b"", "no answer within"),
    ],
)
def test_a_broker_that_refuses_is_unreachable_and_says_why(
    connack: bytes, suback: bytes, what: str, signals: SignalSet
) -> None:
    with broker(connack, suback) as bus:
        source = MqttSource("127.0.0.1", bus.port, "bus/#", signals)
        with pytest.raises(Unreachable, match=what):
            source.open(0.3)
        assert not source.is_open


def test_readings_before_the_suback_are_kept(signals: SignalSet) -> None:
    packet = b"\x30\x08\x00\x05bus/gx"
    with broker(suback=packet + SUBACK) as bus:
        source = MqttSource("127.0.0.1", bus.port, "bus/#", signals)
        source.open(2.0)
        assert source.pull() == [] and source.refused == {"too short": 1}
        source.close()


def test_a_silent_broker_is_asked_and_then_left(
    signals: SignalSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "KEEPALIVE_S", 0.05)
    with broker(CONNACK, SUBACK) as bus:
        source = MqttSource("127.0.0.1", bus.port, "bus/#", signals)
        monkeypatch.setattr(mqtt, "connect", lambda name, _: b"\x10\x02\x00\x00")
        source.open(2.0)
        drained(source)
        assert not source.is_open and source.refused == {"mqtt: silent": 1}
        assert bus.conn is not None and bus.conn.recv(16).startswith(b"\xc0\x00")


def test_a_broker_that_floods_from_the_start_does_not_keep_the_handshake(
    signals: SignalSet,
) -> None:
    """It never grants the subscription and never lets a read wait."""
    reading = b"\x30\x07\x00\x03bus\x00\x00"
    with broker(CONNACK, reading * 4) as one:
        source, flooding = MqttSource("127.0.0.1", one.port, "bus/#", signals), threading.Event()

        def flood() -> None:
            one.up.wait(5)
            while not flooding.is_set():
                try:
                    one.say(reading * 8192)
                except OSError:
                    return

        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        start_s = time.monotonic()
        with pytest.raises(Unreachable, match=r"no answer within 0\.5 s"):
            source.open(0.5)
        assert time.monotonic() - start_s < 5.0
        flooding.set()
        thread.join(5)


class _Endless:
    """A socket that always has as much as is asked for."""

    def __init__(self, packet: bytes, most: int) -> None:
        self._data, self.most = packet * (mqtt.BUFFER_BYTES // len(packet)), most

    def recv_into(self, view: memoryview) -> int:
        self.most -= 1
        assert self.most, "a drain that does not end"
        view[: len(self._data)] = self._data
        return len(self._data)


@pytest.mark.parametrize(
    "packet",
    [b"\x31\x02\x00\x00", b"\xd0\x00", b"\x30\x02\x00\x00", b"\x30\xff\xff\xff\x7f" + bytes(11)],
)
def test_a_drain_ends_however_much_there_is_of_what_is_no_reading(
    signals: SignalSet, packet: bytes
) -> None:
    source = MqttSource("127.0.0.1", 1, "bus/#", signals)
    source._socket = _Endless(packet, 10 * mqtt.BUFFERS_MAX)  # type: ignore[assignment]
    source._ping_at_s = float("inf")
    for _ in range(4):
        assert source.drain(1000) <= 1000
    assert source.is_open
