"""The tank as a `FullFidelity` model, from a state at rest.

In: heat leak, draw, pressurant and ambient pressure a row. Out: pressure, fill, mass, temperatures,
boil-off and vent flow a row.
Always holds: a row outside the ranges below, or from which the tank runs dry, full or out of its
properties, ends the prediction with NaN from there on.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ground.models.model import Float64, columns_of, usable_rows
from ground.models.tank.simulate import Inputs, Run, at_rest, simulate
from ground.models.tank.tank import Tank
from shared.behaviour.dynamics import Port

ULLAGE_K = 30.0
"""At the start, an assumption: warmer than the liquid, as above a liquid that has stood a while."""

INPUTS = (
    Port(name="heat_leak", unit="W", valid=(0.0, 5_000.0)),
    Port(name="draw", unit="g/s", valid=(0.0, 200.0)),
    Port(name="pressurant", unit="g/s", valid=(0.0, 50.0)),
    Port(name="ambient", unit="kPa", valid=(5.0, 110.0)),
)
OUTPUTS = (
    Port(name="pressure", unit="kPa", valid=(10.0, 900.0)),
    Port(name="fill", unit="%", valid=(5.0, 97.0)),
    Port(name="liquid", unit="kg", valid=(0.0, 1e6)),
    Port(name="surface", unit="K", valid=(14.0, 31.0)),
    Port(name="bulk", unit="K", valid=(14.0, 31.0)),
    Port(name="ullage", unit="K", valid=(14.0, 300.0)),
    Port(name="boiloff", unit="g/s", valid=(-1e3, 1e3)),
    Port(name="vent", unit="g/s", valid=(0.0, 1e4)),
)


class TankModel:
    """start_kpa and fill (0 to 1): at rest; Rejected outside what the properties cover."""

    inputs, outputs = INPUTS, OUTPUTS

    def __init__(
        self, tank: Tank, start_kpa: float = 130.0, fill: float = 0.85, step_s: float = 60.0
    ) -> None:
        self.tank, self.step_s = tank, step_s
        self.name = f"tank {tank.name}"
        self.start = at_rest(tank, start_kpa * 1000.0, fill, ULLAGE_K)
        self.sha256 = tank.sha256
        self.why = ""
        """Of the last run: empty, or why it stopped."""

    def evaluate(self, inputs: Mapping[str, Float64]) -> dict[str, Float64]:
        columns = columns_of(inputs, self.inputs, self.name)
        count = len(columns["draw"])
        found = {x.name: np.full(count, np.nan) for x in self.outputs}
        usable = usable_rows(columns, self.inputs) if count else 0
        if usable:
            run = self._run({k: v[:usable] for k, v in columns.items()})
            self.why = run.why
            for name, value in _shown(run).items():
                found[name][:usable] = value
        return found

    def _run(self, columns: Mapping[str, Float64]) -> Run:
        given = Inputs(
            columns["heat_leak"],
            columns["draw"] / 1000.0,
            columns["pressurant"] / 1000.0,
            columns["ambient"] * 1000.0,
        )
        return simulate(self.tank, self.start, given, self.step_s)


def _shown(run: Run) -> dict[str, Float64]:
    return {
        "pressure": run.pressure_pa / 1000.0,
        "fill": run.fill * 100.0,
        "liquid": run.liquid_kg,
        "surface": run.surface_k,
        "bulk": run.bulk_k,
        "ullage": run.ullage_k,
        "boiloff": run.boiloff_kg_s * 1000.0,
        "vent": run.vent_kg_s * 1000.0,
    }
