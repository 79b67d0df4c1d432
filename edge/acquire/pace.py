"""When what a recording holds is due.

In: event times in the recording's order, a flight clock. Out: how many are due now.
Always holds: the first is due at once; a hole longer than `HOLE_NS_MAX` and time that goes back are
not waited for; without a clock everything is due.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

WINDOW: Final = 256  # looked at once: a tick has few that are due, and is often
HOLE_NS_MAX: Final = 60 * 10**9
BACK_NS_MAX: Final = 10**9  # channels out of order; more is time that goes back


class Pace:
    """The pace of one recording. now_ns: flight clock, or None for as fast as it is read."""

    def __init__(self, now_ns: Callable[[], int] | None) -> None:
        self._now_ns = now_ns
        self._together: tuple[int, int] | None = None  # flight clock and event time
        self._last_ns = 0
        self.window = 1 << 62 if now_ns is None else WINDOW
        """How many times it makes sense to offer at once."""

    def due(self, t_ns: npt.NDArray[np.int64]) -> int:
        """How many of the first of `t_ns` are due; they count as taken."""
        if self._now_ns is None or not len(t_ns):
            return len(t_ns)
        now_ns = self._now_ns()
        if self._together is None or not -BACK_NS_MAX <= t_ns[0] - self._last_ns <= HOLE_NS_MAX:
            self._together = now_ns, int(t_ns[0])
        at_ns = self._together[1] + now_ns - self._together[0]
        if t_ns[0] > at_ns:
            return 0
        steps = np.diff(t_ns, prepend=t_ns[0])
        later = np.flatnonzero((t_ns > at_ns) | (steps < -BACK_NS_MAX) | (steps > HOLE_NS_MAX))
        due = int(later[0]) if len(later) else len(t_ns)
        if due:
            self._last_ns = int(t_ns[due - 1])
        return due
