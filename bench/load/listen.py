"""Bare receivers of the load: what it costs merely to take the messages off the bus.

`python -m bench.load.listen KIND PORT SECONDS SIGNALS.toml`. Out: one JSON a line: messages, CPU
and wall seconds. KIND:
  paho-woken    the client library's own loop, a callback a message, woken whenever some come
  paho-drained  the same library, its socket emptied on a 10 ms tick
  socket        bytes only, emptied on the same tick, nothing parsed: the floor
  source        edge.acquire.mqtt on that tick, decoded into arrays five times a second
Always holds: QoS 0, one process each, CPU of the measured span only.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from bench.load.publish import connect
from edge.acquire.mqtt import MqttSource
from edge.acquire.packets import subscribe
from shared.signals import load_signal_set

TICK_S: Final = 0.010
SLICE_TICKS: Final = 20
WARM_S: Final = 1.0
MOST: Final = 1 << 20


def paho_client(port: int, count: list[int]) -> paho.Client:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"bare-{time.monotonic_ns()}")

    def take(_client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        count[0] += 1

    client.on_message = take
    client.on_connect = lambda c, *_: c.subscribe("bus/#", 0)
    client.connect("127.0.0.1", port)
    return client


def receiver(kind: str, port: int, signals: Path, count: list[int]) -> Callable[[int], None]:
    """What to do on each tick; counts messages, or bytes of a socket."""
    if kind == "paho-woken":
        client = paho_client(port, count)
        return lambda _: _loop_for(client, TICK_S)
    if kind == "paho-drained":
        client = paho_client(port, count)
        while not client.is_connected():
            client.loop(0.05)
        sock = client.socket()
        assert sock is not None
        sock.setblocking(False)  # type: ignore[call-arg, unused-ignore]
        return lambda _: _empty(client, count)
    if kind == "socket":
        return _bytes(port, count)
    source = MqttSource("127.0.0.1", port, "bus/#", load_signal_set(signals))
    source.open(5.0)

    def take(tick: int) -> None:
        count[0] += source.drain(MOST)
        if tick % SLICE_TICKS == 0:
            source.pull()

    return take


def _loop_for(client: paho.Client, seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        client.loop(timeout=left_s)


def _empty(client: paho.Client, count: list[int]) -> None:
    """As the edge did it before docs/adr/0011."""
    before = -1
    while before != count[0]:
        before = count[0]
        client.loop_read()
    if client.want_write():
        client.loop_write()


def _bytes(port: int, count: list[int]) -> Callable[[int], None]:
    sock: socket.socket = connect(port, "bare-socket")
    sock.sendall(subscribe("bus/#"))
    sock.setblocking(False)
    view = memoryview(bytearray(1 << 18))

    def take(_tick: int) -> None:
        try:
            while (got := sock.recv_into(view)) > 0:
                count[0] += got
                if got < len(view):
                    return
        except BlockingIOError:
            pass

    return take


def main(arguments: list[str]) -> int:
    kind, port, seconds, signals = arguments
    count = [0]
    act = receiver(kind, int(port), Path(signals), count)
    end_s = time.monotonic() + WARM_S
    tick, begun = 0, False
    cpu_s = wall_s = 0.0
    before = 0
    while True:
        due_s = time.monotonic() + TICK_S
        act(tick)
        tick += 1
        now_s = time.monotonic()
        if now_s >= end_s:
            if begun:
                break
            begun, end_s = True, now_s + float(seconds)
            cpu_s, wall_s, before = time.process_time(), now_s, count[0]
        if kind != "paho-woken" and due_s > now_s:
            time.sleep(due_s - now_s)
    cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
    print(json.dumps({"kind": kind, "count": count[0] - before, "cpu_s": cpu_s, "wall_s": wall_s}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
