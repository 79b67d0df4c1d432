"""Where the data is: what the ground does not have yet, how fast it goes, and what room is left.

In: once in a while, what of each class is not safe, and the counters of bytes appended and sent.
Out: a `Backlog` for the status. Always holds: a rate is of the last minutes, or None before there
are two looks; what cannot be known is None, never a guess.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import msgspec

RATE_S = 300.0  # blocks come every 10 to 30 s, so a rate over less would flicker
LINK_RATE_S = 30.0
LOOKS_MAX = 256


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Records of one class that are not safe. oldest_event_ns: event time; 0 is none."""

    records: int
    bytes: int
    oldest_event_ns: int


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """unsafe: by class. Rates are bytes per second of wall time.

    hours_left: until records that are not safe have to be dropped, were nothing sent any more.
    seconds_to_safe: at the present rate of the link, with what comes meanwhile; None when it is
    unknown or the link is slower than what comes.
    """

    unsafe: dict[str, Waiting] = {}
    bytes_left: int = 0
    appended_bytes_per_s: float | None = None
    link_bytes_per_s: float | None = None
    hours_left: float | None = None
    seconds_to_safe: float | None = None


class BacklogMeter:
    """bytes_max: of the outbox."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._looks: deque[tuple[float, int, int]] = deque(maxlen=LOOKS_MAX)
        self.now = Backlog()

    def look(
        self, now_s: float, unsafe: Mapping[str, Waiting], bytes_appended: int, bytes_up: int
    ) -> Backlog:
        """bytes_appended, bytes_up: since start. now_s: monotonic."""
        self._looks.append((now_s, bytes_appended, bytes_up))
        while len(self._looks) > 2 and now_s - self._looks[1][0] >= RATE_S:
            self._looks.popleft()
        comes = self._rate(1, RATE_S)
        goes = self._rate(2, LINK_RATE_S)
        left = sum(waiting.bytes for waiting in unsafe.values())
        room = max(0, self._bytes_max - left)
        self.now = Backlog(
            unsafe={cls: waiting for cls, waiting in unsafe.items() if waiting.records},
            bytes_left=left, appended_bytes_per_s=_rounded(comes), link_bytes_per_s=_rounded(goes),
            hours_left=round(room / comes / 3600, 1) if comes else None,
            seconds_to_safe=_seconds(left, comes, goes),
        )  # fmt: skip
        return self.now

    def _rate(self, column: int, over_s: float) -> float | None:
        """Of a counter, over the last `over_s` or the look before."""
        *before, now = self._looks
        then = next((x for x in reversed(before) if now[0] - x[0] >= over_s), None)
        then = then or (before[0] if before else None)
        if then is None or now[0] <= then[0]:
            return None
        return (now[column] - then[column]) / (now[0] - then[0])


def _seconds(left: int, comes: float | None, goes: float | None) -> float | None:
    if not left:
        return 0.0
    if comes is None or goes is None or goes <= comes:
        return None
    return round(left / (goes - comes), 1)


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 1)
