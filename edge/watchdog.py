"""The watchdog: every task has a heart that beats, and the service manager is told while all do.

In: beats. Out: `WATCHDOG=1`, or silence and the names of the tasks that are late.
Always holds: one task that is late is enough for silence; a task that died and is started again
is late only once its pauses and its own work have taken longer than its bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edge.notify import Notifier, status_line
from shared.clock import Clock

PERIOD_S = 1.0


class Hearts:
    """Who beat when, on the monotonic clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._within_ns: dict[str, int] = {}
        self._beat_ns: dict[str, int] = {}
        self._beats: dict[str, int] = {}

    def expect(self, name: str, within_s: float) -> Callable[[], None]:
        """From now on `name` beats at least once in `within_s`; the call that is a beat."""
        self._within_ns[name] = round(within_s * 1e9)
        self.beat(name)
        return lambda: self.beat(name)

    def beat(self, name: str) -> None:
        self._beat_ns[name] = self._clock.mono_ns()
        self._beats[name] = self._beats.get(name, 0) + 1

    def beats(self, name: str) -> int:
        """How many so far."""
        return self._beats.get(name, 0)

    def late(self) -> dict[str, float]:
        """Those over their bound, and for how long they have not beaten, s."""
        now_ns = self._clock.mono_ns()
        return {
            name: (now_ns - self._beat_ns[name]) / 1e9
            for name, within_ns in self._within_ns.items()
            if now_ns - self._beat_ns[name] > within_ns
        }


class Watchdog:
    """Feeds the service manager. describe: one line for people, about now. tell: told who is late
    (name to s), each time that changes."""

    def __init__(
        self, hearts: Hearts, notify: Notifier, describe: Callable[[], str],
        tell: Callable[[dict[str, float]], None] = lambda late: None,
    ) -> None:  # fmt: skip
        self._hearts, self._notify, self._describe, self._tell = hearts, notify, describe, tell
        self._said: frozenset[str] = frozenset()

    async def run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(PERIOD_S)

    def look(self) -> bool:
        """Feed, unless a task is late; whether it did."""
        late = self._hearts.late()
        if frozenset(late) != self._said:
            self._said = frozenset(late)
            self._tell(late)
        if late:
            self._notify(status_line(f"no heartbeat of {', '.join(sorted(late))}"))
        else:
            self._notify("WATCHDOG=1", status_line(self._describe()))
        return not late
