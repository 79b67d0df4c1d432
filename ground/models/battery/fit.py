"""`python -m ground.models.battery.fit FILE.toml [--write]`: fits the pack's ROM, and judges it.

Runs are drawn from a seed over the ROM's valid range: current held for 20 s to 10 minutes a level,
air temperature for the whole run, from full or from half. The ROM is fitted to `FITTED` of them and
judged on others.
"""

from __future__ import annotations

import sys

import numpy as np

from ground.models.battery.cell import load_cell
from ground.models.battery.pack import lipo_pack
from ground.models.fit import Runs, fit_and_judge, held
from shared.behaviour.declaration import Declaration

FREE = ("Q", "R_flat", "R_empty", "R_lag", "tau", "C_heat", "R_heat")
SCALE = {"voltage": 0.03, "charge": 0.5, "T_pack": 0.5}
"""What counts as one when fitting: V, %, K."""
FITTED, HOURS, STEP_S = 16, 1.0, 5.0


def drawn(declared: Declaration, count: int, seed: int, hours: float = HOURS) -> Runs:
    """`count` runs of the parent, NaN once a cell is at its cut-off or charge leaves its range."""
    rng = np.random.default_rng(seed)
    ports = {x.name: x for x in (*declared.inputs, *declared.outputs)}
    rows = int(hours * 3600 / STEP_S)
    cell = load_cell()
    columns = [held(rng, rows, STEP_S, ports["I"].valid, (20.0, 600.0)) for _ in range(count)]
    air = rng.uniform(*ports["T_ambient"].valid, count)
    soc = rng.uniform(0.5, 1.0, count)
    wanted = []
    for i in range(count):
        pack = lipo_pack(cell, soc=soc[i], step_s=STEP_S)
        found = pack.evaluate({"I": columns[i], "T_ambient": np.full(rows, air[i])})
        inside = np.isfinite(found["voltage"])
        for port in declared.outputs:
            inside &= (found[port.name] >= port.valid[0]) & (found[port.name] <= port.valid[1])
        speaks = np.arange(rows) < (rows if inside.all() else int(np.argmin(inside)))
        wanted.append({k: np.where(speaks, v, np.nan) for k, v in found.items()})
    return Runs(
        {"charge": soc * 100.0, "T_pack": air},
        {"I": np.column_stack(columns), "T_ambient": np.tile(air, (rows, 1))},
        {x.name: np.column_stack([w[x.name] for w in wanted]) for x in declared.outputs},
        STEP_S,
    )


def main(arguments: list[str]) -> int:
    return fit_and_judge("battery", FREE, SCALE, arguments, lambda x, seed: drawn(x, FITTED, seed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
