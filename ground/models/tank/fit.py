"""`python -m ground.models.tank.fit FILE.toml [--write]`: fits the tank's ROM, and judges it.

Runs are drawn from a seed over the ROM's valid range: heat leak and draw held for 20 to 60 minutes
each, any fill and pressure at the start. The ROM is fitted to `FITTED` of them and judged on others.
"""

from __future__ import annotations

import sys

import msgspec
import numpy as np

from ground.models.fit import Runs, fit_and_judge, held
from ground.models.tank.parent import TankModel
from ground.models.tank.tank import Tank, load_tank
from shared.behaviour.declaration import Declaration

FREE = ("k", "lift", "n", "G_gas", "R_gas", "G_surface", "G_mix", "G_turn", "C_warm")
SCALE = {"pressure": 1.0, "liquid": 1.0, "surface": 0.05, "bulk": 0.05}
"""What counts as one when fitting: kPa, kg, K, K."""
FITTED, HOURS, STEP_S = 16, 4.0, 30.0


def drawn(tank: Tank, declared: Declaration, count: int, seed: int, hours: float = HOURS) -> Runs:
    """`count` runs of the parent, its vent kept shut, NaN once pressure or mass leaves the ranges."""
    rng = np.random.default_rng(seed)
    shut = msgspec.structs.replace(tank, vent_open_kpa=900.0, vent_close_kpa=890.0)
    ports = {x.name: x for x in (*declared.inputs, *declared.outputs)}
    rows = int(hours * 3600 / STEP_S)
    low, high = ports["pressure"].valid
    inputs = {
        x.name: np.column_stack([held(rng, rows, STEP_S, x.valid) for _ in range(count)])
        for x in declared.inputs
    }
    inputs["draw"] *= rng.random(count) > 0.25  # a quarter stands and is not drawn from
    starts, wanted = [], []
    for i in range(count):
        kpa, fill = rng.uniform(low + 20, high - 60), rng.uniform(0.35, 0.92)
        model = TankModel(shut, kpa, fill, STEP_S)
        given = {k: v[:, i] for k, v in inputs.items()}
        still = {"pressurant": np.zeros(rows), "ambient": np.full(rows, 101.325)}
        found = model.evaluate({**given, **still})
        liquid = ports["liquid"].valid
        inside = (found["pressure"] >= low) & (found["pressure"] <= high)
        inside &= (found["liquid"] >= liquid[0]) & (found["liquid"] <= liquid[1])
        speaks = np.arange(rows) < (rows if inside.all() else int(np.argmin(inside)))
        first = [found[x][0] for x in ("pressure", "surface", "bulk", "liquid")]
        starts.append([*first, model.start.vapour_kg])
        wanted.append({x.name: np.where(speaks, found[x.name], np.nan) for x in declared.outputs})
    names = ("pressure", "surface", "bulk", "liquid", "vapour")
    return Runs(
        dict(zip(names, np.array(starts).T, strict=True)),
        inputs,
        {x.name: np.column_stack([w[x.name] for w in wanted]) for x in declared.outputs},
        STEP_S,
    )


def main(arguments: list[str]) -> int:
    tank = load_tank()
    return fit_and_judge(
        "tank", FREE, SCALE, arguments, lambda x, seed: drawn(tank, x, FITTED, seed)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
