"""Each ROM beside its parent, in speed and in error, in one run.

`measure()` is what `bench/ground.py` puts into `var/bench/ground.json`; `python -m bench.roms` prints
it. A row is one moment of the parent's time base (tank 30 s, battery 5 s); the ROM is the compiled
graph in onnxruntime, which steps at 1 Hz, one run at a time as aboard. Errors are over runs that no
fit has seen, drawn from another seed over the ROM's whole valid range.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ground.models.atmosphere.atmosphere import ALTITUDE_FT, OFFSET_K, AtmosphereModel
from ground.models.battery import fit as battery
from ground.models.battery.cell import load_cell
from ground.models.battery.pack import lipo_pack
from ground.models.fit import JUDGE_SEED, Runs, judge
from ground.models.rom import RUNS_MAX, Difference, Rom, compare, session_of
from ground.models.tank import fit as tank
from ground.models.tank.parent import TankModel
from ground.models.tank.tank import load_tank
from ground.models.turbofan.engine import load_engine_type
from ground.models.turbofan.solve import Points, solve
from shared.behaviour.declaration import Declaration, load_declaration
from shared.bundle import parse_bundle

MODELS = Path(__file__).resolve().parent.parent / "firmware_profiles" / "models"
ROUNDS, TIMED_HOURS, POINTS = 3, 1.0, 20_000
ENGINE_POINTS, ONE_BY_ONE = 6000, 60  # both engines for 50 minutes; for half a minute


def measure() -> dict[str, Any]:
    """By model: seconds of parent and ROM for the same time or points, their ratio, errors."""
    return {
        "egt_rom_v1": _egt("egt_rom_v1"), "egt_rom_v2": _egt("egt_rom_v2"),
        "atmosphere": _atmosphere(), "tank": _tank(), "battery": _battery(),
    }  # fmt: skip


def _egt(name: str) -> dict[str, Any]:
    """A ROM of the type beside the turbofan, anywhere in its valid ranges, two engines a step."""
    bundle = parse_bundle((MODELS / f"{name}.json").read_bytes(), name)
    rng = np.random.default_rng(JUDGE_SEED)
    drawn = {x.name: rng.uniform(*x.valid, ENGINE_POINTS) for x in bundle.inputs}
    switched = {x: np.rint(np.clip(drawn[x], 0, 1)) for x in ("bleed", "anti_ice")}
    given: dict[str, npt.NDArray[np.float64]] = {**drawn, **switched}
    engine = load_engine_type()
    parent = solve(engine, Points(**given))
    row = np.stack([given[x.name] for x in bundle.inputs], axis=1).astype(np.float32)
    count = len(bundle.instances)
    rows = row.reshape(-1, count, row.shape[1])
    session = session_of(bundle.model)

    def play() -> list[Any]:
        return [session.run(["outputs"], {"inputs": x})[0] for x in rows]

    said = np.concatenate(play())
    errors = {
        x.name: compare(said[:, i], np.asarray(getattr(parent, x.name)), x.unit)
        for i, x in enumerate(bundle.outputs)
    }
    parent_s, rom_s = _seconds(lambda: solve(engine, Points(**given))), _seconds(play)

    def one_by_one() -> None:  # as a model aboard would be asked
        for i in range(0, ONE_BY_ONE, count):
            solve(engine, Points(**{k: v[i : i + count] for k, v in given.items()}))

    alone = _seconds(one_by_one) * ENGINE_POINTS / ONE_BY_ONE
    over = {"points": ENGINE_POINTS, "parent_s_one_by_one": alone,
            "parent_one_by_one_over_rom": alone / rom_s}  # fmt: skip
    return _told(parent_s, (rom_s, rom_s), errors, over)


def _atmosphere() -> dict[str, Any]:
    declared, model = load_declaration(MODELS / "atmosphere.toml"), AtmosphereModel()
    rng = np.random.default_rng(JUDGE_SEED)
    given = {
        "altitude": rng.uniform(*ALTITUDE_FT, POINTS), "isa_offset": rng.uniform(*OFFSET_K, POINTS)
    }  # fmt: skip
    dry = {**given, "humidity": np.zeros(POINTS)}
    rom = Rom(declared)
    parent, played = model.evaluate(dry), rom.play(given)
    errors = {
        x.name: compare(played[x.name][:, 0], parent[x.name], x.unit) for x in declared.outputs
    }
    wet = model.evaluate({**given, "humidity": np.full(POINTS, 100.0)})
    columns = {
        k: v[: POINTS // RUNS_MAX * RUNS_MAX].reshape(-1, RUNS_MAX) for k, v in given.items()
    }
    beside = Rom(declared, RUNS_MAX)
    parent_s = _seconds(lambda: model.evaluate(dry))
    rom_s = _seconds(lambda: rom.play(given)), _seconds(lambda: beside.play(columns))
    humid = compare(played["density"][:, 0] / wet["density"], np.ones(POINTS), "1")
    over = {"points": POINTS, "worst_density_share_when_saturated": humid.worst}
    return _told(parent_s, rom_s, errors, over)


def _tank() -> dict[str, Any]:
    declared, what = load_declaration(MODELS / "lh2_tank.toml"), load_tank()
    runs = tank.drawn(what, declared, tank.FITTED, JUDGE_SEED)
    rows = int(TIMED_HOURS * 3600 / tank.STEP_S)
    model = TankModel(what, 150.0, 0.7, tank.STEP_S)
    given = {"heat_leak": np.full(rows, 200.0), "draw": np.full(rows, 20.0)}
    still = {"pressurant": np.zeros(rows), "ambient": np.full(rows, 101.325)}
    parent = _seconds(lambda: model.evaluate({**given, **still}))
    return _told(parent, _played(declared, given, tank.STEP_S), judge(declared, runs), _over(runs))


def _battery() -> dict[str, Any]:
    declared = load_declaration(MODELS / "battery_pack.toml")
    runs = battery.drawn(declared, battery.FITTED, JUDGE_SEED)
    rows = int(TIMED_HOURS * 3600 / battery.STEP_S)
    model = lipo_pack(load_cell(), step_s=battery.STEP_S)
    given = {"I": np.full(rows, 4.0), "T_ambient": np.full(rows, 20.0)}
    parent = _seconds(lambda: model.evaluate(given))
    played = _played(declared, given, battery.STEP_S)
    return _told(parent, played, judge(declared, runs), _over(runs))


def _played(declared: Declaration, given: dict[str, Any], step_s: float) -> tuple[float, float]:
    """Seconds a run for the same time at the ROM's own rate: alone, and 64 side by side."""
    each = round(step_s * declared.rate_hz)
    rows = {k: np.repeat(v, each) for k, v in given.items()}
    alone, beside = Rom(declared), Rom(declared, RUNS_MAX)
    return _seconds(lambda: alone.play(rows)), _seconds(lambda: beside.play(rows)) / RUNS_MAX


def _over(runs: Runs) -> dict[str, Any]:
    return {"runs": len(next(iter(runs.start.values()))), "simulated_hours": TIMED_HOURS}


def _told(
    parent_s: float, rom_s: tuple[float, float], errors: dict[str, Difference], over: dict[str, Any]
) -> dict[str, Any]:
    found = {k: msgspec.to_builtins(v) for k, v in errors.items()}
    alone, beside = rom_s
    times = {
        "parent_s": parent_s, "rom_s": alone, "rom_s_of_64_side_by_side": beside,
        "parent_over_rom": parent_s / alone, "parent_over_rom_of_64": parent_s / beside,
    }  # fmt: skip
    return {**times, **over, "error": found}


def _seconds(call: Callable[[], object]) -> float:
    """Processor seconds of this process, the median: other work on the machine counts less."""
    call()
    taken = []
    for _ in range(ROUNDS):
        started = time.process_time()
        call()
        taken.append(time.process_time() - started)
    return statistics.median(taken)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
