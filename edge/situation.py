"""The situation: observations by role, for the phase machine and the gate.

In: the signal table and the roles that the signal set binds. Out: `PhaseInputs`, `GateInputs`.
Always holds: a role that is not bound, stale or not good is None, and so is a discrete that is
neither 0 nor 1; the sense of a discrete is applied here and nowhere else.
"""

from __future__ import annotations

from edge.acquire.table import SignalTable
from edge.flight.phase import PhaseInputs
from edge.update.gate import GATE_ROLES, GateInputs, Observation
from shared.quality import Quality, Reason, code
from shared.signals import SignalSet

DISCRETES = frozenset(
    {"wow_left", "wow_right", "parking_brake", "external_power", "apu_power", "battery_only",
     "fuel_cutoff_1", "fuel_cutoff_2", "eec_power_1", "eec_power_2"}
)  # fmt: skip
NUMBERS = ("altitude_ft", "airspeed_kt", "ground_speed_kt", "vertical_speed_fpm",
           "radio_height_ft", "n1_1", "n1_2", "n2_1", "n2_2")  # fmt: skip


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

    def phase_inputs(self, now_ns: int) -> PhaseInputs:
        """As of `now_ns` of the flight clock."""
        numbers = {role: self._value(role, now_ns) for role in NUMBERS}
        return PhaseInputs(
            wow_left=self._is_true("wow_left", now_ns),
            wow_right=self._is_true("wow_right", now_ns),
            engine_1_unpowered=self._is_unpowered(1, now_ns),
            engine_2_unpowered=self._is_unpowered(2, now_ns),
            **numbers,
        )

    def gate_inputs(self, now_ns: int) -> GateInputs:
        """As of `now_ns` of the flight clock; discretes as 1 for true."""
        return GateInputs(**{role: self._observation(role, now_ns) for role in GATE_ROLES})

    def _observation(self, role: str, now_ns: int) -> Observation:
        name = self._names.get(role)
        if name is None:
            return Observation()
        seen = self._table.observe(name, now_ns)
        if role not in DISCRETES:
            return Observation(seen.value, seen.quality, seen.age_ns)
        is_true = self._is_true(role, now_ns)
        if is_true is None and seen.value is not None:
            return Observation(None, code(Quality.BAD, Reason.RANGE), seen.age_ns)
        return Observation(None if is_true is None else float(is_true), seen.quality, seen.age_ns)

    def _value(self, role: str, now_ns: int) -> float | None:
        name = self._names.get(role)
        return None if name is None else self._table.observe(name, now_ns).value

    def _is_true(self, role: str, now_ns: int) -> bool | None:
        value = self._value(role, now_ns)
        return value == self._true_raw[role] if value in (0.0, 1.0) else None

    def _is_unpowered(self, engine: int, now_ns: int) -> bool:
        """The core's speed says no_data, freshly, and its EEC is seen to be without power."""
        name = self._names.get(f"n2_{engine}")
        if name is None or not self._table.observe(name, now_ns).is_no_data:
            return False
        return self._is_true(f"eec_power_{engine}", now_ns) is False
