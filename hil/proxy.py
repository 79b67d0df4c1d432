"""The link emulator: a TCP proxy that can be cut and throttled.

In: connections of the edge. Out: the same bytes to the real server, or not.
Always holds: while cut, bytes in both directions are swallowed and new connections hang, as a
radio out of range would have it; when the cut ends every connection of before is aborted, so
what was swallowed is never delivered late. Loopback only.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

CHUNK_BYTES = 4096
CONNECTIONS_MAX = 64


@dataclass(slots=True)
class LinkEmulator:
    """One listening port in front of one server. bytes_per_s: cap up and down; 0 is none."""

    name: str
    target_port: int
    bytes_per_s: int = 0
    host: str = "127.0.0.1"
    port: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    is_cut: bool = False
    cuts: list[tuple[float, float | None]] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _free_at_s: dict[str, float] = field(default_factory=dict)

    async def start(self) -> None:
        """Listen; `port` says where."""
        self._server = await asyncio.start_server(self._serve, self.host, self.port or 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
        self._abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, now_s: float = 0.0) -> None:
        """Nothing passes from now on. now_s: flight time, for the record."""
        if not self.is_cut:
            self.is_cut = True
            self.cuts.append((now_s, None))

    def restore(self, now_s: float = 0.0) -> None:
        """Connections of before are aborted; new ones pass."""
        if self.is_cut:
            self.is_cut = False
            self.cuts[-1] = (self.cuts[-1][0], now_s)
            self._abort()

    def _abort(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._writers) >= 2 * CONNECTIONS_MAX:
            writer.transport.abort()
            return
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far: asyncio.StreamWriter | None = None
        try:
            while self.is_cut:
                if not await reader.read(CHUNK_BYTES):
                    return
            far_reader, far = await asyncio.open_connection(self.host, self.target_port)
            self._writers.add(far)
            await asyncio.gather(
                self._pump(reader, far, "up"), self._pump(far_reader, writer, "down")
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for one in (writer, far):
                if one is not None:
                    self._writers.discard(one)
                    one.transport.abort()
            self._tasks.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str
    ) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if self.is_cut:
                continue
            await self._pace(way, len(data))
            if way == "up":
                self.bytes_up += len(data)
            else:
                self.bytes_down += len(data)
            writer.write(data)
            await writer.drain()
        writer.transport.abort()

    async def _pace(self, way: str, count: int) -> None:
        if not self.bytes_per_s:
            return
        now_s = time.monotonic()
        start_s = max(now_s, self._free_at_s.get(way, 0.0))
        self._free_at_s[way] = start_s + count / self.bytes_per_s
        if start_s > now_s:
            await asyncio.sleep(start_s - now_s)
