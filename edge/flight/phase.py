"""The phase machine: where in its flight the aircraft is. Pure.

In: observations by role, on the flight clock. Out: a phase and a confidence.
Always holds: a change needs its evidence to persist; evidence that is missing or contradicts
itself longer than `LOST_S` makes the phase `unknown`; from `unknown` any phase may be entered,
so a daemon may start in flight. Numbers without a source are assumptions for transport jets.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

from shared.phases import AIRBORNE, Phase

LOST_S = 10.0  # a scan of the slowest input plus its age_max, doubled
STILL_KT, MOVING_KT = 1.5, 4.0
ROLL_KT = 40.0  # above any taxi speed, below any rotation
TAKEOFF_N1_PERCENT = 65.0
RUNNING_N2_PERCENT = 20.0  # below idle (about 60), above what a starter gives before fuel
LEVEL_FPM, CLIMB_FPM, DESCENT_FPM = 300.0, 500.0, -500.0
LEVEL_S, VERTICAL_S, AIR_S, GROUND_S, STILL_S, START_S = 30.0, 12.0, 2.0, 1.0, 10.0, 5.0
STEP_DOWN_S = 300.0  # a level segment in a descent, shorter than this, is still the descent
APPROACH_FT = 2500.0  # the range of a radio altimeter
CLEAR_OF_GROUND_FT = 400.0
GROUND_SPEED_ABSURD_KT, GROUND_HEIGHT_ABSURD_FT = 220.0, 100.0


class Confidence(StrEnum):
    """How much of the evidence is there."""

    HIGH = "high"
    LOW = "low"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class PhaseInputs:
    """Good and fresh values by role, or None. wow: True is weight on wheels."""

    wow_left: bool | None = None
    wow_right: bool | None = None
    altitude_ft: float | None = None
    airspeed_kt: float | None = None
    ground_speed_kt: float | None = None
    vertical_speed_fpm: float | None = None
    radio_height_ft: float | None = None
    n1_1: float | None = None
    n1_2: float | None = None
    n2_1: float | None = None
    n2_2: float | None = None
    engine_1_unpowered: bool = False
    engine_2_unpowered: bool = False
    """The engine's sensors say no_data and its EEC is seen to be without power."""


@dataclass(frozen=True, slots=True)
class PhaseState:
    """What is held, and on what evidence."""

    phase: Phase
    confidence: Confidence
    on_ground: bool | None
    moving: bool | None
    engines_running: bool | None
    """True if any runs, False if all are known to be stopped."""


