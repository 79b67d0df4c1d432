"""Quality of a sample: one byte, `quality = class + 4 * reason`.

Always holds: nothing is dropped for its quality; a reader who knows only the class (the two
low bits) still decides correctly.
"""

from __future__ import annotations

from enum import IntEnum


class Quality(IntEnum):
    """The class, in the two low bits."""

    GOOD = 0
    SUSPECT = 1
    BAD = 2
    NO_DATA = 3


class Reason(IntEnum):
    """Why, in the six high bits."""

    NONE = 0
    RANGE = 1
    RATE = 2
    STALE = 3
    FAILURE = 4
    TEST = 5
    DISAGREE = 6
    STUCK = 7
    SPIKE = 8
    UNPOWERED = 9
    PARITY = 10


def code(quality: Quality, reason: Reason = Reason.NONE) -> int:
    """The byte."""
    return int(quality) + 4 * int(reason)


def describe(byte: int) -> str:
    """`good`, `bad(range)`, … for people."""
    name = Quality(byte & 3).name.lower()
    reason = byte >> 2
    if not reason:
        return name
    known = reason in Reason.__members__.values()
    return f"{name}({Reason(reason).name.lower() if known else reason})"
