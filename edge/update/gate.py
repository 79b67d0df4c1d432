"""The gate: may this aircraft change a model now?

In: what the aircraft says of itself (`GateInputs`, one `Observation` a role of
`shared.signals.ROLES`), the flight phase, and the time of the flight clock. Out: a
`GateDecision` with every reason why not.
Always holds: shut unless proved open. A missing, stale, suspect or bad input, a phase other than
parked, a phase on low confidence, a clock that jumps: each shuts it and starts the dwell again.
Silence counts for an engine only where its EEC is proved to be without power. No I/O, no clock of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from shared.phases import Confidence, Phase
from shared.quality import Quality, describe

AGE_MAX_S = 3.0  # no input older than this counts, whatever its signal set says (DESIGN.md)
NEVER_NS = 1 << 62
ENGINES: tuple[Literal[1, 2, 3, 4], ...] = (1, 2, 3, 4)


class Observation(msgspec.Struct, frozen=True):
    """The last sample of one role. Discretes are 1 for true: on ground, set, on, in cut-off.

    value: in the unit that the role's name ends with. quality: a byte of `shared.quality`.
    age_ns: of the flight clock.
    """

    value: float | None = None
    quality: int = Quality.NO_DATA
    age_ns: int = NEVER_NS


MISSING = Observation()


class GateInputs(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate looks at. A role nobody gave is missing, and missing is unsafe."""

    wow_left: Observation = MISSING
    wow_right: Observation = MISSING
    ground_speed_kt: Observation = MISSING
    parking_brake: Observation = MISSING
    external_power: Observation = MISSING
    apu_power: Observation = MISSING
    battery_only: Observation = MISSING
    fuel_cutoff_1: Observation = MISSING
    fuel_cutoff_2: Observation = MISSING
    fuel_cutoff_3: Observation = MISSING
    fuel_cutoff_4: Observation = MISSING
    n2_1: Observation = MISSING
    n2_2: Observation = MISSING
    n2_3: Observation = MISSING
    n2_4: Observation = MISSING
    oil_pressure_1: Observation = MISSING
    oil_pressure_2: Observation = MISSING
    oil_pressure_3: Observation = MISSING
    oil_pressure_4: Observation = MISSING
    eec_power_1: Observation = MISSING
    eec_power_2: Observation = MISSING
    eec_power_3: Observation = MISSING
    eec_power_4: Observation = MISSING
    altitude_ft: Observation = MISSING
    airspeed_kt: Observation = MISSING


GATE_ROLES: tuple[str, ...] = GateInputs.__struct_fields__


class GateRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The type's own rule, as profile data. Every figure without a source is an assumption."""

    dwell_s: float = 30.0
    """All conditions hold without a break for this long. Assumption."""
    step_gap_max_s: float = 3.0
    """A longer pause between two looks breaks the dwell; the largest `age_max` of DESIGN.md."""
    ground_speed_max_kt: float = 3.0
    """Drift allowance of the inertial ground speed at rest: less does not move the phase machine
    either. At most 20, a taxi speed. Assumption."""
    n2_max_percent: float = 5.0
    """Wind may turn a stopped core; a lit one idles near 60. Assumption."""
    oil_pressure_max_psi: float = 10.0
    """Below the 13 psi minimum of a running CFM56-7B, by the type certificate data sheet."""
    altitude_min_ft: float = -3000.0
    """Lowest airport -1,266 ft (Bar Yehuda), and weather in the pressure altitude."""
    altitude_max_ft: float = 16000.0
    """Highest airport 14,472 ft (Daocheng Yading), and weather in the pressure altitude."""
    airspeed_max_kt: float = 60.0
    """An air data computer at rest reads its floor (30 to 45), or the wind. Assumption."""
    still: tuple[Literal["ground_speed_kt"], ...] = ("ground_speed_kt",)
    power: tuple[Literal["external_power", "apu_power"], ...] = ("external_power", "apu_power")
    """One of these, good and on, is enough; `battery_only` has to be good and off as well."""
    engines: tuple[Literal[1, 2, 3, 4], ...] = (1, 2)
    eec_sources: tuple[Literal["n2", "oil_pressure"], ...] = ("n2",)
    """What the EEC itself sends: the only silence that an EEC without power explains."""
    contradictions: tuple[Literal["altitude_ft", "airspeed_kt"], ...] = (
        "altitude_ft",
        "airspeed_kt",
    )

    def __post_init__(self) -> None:
        for name in ("dwell_s", "step_gap_max_s", "ground_speed_max_kt", "n2_max_percent",
                     "oil_pressure_max_psi", "airspeed_max_kt"):  # fmt: skip
            if not 0 < getattr(self, name) < 1e6:
                raise ValueError(f"{name} must be above 0")
        if self.ground_speed_max_kt > 20:
            raise ValueError("ground_speed_max_kt must be at most 20")
        for name in ("still", "power", "engines"):
            if not getattr(self, name):
                raise ValueError(f"{name} must name at least one")


