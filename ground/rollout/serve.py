"""Update files over NATS, for tails whose only way to the ground is the broker.

In: requests on `aero.v1.{operator}.{tail}.update`. Out: pieces of files below the repository.
Always holds: only what the two repositories publish is read, never a folder, a draft or what a
link points to; an answer goes to an inbox of the tail that asked and nowhere else; each tail has
at most WAITING_MAX requests waiting, and the tails take turns.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter, deque
from contextlib import suppress
from pathlib import Path

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from shared.below import open_below
from shared.chunks import (
    CHUNK_BYTES_MAX,
    INBOX,
    REQUEST_BYTES_MAX,
    UPDATE,
    Chunk,
    ChunkRequest,
    Status,
)
from shared.errors import Rejected
from shared.log import event
from shared.messages import decode, encode
from shared.topics import IDENTIFIER, parse_subject, subject

QUEUE = "update"
SERVED = ("image/metadata/", "image/targets/", "director/metadata/", "time/")
WAITING_MAX = 4  # of one tail; a client of ours has one
PENDING_MAX = 1024  # inside nats-py, requests of all tails
ABSENT = (FileNotFoundError, NotADirectoryError)


class UpdateResponder:
    """Answers with pieces of the files below one repository folder."""

    def __init__(self, client: Client, operator: str, repo: Path) -> None:
        self._client, self._operator, self._repo = client, operator, repo
        self._waiting: dict[str, deque[Msg]] = {}
        self._noted: set[tuple[str, str]] = set()
        self._some = asyncio.Event()
        self.answers: Counter[Status] = Counter()

    async def run(self) -> None:
        """Until cancelled."""
        subscription = await self._subscribe()
        try:
            while True:
                await self._some.wait()
                tail, message = self._next()
                await self._answer(tail, message)
        finally:
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def _subscribe(self) -> Subscription:
        every = subject(self._operator, "*", UPDATE)
        return await self._client.subscribe(
            every, QUEUE, cb=self._take, pending_msgs_limit=PENDING_MAX,
            pending_bytes_limit=PENDING_MAX * REQUEST_BYTES_MAX,
        )  # fmt: skip

    async def _take(self, message: Msg) -> None:
        with suppress(Rejected):
            operator, tail, _ = parse_subject(message.subject)
            if operator == self._operator and self._is_own_inbox(tail, message.reply):
                waiting = self._waiting.setdefault(tail, deque())
                if len(waiting) < WAITING_MAX:
                    waiting.append(message)
                    self._some.set()
                else:
                    await self._say(message, Chunk(1, "busy"))

    def _is_own_inbox(self, tail: str, reply: str) -> bool:
        """Else a tail could have us publish where it may not."""
        prefix = subject(self._operator, tail, INBOX) + "."
        tokens = reply[:200].removeprefix(prefix).split(".")
        return reply.startswith(prefix) and all(IDENTIFIER.match(token) for token in tokens)

    def _next(self) -> tuple[str, Msg]:
        """The oldest request of the tail whose turn it is; the tail goes to the end of the row."""
        tail = next(iter(self._waiting))
        waiting = self._waiting.pop(tail)
        message = waiting.popleft()
        if waiting:
            self._waiting[tail] = waiting
        elif not self._waiting:
            self._some.clear()
        return tail, message

    async def _answer(self, tail: str, message: Msg) -> None:
        try:
            request = decode(ChunkRequest, message.data, "chunk request", REQUEST_BYTES_MAX)
            chunk = await asyncio.to_thread(piece, self._repo, request)
        except Rejected as error:
            self._note(tail, "request", error.what)
            chunk = Chunk(1, "refused")
        except OSError as error:
            self._note(tail, str(error.errno), str(error))
            chunk = Chunk(1, "refused")
        await self._say(message, chunk)

    def _note(self, tail: str, kind: str, error: str) -> None:
        """Once a kind, so that no tail fills the log with it."""
        if (tail, kind) not in self._noted:
            self._noted.add((tail, kind))
            event("update_request_refused", level=logging.WARNING, tail=tail, error=error[:200])

    async def _say(self, message: Msg, chunk: Chunk) -> None:
        self.answers[chunk.status] += 1
        with suppress(nats.errors.Error):  # the tail asks again
            await self._client.publish(message.reply, encode(chunk))


def piece(repo: Path, request: ChunkRequest) -> Chunk:
    """Rejected for a request that no client of ours makes; OSError when the file is not readable."""
    if request.v != 1 or not 1 <= request.length <= CHUNK_BYTES_MAX:
        raise Rejected("not a request of ours", request.path[:80])
    if not request.path.startswith(SERVED):
        return Chunk(1, "absent")
    try:
        descriptor = open_below(repo, request.path)
    except ABSENT:
        return Chunk(1, "absent")
    try:
        found = os.fstat(descriptor)
        data = os.pread(descriptor, request.length, request.offset)
    finally:
        os.close(descriptor)
    tag = f"{found.st_ino:x}-{found.st_mtime_ns:x}"
    return Chunk(1, "ok", found.st_size, tag, data)
