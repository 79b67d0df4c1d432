"""Flight phases: the words, which of them mean airborne, how sure one is. No logic lives here."""

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


class Confidence(StrEnum):
    """How much of the evidence for a phase is there. Where a wrong phase could hurt, anything
    but high counts as unknown: the gate opens on nothing less."""

    HIGH = "high"
    LOW = "low"
    NONE = "none"


AIRBORNE = frozenset({Phase.CLIMB, Phase.CRUISE, Phase.DESCENT, Phase.APPROACH})
ON_GROUND = frozenset({Phase.PARKED, Phase.TAXI_OUT, Phase.TAXI_IN})
