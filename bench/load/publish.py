"""Writes a packet stream to the bus broker, each packet when it is due.

`python -m bench.load.publish STREAM.npz PORT STAMPS.npz`. In: a stream file. Out: bytes on one
MQTT connection; at the end STAMPS: for each burst, how many packets were out after it and the
monotonic time just before it was handed to the socket. Ends at the end of stdin.
Always holds: no packet goes out before it is due; one JSON a line says what was done.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from pathlib import Path

import numpy as np

from bench.load.packets import Stream

SLICE_S = 0.004  # bursts of 4 at 1,000 messages a second, of 40 at 10,000


def connect(port: int, name: str) -> socket.socket:
    """An MQTT 3.1.1 connection by hand: this program sends, and reads nothing."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client = name.encode()
    body = b"\0\4MQTT\4\2\0\0" + len(client).to_bytes(2, "big") + client  # keep-alive off
    sock.sendall(bytes([0x10, len(body)]) + body)
    if sock.recv(4)[:2] != b"\x20\x02":
        raise OSError("no CONNACK")
    return sock


def main(arguments: list[str]) -> int:
    stream = Stream.load(Path(arguments[0]))
    sock = connect(int(arguments[1]), "bench-load")
    data, ends, due = memoryview(stream.data.tobytes()), stream.ends, stream.due_ns
    out: list[int] = []
    before_ns: list[int] = []
    print(json.dumps({"ready": len(ends)}), flush=True)
    if not sys.stdin.readline():
        return 0
    start_ns, cpu_s, sent, late_ns = time.monotonic_ns(), time.process_time(), 0, 0
    print(json.dumps({"start_ns": start_ns}), flush=True)
    while sent < len(ends):
        now_ns = time.monotonic_ns()
        last = int(np.searchsorted(due, now_ns - start_ns, "right"))
        if last > sent:
            late_ns = max(late_ns, now_ns - start_ns - int(due[sent]))
            first = int(ends[sent - 1]) if sent else 0
            out.append(last)
            before_ns.append(time.monotonic_ns())
            sock.sendall(data[first : int(ends[last - 1])])
            sent = last
        if select.select([sys.stdin], [], [], 0)[0]:
            break
        time.sleep(SLICE_S)
    wall_s = (time.monotonic_ns() - start_ns) / 1e9
    np.savez(arguments[2], out=np.array(out), before_ns=np.array(before_ns))
    print(json.dumps({
        "sent": sent, "wall_s": round(wall_s, 3), "messages_per_s": round(sent / wall_s, 1),
        "late_ms_max": round(late_ns / 1e6, 2),
        "cpu_percent": round(100 * (time.process_time() - cpu_s) / wall_s, 2),
    }), flush=True)  # fmt: skip
    sock.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