class GateReason(msgspec.Struct, frozen=True):
    """Why the gate is shut. code: for machines. text: the same with its figures."""

    code: str
    text: str
    role: str = ""
    value: float | None = None
    limit: float | None = None


class GateDecision(msgspec.Struct, frozen=True):
    """Open or shut, since when (flight clock), and what is left of the dwell once all holds.

    inputs: what it was decided on.
    """

    open: bool
    reasons: tuple[GateReason, ...]
    since_ns: int
    dwell_left_s: float
    phase: Phase = Phase.UNKNOWN
    inputs: GateInputs | None = None


class Gate:
    """The machine: it holds the dwell. Ask it at least every `step_gap_max_s`, better at 5 Hz.

    age_max_ns: per role, from the signal set; never more than 3 s, which is also the default.
    """

    def __init__(self, rule: GateRule, age_max_ns: Mapping[str, int] | None = None) -> None:
        cap_ns = round(AGE_MAX_S * 1e9)
        given = age_max_ns or {}
        self.rule = rule
        self._age_max_ns = {role: min(cap_ns, given.get(role, cap_ns)) for role in GATE_ROLES}
        self._holds_since_ns: int | None = None
        self._last_step_ns: int | None = None
        self._last: GateDecision | None = None

    def step(
        self, now_ns: int, inputs: GateInputs, phase: Phase,
        confidence: Confidence = Confidence.NONE, doubts: Sequence[str] = (),
    ) -> GateDecision:  # fmt: skip
        """Look now. Ask again at the instant of a swap: the same call, with fresh inputs.

        confidence: in the phase. doubts: what contradicts itself among its evidence, by name.
        """
        reasons = list(violations(self.rule, self._age_max_ns, inputs, phase))
        reasons += _doubts(phase, confidence, doubts)
        reasons += self._time_reasons(now_ns)
        self._last_step_ns = now_ns
        if reasons:
            self._holds_since_ns = None
        elif self._holds_since_ns is None:
            self._holds_since_ns = now_ns
        left_s = self.rule.dwell_s
        if self._holds_since_ns is not None:
            left_s = max(0.0, left_s - (now_ns - self._holds_since_ns) / 1e9)
            if left_s > 0:
                reasons = [_dwell(self.rule.dwell_s, left_s)]
        self._last = GateDecision(
            not reasons, tuple(reasons), self._since_ns(now_ns, not reasons), left_s, phase, inputs
        )
        return self._last

    def _time_reasons(self, now_ns: int) -> list[GateReason]:
        """A clock that ran back, or nobody looking, proves nothing of the time between."""
        if self._last_step_ns is None:
            return []
        gap_s = (now_ns - self._last_step_ns) / 1e9
        if gap_s < 0:
            return [GateReason("clock_back", f"the flight clock went back {-gap_s:.3f} s")]
        if gap_s > self.rule.step_gap_max_s:
            limit = self.rule.step_gap_max_s
            text = f"nobody looked for {gap_s:.1f} s, at most {limit:g} s"
            return [GateReason("not_watched", text, "", gap_s, limit)]
        return []

    def _since_ns(self, now_ns: int, is_open: bool) -> int:
        if self._last is None or self._last.open != is_open or now_ns < self._last.since_ns:
            return now_ns
        return self._last.since_ns


def violations(
    rule: GateRule, age_max_ns: Mapping[str, int], inputs: GateInputs, phase: Phase
) -> Iterator[GateReason]:
    """Every condition that does not hold at this instant; none at all is the proof."""
    look = _Look(inputs, age_max_ns)
    if phase is not Phase.PARKED:
        yield GateReason("phase", f"phase is {phase.value}, not parked")
    left, right = look.flag("wow_left"), look.flag("wow_right")
    yield from look.must("wow_left", left, True, "no weight on the left wheels")
    yield from look.must("wow_right", right, True, "no weight on the right wheels")
    if left is not None and right is not None and left != right:
        yield GateReason("wow_disagree", "weight on wheels: left and right disagree")
    for role in rule.still:
        yield from look.within(role, None, rule.ground_speed_max_kt, "kt", "moving")
    brake = look.flag("parking_brake")
    yield from look.must("parking_brake", brake, True, "the parking brake is not set")
    yield from _power(rule, look)
    for engine in ENGINES:
        if engine in rule.engines or look.is_bound(engine):
            yield from _engine(rule, look, engine)
    if "altitude_ft" in rule.contradictions:
        low, high = rule.altitude_min_ft, rule.altitude_max_ft
        yield from look.within("altitude_ft", low, high, "ft", "contradicts")
    if "airspeed_kt" in rule.contradictions:
        yield from look.within("airspeed_kt", None, rule.airspeed_max_kt, "kt", "contradicts")


def _doubts(
    phase: Phase, confidence: Confidence, doubts: Sequence[str]
) -> Iterator[GateReason]:  # fmt: skip
    """A phase that is held on less than all of its evidence is no proof."""
    for doubt in doubts:
        yield GateReason("contradiction", f"the evidence of the phase contradicts itself: {doubt}")
    if confidence is not Confidence.HIGH and phase is not Phase.UNKNOWN:
        how = {Confidence.LOW: "low", Confidence.NONE: "no"}[confidence]
        yield GateReason("low_confidence", f"the phase is held on {how} confidence")


