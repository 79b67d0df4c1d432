"""The turbofan as a `FullFidelity` model: named columns in, named columns out.

In: what the aircraft measures, [n]. Out: what the engine does, [n], NaN where `solve` gives a
reason instead. Always holds: no memory; an FMU with these ports can stand in for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ground.models.model import columns_of
from ground.models.turbofan.engine import EngineType
from ground.models.turbofan.gas import Float64
from ground.models.turbofan.solve import Points, solve
from shared.behaviour.dynamics import Port

OUTPUTS = (
    Port(name="n2", unit="%", valid=(0.0, 130.0)),
    Port(name="egt", unit="Cel", valid=(0.0, 1500.0)),
    Port(name="ff", unit="kg/h", valid=(0.0, 10_000.0)),
    Port(name="thrust", unit="N", valid=(-50_000.0, 200_000.0)),
    Port(name="t3_k", unit="K", valid=(200.0, 1200.0)),
    Port(name="p3_pa", unit="Pa", valid=(0.0, 6e6)),
    Port(name="t4_k", unit="K", valid=(200.0, 2200.0)),
    Port(name="airflow_kg_s", unit="kg/s", valid=(0.0, 1000.0)),
)


class TurbofanModel:
    """An engine type, with the health of one engine where given (fractions by name)."""

    step_s = 0.0
    outputs = OUTPUTS

    def __init__(self, engine: EngineType, health: Mapping[str, float] | None = None) -> None:
        self._engine, self._health = engine, dict(health or {})
        self.name, self.sha256 = engine.name, engine.sha256
        valid = engine.data.valid
        self.inputs = (
            Port(name="n1", unit="%", valid=(0.0, 150.0)),
            Port(name="mach", unit="1", valid=valid.mach),
            Port(name="altitude", unit="[ft_i]", valid=valid.altitude_ft),
            Port(name="tat", unit="Cel", valid=(-90.0, 90.0)),
            Port(name="bleed", unit="1", valid=(0.0, 1.0)),
            Port(name="anti_ice", unit="1", valid=(0.0, 1.0)),
        )

    def evaluate(self, inputs: Mapping[str, Float64]) -> dict[str, Float64]:
        """Outputs by name; Rejected names an input that is missing, unknown or misshapen."""
        columns = columns_of(inputs, self.inputs, self.name)
        found = solve(self._engine, Points(**columns), self._health)
        return {port.name: getattr(found, port.name) for port in self.outputs}
