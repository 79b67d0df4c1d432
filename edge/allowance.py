"""How often something may happen: so many at once, then one every so often.

In: monotonic time. Out: whether it may happen now, or when. Always holds: over any time `t` at
most burst + t / every happen.
"""

from __future__ import annotations


class Allowance:
    """`burst` at once, then one more every `every_ns`."""

    def __init__(self, burst: int, every_ns: int) -> None:
        self._every_ns, self._ahead_ns = every_ns, (burst - 1) * every_ns
        self._paid_ns: int | None = None  # up to when what happened is paid for

    def take(self, now_ns: int) -> bool:
        """It happens now; False when it may not yet."""
        if self.wait_ns(now_ns):
            return False
        self._paid_ns = max(now_ns, now_ns if self._paid_ns is None else self._paid_ns)
        self._paid_ns += self._every_ns
        return True

    def wait_ns(self, now_ns: int) -> int:
        """How long until it may happen; 0 when it may now."""
        return 0 if self._paid_ns is None else max(0, self._paid_ns - self._ahead_ns - now_ns)
