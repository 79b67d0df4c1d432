"""The stages of a flight, and what the pilot's hands hold besides the flight controls.

Always holds: a flight that does not leave its stage in time fails loudly; it is never recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Stage(IntEnum):
    """In the order in which they happen."""

    PARKED = 0
    START = 1
    READY = 2
    TAXI_OUT = 3
    LINE_UP = 4
    TAKEOFF = 5
    CLIMB = 6
    CRUISE = 7
    DESCENT = 8
    APPROACH = 9
    FLARE = 10
    ROLLOUT = 11
    TAXI_IN = 12
    PARK = 13
    SHUT_DOWN = 14


LONGEST_S: Final = {
    Stage.PARKED: 900, Stage.START: 200, Stage.READY: 60, Stage.TAXI_OUT: 400, Stage.LINE_UP: 20,
    Stage.TAKEOFF: 120, Stage.CLIMB: 900, Stage.CRUISE: 1500, Stage.DESCENT: 1200,
    Stage.APPROACH: 600, Stage.FLARE: 40, Stage.ROLLOUT: 90, Stage.TAXI_IN: 400,
    Stage.PARK: 120, Stage.SHUT_DOWN: 1e9,
}  # fmt: skip


class StuckFlight(AssertionError):
    """The autopilot did not get out of a stage: a fault of ours, not of the user."""


@dataclass
class Levers:
    """What the pilot's hands hold besides the flight controls."""

    starter: list[bool]
    fuel: list[bool]
    park_brake: bool = True
    external_power: bool = True
    deployed: float = 0.0
