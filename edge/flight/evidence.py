"""Evidence: is the aircraft on the ground, does it move, do its engines run. Pure.

In: good and fresh values by role, any subset of them. Out: one `Evidence` a look, with what
contradicts what, by name.
Always holds: weight on wheels is one voice among several; a voice against all others is named
and not believed; where voices stand one against one there is no answer, and no answer is unsafe.
docs/flight-phase.md lists every voice; numbers without a source are assumptions for transport
jets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite

from edge.flight.claims import Claims
from edge.flight.vertical import Rate, Vertical

STILL_KT = 2.75  # what ground speed shows at rest, at least
WIND_KT = 60.0  # no stand has more wind than this, so more airspeed is motion
NO_FLIGHT_KT = 50.0  # below the slowest speed of a transport jet, headwind included
FLYING_KT = 220.0  # above the tyre speed limit of transport jets (195 to 204 kt)
TYRE_KT, ROLL_S = 150.0, 30.0  # no roll is this fast for this long
ROLL_KT_MIN, RUN_S = 100.0, 45.0  # nor, without any flag, this fast for this long
STAND_FT_MAX = 16_000.0  # highest airport 14,472 ft (Daocheng Yading), and weather
CLEAR_FT, WHEELS_FT = 100.0, 10.0  # radio height: in the air; at most the height of its antenna
VERTICAL_FPM, VERTICAL_S = 1000.0, 5.0
SLOW_VERTICAL_FPM = 400.0  # enough against a single flag
FLAPS_MAX, FLAPS_S = 3, 10.0  # a bounced landing makes two or three changes
CAS_OVER_GS_KT = 120.0  # more headwind than this is none
GS_OVER_CAS, GS_OVER_CAS_KT = 2.5, 100.0  # true over computed airspeed at FL 450, and tailwind
RUNNING_N2_PERCENT = 20.0  # below idle (about 60), above what a starter gives before fuel
RUNNING_N1_PERCENT = 15.0  # below idle (about 20), above what wind on a stand gives
TAKEOFF_N1_PERCENT = 65.0
NO_RATE = Rate()


@dataclass(frozen=True, slots=True)
class PhaseInputs:
    """Good and fresh values by role, or None. wow, on_ground: True is weight on wheels."""

    wow_left: bool | None = None
    wow_right: bool | None = None
    on_ground: bool | None = None
    """A single flag where there is no pair: a squat switch, a transponder's air/ground bit."""
    altitude_ft: float | None = None
    airspeed_kt: float | None = None
    ground_speed_kt: float | None = None
    vertical_speed_fpm: float | None = None
    radio_height_ft: float | None = None
    n1_1: float | None = None
    n1_2: float | None = None
    n1_3: float | None = None
    n1_4: float | None = None
    n2_1: float | None = None
    n2_2: float | None = None
    n2_3: float | None = None
    n2_4: float | None = None
    engines: tuple[int, ...] = (1, 2)
    """Positions that the signal set has a speed of; none of them may be left out."""
    unpowered: tuple[int, ...] = ()
    """Engines whose sensors say no_data and whose EEC is seen to be without power."""
    has_speed: bool = True
    """The signal set has an airspeed or a ground speed."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the inputs say together. None is unknown."""

    on_ground: bool | None = None
    both_gears: bool = False
    """Two sensors of weight on wheels agree on it."""
    engines: int = 0
    """How many engines have a signal at all."""
    moving: bool | None = None
    running: bool | None = None
    """True if any engine runs, False if all are known to be stopped."""
    takeoff_power: bool | None = None
    rate: Rate = NO_RATE
    speed_kt: float | None = None
    """The greater of airspeed and ground speed; None when they cannot both be true."""
    radio_height_ft: float | None = None
    altitude_ft: float | None = None
    contradictions: tuple[str, ...] = ()


