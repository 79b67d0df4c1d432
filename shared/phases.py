"""Flight phases: the words, and which of them mean airborne. No logic lives here."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """Where the aircraft is in its flight; `unknown` whenever inputs are not trustworthy."""

    UNKNOWN = "unknown"
    PARKED = "parked"
    TAXI_OUT = "taxi_out"
    TAKEOFF = "takeoff"
    CLIMB = "climb"
    CRUISE = "cruise"
    DESCENT = "descent"
    APPROACH = "approach"
    LANDING = "landing"
    TAXI_IN = "taxi_in"


AIRBORNE = frozenset({Phase.CLIMB, Phase.CRUISE, Phase.DESCENT, Phase.APPROACH})
ON_GROUND = frozenset({Phase.PARKED, Phase.TAXI_OUT, Phase.TAXI_IN})