def _power(rule: GateRule, look: _Look) -> Iterator[GateReason]:
    """One good source that is on proves power; the others may be unknown, they add nothing."""
    if not any(look.flag(role) for role in rule.power):
        states = ", ".join(f"{role} {look.say(role)}" for role in rule.power)
        yield GateReason("no_power", f"neither external nor APU power is proved: {states}")
    battery = look.flag("battery_only")
    yield from look.must("battery_only", battery, False, "on battery alone")


def _engine(rule: GateRule, look: _Look, n: int) -> Iterator[GateReason]:
    """Positively stopped: fuel cut off, core turning slowly or not at all, oil pressure low."""
    cutoff = look.flag(f"fuel_cutoff_{n}")
    text = f"engine {n}: the fuel is not cut off"
    yield from look.must(f"fuel_cutoff_{n}", cutoff, True, text)
    unpowered = look.flag(f"eec_power_{n}") is False
    for source, limit, unit in (
        ("n2", rule.n2_max_percent, "%"),
        ("oil_pressure", rule.oil_pressure_max_psi, "psi"),
    ):
        role = f"{source}_{n}"
        if unpowered and source in rule.eec_sources and look.is_silent(role):
            continue
        yield from look.within(role, None, limit, unit, "engine_runs")


class _Look:
    """The inputs with their quality and age applied: a value, or None and the reason for it."""

    def __init__(self, inputs: GateInputs, age_max_ns: Mapping[str, int]) -> None:
        self._inputs, self._age_max_ns = inputs, age_max_ns

    def _seen(self, role: str) -> Observation:
        seen: Observation = getattr(self._inputs, role)
        return seen

    def is_bound(self, engine: int) -> bool:
        """Something was heard of this engine: it has to be stopped, whatever the rule names."""
        roles = [f"{what}_{engine}" for what in ("fuel_cutoff", "n2", "oil_pressure")]
        return any(self._seen(role).age_ns != NEVER_NS for role in roles)

    def value(self, role: str) -> float | None:
        return self._seen(role).value if self.unusable(role) is None else None

    def flag(self, role: str) -> bool | None:
        """True, False, or None for unknown; a discrete that is neither 0 nor 1 is unknown."""
        value = self.value(role)
        return bool(value) if value in (0.0, 1.0) else None

    def unusable(self, role: str) -> GateReason | None:
        """Why this role says nothing; None when it is good and fresh."""
        seen, limit_ns = self._seen(role), self._age_max_ns[role]
        if seen.age_ns == NEVER_NS:
            return GateReason("missing", f"{role} has never been seen", role)
        if not 0 <= seen.age_ns < limit_ns:
            age_s, limit_s = seen.age_ns / 1e9, limit_ns / 1e9
            text = f"{role} is {age_s:.2f} s old, at most {limit_s:g} s"
            return GateReason("stale", text, role, age_s, limit_s)
        if seen.quality & 3 == Quality.NO_DATA:
            return GateReason("no_data", f"{role} has no data", role)
        if seen.quality != Quality.GOOD:
            return GateReason("not_good", f"{role} is {describe(seen.quality)}", role, seen.value)
        if seen.value is None or not abs(seen.value) < float("inf"):
            return GateReason("missing", f"{role} has no value", role)
        return None

    def is_silent(self, role: str) -> bool:
        """Nothing is heard of it: no data, or nothing lately. A bad value is not silence."""
        seen = self._seen(role)
        return seen.age_ns >= self._age_max_ns[role] or seen.quality & 3 == Quality.NO_DATA

    def say(self, role: str) -> str:
        reason = self.unusable(role)
        if reason is not None:
            return reason.code
        return {True: "on", False: "off", None: "neither on nor off"}[self.flag(role)]

    def must(self, role: str, flag: bool | None, want: bool, text: str) -> Iterator[GateReason]:
        if flag is want:
            return
        if flag is not None:
            yield GateReason(role, text, role, float(flag), float(want))
            return
        odd = GateReason("not_good", f"{role} is neither 0 nor 1", role, self.value(role))
        yield self.unusable(role) or odd

    def within(
        self, role: str, low: float | None, high: float, unit: str, code: str
    ) -> Iterator[GateReason]:
        reason = self.unusable(role)
        if reason is not None:
            yield reason
            return
        value = self._seen(role).value
        assert value is not None
        if value > high or (low is None and value < -high):
            text = f"{role} is {value:.6g} {unit}, at most {high:g}"
            yield GateReason(code, text, role, value, high)
        elif low is not None and value < low:
            text = f"{role} is {value:.6g} {unit}, at least {low:g}"
            yield GateReason(code, text, role, value, low)


def _dwell(dwell_s: float, left_s: float) -> GateReason:
    text = f"all conditions hold, {left_s:.1f} s of {dwell_s:g} s dwell left"
    return GateReason("dwell", text, "", dwell_s - left_s, dwell_s)
