"""Update bytes over the stand link: NATS requests below the tail's own subject.

In: paths. Out: the files, asked for piece by piece. Runs in the child that fetches.
Always holds: a piece is awaited no longer than GAP_S and none over CHUNK_BYTES_MAX is held; a
file that changes while it is read is not put together from two; nats-py never reconnects by
itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Generator
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import nats.errors
from nats.aio.client import Client
from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError

from edge.link.nats import CappedParser
from edge.update.sources import GAP_S, NoRange
from shared.chunks import (
    ANSWER_BYTES_MAX,
    CHUNK_BYTES_MAX,
    INBOX,
    REQUEST_BYTES_MAX,
    UPDATE,
    Chunk,
    ChunkRequest,
)
from shared.errors import ConfigError, Rejected
from shared.messages import decode, encode
from shared.topics import parse_subject, subject

CONNECT_S = 5.0  # assumption, as of the link
BUSY_S = 0.2
BUSY_MAX = 50  # asked in vain, ten seconds in all
T = TypeVar("T")


class NatsSource:
    """One server; asyncio runs only while a read waits."""

    def __init__(
        self, where: str, user: str, password: str, operator: str, tail: str
    ) -> None:  # fmt: skip
        self._where, self._user, self._password = where, user, password
        self._subject = subject(operator, tail, UPDATE)
        self._inbox = subject(operator, tail, INBOX)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Client | None = None
        self._ended = asyncio.Event()
        self._why = "closed"
        self._is_cut = threading.Event()
        self.name = f"nats://{where}/{self._subject}"

    @classmethod
    def at(cls, text: str) -> NatsSource:
        """text: `nats://user:password@host:port/aero.v1.{operator}.{tail}`."""
        parts = urlsplit(text)
        try:
            operator, tail, _ = parse_subject(f"{parts.path.lstrip('/')}.{UPDATE}")
            port = parts.port or 4222
        except (Rejected, ValueError):
            port = 0
        if not (port and parts.hostname and parts.username and parts.password):
            raise ConfigError(
                "not a NATS source", "update.sources",
                "nats://user:password@host:port/aero.v1.{operator}.{tail}",
            )  # fmt: skip
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(
            f"{host}:{port}", unquote(parts.username), unquote(parts.password), operator, tail
        )

    def read(self, path: str, offset: int = 0) -> Generator[bytes, None, None]:
        self._is_cut.clear()
        whole = False
        try:
            yield from self._pieces(path, offset)
            whole = True
        except DownloadHTTPError:
            whole = True  # an answer: the connection is as good as before
            raise
        except (TimeoutError, nats.errors.TimeoutError) as error:
            raise SlowRetrievalError(f"no answer in {GAP_S:g} s: {path}") from error
        except nats.errors.NoRespondersError as error:
            raise DownloadError(f"nobody serves updates at {self.name}") from error
        except Rejected as error:
            raise DownloadError(f"no answer of ours for {path}: {error.what}") from error
        except (nats.errors.Error, OSError, EOFError, ValueError) as error:
            raise DownloadError(f"{error or type(error).__name__} for {path}") from error
        finally:
            if not whole:
                self.close()

    def _pieces(self, path: str, offset: int) -> Generator[bytes, None, None]:
        first: Chunk | None = None
        while first is None or offset < first.total:
            chunk = self._run(self._ask(path, offset))
            if chunk.status == "absent":
                raise DownloadHTTPError(f"no {path} at {self.name}", 404)
            if chunk.status != "ok":
                raise DownloadError(f"{self.name} answered {chunk.status} for {path}")
            first = first or chunk
            if offset > chunk.total:
                raise NoRange(f"{path} has {chunk.total} bytes, not {offset}")
            if (chunk.total, chunk.tag) != (first.total, first.tag):
                raise DownloadError(f"{path} changed while it was read")
            if not chunk.data and offset < chunk.total:
                raise DownloadError(f"{path} ended after {offset} of {chunk.total} bytes")
            if chunk.data:
                yield chunk.data
            offset += len(chunk.data)

    async def _ask(self, path: str, offset: int) -> Chunk:
        client = await self._connected()
        request = encode(ChunkRequest(1, path, offset, CHUNK_BYTES_MAX))
        if len(request) > REQUEST_BYTES_MAX:
            raise DownloadError(f"a path of {len(path)} characters")
        for _ in range(BUSY_MAX):
            message = await client.request(self._subject, request, timeout=GAP_S)
            chunk = decode(Chunk, message.data, "chunk", ANSWER_BYTES_MAX)
            if chunk.status != "busy":
                return chunk
            await asyncio.sleep(BUSY_S)
        return chunk

    async def _connected(self) -> Client:
        if self._client is not None:
            return self._client
        client = self._client = Client()
        client._ps = CappedParser(client, ANSWER_BYTES_MAX)
        async with asyncio.timeout(CONNECT_S):
            await client.connect(
                f"nats://{self._where}", user=self._user, password=self._password,
                inbox_prefix=self._inbox, allow_reconnect=False, connect_timeout=4,
                max_reconnect_attempts=1, reconnect_time_wait=0, closed_cb=self._on_closed,
                error_cb=self._on_error,
            )  # fmt: skip
        return client

    async def _on_closed(self) -> None:
        self._ended.set()

    async def _on_error(self, error: Exception) -> None:
        self._why = str(error) or type(error).__name__
        self._ended.set()  # what we are not allowed to do never gets an answer

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            self._loop, self._ended = asyncio.new_event_loop(), asyncio.Event()
        return self._loop.run_until_complete(self._unless_ended(work))

    async def _unless_ended(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, unless the connection ends or `cut` comes first."""
        if self._is_cut.is_set():
            work.close()
            raise TimeoutError
        task, ended = asyncio.ensure_future(work), asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            for one in (task, ended):
                one.cancel()
            await asyncio.gather(task, ended, return_exceptions=True)
        raise TimeoutError if self._is_cut.is_set() else ConnectionError(self._why)

    def cut(self) -> None:
        self._is_cut.set()
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it is closed already
                loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if self._is_cut.is_set():  # else it came after the read that it was meant for
            self._ended.set()

    def close(self) -> None:
        loop, self._loop = self._loop, None
        client, self._client = self._client, None
        if loop is None:
            return
        try:
            loop.run_until_complete(_close(client))
        finally:
            loop.close()


async def _close(client: Client | None) -> None:
    if client is not None:
        with suppress(nats.errors.Error, OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await client.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