class Witness:
    """`look` a few times a second of the flight clock.

    drift_kt: what the type's inertial ground speed may show at rest, if that is more.
    """

    def __init__(self, drift_kt: float = 0.0) -> None:
        self._still_kt = max(STILL_KT, drift_kt)
        self._claims = Claims()
        self._vertical = Vertical()
        self._flag: bool | None = None
        self._changes: deque[int] = deque(maxlen=FLAPS_MAX + 1)

    def look(self, now_ns: int, seen: PhaseInputs) -> Evidence:
        """What can be said as of `now_ns`."""
        self._claims.at(now_ns)
        odd: list[str] = []
        altitude = _number(seen.altitude_ft)
        rate = self._vertical.step(now_ns, altitude, _number(seen.vertical_speed_fpm))
        if rate.odd:
            odd.append(rate.odd)
        cas, gs = _size(seen.airspeed_kt), _size(seen.ground_speed_kt)
        if cas is not None and gs is not None and _cannot_both_be(cas, gs):
            odd.append("speeds_disagree")
            speed = None
        else:
            known = [speed for speed in (cas, gs) if speed is not None]
            speed = max(known) if known else None
        flag, pair = self._weight(now_ns, seen, odd)
        height = _number(seen.radio_height_ft)
        ground, air = self._voices(flag, pair, speed, height, altitude, rate.fpm)
        if ground and air:
            odd.append(f"ground: {' '.join(ground)}; air: {' '.join(air)}")
        if air == ["weight_on_wheels"] and not ground and speed is None and seen.has_speed:
            # as at power-up and power-down: the gear's switch speaks before the speeds do
            odd.append("weight_on_wheels_alone")
            air = []
        return Evidence(
            _verdict(len(ground), len(air)), pair, len(seen.engines), _moves(cas, gs, self._still_kt), _runs(seen),
            _power(seen), rate, speed, height, altitude, tuple(odd),
        )  # fmt: skip

    def _voices(
        self, flag: bool | None, pair: bool, speed: float | None, height: float | None,
        altitude: float | None, fpm: float | None,
    ) -> tuple[list[str], list[str]]:  # fmt: skip
        """Names of what speaks for the ground, and for the air."""
        held = self._claims.held
        fast = speed if speed is not None else 0.0
        vertical = abs(fpm) if fpm is not None else 0.0
        # asked in any case: a claim that is not asked does not run
        long_roll = held("roll", flag is True and fast > TYRE_KT, ROLL_S)
        long_run = held("run", flag is not True and fast > ROLL_KT_MIN, RUN_S)
        rises = held("vertical", vertical > VERTICAL_FPM, VERTICAL_S)
        drifts = held("drift", vertical > SLOW_VERTICAL_FPM and fast > ROLL_KT_MIN, VERTICAL_S)
        ground = {
            "weight_on_wheels": flag is True,
            "slow": speed is not None and speed < NO_FLIGHT_KT,
            # in the flare and at rotation it is as low in the air
            "radio_height": height is not None and height < WHEELS_FT and fast < ROLL_KT_MIN,
        }
        air = {
            "weight_on_wheels": flag is False,
            "fast": fast > FLYING_KT or long_roll or long_run,
            "radio_height": height is not None and height > CLEAR_FT,
            "altitude": altitude is not None and altitude > STAND_FT_MAX,
            "vertical_speed": rises or (drifts and not pair),
        }
        return [k for k, v in ground.items() if v], [k for k, v in air.items() if v]

    def _weight(self, now_ns: int, seen: PhaseInputs, odd: list[str]) -> tuple[bool | None, bool]:
        """What the flags say, and whether two gears agree on it."""
        flags = {
            flag for flag in (seen.wow_left, seen.wow_right, seen.on_ground) if flag is not None
        }
        if len(flags) > 1:
            odd.append("weight_on_wheels_disagrees")
            return None, False
        while self._changes and not 0 <= now_ns - self._changes[0] <= FLAPS_S * 1e9:
            self._changes.popleft()
        if not flags:
            return None, False
        flag = flags.pop()
        if flag is not self._flag and self._flag is not None:
            self._changes.append(now_ns)
        self._flag = flag
        if len(self._changes) > FLAPS_MAX:
            odd.append("weight_on_wheels_flaps")
            return None, False
        return flag, seen.wow_left is not None and seen.wow_left is seen.wow_right


def _verdict(ground: int, air: int) -> bool | None:
    """On the ground, in the air, or no answer: at least two may overrule at most one."""
    if not min(ground, air):
        return None if ground == air else ground > air
    if min(ground, air) > 1 or ground == air:
        return None
    return ground > air


def _cannot_both_be(cas: float, gs: float) -> bool:
    return cas > gs + CAS_OVER_GS_KT or gs > GS_OVER_CAS * cas + GS_OVER_CAS_KT


def _moves(cas: float | None, gs: float | None, still_kt: float) -> bool | None:
    """Ground speed says it; airspeed alone can only say that it moves."""
    if cas is not None and cas > WIND_KT:
        return True
    return None if gs is None else gs > still_kt


def _engines(seen: PhaseInputs) -> Iterator[tuple[float | None, float | None, bool]]:
    """N1, N2 and whether its silence is explained, of each engine of the set."""
    n1 = (seen.n1_1, seen.n1_2, seen.n1_3, seen.n1_4)
    n2 = (seen.n2_1, seen.n2_2, seen.n2_3, seen.n2_4)
    for engine in seen.engines:
        at = engine - 1
        yield _number(n1[at]), _number(n2[at]), engine in seen.unpowered


def _runs(seen: PhaseInputs) -> bool | None:
    """The core decides; where there is none, the fan. A fan that turns a stopped core is odd."""
    answers: list[bool | None] = []
    for n1, n2, unpowered in _engines(seen):
        fan = None if n1 is None else n1 > RUNNING_N1_PERCENT
        if (n2 > RUNNING_N2_PERCENT) if n2 is not None else fan:
            return True
        answers.append(None if fan else False if n2 is not None or unpowered else fan)
    return False if answers and all(answer is False for answer in answers) else None


def _power(seen: PhaseInputs) -> bool | None:
    """Take-off power of any engine; None without a fan speed."""
    fans = [n1 for n1, _, _ in _engines(seen) if n1 is not None]
    return max(fans) > TAKEOFF_N1_PERCENT if fans else None


def _number(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def _size(value: float | None) -> float | None:
    return abs(value) if value is not None and isfinite(value) else None
