"""The phase machine: where in its flight the aircraft is. Pure.

In: observations by role, on the flight clock. Out: a phase, a confidence, what contradicts.
Always holds: a change needs its evidence to persist; evidence that is missing or contradicts
itself longer than `LOST_S` makes the phase `unknown`; from `unknown` any phase may be entered,
so a daemon may start in flight; nobody looking for as long, or a clock that goes back, is
`unknown` too. Numbers without a source are assumptions for transport jets.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.flight.claims import Claims
from edge.flight.evidence import Evidence, PhaseInputs, Witness
from shared.phases import AIRBORNE, ON_GROUND, Confidence, Phase

__all__ = ["Confidence", "PhaseInputs", "PhaseMachine", "PhaseState"]

LOST_S = 10.0  # a scan of the slowest input plus its age_max, doubled
RECOVERY = 0.5  # evidence that is there for less than two thirds of the time is lost as well
TAXI_KT = 40.0  # above any taxi speed, below any rotation
ROLL_KT = 80.0  # of a set without fan speeds: no taxi, whatever the power
LEVEL_S, VERTICAL_S, AIR_S, GROUND_S, STILL_S, START_S = 30.0, 12.0, 2.0, 1.0, 10.0, 5.0
STILL_BLIND_S = 300.0  # of a set without engine speeds; longer than most waits in a queue
STEP_DOWN_S = 300.0  # a level segment in a descent, shorter than this, is still the descent
ROLL_S_MAX = 180.0  # no take-off or landing takes longer
APPROACH_FT = 2500.0  # the range of a radio altimeter
APPROACH_KT, APPROACH_ALTITUDE_FT = 170.0, 10_000.0  # without one: slower than clean, and low
CLEAR_OF_GROUND_FT, CLEAR_S = 400.0, 20.0
NOT_KNOWN = Evidence()


@dataclass(frozen=True, slots=True)
class PhaseState:
    """What is held, and on what evidence."""

    phase: Phase
    confidence: Confidence
    on_ground: bool | None
    moving: bool | None
    engines_running: bool | None
    """True if any runs, False if all are known to be stopped."""
    contradictions: tuple[str, ...] = ()
    """What does not fit together right now, by name."""
    airborne: bool | None = None
    """As `on_ground`, but only once it has persisted: None until then."""
    airborne_age_s: float = 0.0
    """For how long that evidence has held: the event itself was so long ago."""
    phase_age_s: float = 0.0
    """When the phase was entered at this step: for how long its evidence had held by then."""


class PhaseMachine:
    """`step` it a few times a second of the flight clock. drift_kt: as in `Witness`."""

    def __init__(self, drift_kt: float = 0.0) -> None:
        self._phase = Phase.UNKNOWN
        self._claims = Claims()
        self._witness = Witness(drift_kt)
        self._lost_s = 0.0
        self._has_landed = self._was_airborne = False
        self._field_ft: float | None = None
        """Altitude when last on the ground."""
        self._waited_s = 0.0

    @property
    def phase(self) -> Phase:
        return self._phase

    def remember_landing(self, has_landed: bool) -> None:
        """What a persisted flight knows after a restart: whether it has touched down."""
        self._has_landed = has_landed

    def step(self, now_ns: int, inputs: PhaseInputs) -> PhaseState:
        """The phase as of `now_ns` (flight clock)."""
        passed_s = (now_ns - self._claims.now_ns) / 1e9
        self._claims.at(now_ns)
        self._witness_time(passed_s)
        seen = self._witness.look(now_ns, inputs)
        airborne, age_s = self._settle(seen.on_ground)
        self._remember(airborne)
        self._waited_s = 0.0
        known = self._is_known(seen)
        self._lost_s = max(0.0, self._lost_s + min(passed_s, LOST_S) * (-RECOVERY if known else 1))
        if self._phase is not Phase.UNKNOWN and self._lost_s >= LOST_S:
            self._enter(Phase.UNKNOWN)
        if self._phase is Phase.UNKNOWN:
            self._lost_s = 0.0
        if known:
            self._advance(seen, airborne)
        return PhaseState(
            self._phase, self._confidence(seen), seen.on_ground, seen.moving, seen.running,
            seen.contradictions, airborne, age_s, self._waited_s,
        )  # fmt: skip

    def _witness_time(self, passed_s: float) -> None:
        """A clock that went back, or nobody looking for long: whatever was held may be over."""
        if not 0 <= passed_s <= LOST_S:
            self._enter(Phase.UNKNOWN)
            self._lost_s = 0.0

    def _remember(self, airborne: bool | None) -> None:
        """A landing that no phase saw is one: it tells taxi in from taxi out."""
        if airborne:
            self._was_airborne, self._has_landed = True, False
        elif airborne is False and self._was_airborne:
            self._was_airborne, self._has_landed = False, True

    def _is_known(self, seen: Evidence) -> bool:
        """Enough to go on with: on the ground its motion, in the air its vertical speed."""
        if seen.on_ground is None:
            return False
        if seen.on_ground:
            return seen.moving is not None
        return seen.rate.fpm is not None or self._phase is Phase.TAKEOFF

    def _settle(self, on_ground: bool | None) -> tuple[bool | None, float]:
        """In the air or on the ground once it has held, and for how long it has."""
        if self._held("air", on_ground is False, AIR_S):
            air: bool | None = True
        else:
            air = None
        if self._held("ground", on_ground is True, GROUND_S):
            air = False
        return air, self._claims.age_s("air" if air else "ground") if air is not None else 0.0

    def _advance(self, seen: Evidence, airborne: bool | None) -> None:
        is_parked = self._is_parked(seen)
        on_surface = self._phase in (Phase.TAKEOFF, Phase.LANDING)
        if self._held("roll", on_surface, ROLL_S_MAX):
            self._enter(Phase.UNKNOWN)
        if self._phase is Phase.UNKNOWN:
            self._classify(seen, is_parked)
        elif self._phase in AIRBORNE:
            if airborne is False:
                self._enter(Phase.LANDING, "ground")
            else:
                self._vertical(seen)
        elif self._phase is Phase.PARKED:
            self._at_rest(seen, airborne)
        elif is_parked and self._phase in (Phase.TAXI_OUT, Phase.TAXI_IN):
            self._enter(Phase.PARKED, "still")  # in: when it came to rest, not to silence
        else:
            self._surface(seen, airborne is True)

    def _is_parked(self, seen: Evidence) -> bool:
        """Still with engines stopped; where no engine has a signal, still for long."""
        still = seen.on_ground and not seen.moving
        self._held("still", still, 0.0)
        parked = self._held("parked", still and seen.running is False, STILL_S)
        blind = self._held("parked blind", still and seen.engines == 0, STILL_BLIND_S)
        return parked or blind

    def _at_rest(self, seen: Evidence, airborne: bool | None) -> None:
        if airborne:
            self._enter(Phase.UNKNOWN)  # nobody saw it go: look again
        elif self._held("moving", seen.moving, 2.0):
            self._enter(Phase.TAXI_OUT, "moving")

    def _surface(self, seen: Evidence, airborne: bool) -> None:
        speed = seen.speed_kt
        rolling = self._held("rolling", _is_rolling(seen), 1.0)
        slow = self._held("slow", speed is not None and speed < TAXI_KT, 3.0)
        clear = airborne and self._is_clear(seen)
        if seen.on_ground and slow:
            self._field_ft = seen.altitude_ft
        if self._phase is Phase.TAXI_OUT or self._phase is Phase.TAXI_IN:
            if rolling or airborne:
                self._enter(Phase.TAKEOFF)
        elif clear:
            self._enter(Phase.CLIMB)  # of a landing: touch and go
        elif slow and not airborne and seen.on_ground:
            rejected = self._phase is Phase.TAKEOFF
            self._enter(Phase.TAXI_OUT if rejected else Phase.TAXI_IN)

    def _is_clear(self, seen: Evidence) -> bool:
        """Away from the runway, by radio height, else altitude gained, else time in the air."""
        if seen.radio_height_ft is not None:
            return seen.radio_height_ft > CLEAR_OF_GROUND_FT
        if self._claims.age_s("air") >= CLEAR_S:
            return True
        if seen.altitude_ft is None or self._field_ft is None:
            return False
        return seen.altitude_ft - self._field_ft > CLEAR_OF_GROUND_FT

    def _vertical(self, seen: Evidence) -> None:
        rate = seen.rate
        low = seen.radio_height_ft is not None and seen.radio_height_ft < APPROACH_FT
        climbing = self._held("climbing", rate.climbs, VERTICAL_S)
        sinking = self._held("sinking", rate.sinks, VERTICAL_S)
        level = self._held("level", rate.is_level, LEVEL_S)
        stepped = self._held("stepped", rate.is_level, STEP_DOWN_S)
        approaching = self._held("low", low or _approaches(seen), 2.0 if low else VERTICAL_S)
        if self._phase is not Phase.CLIMB and climbing:
            self._enter(Phase.CLIMB, "climbing")
        elif self._phase in (Phase.CLIMB, Phase.CRUISE) and sinking:
            self._enter(Phase.DESCENT, "sinking")
        elif not low and ((self._phase is Phase.CLIMB and level) or stepped):
            self._enter(Phase.CRUISE, "level")
        elif self._phase is Phase.DESCENT and approaching:
            self._enter(Phase.APPROACH)

    def _classify(self, seen: Evidence, is_parked: bool) -> None:
        guess = self._guess(seen)
        if is_parked:
            self._enter(Phase.PARKED)
        for phase in Phase:
            if self._held(f"is {phase}", phase is guess, START_S) and phase is guess:
                self._enter(phase)

    def _guess(self, seen: Evidence) -> Phase:
        if seen.on_ground:
            return self._guess_on_ground(seen)
        rate = seen.rate
        if rate.climbs:
            return Phase.CLIMB
        if rate.is_level:
            return Phase.CRUISE
        if rate.sinks:
            low = seen.radio_height_ft is not None and seen.radio_height_ft < APPROACH_FT
            return Phase.APPROACH if low else Phase.DESCENT
        return Phase.UNKNOWN

    def _guess_on_ground(self, seen: Evidence) -> Phase:
        if not seen.moving:
            if seen.running is None:
                return Phase.UNKNOWN
            if not seen.running:
                return Phase.PARKED
        elif seen.speed_kt is None:
            return Phase.UNKNOWN
        elif seen.speed_kt > TAXI_KT:
            return Phase.TAKEOFF if seen.takeoff_power else Phase.LANDING
        return Phase.TAXI_IN if self._has_landed else Phase.TAXI_OUT

    def _enter(self, phase: Phase, claim: str = "") -> None:
        """claim: the one that led here; its age is when the phase really began."""
        if phase is self._phase:
            return
        self._waited_s = self._claims.age_s(claim) if claim else 0.0
        self._phase, self._lost_s = phase, 0.0
        self._claims.keep("air", "ground", "still")
        if phase in (Phase.LANDING, Phase.TAXI_IN):
            self._has_landed = True
        elif phase in (Phase.TAKEOFF, Phase.PARKED) or phase in AIRBORNE:
            self._has_landed = False

    def _held(self, name: str, is_true: bool | None, seconds: float) -> bool:
        return self._claims.held(name, is_true, seconds)

    def _confidence(self, seen: Evidence) -> Confidence:
        """High when two gears agree, nothing contradicts, and no input of the phase is missing."""
        if self._phase is Phase.UNKNOWN:
            return Confidence.NONE
        whole = seen.both_gears and not seen.contradictions and seen.on_ground is not None
        if seen.on_ground:
            whole = whole and seen.moving is not None and seen.running is not None
            whole = whole and self._phase not in AIRBORNE
            if self._phase is Phase.PARKED:  # engines are started at the stand, before it moves
                whole = whole and seen.running is False and not seen.moving
        else:
            whole = whole and None not in (seen.altitude_ft, seen.speed_kt, seen.rate.fpm)
            whole = whole and self._phase not in ON_GROUND
        return Confidence.HIGH if whole else Confidence.LOW


def _is_rolling(seen: Evidence) -> bool:
    """Faster than any taxi, with take-off power; without fan speeds, much faster."""
    if seen.speed_kt is None or not seen.on_ground:
        return False
    if seen.takeoff_power is None:
        return seen.speed_kt > ROLL_KT
    return seen.speed_kt > TAXI_KT and seen.takeoff_power


def _approaches(seen: Evidence) -> bool:
    """Where no radio altimeter says so: low, slow and sinking."""
    if seen.radio_height_ft is not None or seen.altitude_ft is None or seen.speed_kt is None:
        return False
    slow = seen.speed_kt < APPROACH_KT and seen.altitude_ft < APPROACH_ALTITUDE_FT
    return slow and seen.rate.sinks
