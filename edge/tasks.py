"""The daemon's tasks: each is started again when it dies, and the reason is kept.

In: coroutines. Out: nothing; they run until cancelled.
Always holds: a task that dies of our own bug pauses 0.1 to 10 s before it is started again, and
starts its pauses over once it has lived a minute; `Corrupt` is not restarted but reported.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from shared.errors import Corrupt
from shared.log import event

PAUSE_S_MIN, PAUSE_S_MAX, SETTLED_S = 0.1, 10.0, 60.0
Work = Callable[[], Awaitable[None]]


class Tasks:
    """Named tasks. restarted: told (name, reason). die: told of a damaged store."""

    def __init__(
        self, restarted: Callable[[str, str], None], die: Callable[[Corrupt], None]
    ) -> None:
        self._restarted, self._die = restarted, die
        self._named: dict[str, asyncio.Task[None]] = {}
        self._short: set[asyncio.Task[None]] = set()

    def start(self, works: Mapping[str, Work]) -> None:
        """Run each until `stop`."""
        for name, work in works.items():
            self._named[name] = asyncio.create_task(self._supervise(name, work))

    async def stop(self, *names: str) -> None:
        """Cancel these, or all, and wait until they have ended."""
        tasks = [self._named[name] for name in names or self._named]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """One short job beside the others; its failure is logged."""
        task = asyncio.ensure_future(work)
        self._short.add(task)
        task.add_done_callback(self._done)

    async def _supervise(self, name: str, work: Work) -> None:
        pause_s, loop = PAUSE_S_MIN, asyncio.get_running_loop()
        while True:
            started_s = loop.time()
            try:
                await work()
                return
            except Corrupt as error:
                self._die(error)
                return
            except Exception as error:
                logging.getLogger("tailtwin").exception("task.died")
                self._restarted(name, repr(error)[:300])
            if loop.time() - started_s > SETTLED_S:
                pause_s = PAUSE_S_MIN
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._short.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, Corrupt):
            self._die(error)
        else:
            event("job.failed", why=repr(error), level=logging.ERROR)
