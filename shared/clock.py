"""The two clocks.

The wall clock is never scaled: network, resend, keepalive, deadlines, the tick, `latency_ms`.
The flight clock drives phase, dwell, staleness, persistence and sealing; the bench may run it
at a rate. Always holds: neither decides order, deletion or identity.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic and wall time of this machine, ns."""

    def mono_ns(self) -> int: ...
    def wall_ns(self) -> int: ...


class SystemClock:
    """The machine's own clocks."""

    def mono_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()


class ManualClock:
    """A clock that a test moves by hand."""

    def __init__(self, mono_ns: int = 0, wall_ns: int = 1_700_000_000_000_000_000) -> None:
        self._mono_ns, self._wall_ns = mono_ns, wall_ns

    def mono_ns(self) -> int:
        return self._mono_ns

    def wall_ns(self) -> int:
        return self._wall_ns

    def advance_s(self, seconds: float) -> None:
        self._mono_ns += round(seconds * 1e9)
        self._wall_ns += round(seconds * 1e9)


class FlightClock:
    """Monotonic flight time since boot, ns: the machine's monotonic time times a rate.

    rate: 1.0 aboard; only bench profiles accept another.
    """

    def __init__(self, clock: Clock, rate: float = 1.0) -> None:
        self._clock, self._rate, self._start_ns = clock, rate, clock.mono_ns()

    @property
    def rate(self) -> float:
        return self._rate

    def now_ns(self) -> int:
        return int((self._clock.mono_ns() - self._start_ns) * self._rate)
