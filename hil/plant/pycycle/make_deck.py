"""The plant's engine deck: pyCycle over a grid, as corrected quantities.

    DIR/bin/python hil/plant/pycycle/make_deck.py [--kept PATH]     (DIR: see engine.py)

Writes hil/plant/decks/hbtf_cfm56.json, about 460 points, some six minutes of one core. PATH keeps
solved points, so that a run that was stopped goes on where it was.

- base: corrected N2, EGT, fuel flow and thrust over corrected N1, Mach and two altitudes, ISA,
  bleed on. Between altitudes the reader goes by 1/pressure: what does not correct away is the
  constant shaft power taken off.
- effects: on a coarser grid over corrected N1 and three conditions along a flight, how each output
  moves with inlet temperature, bleed and the ten health parameters: logarithms of ratios, and
  differences for thrust (which passes zero).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from pathlib import Path

from engine import ANTI_ICE, BLEED_ON, HEALTH, T_ISA_K, Engine, Point, provenance

OUT = Path(__file__).parents[1] / "decks" / "hbtf_cfm56.json"
P_ISA_PA = 101_325.0
N1C = (
    40.0, 45.0, 50.0, 55.0, 60.0, 65.0, 70.0, 75.0, 80.0, 82.5, 85.0, 87.5, 90.0, 92.5, 95.0,
    97.5, 100.0, 102.5, 105.0,
)  # fmt: skip
MACH = (0.0, 0.25, 0.5, 0.75)
ALTITUDE_FT = (0.0, 25_000.0)
COARSE_N1C = (42.0, 55.0, 70.0, 80.0, 90.0, 100.0)
PATH = ((0.0, 0.0), (0.35, 6000.0), (0.65, 22_000.0))
"""(Mach, altitude) along a flight, for the effects."""
OUTPUTS = ("n2", "egt_k", "ff_kg_h", "thrust_n")
# Per polynomial coefficient the step to take, and those to take where it does not converge: with
# much lost the booster comes to its stall line, where pyCycle's map ends.
HPC_STEPS = ((-0.04, -0.025, -0.018, 0.02), (-0.02, -0.012, -0.007, 0.015), (0.01,))
STEPS = dict.fromkeys(HEALTH, ((-0.01, 0.01),)) | {"hpc_eff": HPC_STEPS}
BLEED_STEPS = ((0.0,), (1.0 + ANTI_ICE / BLEED_ON,))
ISA_STEPS_K = ((-15.0,), (20.0,))


class Solved:
    """Answers by point, kept in a file of lines."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._engine, self.seconds = path, None, []
        self._known: dict[str, dict[str, float] | None] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                key, out, took = json.loads(line)
                self._known[key] = out
                self.seconds.append(took)

    def __call__(self, point: Point) -> dict[str, float]:
        """The answer; SystemExit where there is none."""
        out = self.may(point, depth=5)
        if out is None:
            raise SystemExit(f"not converged: {point}")
        return out

    def may(self, point: Point, depth: int) -> dict[str, float] | None:
        key = json.dumps(dataclasses.asdict(point))
        if key not in self._known:
            self._engine = self._engine or Engine()
            started = time.perf_counter()
            out = self._engine.solve(point, depth)
            took = round(time.perf_counter() - started, 3)
            self._known[key] = out
            self.seconds.append(took)
            if self._path is not None:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([key, out, took]) + "\n")
        return self._known[key]


def corrected(out: dict[str, float]) -> dict[str, float]:
    """Referred to sea level, ISA, by the total state in front of the fan."""
    theta, delta = out["t2_k"] / T_ISA_K, out["p2_pa"] / P_ISA_PA
    return {
        "n2": out["n2"] / math.sqrt(theta),
        "egt_k": out["egt_k"] / theta,
        "ff_kg_h": out["ff_kg_h"] / delta / math.sqrt(theta),
        "thrust_n": out["thrust_n"] / delta,
    }


