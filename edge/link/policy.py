"""Which link when, what it may carry, and how long to wait before trying again.

In: phase, the links there are, their caps. Out: links in the order in which to try them,
limits, delays. Always holds: the stand link is tried only when parked, first then; a delay is
at most BACKOFF_MAX_S.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

from shared.phases import Phase
from shared.sync.sender import Limits
from shared.topics import CLASSES

Name = Literal["air", "stand"]

BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 10.0
UNCAPPED_BYTES_S = 8e6  # assumption: a 100 Mbit/s stand network, shared; bounds what is in flight

CARRIES: dict[Name, tuple[str, ...]] = {
    # Blocks go last of all classes, so in the air they get what the others leave of the cap.
    "air": CLASSES,
    "stand": CLASSES,
}


def order(phase: Phase, links: Collection[Name]) -> tuple[Name, ...]:
    """Links to try now, the best first."""
    best: tuple[Name, ...] = ("stand", "air") if phase is Phase.PARKED else ("air",)
    return tuple(name for name in best if name in links)


def limits(name: Name, bytes_per_s_max: float, framing_bytes: int) -> Limits:
    """What a link may carry. bytes_per_s_max: its cap; 0 is none."""
    return Limits(bytes_per_s_max or UNCAPPED_BYTES_S, CARRIES[name], framing_bytes)


class Backoff:
    """Doubling delays with jitter, so that a fleet does not come back all at once."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random, self._tries = random, 0

    def reset(self) -> None:
        self._tries = 0

    def next_s(self) -> float:
        """Half to all of 0.2 s, 0.4 s, … 10 s."""
        top = min(BACKOFF_MAX_S, BACKOFF_MIN_S * (1 << min(self._tries, 16)))
        self._tries += 1
        share = int.from_bytes(self._random(4)) / 2**32
        return top * (0.5 + share / 2)
