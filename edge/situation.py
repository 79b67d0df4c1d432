"""The situation: observations by role, for the phase machine and the gate.

In: the signal table and the roles that the signal set binds. Out: `PhaseInputs`, `GateInputs`.
Always holds: a role that is not bound, stale or not good is None, and so is a discrete that is
neither 0 nor 1; the sense of a discrete and the unit of a role are applied here and nowhere else;
a signal whose unit does not measure what its role asks for is refused at the start.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from edge.acquire.table import UNSEEN, SignalTable
from edge.flight.phase import PhaseInputs
from edge.update.gate import GATE_ROLES, GateInputs, Observation
from shared.errors import ConfigError
from shared.quality import Quality, Reason, code
from shared.signals import Signal, SignalSet
from shared.units import parse_unit

ENGINES = (1, 2, 3, 4)
DISCRETES = frozenset(
    ("wow_left", "wow_right", "on_ground", "parking_brake", "external_power", "apu_power",
     "battery_only", *(f"fuel_cutoff_{n}" for n in ENGINES), *(f"eec_power_{n}" for n in ENGINES))
)  # fmt: skip
PHASE_NUMBERS = ("altitude_ft", "airspeed_kt", "ground_speed_kt", "vertical_speed_fpm",
                 "radio_height_ft", *(f"n{s}_{n}" for s in (1, 2) for n in ENGINES))  # fmt: skip
PHASE_FLAGS = ("wow_left", "wow_right", "on_ground")
UNITS = {"ft": "[ft_i]", "kt": "[kn_i]", "fpm": "[ft_i]/min", "n1": "%", "n2": "%",
         "oil": "[psi]", "s": "s"}  # fmt: skip
"""UCUM of a role, by how its name ends or begins."""
UTC_S_MAX = 4e9  # the year 2096
LATE_NS = 1_000_000_000  # jitter of a bus that is well; assumption
BAD_RANGE = code(Quality.BAD, Reason.RANGE)
BAD_STALE = code(Quality.BAD, Reason.STALE)


class Situation:
    """Reads roles from the table, all of them at once."""

    def __init__(self, signals: SignalSet, table: SignalTable) -> None:
        self._table = table
        bound = signals.roles
        self._true_raw = {
            role: 0.0 if signals.signal(name).true_is == "low" else 1.0
            for role, name in bound.items()
            if role in DISCRETES
        }
        self.age_max_ns = {
            role: signals.position[name][0].age_max_ns(signals.signal(name))
            for role, name in bound.items()
        }
        self._factor = {
            role: _factor(role, signals.signal(name))
            for role, name in bound.items()
            if role not in DISCRETES
        }
        self._roles = tuple(bound)
        self._at = np.array([table.index[name] for name in bound.values()], np.intp)
        self._redundant = [
            (i, name) for i, name in enumerate(bound.values()) if name in signals.families
        ]
        self._numbers = [role for role in PHASE_NUMBERS if role in bound]
        self._flags = [role for role in PHASE_FLAGS if role in bound]
        self._gate_roles = [role for role in GATE_ROLES if role in bound]
        self._engines = tuple(n for n in ENGINES if f"n1_{n}" in bound or f"n2_{n}" in bound)
        self._has_speed = "airspeed_kt" in bound or "ground_speed_kt" in bound

    def look(self, now_ns: int) -> tuple[PhaseInputs, GateInputs]:
        """Both, of one and the same instant."""
        seen = self._observe(now_ns)
        return self._for_phase(seen), self._for_the_gate(seen)

    def phase_inputs(self, now_ns: int) -> PhaseInputs:
        """As of `now_ns` of the flight clock."""
        return self._for_phase(self._observe(now_ns))

    def gate_inputs(self, now_ns: int) -> GateInputs:
        """As of `now_ns` of the flight clock; discretes as 1 for true."""
        return self._for_the_gate(self._observe(now_ns))

    def utc_ns(self, now_ns: int) -> int | None:
        """What the bus says of UTC, ns since 1970; None where nobody says it, or not well."""
        if "utc_s" not in self._roles:
            return None
        said_s = self._observe(now_ns)["utc_s"].value
        return None if said_s is None or not 0 <= said_s < UTC_S_MAX else round(said_s * 1e9)

    def _for_phase(self, seen: dict[str, Observation]) -> PhaseInputs:
        numbers: dict[str, Any] = {role: seen[role].value for role in self._numbers}
        flags: dict[str, Any] = {role: _is_true(seen[role]) for role in self._flags}
        return PhaseInputs(
            **numbers, **flags, engines=self._engines,
            unpowered=tuple(n for n in self._engines if _is_unpowered(n, seen)),
            has_speed=self._has_speed,
        )  # fmt: skip

    def _for_the_gate(self, seen: dict[str, Observation]) -> GateInputs:
        """Ages for the gate count what the bus holds back as well, beyond a scan's jitter."""
        late_ns = max(0, self._table.late_ns - LATE_NS)
        found = {role: seen[role] for role in self._gate_roles}
        if late_ns:
            found = {
                role: msgspec.structs.replace(x, age_ns=x.age_ns + late_ns)
                for role, x in found.items()
            }
        return GateInputs(**found)

    def _observe(self, now_ns: int) -> dict[str, Observation]:
        """Every bound role; discretes as 1 for true."""
        values, qualities, ages, fresh = self._table.read(self._at, now_ns)
        seen = {}
        for i, role in enumerate(self._roles):
            quality = qualities[i] if fresh[i] else BAD_STALE
            seen[role] = self._sense(role, values[i] if quality == 0 else None, quality, ages[i])
        for i, name in self._redundant:
            instead = self._table.observe(name, now_ns)
            role = self._roles[i]
            seen[role] = self._sense(role, instead.value, instead.quality, instead.age_ns)
        return seen

    def _sense(self, role: str, value: float | None, quality: int, age_ns: int) -> Observation:
        """A number in the unit of the role; a discrete as 1 for what the role says, and what is
        neither 0 nor 1 is bad."""
        if value is None:
            return Observation(None, quality, min(age_ns, UNSEEN.age_ns))
        if (true_raw := self._true_raw.get(role)) is None:
            return Observation(value * self._factor[role], quality, age_ns)
        if value not in (0.0, 1.0):
            return Observation(None, BAD_RANGE, age_ns)
        return Observation(1.0 if value == true_raw else 0.0, quality, age_ns)


def _is_true(seen: Observation) -> bool | None:
    return None if seen.value is None else seen.value == 1.0


def _is_unpowered(engine: int, seen: dict[str, Observation]) -> bool:
    """The core's speed says no_data, freshly, and its EEC is seen to be without power."""
    core, eec = seen.get(f"n2_{engine}"), seen.get(f"eec_power_{engine}")
    if core is None or eec is None or core.quality & 3 != Quality.NO_DATA:
        return False
    return eec.value == 0.0


def _factor(role: str, signal: Signal) -> float:
    """What turns the signal's unit into the role's; exactly 1 where they are the same."""
    first, *_, last = role.split("_")
    wanted = UNITS.get(last) or UNITS[first]
    if signal.unit == wanted:
        return 1.0
    where = f"roles.{role}"
    given, target = parse_unit(signal.unit, where), parse_unit(wanted, where)
    if given.is_scale or given.dimension != target.dimension:
        raise ConfigError(
            f"{signal.name} is in {signal.unit!r}", where, f"a signal in {wanted!r}, or alike"
        )
    return given.factor / target.factor
