"""Vertical speed: as the bus gives it, derived from altitude, or both where they agree. Pure.

In: altitude and vertical speed, either may be missing or frozen. Out: a rate, and what was odd.
Always holds: when the two disagree for `DISAGREE_S`, the one that has not changed for `FROZEN_S`
while the other lives is left out; when that cannot be told, there is no rate.
Numbers without a source are assumptions.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from edge.flight.claims import Claims

SAMPLE_S, SPAN_S, SPAN_S_MIN = 1.0, 12.0, 6.0
"""Window of the derived rate: one 25 ft step of a transponder is 125 ft/min over it."""
JUMP_FPM = 45_000.0  # twice what a parabolic flight does; beyond it the altitude jumped
DISAGREE_FPM, DISAGREE_S = 1000.0, 20.0
FROZEN_S, LIVE_S = 20.0, 10.0
LEVEL_FPM, CLIMB_FPM, DESCENT_FPM = 300.0, 500.0, -500.0
SUPPORT_FPM = 150.0  # what the derived rate must at least say as well; one step of a transponder


@dataclass(frozen=True, slots=True)
class Rate:
    """ft/min, or None. support: the derived rate, where `fpm` is not derived itself."""

    fpm: float | None = None
    support: float | None = None
    odd: str = ""

    @property
    def climbs(self) -> bool:
        up = self.fpm is not None and self.fpm > CLIMB_FPM
        return up and (self.support is None or self.support > SUPPORT_FPM)

    @property
    def sinks(self) -> bool:
        down = self.fpm is not None and self.fpm < DESCENT_FPM
        return down and (self.support is None or self.support < -SUPPORT_FPM)

    @property
    def is_level(self) -> bool:
        still = self.fpm is not None and abs(self.fpm) < LEVEL_FPM
        return still and (self.support is None or abs(self.support) < LEVEL_FPM + SUPPORT_FPM)


class Vertical:
    """`step` at each look; holds a dozen altitudes."""

    def __init__(self) -> None:
        self._past: deque[tuple[int, float]] = deque()
        self._claims = Claims()
        self._altitude: tuple[float, int] | None = None
        self._rate: tuple[float, int] | None = None
        """Last value and when it last changed."""

    def step(self, now_ns: int, altitude_ft: float | None, rate_fpm: float | None) -> Rate:
        """The rate as of `now_ns` of the flight clock."""
        if now_ns < self._claims.now_ns:
            self._past.clear()
            self._altitude = self._rate = None
        self._claims.at(now_ns)
        self._altitude = _changed(self._altitude, altitude_ft, now_ns)
        self._rate = _changed(self._rate, rate_fpm, now_ns)
        derived = self._derive(now_ns, altitude_ft)
        if rate_fpm is None or derived is None:
            self._claims.held("disagree", False, DISAGREE_S)
            return Rate(derived if rate_fpm is None else rate_fpm)
        apart = abs(rate_fpm - derived) > max(DISAGREE_FPM, 0.5 * abs(rate_fpm))
        if not self._claims.held("disagree", apart, DISAGREE_S):
            return Rate(rate_fpm, derived)
        if _is_frozen(self._rate, now_ns) and not _is_frozen(self._altitude, now_ns, LIVE_S):
            return Rate(derived, None, "vertical_speed_frozen")
        if _is_frozen(self._altitude, now_ns) and not _is_frozen(self._rate, now_ns, LIVE_S):
            return Rate(rate_fpm, None, "altitude_frozen")
        return Rate(None, None, "vertical_disagrees")

    def _derive(self, now_ns: int, altitude_ft: float | None) -> float | None:
        """Change over the window; None until it spans enough, and across a jump."""
        past = self._past
        while past and now_ns - past[0][0] > (SPAN_S + SAMPLE_S) * 1e9:
            past.popleft()
        if altitude_ft is None:
            return None
        if past:
            t_ns, before = past[-1]
            minutes = max(now_ns - t_ns, SAMPLE_S * 1e9) / 60e9
            if abs(altitude_ft - before) > JUMP_FPM * minutes:
                past.clear()
        if not past or now_ns - past[-1][0] >= SAMPLE_S * 1e9:
            past.append((now_ns, altitude_ft))
        span_ns = now_ns - past[0][0]
        if span_ns < SPAN_S_MIN * 1e9:
            return None
        return (altitude_ft - past[0][1]) / (span_ns / 60e9)


def _changed(
    last: tuple[float, int] | None, value: float | None, now_ns: int
) -> tuple[float, int] | None:
    if value is None or (last is not None and last[0] == value):
        return last
    return value, now_ns


def _is_frozen(last: tuple[float, int] | None, now_ns: int, seconds: float = FROZEN_S) -> bool:
    return last is not None and now_ns - last[1] > seconds * 1e9
