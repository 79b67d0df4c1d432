"""The turbofan over a 10 h flight: seconds, and how far it is from pyCycle.

`python -m bench.turbofan` prints and writes var/bench/turbofan.json; `measure()` is what
`bench.ground` calls. The baseline is NASA's pyCycle with its equilibrium chemistry: its CPU time a
point was measured when the reference points were made (tests/golden/pycycle_cea.json), not in this
run; a point there starts from its solved neighbour.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ground.models.turbofan.engine import HEALTH, EngineType, load_engine_type
from ground.models.turbofan.parts import standard_temperature
from ground.models.turbofan.solve import Points, solve

Float64 = npt.NDArray[np.float64]

ROOT: Final = Path(__file__).resolve().parent.parent
CEA: Final = ROOT / "tests" / "golden" / "pycycle_cea.json"
"""pyCycle with its equilibrium chemistry, as its published example runs: the reference."""
TABLE: Final = ROOT / "tests" / "golden" / "pycycle_points.json"
"""More points, with pyCycle's table of that chemistry (refined): faster, less exact."""
POINTS: Final = 36_000  # 10 h at 1 Hz
ROUNDS: Final = 3
THRUST_MIN_N: Final = 5_000.0
"""Below it a net thrust is the small difference of two large forces: compared against this."""


def flight(n: int = POINTS, seed: int = 5) -> Points:
    """A flight of n rows: climb, steps in cruise, descent, approach, with a sensor's noise."""
    rng = np.random.default_rng(seed)
    u = np.linspace(0.0, 1.0, n)
    altitude = np.interp(u, [0, 0.04, 0.4, 0.41, 0.94, 1], [0, 33e3, 33e3, 37e3, 37e3, 0])
    mach = np.interp(u, [0, 0.005, 0.04, 0.94, 0.99, 1], [0.1, 0.35, 0.78, 0.78, 0.35, 0.2])
    n1c = np.interp(
        u, [0, 0.04, 0.041, 0.4, 0.401, 0.41, 0.411, 0.94, 0.941, 0.985, 1],
        [95, 97, 91, 89, 96, 96, 92, 90, 58, 58, 68],
    )  # fmt: skip
    n1c = n1c + rng.normal(0.0, 0.3, n)
    total = (standard_temperature(altitude) + 6.0) * (1 + 0.2 * mach**2)
    ice = ((altitude < 20e3) & (total < 283.0)).astype(np.float64)
    return Points(
        n1c * np.sqrt(total / 288.15), mach, altitude, total - 273.15, np.ones(n), ice
    )  # fmt: skip


def differences(engine: EngineType, golden: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Per quantity: largest and rms relative difference from pyCycle, in percent, and points."""
    rows = [row for row in golden["points"] if row["out"] is not None]

    def out(name: str) -> Float64:
        return np.array([row["out"][name] for row in rows])

    def asked(name: str) -> Float64:
        return np.array([row[name] for row in rows], dtype=np.float64)

    found = solve(
        engine,
        Points(
            out("n1"), asked("mach"), asked("altitude_ft"), out("t2_k") - 273.15,
            asked("bleed"), asked("anti_ice"),
        ),
        {name: np.array([row["health"].get(name, 0.0) for row in rows]) for name in HEALTH},
    )  # fmt: skip
    pairs = {
        "n2": (found.n2, out("n2")),
        "egt_k": (found.egt + 273.15, out("egt_k")),
        "ff": (found.ff, out("ff_kg_h")),
        "t3": (found.t3_k, out("t3_k")),
        "p3": (found.p3_pa, out("p3_pa")),
        "t4": (found.t4_k, out("t4_k")),
        "airflow": (found.airflow_kg_s, out("airflow_kg_s")),
    }
    off = {name: 100 * (ours / theirs - 1) for name, (ours, theirs) in pairs.items()}
    thrust = out("thrust_n")
    off["thrust"] = 100 * (found.thrust - thrust) / np.maximum(np.abs(thrust), THRUST_MIN_N)
    return {
        name: {
            "max_percent": round(float(np.nanmax(np.abs(d))), 4),
            "rms_percent": round(float(np.sqrt(np.nanmean(d**2))), 4),
            "points": int(np.isfinite(d).sum()),
            "unanswered": int((~np.isfinite(d)).sum()),
        }
        for name, d in off.items()
    }


def measure(n: int = POINTS) -> dict[str, Any]:
    """JSON-able: seconds for n points (median of three), against pyCycle's time a point."""
    engine = load_engine_type()
    began = time.perf_counter()
    solve(engine, flight(64))  # the start table, once a process
    first_s = time.perf_counter() - began
    at = flight(n)
    health = {"hpc_eff": -0.01, "hpt_eff": -0.005, "fan_flow": -0.01}
    wall, cpu = [], []
    for _ in range(ROUNDS):
        began, began_cpu = time.perf_counter(), time.process_time()
        found = solve(engine, at, health)
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - began_cpu)
    seconds = statistics.median(wall)
    result: dict[str, Any] = {
        "points": n,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(statistics.median(cpu), 3),
        "ms_per_point": round(seconds / n * 1e3, 4),
        "solved": int(found.ok.sum()),
        "load_seconds": round(first_s, 3),
        "rss_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "machine": f"{os.cpu_count()} cores {platform.machine()}",
    }
    reference, table = json.loads(CEA.read_text()), json.loads(TABLE.read_text())
    theirs = float(reference["seconds_per_point"]["median"])
    result["pycycle_cpu_seconds_per_point"] = theirs
    result["pycycle_table_wall_seconds_per_point"] = table["seconds_per_point"]["median"]
    result["times_faster_than_pycycle"] = round(theirs * n / result["cpu_seconds"])
    result["difference"] = differences(engine, reference)
    result["difference_from_its_table"] = differences(engine, table)
    return result


def main() -> int:
    """Print and write var/bench/turbofan.json."""
    result = measure()
    path = ROOT / "var" / "bench" / "turbofan.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
