"""Hellos that wait for their answer: of each epoch the latest, of each tail only so many a second.

In: greetings. Out: those to answer now. Pure.
Always holds: a tail costs the ground at most RATE_PER_S answers a second beyond a burst; the
aircraft repeats its hello until it is answered, so what is dropped here is not lost.
"""

from __future__ import annotations

from ground.ingest.intake import Greeting

RATE_PER_S = 1.0
BURST = 8  # the epochs that one outbox may hold at once come in one round (assumption: under 8)
WAITING_MAX = 32  # of one tail


class Hellos:
    """One for all tails. Times are ns of any monotonic clock."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, Greeting]] = {}
        self._tokens: dict[str, tuple[float, int]] = {}

    def add(self, greeting: Greeting) -> bool:
        """False when too many epochs of this tail wait already."""
        waiting = self._waiting.setdefault(greeting.tail, {})
        epoch = greeting.hello.epoch
        if epoch not in waiting and len(waiting) >= WAITING_MAX:
            return False
        waiting.pop(epoch, None)  # the latest stands last: the living epoch is said last
        waiting[epoch] = greeting
        return True

    def due(self, now_ns: int) -> list[Greeting]:
        """Those whose tail has not had its share; the others stay."""
        found: list[Greeting] = []
        for tail, waiting in list(self._waiting.items()):
            tokens, at_ns = self._tokens.get(tail, (float(BURST), now_ns))
            tokens = min(BURST, tokens + (now_ns - at_ns) * 1e-9 * RATE_PER_S)
            while waiting and tokens >= 1:
                found.append(waiting.pop(next(iter(waiting))))
                tokens -= 1
            self._tokens[tail] = tokens, now_ns
            if not waiting:
                del self._waiting[tail]
        return found
