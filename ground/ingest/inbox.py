"""Inbox: what came from the broker and is not looked at yet.

In: subjects and bytes. Out: batches, in the order they came.
Always holds: at most RECORDS_MAX messages and BYTES_MAX bytes, of one tail at most half of each;
what does not fit is refused, and the aircraft sends it again.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque

RECORDS_MAX = 4096
BYTES_MAX = 32 << 20  # assumption: two batches of the largest size
OVERHEAD_BYTES = 200  # of a small message in memory, about


class Inbox:
    """One queue for all tails."""

    def __init__(self) -> None:
        self._messages: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._count_of: Counter[str] = Counter()
        self._bytes_of: Counter[str] = Counter()
        self._arrived = asyncio.Event()

    def put(self, name: str, data: bytes) -> bool:
        """False when there is no room for it."""
        tail, size = _tail(name), len(data) + OVERHEAD_BYTES
        if (
            len(self._messages) >= RECORDS_MAX
            or self._bytes + size > BYTES_MAX
            or self._count_of[tail] >= max(1, RECORDS_MAX // 2)
            or self._bytes_of[tail] + size > BYTES_MAX // 2
        ):
            return False
        self._messages.append((name, data))
        self._account(tail, 1, size)
        self._arrived.set()
        return True

    def take(self) -> tuple[str, bytes] | None:
        """The oldest message; None when there is none."""
        if not self._messages:
            return None
        name, data = self._messages.popleft()
        self._account(_tail(name), -1, -len(data) - OVERHEAD_BYTES)
        return name, data

    async def wait_arrival(self, timeout_s: float) -> bool:
        """True once there is a message; False when none came in time."""
        if not self._messages:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), timeout_s)
            except TimeoutError:
                return False
        return True

    def __len__(self) -> int:
        return len(self._messages)

    def _account(self, tail: str, count: int, size: int) -> None:
        self._bytes += size
        for counter, change in ((self._count_of, count), (self._bytes_of, size)):
            counter[tail] += change
            if not counter[tail]:
                del counter[tail]


def _tail(name: str) -> str:
    """The tail of a subject `aero.v1.{operator}.{tail}.{leaf}`; the broker checked it."""
    parts = name.split(".", 4)
    return parts[3] if len(parts) > 3 else ""
