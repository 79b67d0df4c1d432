"""Knocks on one URL as fast as it is answered: keep-alive connections, each with one request under way.

`python -m bench.side.knock HOST PORT PATH --connections 16 --seconds 5`. Out: one line of JSON: answers
a second, latency in ms, what was not 200. Bounded in time and in connections; loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import time

import numpy as np

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "


class Knocker(asyncio.Protocol):
    """One connection."""

    def __init__(self, request: bytes, until_s: float) -> None:
        self._request, self._until_s = request, until_s
        self._buffer = bytearray()
        self._sent_s = 0.0
        self.latencies_s: list[float] = []
        self.refused = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent_s = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(HEAD_END)
        if head < 0:
            return
        text = bytes(self._buffer[:head]).lower()
        at = text.index(LENGTH) + len(LENGTH)
        length = int(text[at:].split(b"\r\n", 1)[0])
        if len(self._buffer) < head + len(HEAD_END) + length:
            return
        now_s = time.perf_counter()
        self.latencies_s.append(now_s - self._sent_s)
        self.refused += not text.startswith(b"http/1.1 200")
        self._buffer.clear()
        if now_s < self._until_s:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)


async def knock(host: str, port: int, path: str, connections: int, seconds: float
                ) -> dict[str, float]:  # fmt: skip
    """Answers a second and latencies of `seconds`, after a tenth of it to warm up."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    for share in (0.1, 1.0):
        started_s = time.perf_counter()
        until_s = started_s + share * seconds
        made = [await loop.create_connection(lambda: Knocker(request, until_s), host, port)  # noqa: B023
                for _ in range(connections)]  # fmt: skip
        async with asyncio.timeout(seconds + 30):
            await asyncio.gather(*(protocol.over for _, protocol in made))
        spent_s = time.perf_counter() - started_s
    times_ms = 1000 * np.concatenate([p.latencies_s for _, p in made])
    return {
        "per_s": round(len(times_ms) / spent_s, 1), "answers": len(times_ms),
        "refused": sum(p.refused for _, p in made), "connections": connections,
        **{f"p{name}_ms": round(float(np.percentile(times_ms, q)), 2)
           for name, q in (("50", 50), ("99", 99), ("99_9", 99.9))},
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.side.knock")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--connections", type=int, default=16, choices=range(1, 257), metavar="N")
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    if not ipaddress.ip_address(args.host).is_loopback or not 0 < args.seconds <= 60:
        parser.error("a loopback address, for at most 60 s")
    print(json.dumps(asyncio.run(
        knock(args.host, args.port, args.path, args.connections, args.seconds))))  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
