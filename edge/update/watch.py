"""The gate, watched: an event while it is shut, and an answer inside a swap.

In: gate decisions of the recorder's loop. Out: work that ends when the gate shuts, and `is_open`
for the thread that swaps. Always holds: silence of the loop is a shut gate; work that was begun
behind an open gate has ended, one way or the other, before anybody goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TypeVar

from edge.update.gate import GateDecision

ASK_S_MAX = 2.0  # no answer of the recorder's loop in this time is a shut gate

T = TypeVar("T")


class GateWatch:
    """ask: looks at the gate now, with fresh inputs; called on the loop only. on_look: told of
    every decision that is not of the recorder's own rhythm."""

    def __init__(self, ask: Callable[[], GateDecision]) -> None:
        self._ask = ask
        self._shut = asyncio.Event()
        self._shut.set()
        self.last: GateDecision | None = None
        self.at_swap: GateDecision | None = None
        """What the last swap was answered: it stands for that swap, whatever came after."""
        self.shut_by: GateDecision | None = None
        """What shut it last: it stands for what it stopped, which is told when that has ended."""

    @property
    def is_shut(self) -> bool:
        """As of the last look."""
        return self._shut.is_set()

    def saw(self, decision: GateDecision) -> bool:
        """A look of the recorder; whether the gate opened by it."""
        self.last, was_shut = decision, self._shut.is_set()
        if decision.open:
            self._shut.clear()
        elif not was_shut:
            self.shut_by = decision
            self._shut.set()
        return decision.open and was_shut

    def look(self) -> GateDecision:
        """The gate at this instant."""
        decision = self._ask()
        self.saw(decision)
        return decision

    def asker(self, loop: asyncio.AbstractEventLoop) -> Callable[[], bool]:
        """The question for a thread that swaps: the loop looks, and silence is a shut gate."""

        def is_open() -> bool:
            asked: Future[bool] = Future()

            def look() -> None:
                if asked.set_running_or_notify_cancel():
                    self.at_swap = self.look()
                    asked.set_result(self.at_swap.open)

            try:
                loop.call_soon_threadsafe(look)
                return asked.result(ASK_S_MAX)
            except (TimeoutError, RuntimeError):  # RuntimeError: the loop is closed
                asked.cancel()
                return False

        return is_open

    async def while_open(self, work: Awaitable[T]) -> T | None:
        """The result of `work`, or None when the gate shut first; `work` has ended either way."""
        task = asyncio.ensure_future(work)
        shut = asyncio.ensure_future(self._shut.wait())
        try:
            await asyncio.wait({task, shut}, return_when=asyncio.FIRST_COMPLETED)
            return None if shut.done() else task.result()
        finally:
            for each in (task, shut):
                each.cancel()
            await asyncio.gather(task, shut, return_exceptions=True)