def base(solved: Solved) -> dict[str, object]:
    """Tables [altitude][mach][n1c]."""
    tables: dict[str, list] = {name: [] for name in (*OUTPUTS, "t2_k")}
    pressures = []
    for altitude in ALTITUDE_FT:
        rows: dict[str, list] = {name: [] for name in tables}
        for mach in MACH:
            outs = [solved(Point(n, mach, altitude, bleed=1.0)) for n in reversed(N1C)][::-1]
            for name in OUTPUTS:
                rows[name].append([round(corrected(o)[name], 5) for o in outs])
            rows["t2_k"].append(round(outs[0]["t2_k"], 4))
        pressures.append(round(outs[0]["static_pa"], 2))
        for name in tables:
            tables[name].append(rows[name])
        print(f"base at {altitude:.0f} ft", flush=True)
    axes = {"n1c": N1C, "mach": MACH, "altitude_ft": ALTITUDE_FT, "static_pa": pressures}
    return {**axes, "tables": tables}


def effects(solved: Solved) -> dict[str, object]:
    """Per effect: its steps, and how each output moves, [condition][n1c][step]."""
    asks: dict[str, list[list[dict]]] = {
        name: [[{"health": ((name, s),)} for s in choice] for choice in steps]
        for name, steps in STEPS.items()
    }
    asks["bleed"] = [[{"bleed": b} for b in choice] for choice in BLEED_STEPS]
    asks["t2_k"] = [[{"isa_dev_k": d} for d in choice] for choice in ISA_STEPS_K]
    moved = {name: {o: [] for o in (*OUTPUTS, "steps")} for name in asks}
    for mach, altitude in PATH:
        rows = {name: {o: [] for o in (*OUTPUTS, "steps")} for name in asks}
        for n in reversed(COARSE_N1C):
            here = Point(n, mach, altitude, bleed=1.0)
            nominal = solved(here)
            for name, choices in asks.items():
                found = [_first(solved, here, choice) for choice in choices]
                for output in OUTPUTS:
                    steps = [_moved(output, corrected(nominal), corrected(o)) for _, o in found]
                    rows[name][output].insert(0, steps)
                rows[name]["steps"].insert(0, [_step(c, o, nominal) for c, o in found])
        for name in asks:
            for output in moved[name]:
                moved[name][output].append(rows[name][output])
        print(f"effects at Mach {mach}", flush=True)
    return {"n1c": COARSE_N1C, "path": PATH, "moved": moved}


def _first(solved: Solved, here: Point, choice: list[dict]) -> tuple[dict, dict[str, float]]:
    """The first change that converges."""
    for change in choice:
        out = solved.may(dataclasses.replace(here, **change), depth=2)
        if out is not None:
            return change, out
        print(f"not converged at {here}: {change}", flush=True)
    raise SystemExit("none of them converges")


def _step(change: dict, out: dict[str, float], nominal: dict[str, float]) -> float:
    """How far the cause was moved: a fraction, of bleed as a change of the fraction taken, or K."""
    if "bleed" in change:
        return round(BLEED_ON * (change["bleed"] - 1), 6)
    if "isa_dev_k" in change:
        return round(out["t2_k"] - nominal["t2_k"], 4)
    return change["health"][0][1]


def _moved(output: str, was: dict[str, float], now: dict[str, float]) -> float:
    if output == "thrust_n":
        return round(now[output] - was[output], 3)
    return round(math.log(now[output] / was[output]), 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kept", type=Path)
    solved = Solved(parser.parse_args().kept)
    tables = {"base": base(solved), "effects": effects(solved)}
    times = sorted(solved.seconds)
    head = provenance() | {
        "corrected": "n2 / sqrt(theta), egt_k / theta, ff_kg_h / delta / sqrt(theta), "
        "thrust_n / delta; theta, delta: total state in front of the fan",
        "seconds_per_point": {"points": len(times), "median": times[len(times) // 2]},
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(head | tables) + "\n", encoding="utf-8")
    print(f"{len(times)} points, {sum(times):.0f} s")


if __name__ == "__main__":
    main()
