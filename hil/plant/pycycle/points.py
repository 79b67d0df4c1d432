"""Reference points of the turbofan for tests: pyCycle's answers over the envelope.

    DIR/bin/python hil/plant/pycycle/points.py [OUT]      (DIR: see engine.py; some two minutes)

Writes tests/golden/pycycle_points.json: for every point what was asked, what pyCycle answered, how
long it took, and with which versions. A point that did not converge is listed as such.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path

from engine import HEALTH, Engine, Point, provenance

OUT = Path(__file__).parents[3] / "tests" / "golden" / "pycycle_points.json"
CONDITIONS = (
    (0.0, 0.0, 0.0), (0.25, 2000.0, 10.0), (0.45, 10_000.0, -10.0), (0.6, 20_000.0, 0.0),
    (0.7, 28_000.0, 10.0), (0.8, 35_000.0, 0.0),
)  # fmt: skip


def points() -> list[Point]:
    """What is asked, in an order in which neighbours follow each other."""
    first = [
        Point(n, m, ft, dt, bleed=float(m > 0))
        for m, ft, dt in CONDITIONS
        for n in (95.0, 85.0, 75.0, 65.0, 55.0, 45.0)
    ]
    more = [Point(100.0, m, ft, dt, bleed=1.0) for m, ft, dt in CONDITIONS]
    air = [
        Point(n, m, ft, 0.0, bleed, ice)
        for m, ft in ((0.0, 0.0), (0.35, 8000.0), (0.65, 24_000.0))
        for n in (90.0, 70.0)
        for bleed, ice in ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    ]
    heat = [
        Point(n, m, ft, dt, bleed=1.0)
        for m, ft in ((0.2, 0.0), (0.6, 20_000.0), (0.78, 33_000.0))
        for n in (88.0, 60.0)
        for dt in (-15.0, 20.0)
    ]
    cruise, low = (88.0, 0.6, 20_000.0), (92.0, 0.0, 0.0)
    single = [
        Point(*cruise, bleed=1.0, health=((name, by),)) for name in HEALTH for by in (-0.02, 0.02)
    ]
    single += [Point(*low, health=((name, -0.01),)) for name in HEALTH]
    single += [Point(*cruise, bleed=1.0, health=(("hpc_eff", by),)) for by in (-0.01, -0.03, -0.05)]
    worn = (("hpc_eff", -0.02), ("hpt_eff", -0.01), ("hpc_flow", -0.015))
    dirty = (("fan_eff", -0.01), ("fan_flow", -0.02), ("lpc_eff", -0.015), ("lpc_flow", -0.02))
    old = tuple((n, -0.01 if n.endswith("eff") else 0.01) for n in HEALTH)
    both = [
        Point(n, m, ft, dt, 1.0, ice, health)
        for n, m, ft, dt, ice in ((88.0, 0.6, 20_000.0, 8.0, 0.0), (70.0, 0.4, 9000.0, -5.0, 1.0))
        for health in (worn, dirty, worn + dirty, old)
    ]
    return first + more + air + heat + single + both


def main() -> None:
    engine, asked = Engine(), points()
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    rows: list[dict[str, object]] = []
    for n, point in enumerate(asked):
        started = time.process_time()
        answer = engine.solve(point)
        seconds = time.process_time() - started
        row = dataclasses.asdict(point) | {"health": dict(point.health)}
        rows.append(row | {"seconds": round(seconds, 3), "out": answer})
        if n % 10 == 9 or point is asked[-1]:
            _write(path, rows)
            print(f"{n + 1} of {len(asked)}, last {seconds:.2f} s", flush=True)


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    times = sorted(float(str(r["seconds"])) for r in rows)
    document = provenance() | {
        "units": "n1c, n1, n2 %; egt_k, t*_k K; p*_pa Pa; ff_kg_h kg/h; thrust_n N; flow kg/s",
        "egt_k": "total temperature at the low-pressure turbine's inlet",
        "seconds_per_point": {
            "median": times[len(times) // 2], "mean": round(sum(times) / len(times), 3),
            "where": "processor time of one core (x86_64), start from the nearest solved point",
        },
        "points": rows,
    }  # fmt: skip
    text = json.dumps(document, indent=1)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
