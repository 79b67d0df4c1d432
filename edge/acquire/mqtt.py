"""The on-board MQTT bus as a source, drained by the recorder's tick.

In: a broker's address and a topic filter. Out: readings.
Always holds: no thread and no wake-up of its own; paho reads only when `drain` is called, from
a non-blocking socket. QoS 0 and a clean session: the bus is not a store, and what it drops
shows as a jump of the group's counter.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge.acquire.reading import ReadingDecoder, Readings
from shared.errors import Unreachable
from shared.signals import SignalSet

KEEPALIVE_S = 30
MISC_PERIOD_S = 1.0  # keepalive book-keeping needs no more


class MqttSource:
    """Implements edge.acquire.source.Source over paho-mqtt's own loop functions."""

    def __init__(self, host: str, port: int, topic: str, signals: SignalSet) -> None:
        self._host, self._port, self._topic = host, port, topic
        self.name = f"mqtt://{host}:{port}"
        self._decoder = ReadingDecoder(signals)
        self.refused = self._decoder.refused
        self._client: paho.Client | None = None
        self._inbox: list[bytes] = []
        self._misc_at_s = 0.0

    @property
    def is_open(self) -> bool:
        return self._client is not None

    def open(self, timeout_s: float) -> None:
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"edge-{secrets.token_hex(6)}",
            protocol=paho.MQTTv311, reconnect_on_failure=False,
        )  # fmt: skip
        client.connect_timeout = timeout_s
        client.on_message = self._on_message
        client.on_connect = self._on_connect
        where = self.name
        try:
            client.connect(self._host, self._port, keepalive=KEEPALIVE_S)
            deadline_s = time.monotonic() + timeout_s
            while not client.is_connected():
                if client.loop(timeout=0.02) != paho.MQTT_ERR_SUCCESS:
                    raise Unreachable("the bus broker closed the connection", where)
                if time.monotonic() > deadline_s:
                    raise Unreachable(f"no answer within {timeout_s:g} s", where)
        except OSError as error:
            raise Unreachable(str(error), where, "check that the bus broker runs") from None
        sock = client.socket()
        assert sock is not None
        sock.setblocking(False)  # type: ignore[call-arg, unused-ignore]
        self._client = client

    def drain(self, messages_max: int) -> int:
        client = self._client
        if client is None:
            return 0
        inbox = self._inbox
        before = -1
        ok = True
        while ok and before != len(inbox) < messages_max:
            before = len(inbox)
            ok = client.loop_read() == paho.MQTT_ERR_SUCCESS
        now_s = time.monotonic()
        if now_s >= self._misc_at_s:
            self._misc_at_s = now_s + MISC_PERIOD_S
            ok = ok and client.loop_misc() == paho.MQTT_ERR_SUCCESS
        if client.want_write():
            ok = ok and client.loop_write() == paho.MQTT_ERR_SUCCESS
        if not ok:
            self.close()
        self._inbox = []
        self._decoder.push(inbox)
        return len(inbox)

    def pull(self, only: frozenset[int] | None = None) -> list[Readings]:
        return self._decoder.pull(only)

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.on_message = None
            client.disconnect()
            if client.socket() is not None:
                client.loop_write()

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        client.subscribe(self._topic, qos=0)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        self._inbox.append(bytes(message.payload))
