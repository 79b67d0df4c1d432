"""The situation: observations by role, for the phase machine and the gate.

In: the signal table and the roles that the signal set binds. Out: `PhaseInputs`, `GateInputs`.
Always holds: a role that is not bound, stale or not good is None, and so is a discrete that is
neither 0 nor 1; the sense of a discrete is applied here and nowhere else.
"""

from __future__ import annotations

from typing import Any

from edge.acquire.table import SignalTable
from edge.flight.phase import PhaseInputs
from edge.update.gate import GATE_ROLES, GateInputs, Observation
from shared.quality import Quality, Reason, code
from shared.signals import SignalSet

ENGINES = (1, 2, 3, 4)
DISCRETES = frozenset(
    ("wow_left", "wow_right", "on_ground", "parking_brake", "external_power", "apu_power",
     "battery_only", *(f"fuel_cutoff_{n}" for n in ENGINES), *(f"eec_power_{n}" for n in ENGINES))
)  # fmt: skip
PHASE_NUMBERS = ("altitude_ft", "airspeed_kt", "ground_speed_kt", "vertical_speed_fpm",
                 "radio_height_ft", *(f"n{s}_{n}" for s in (1, 2) for n in ENGINES))  # fmt: skip
PHASE_FLAGS = ("wow_left", "wow_right", "on_ground")


class Situation:
    """Reads roles from the table."""

    def __init__(self, signals: SignalSet, table: SignalTable) -> None:
        self._table = table
        self._names = signals.roles
        self._true_raw = {
            role: 0.0 if signals.signal(name).true_is == "low" else 1.0
            for role, name in signals.roles.items()
            if role in DISCRETES
        }
        self.age_max_ns = {
            role: signals.position[name][0].age_max_ns(signals.signal(name))
            for role, name in signals.roles.items()
        }
        bound = signals.roles
        self._numbers = [role for role in PHASE_NUMBERS if role in bound]
        self._flags = [role for role in PHASE_FLAGS if role in bound]
        self._for_gate = [role for role in GATE_ROLES if role in bound]
        self._has_speed = "airspeed_kt" in bound or "ground_speed_kt" in bound
        self._engines = tuple(n for n in ENGINES if f"n1_{n}" in bound or f"n2_{n}" in bound)

    def phase_inputs(self, now_ns: int) -> PhaseInputs:
        """As of `now_ns` of the flight clock."""
        seen: dict[str, Any] = {role: self._value(role, now_ns) for role in self._numbers}
        flags: dict[str, Any] = {role: self._is_true(role, now_ns) for role in self._flags}
        unpowered = tuple(n for n in self._engines if self._is_unpowered(n, seen, now_ns))
        return PhaseInputs(
            **seen, **flags, engines=self._engines, unpowered=unpowered, has_speed=self._has_speed
        )

    def gate_inputs(self, now_ns: int) -> GateInputs:
        """As of `now_ns` of the flight clock; discretes as 1 for true."""
        return GateInputs(**{role: self._observation(role, now_ns) for role in self._for_gate})

    def _observation(self, role: str, now_ns: int) -> Observation:
        seen = self._table.observe(self._names[role], now_ns)
        if role not in DISCRETES or seen.value is None:
            return Observation(seen.value, seen.quality, seen.age_ns)
        if seen.value not in (0.0, 1.0):
            return Observation(None, code(Quality.BAD, Reason.RANGE), seen.age_ns)
        return Observation(float(seen.value == self._true_raw[role]), seen.quality, seen.age_ns)

    def _value(self, role: str, now_ns: int) -> float | None:
        return self._table.observe(self._names[role], now_ns).value

    def _is_true(self, role: str, now_ns: int) -> bool | None:
        value = self._value(role, now_ns) if role in self._names else None
        return value == self._true_raw[role] if value in (0.0, 1.0) else None

    def _is_unpowered(self, engine: int, seen: dict[str, float | None], now_ns: int) -> bool:
        """The core's speed says no_data, freshly, and its EEC is seen to be without power."""
        role = f"n2_{engine}"
        if role not in seen or seen[role] is not None:
            return False
        if not self._table.observe(self._names[role], now_ns).is_no_data:
            return False
        return self._is_true(f"eec_power_{engine}", now_ns) is False
