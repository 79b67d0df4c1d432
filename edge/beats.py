"""Beats: what is due when, on a grid of the flight clock.

In: the time now. Out: whether something is due. Always holds: beats whose periods are multiples of
each other fall on the same tick; a beat that was missed is due once, not as often as it was missed.
"""

from __future__ import annotations


class Beat:
    """Due once in each period."""

    def __init__(self, period_s: float) -> None:
        self._period_ns = round(period_s * 1e9)
        self._next_ns = 0

    def is_due(self, now_ns: int) -> bool:
        """Whether a period began since the last yes; a clock that went back begins one."""
        if self._next_ns - self._period_ns <= now_ns < self._next_ns:
            return False
        self._next_ns = (now_ns // self._period_ns + 1) * self._period_ns
        return True

    def force(self) -> None:
        """Due at the next question."""
        self._next_ns = 0