class PhaseMachine:
    """`step` it a few times a second of the flight clock."""

    def __init__(self) -> None:
        self._phase = Phase.UNKNOWN
        self._since: dict[str, int] = {}
        self._now_ns = 0
        self._has_landed = False

    @property
    def phase(self) -> Phase:
        return self._phase

    def remember_landing(self, has_landed: bool) -> None:
        """What a persisted flight knows after a restart: whether it has touched down."""
        self._has_landed = has_landed

    def step(self, now_ns: int, inputs: PhaseInputs) -> PhaseState:
        """The phase as of `now_ns` (flight clock)."""
        self._now_ns = now_ns
        on_ground = _on_ground(inputs)
        moving = _moving(inputs)
        running = _running(inputs)
        known = on_ground is not None and (moving is not None or on_ground is False)
        if self._held("lost", not known, LOST_S):
            self._enter(Phase.UNKNOWN)
        elif known:
            self._advance(inputs, on_ground is True, moving is True, running)
        return PhaseState(self._phase, self._confidence(inputs), on_ground, moving, running)

    def _advance(
        self, seen: PhaseInputs, on_ground: bool, moving: bool, running: bool | None
    ) -> None:
        airborne = self._held("air", not on_ground, AIR_S)
        grounded = self._held("ground", on_ground, GROUND_S)
        parked = self._held("parked", on_ground and not moving and running is False, STILL_S)
        if self._phase is Phase.UNKNOWN:
            self._classify(seen, on_ground, moving, running)
        elif self._phase in AIRBORNE:
            if grounded:
                self._enter(Phase.LANDING)
            else:
                self._vertical(seen)
        elif parked:
            self._enter(Phase.PARKED)
        else:
            self._surface(seen, airborne, moving)

    def _surface(self, seen: PhaseInputs, airborne: bool, moving: bool) -> None:
        speed_kt = _speed_kt(seen)
        rolling = self._held("roll", speed_kt > ROLL_KT and _takeoff_power(seen), 1.0)
        slow = self._held("slow", speed_kt < ROLL_KT, 3.0)
        clear = airborne and (
            seen.radio_height_ft is None or seen.radio_height_ft > CLEAR_OF_GROUND_FT
        )
        if self._phase is Phase.PARKED:
            if self._held("moving", moving, 2.0):
                self._enter(Phase.TAXI_OUT)
        elif self._phase is Phase.TAXI_OUT:
            if rolling or airborne:
                self._enter(Phase.TAKEOFF)
        elif self._phase is Phase.TAKEOFF:
            if clear:
                self._enter(Phase.CLIMB)
            elif slow and not airborne:
                self._enter(Phase.TAXI_OUT)  # rejected
        elif self._phase is Phase.LANDING:
            if clear:
                self._enter(Phase.CLIMB)  # touch and go
            elif slow:
                self._enter(Phase.TAXI_IN)
        elif self._phase is Phase.TAXI_IN and (rolling or airborne):
            self._enter(Phase.TAKEOFF)

    def _vertical(self, seen: PhaseInputs) -> None:
        rate = seen.vertical_speed_fpm
        low = seen.radio_height_ft is not None and seen.radio_height_ft < APPROACH_FT
        climbing = self._held("climbing", rate is not None and rate > CLIMB_FPM, VERTICAL_S)
        sinking = self._held("sinking", rate is not None and rate < DESCENT_FPM, VERTICAL_S)
        is_level = rate is not None and abs(rate) < LEVEL_FPM
        level = self._held("level", is_level, LEVEL_S)
        stepped = self._held("stepped", is_level, STEP_DOWN_S)
        if self._phase is not Phase.CLIMB and climbing:
            self._enter(Phase.CLIMB)
        elif self._phase in (Phase.CLIMB, Phase.CRUISE) and sinking:
            self._enter(Phase.DESCENT)
        elif not low and ((self._phase is Phase.CLIMB and level) or stepped):
            self._enter(Phase.CRUISE)
        elif self._phase is Phase.DESCENT and self._held("low", low, 2.0):
            self._enter(Phase.APPROACH)

    def _classify(
        self, seen: PhaseInputs, on_ground: bool, moving: bool, running: bool | None
    ) -> None:
        guess = self._guess(seen, on_ground, moving, running)
        for phase in Phase:
            if self._held(f"is {phase}", phase is guess, START_S) and phase is guess:
                self._enter(phase)

    def _guess(
        self, seen: PhaseInputs, on_ground: bool, moving: bool, running: bool | None
    ) -> Phase:
        if on_ground:
            if _speed_kt(seen) > ROLL_KT:
                return Phase.TAKEOFF if _takeoff_power(seen) else Phase.LANDING
            if not moving and running is not True:
                return Phase.PARKED if running is False else Phase.UNKNOWN
            return Phase.TAXI_IN if self._has_landed else Phase.TAXI_OUT
        rate = seen.vertical_speed_fpm
        if rate is None:
            return Phase.UNKNOWN
        if rate > LEVEL_FPM:
            return Phase.CLIMB
        if rate > -LEVEL_FPM:
            return Phase.CRUISE
        low = seen.radio_height_ft is not None and seen.radio_height_ft < APPROACH_FT
        return Phase.APPROACH if low else Phase.DESCENT

    def _enter(self, phase: Phase) -> None:
        if phase is self._phase:
            return
        self._phase = phase
        lost = self._since.get("lost")
        self._since.clear()
        if lost is not None:
            self._since["lost"] = lost
        if phase in (Phase.LANDING, Phase.TAXI_IN):
            self._has_landed = True
        elif phase in (Phase.TAKEOFF, Phase.PARKED) or phase in AIRBORNE:
            self._has_landed = False

    def _held(self, name: str, is_true: bool, seconds: float) -> bool:
        """Whether the claim has been true without a break for `seconds`."""
        if not is_true:
            self._since.pop(name, None)
            return False
        return self._now_ns - self._since.setdefault(name, self._now_ns) >= seconds * 1e9

    def _confidence(self, seen: PhaseInputs) -> Confidence:
        if self._phase is Phase.UNKNOWN:
            return Confidence.NONE
        whole = all(
            getattr(seen, f.name) is not None
            for f in fields(seen)
            if f.name not in ("radio_height_ft", "n1_1", "n1_2", "n2_1", "n2_2")
        )
        return Confidence.HIGH if whole else Confidence.LOW


def _on_ground(seen: PhaseInputs) -> bool | None:
    """Both gears agree and nothing contradicts them; else None."""
    if seen.wow_left is None or seen.wow_right is None or seen.wow_left != seen.wow_right:
        return None
    if not seen.wow_left:
        return False
    fast = max(seen.airspeed_kt or 0.0, seen.ground_speed_kt or 0.0) > GROUND_SPEED_ABSURD_KT
    high = (seen.radio_height_ft or 0.0) > GROUND_HEIGHT_ABSURD_FT
    return None if fast or high else True


def _moving(seen: PhaseInputs) -> bool | None:
    if seen.ground_speed_kt is None:
        return None
    return seen.ground_speed_kt > (STILL_KT + MOVING_KT) / 2


def _running(seen: PhaseInputs) -> bool | None:
    """True if any engine turns by itself, False if all are known not to, else None."""
    engines = (
        (seen.n2_1, seen.engine_1_unpowered),
        (seen.n2_2, seen.engine_2_unpowered),
    )
    if any(n2 is not None and n2 > RUNNING_N2_PERCENT for n2, _ in engines):
        return True
    return False if all(n2 is not None or unpowered for n2, unpowered in engines) else None


def _takeoff_power(seen: PhaseInputs) -> bool:
    return max(seen.n1_1 or 0.0, seen.n1_2 or 0.0) > TAKEOFF_N1_PERCENT


def _speed_kt(seen: PhaseInputs) -> float:
    return max(seen.ground_speed_kt or 0.0, seen.airspeed_kt or 0.0)
