"""A pack as a `FullFidelity` model: cells in series, each its own, of parallel groups.

In: current and ambient temperature a row. Out: voltage, charge of the emptiest cell, temperature of
the hottest.
Always holds: all cells in series carry the same current; the pack is spoken for only while every
cell is between full and its cut-off, inside the currents its data knows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from ground.models.battery.cell import Cell, stack
from ground.models.battery.simulate import Run, simulate
from ground.models.model import Float64, columns_of, usable_rows
from shared.behaviour.dynamics import Port
from shared.errors import Rejected

SERIES_MAX = 512


class PackModel:
    """`cells` in series; each stands for `parallel` of them. soc, cycles: at the start, of all or of
    each; the pack starts at the temperature of its first row's air."""

    def __init__(
        self,
        cells: Sequence[Cell],
        parallel: float = 1.0,
        step_s: float = 1.0,
        soc: float | Sequence[float] = 1.0,
        cycles: float | Sequence[float] = 0.0,
    ) -> None:
        if not 0 < len(cells) <= SERIES_MAX or not 0 < parallel <= 1e4 or not 0 < step_s <= 3600:
            what = f"{len(cells)} cells in series of {parallel:g} in parallel, step {step_s:g} s"
            raise Rejected(what, "pack", f"1 to {SERIES_MAX} in series, step at most 3600 s")
        self.cell, self.parallel, self.step_s = stack(cells), float(parallel), step_s
        self.soc = np.broadcast_to(np.asarray(soc, float), len(cells))
        self.cycles = np.broadcast_to(np.asarray(cycles, float), len(cells))
        if not ((self.soc >= 0.0) & (self.soc <= 1.0)).all():
            raise Rejected("a charge at the start is not in 0 to 1", "pack", "correct it")
        self.name = f"pack of {len(cells)} {self.cell.name}"
        numbers = f"{self.cell.sha256} {parallel!r} {self.soc.tolist()} {self.cycles.tolist()}"
        self.sha256 = hashlib.sha256(numbers.encode()).hexdigest()
        most = float(np.min(self.cell.current_max_a)) * self.parallel
        cells_v = float(np.max(self.cell.cutoff_v)) * len(cells), 5.0 * len(cells)
        self.inputs = (
            Port(name="I", unit="A", valid=(-most, most)),
            Port(name="T_ambient", unit="Cel", valid=(-20.0, 60.0)),
        )
        self.outputs = (
            Port(name="voltage", unit="V", valid=cells_v),
            Port(name="charge", unit="%", valid=(0.0, 100.0)),
            Port(name="T_pack", unit="Cel", valid=(-20.0, 90.0)),
        )

    def evaluate(self, inputs: Mapping[str, Float64]) -> dict[str, Float64]:
        columns = columns_of(inputs, self.inputs, self.name)
        count = len(columns["I"])
        found = {x.name: np.full(count, np.nan) for x in self.outputs}
        usable = usable_rows(columns, self.inputs) if count else 0
        if usable:
            run = self.run({k: v[:usable] for k, v in columns.items()})
            alive = ((run.voltage >= self.cell.cutoff_v) & (run.soc > 0.0)).all(axis=1)
            last = usable if alive.all() else int(np.argmin(alive))
            found["voltage"][:last] = run.voltage[:last].sum(axis=1)
            found["charge"][:last] = run.soc[:last].min(axis=1) * 100.0
            found["T_pack"][:last] = run.temperature[:last].max(axis=1)
        return found

    def run(self, columns: Mapping[str, Float64]) -> Run:
        """Each cell: [n, cells]."""
        return simulate(
            self.cell,
            columns["I"] / self.parallel,
            self.step_s,
            columns["T_ambient"],
            soc=self.soc,
            cycles=self.cycles,
        )


def lipo_pack(cell: Cell, series: int = 3, capacity_ah: float = 5.0, **start: float) -> PackModel:
    """`series` cells whose capacities and resistances differ by a few percent, as of one make.

    The spread (1 % of capacity, 3 % of resistance, evenly) is an assumption.
    """
    spread = np.linspace(-1.0, 1.0, series) if series > 1 else np.zeros(1)
    cells = [
        cell.replaced(
            capacity_ah=float(cell.capacity_ah) * (1.0 + 0.01 * x),
            r0_ohm=float(cell.r0_ohm) * (1.0 - 0.03 * x),
        )
        for x in spread
    ]
    return PackModel(cells, capacity_ah / float(cell.capacity_ah), **start)
