"""The on-board MQTT bus as a source, drained by the recorder's tick.

In: a broker's address and a topic filter. Out: readings.
Always holds: no thread and no wake-up of its own; the socket is read only when `drain` is called,
without blocking, into a buffer made once. QoS 0 and a clean session: the bus is not a store, and
what it drops shows as a jump of the group's counter. A broker that breaks the protocol or falls
silent is left, with the cause counted, and one that floods never keeps a drain or the handshake from
its end; docs/adr/0011 says why the reader is our own.
"""

from __future__ import annotations

import secrets
import socket
import time
from typing import Final

from edge.acquire.packets import DISCONNECT, PINGREQ, Malformed, PacketReader, connect, subscribe
from edge.acquire.reading import ReadingDecoder, Readings
from shared.errors import Unreachable
from shared.signals import SignalSet

KEEPALIVE_S: Final = 30
BUFFER_BYTES: Final = 1 << 18  # what one `recv` may bring: 0.5 s of 10,000 messages a second
BUFFERS_MAX: Final = 16  # of one drain: 4 MiB a tick, whatever they hold
REFUSALS: Final = {
    1: "it does not speak MQTT 3.1.1", 2: "client id refused", 3: "server unavailable",
    4: "bad user or password", 5: "not authorised",
}  # fmt: skip


class MqttSource:
    """Implements edge.acquire.source.Source over a socket of its own."""

    def __init__(self, host: str, port: int, topic: str, signals: SignalSet) -> None:
        self._host, self._port, self._topic = host, port, topic
        self.name = f"mqtt://{host}:{port}"
        self._decoder = ReadingDecoder(signals)
        self.refused = self._decoder.refused
        self._socket: socket.socket | None = None
        self._reader = PacketReader(self.refused)
        self._view = memoryview(bytearray(BUFFER_BYTES))
        self._ping_at_s = 0.0
        self._pings = 0

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def open(self, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        reader = PacketReader(self.refused)
        sock: socket.socket | None = None
        try:
            sock = socket.create_connection((self._host, self._port), timeout_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(connect(f"edge-{secrets.token_hex(6)}", KEEPALIVE_S))
            self._handshake(sock, reader, deadline_s)
            sock.setblocking(False)
        except (OSError, Malformed) as error:
            if sock is not None:
                sock.close()
            what = f"no answer within {timeout_s:g} s" if isinstance(error, TimeoutError) else error
            remedy = "check that the bus broker runs"
            raise Unreachable(str(what) or type(error).__name__, self.name, remedy) from None
        self._reader, self._pings = reader, 0
        self._ping_at_s = time.monotonic() + KEEPALIVE_S / 2
        self._socket = sock

    def drain(self, messages_max: int) -> int:
        sock = self._socket
        if sock is None:
            return 0
        payloads: list[bytes] = []
        left = messages_max
        try:
            if self._reader.has_more:
                left -= self._reader.take(b"", payloads, left)
            for _ in range(BUFFERS_MAX):
                if not left:
                    break
                got = self._receive(sock)
                left -= self._reader.take(self._view[:got].tobytes(), payloads, left)
                if got < BUFFER_BYTES:
                    break
            self._keep_alive(sock)
        except (OSError, Malformed) as error:
            self.refused[_cause(error)] += 1
            self.close()
        self._decoder.push(payloads)
        return len(payloads)

    def pull(self, only: frozenset[int] | None = None) -> list[Readings]:
        return self._decoder.pull(only)

    def close(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            try:
                sock.send(DISCONNECT)
            except OSError:
                pass  # it is gone already
            sock.close()

    def _handshake(self, sock: socket.socket, reader: PacketReader, deadline_s: float) -> None:
        """CONNACK, then SUBSCRIBE and SUBACK; readings may come before the latter [3.8.4]."""
        payloads: list[bytes] = []
        while reader.suback is None:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            sock.settimeout(left_s)
            data = sock.recv(4096)
            if not data:
                raise ConnectionError("the bus broker closed the connection")
            asked = reader.connack is not None
            reader.take(data, payloads, len(data))
            if payloads and reader.connack is None:
                raise Malformed("PUBLISH before CONNACK")
            if reader.connack:
                raise ConnectionError(f"refused: {REFUSALS.get(reader.connack, reader.connack)}")
            if not asked and reader.connack == 0:
                sock.sendall(subscribe(self._topic))
        if reader.suback >= 0x80:
            raise ConnectionError(f"the broker refuses the topic {self._topic!r}")
        self._decoder.push(payloads)

    def _receive(self, sock: socket.socket) -> int:
        try:
            got = sock.recv_into(self._view)
        except (BlockingIOError, InterruptedError):
            return 0
        if not got:
            raise ConnectionError("closed")
        return got

    def _keep_alive(self, sock: socket.socket) -> None:
        """A PINGREQ every half of the keep-alive; the answer is due before the next one."""
        now_s = time.monotonic()
        if now_s < self._ping_at_s:
            return
        if self._reader.pings < self._pings:
            raise Malformed("silent")
        self._ping_at_s = now_s + KEEPALIVE_S / 2
        self._pings += 1
        sock.send(PINGREQ)


def _cause(error: Exception) -> str:
    return f"mqtt: {error.args[0]}" if isinstance(error, Malformed) else "mqtt: connection lost"
