"""`python -m ground.models.tank.fit FILE.toml [--write]`: fits the tank's ROM, and judges it.

Runs are drawn from a seed over the ROM's valid range: heat leak and draw held for 20 to 60 minutes
each, any fill and pressure at the start. The ROM is fitted to `FITTED` of them and judged on others.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from ground.models.fit import Runs, fit, rewritten, with_numbers
from ground.models.model import Float64
from ground.models.rom import Difference, Rom, compare
from ground.models.tank.parent import TankModel
from ground.models.tank.tank import Tank, load_tank
from shared.behaviour.declaration import Declaration, load_declaration
from shared.errors import TailTwinError
from shared.files import write_durably

FREE = ("k", "lift", "n", "G_surface", "G_mix", "G_turn", "C_warm")
SCALE = {"pressure": 1.0, "liquid": 1.0, "surface": 0.05, "bulk": 0.05}
"""What counts as one when fitting: kPa, kg, K, K."""
FITTED, HOURS, STEP_S = 16, 4.0, 30.0
FIT_SEED, JUDGE_SEED = 1, 2


def drawn(tank: Tank, declared: Declaration, count: int, seed: int, hours: float = HOURS) -> Runs:
    """`count` runs of the parent over the declared ranges, NaN once pressure or fill leaves them."""
    rng = np.random.default_rng(seed)
    ports = {x.name: x for x in (*declared.inputs, *declared.outputs)}
    rows = int(hours * 3600 / STEP_S)
    low, high = ports["pressure"].valid
    inputs = {
        x.name: np.column_stack([_held(rng, rows, x.valid) for _ in range(count)])
        for x in declared.inputs
    }
    inputs["draw"] *= rng.random(count) > 0.25  # a quarter stands and is not drawn from
    starts, wanted = [], []
    for i in range(count):
        kpa, fill = rng.uniform(low + 20, high - 60), rng.uniform(0.35, 0.92)
        model = TankModel(tank, kpa, fill, STEP_S)
        given = {k: v[:, i] for k, v in inputs.items()}
        still = {"pressurant": np.zeros(rows), "ambient": np.full(rows, 101.325)}
        found = model.evaluate({**given, **still})
        liquid = ports["liquid"].valid
        inside = (found["pressure"] >= low) & (found["pressure"] < min(high, tank.vent_open_kpa))
        inside &= (found["liquid"] >= liquid[0]) & (found["liquid"] <= liquid[1])
        speaks = np.arange(rows) < (rows if inside.all() else int(np.argmin(inside)))
        starts.append([found[x][0] for x in ("pressure", "surface", "bulk", "liquid")])
        wanted.append({x.name: np.where(speaks, found[x.name], np.nan) for x in declared.outputs})
    names = ("pressure", "surface", "bulk", "liquid")
    return Runs(
        dict(zip(names, np.array(starts).T, strict=True)),
        inputs,
        {x.name: np.column_stack([w[x.name] for w in wanted]) for x in declared.outputs},
        STEP_S,
    )


def judge(declared: Declaration, runs: Runs) -> dict[str, Difference]:
    """The compiled ROM at its own rate beside the parent, at the parent's rows."""
    each = round(runs.step_s * declared.rate_hz)
    count = len(next(iter(runs.start.values())))
    rows = {k: np.repeat(v, each, axis=0) for k, v in runs.inputs.items()}
    played = Rom(declared, count).play(rows, runs.start)
    return {
        x.name: compare(played[x.name][::each], runs.wanted[x.name], x.unit)
        for x in declared.outputs
    }


def _held(rng: np.random.Generator, rows: int, valid: tuple[float, float]) -> Float64:
    found, at = np.empty(rows), 0
    while at < rows:
        more = int(rng.uniform(1200, 3600) / STEP_S)
        found[at : at + more] = rng.uniform(*valid)
        at += more
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m ground.models.tank.fit", description=__doc__)
    parser.add_argument("file", type=Path, help="the declaration, .toml")
    parser.add_argument("--write", action="store_true", help="put the numbers into the file")
    options = parser.parse_args(arguments)
    try:
        declared, tank = load_declaration(options.file), load_tank()
        numbers = fit(declared, FREE, drawn(tank, declared, FITTED, FIT_SEED), SCALE)
        fitted = with_numbers(declared, numbers)
        for name, value in numbers.items():
            print(f"{name} = {value:.6g}")
        for name, found in judge(fitted, drawn(tank, declared, FITTED, JUDGE_SEED)).items():
            print(f"{name}: rms {found.rms:.3g}, worst {found.worst:.3g} {found.unit}, "
                  f"{found.count} rows")  # fmt: skip
        if options.write:
            text = rewritten(options.file.read_text(), numbers)
            write_durably(options.file, text.encode())
    except TailTwinError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
