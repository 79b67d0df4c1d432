"""Fresh: answers that many ask for and that change once a second at most, made once for all of them.

In: a key and how to make its answer. Out: ready bytes, at most `age_max_s` old when they were asked
for, however long the making takes. Always holds: one making at a time for a key, shared by those who
wait; an error is told to them all and kept for nobody; the cache is bounded, least used first out.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

ENTRIES_MAX = 1024
"""Of about 8 kB each for the bench's airframe (assumption: a fleet of fewer tails is asked for)."""


class Fresh:
    """For one event loop. now_s: monotonic."""

    def __init__(
        self, make: Callable[[str], bytes], age_max_s: float,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """make: called in a thread."""
        self._make, self._age_max_s, self._now_s = make, age_max_s, now_s
        self._ready: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._making: dict[str, tuple[float, asyncio.Task[bytes]]] = {}
        """Since when, and the making."""

    def ready(self, key: str) -> bytes | None:
        """The answer if there is one that is fresh; makes none."""
        found = self._ready.get(key)
        if found is None or self._now_s() - found[0] > self._age_max_s:
            return None
        self._ready.move_to_end(key)
        return found[1]

    async def get(self, key: str) -> bytes:
        """The answer, made when there is no fresh one; raises what making it raises."""
        came_s = self._now_s()
        while True:
            found = self.ready(key)
            if found is not None:
                return found
            if key not in self._making:
                now_s = self._now_s()
                self._making[key] = now_s, asyncio.create_task(self._renew(key, now_s))
            asked_s, task = self._making[key]
            body = await asyncio.shield(task)  # who goes away does not take it from the others
            if came_s - asked_s <= self._age_max_s:
                return body  # else it was begun too long before we came

    async def _renew(self, key: str, asked_s: float) -> bytes:
        try:
            body = await asyncio.to_thread(self._make, key)
        finally:
            del self._making[key]
        self._ready[key] = (asked_s, body)
        self._ready.move_to_end(key)
        while len(self._ready) > ENTRIES_MAX:
            self._ready.popitem(last=False)
        return body


class Shortcut:
    """Answers a GET whose answer is ready before the framework looks at it; all else goes on.

    Plain ASGI: with FastAPI around it the same answer takes about five times as long.
    """

    def __init__(self, app: ASGIApp, path: re.Pattern[str], fresh: Fresh) -> None:
        """path: its first group is the key."""
        self._app, self._path, self._fresh = app, path, fresh

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = self._ready(scope)
        if body is None:
            await self._app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/json"),
                   (b"content-length", str(len(body)).encode())]  # fmt: skip
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _ready(self, scope: Scope) -> bytes | None:
        if scope["type"] != "http" or scope["method"] != "GET":
            return None
        found = self._path.match(scope["path"])
        return self._fresh.ready(found[1]) if found else None
