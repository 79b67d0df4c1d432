"""What reconciliation finds within one flight, and what it makes up.

`python -m bench.detect [--flights N] [--each N] [--workers N] [--json FILE]` simulates readings with a known
truth (bench/readings.py; no aircraft is flown) and judges them as the ground does. It prints and
writes: false alarms over healthy flights; how often a loss of HPC efficiency is found, and told
from other causes, by its size; the smallest size found in every flight; how often ± holds the
truth; the confusion matrix of causes.

The truth is the turbofan with an engine's own character, and differs from the model that judges
by the baseline's error and by 5 % of every sensitivity (drawn by seed). Its answer to health is a
table fitted to the turbofan (`linearised`), its predictions are the turbofan's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from bench.readings import (
    CLIMB_S,
    T0_NS,
    LinearFidelity,
    linearised,
    mismatch,
    ramp,
    readings,
    schedule,
    truth_of,
)
from ground.models.baseline import OUTPUTS, nominal
from ground.models.turbofan.engine import load_engine_type
from ground.reconcile.fidelity import TurbofanFidelity
from ground.reconcile.health import PARAMETERS, SENSITIVITY_SIGMA
from ground.reconcile.judge import judge
from ground.reconcile.result import EngineResult
from ground.reconcile.rows import binding_of
from ground.reconcile.verdict import THRESHOLD

Float64 = npt.NDArray[np.float64]
SIZES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
"""Lost HPC efficiency, %."""
CHARACTER_SIGMA = 0.003  # of each health parameter of an ESN against its type; assumption
RAMP_S = 240.0  # as the demo's
FAULTS = {**dict.fromkeys(PARAMETERS, -0.02), "hpt_flow": 0.02, "lpt_flow": 0.02}
BIASES = {"n2": 0.5, "egt": 12.0, "ff": 0.03}
"""% N2, K, and a share of fuel flow."""
SIGMA = {"n2": 0.03, "egt": 1.0, "ff": 3.0}
"""Of the baseline, own unit: what bench/readings.py errs by."""


@dataclass(frozen=True)
class Case:
    """One flight of one engine. amount: fraction; onset_s: after cruise begins, None all flight."""

    seed: int
    cause: str = ""
    amount: float = 0.0
    onset_s: float | None = None


class Stand:
    """Makes and judges flights; holds the linearised turbofan."""

    def __init__(self, cruise_s: int) -> None:
        self._engine, self._cruise_s = load_engine_type(), cruise_s
        flight = schedule(cruise_s)
        plain = TurbofanFidelity(self._engine, nominal(self._engine))
        self.linear = linearised(plain, flight)

    def judged(self, case: Case) -> EngineResult:
        rng = np.random.default_rng([case.seed, 5])
        esn = f"S{case.seed:05d}"
        health = {x: float(v) for x, v in zip(
            PARAMETERS, CHARACTER_SIGMA * rng.standard_normal(len(PARAMETERS)), strict=True)}  # fmt: skip
        baseline = msgspec.structs.replace(
            nominal(self._engine, esn), health=health, smoothed_rms=SIGMA
        )
        model = self.linear.mistaken(np.zeros(3), TurbofanFidelity(self._engine, baseline))
        flight = schedule(self._cruise_s, case.seed)
        true = model.mistaken(SENSITIVITY_SIGMA * rng.standard_normal(len(OUTPUTS)))
        rows = readings(
            flight, _truth(true, flight, case), case.seed,
            error=mismatch(flight, case.seed), biases=_biases(model, flight, case),
        )  # fmt: skip
        return judge(rows, binding_of(1), baseline, model).result


def _truth(true: LinearFidelity, flight: Any, case: Case) -> dict[str, Float64]:
    if case.cause not in PARAMETERS:
        return truth_of(flight, true)
    change = np.full(len(flight), case.amount)
    if case.onset_s is not None:
        change = ramp(len(flight), flight.cruise_s + case.onset_s, RAMP_S, case.amount)
    return truth_of(flight, true, {case.cause: change})


def _biases(model: LinearFidelity, flight: Any, case: Case) -> dict[str, Float64 | float]:
    output = case.cause.removeprefix("bias_")
    if output == case.cause:
        return {}
    if output == "ff":
        return {output: case.amount * np.nan_to_num(model.predict(flight.columns).outputs["ff"])}
    return {output: case.amount}


def healthy_cases(flights: int) -> list[Case]:
    """Two engines a flight."""
    return [Case(100_000 + seed) for seed in range(2 * flights)]


def loss_cases(each: int, in_flight: bool) -> list[Case]:
    """By size, `each` of it."""
    found = []
    for k, size in enumerate(SIZES):
        for i in range(each):
            seed = 1000 * (k + 1) + i + (500 if in_flight else 0)
            onset_s = float(np.random.default_rng(seed).uniform(60, 200)) if in_flight else None
            found.append(Case(seed, "hpc_eff", -size / 100, onset_s))
    return found


def cause_cases(each: int) -> list[Case]:
    """Every cause, standing."""
    faults = {**FAULTS, **{f"bias_{x}": v for x, v in BIASES.items()}}
    return [Case(50_000 + 100 * k + i, cause, amount)
            for k, (cause, amount) in enumerate(faults.items()) for i in range(each)]  # fmt: skip


def false_alarms(results: Sequence[EngineResult]) -> dict[str, Any]:
    """Of healthy engines."""
    wrong = [x.verdict.text for x in results if x.verdict.kind != "healthy"]
    scores = sorted(x.verdict.score for x in results if x.verdict.score is not None)
    return {"flights": len(results) // 2, "engines": len(results), "false_alarms": len(wrong),
            "texts": wrong[:10], "score_greatest": scores[-1], "threshold": THRESHOLD,
            "score_99": float(np.percentile(scores, 99))}  # fmt: skip


def detection(cases: Sequence[Case], results: Sequence[EngineResult]) -> list[dict[str, Any]]:
    """By size: share found, share told from other causes, and how often ± holds the truth."""
    table = []
    for size in SIZES:
        mine = [(c, r) for c, r in zip(cases, results, strict=True) if c.amount == -size / 100]
        found = [(c, r) for c, r in mine if r.verdict.kind != "healthy"]
        named = [{r.verdict.cause, *r.verdict.not_separable} for _, r in found]
        told = [next(h for h in r.hypotheses if h.name == "hpc_eff") for _, r in found]
        dated = [_dated(c, r) for c, r in found if c.onset_s is not None]
        known = [x for x in dated if x is not None]
        table.append({
            "loss_percent": size, "flights": len(mine), "found": len(found) / len(mine),
            "isolated": sum("hpc_eff" in x <= {"hpc_eff", "hpt_eff"} for x in named) / len(mine),
            "hpc_first": sum(r.verdict.cause == "hpc_eff" for _, r in found) / len(mine),
            "held_by_95": _mean([abs((h.estimate or 0) + size) <= (h.estimate_95 or 0)
                                 for h in told]),
            "half_95_percent": _median([h.estimate_95 or 0.0 for h in told]),
            "dated": len(known), "onset_held_by_95": _mean([held for held, _ in known]),
            "onset_half_95_s": _median([half for _, half in known]),
        })  # fmt: skip
    return table


def _dated(case: Case, result: EngineResult) -> tuple[bool, float] | None:
    """Whether the onset's interval holds the truth, and half its length in s."""
    onset = result.verdict.onset
    if onset is None or onset.t_95_ns is None or case.onset_s is None:
        return None
    low, high = ((t - T0_NS) / 1e9 for t in onset.t_95_ns)
    return low <= CLIMB_S + case.onset_s <= high, (high - low) / 2


def confusion(cases: Sequence[Case], results: Sequence[EngineResult]) -> dict[str, dict[str, Any]]:
    """By true cause: what was named first, and how often the truth was among those named."""
    table: dict[str, dict[str, Any]] = {}
    for cause in dict.fromkeys(c.cause for c in cases):
        mine = [(c, r) for c, r in zip(cases, results, strict=True) if c.cause == cause]
        names = [_cause(r) for _, r in mine]
        named = [cause in (x, *r.verdict.not_separable)
                 for x, (_, r) in zip(names, mine, strict=True)]  # fmt: skip
        table[cause] = {"amount": mine[0][0].amount, "named": _mean(named),
                        "first": dict(Counter(names).most_common())}  # fmt: skip
    return table


def _cause(result: EngineResult) -> str:
    verdict = result.verdict
    if verdict.kind == "sensor_fault":
        return f"bias_{verdict.cause}"
    return verdict.cause or verdict.kind


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def smallest(table: Sequence[dict[str, Any]]) -> float | None:
    """The least loss from which on every flight found it."""
    least = None
    for row in reversed(table):
        if row["found"] < 1.0:
            break
        least = row["loss_percent"]
    return least


_stand: Stand | None = None  # of a worker process


def _prepare(cruise_s: int) -> None:
    global _stand  # the one thing a worker process keeps
    _stand = Stand(cruise_s)


def _judge(case: Case) -> EngineResult:
    assert _stand is not None
    return _stand.judged(case)


def run(flights: int, each: int, workers: int = 2, cruise_s: int = 640) -> dict[str, Any]:
    """Everything, as the JSON has it."""
    began = time.monotonic()
    parts = [loss_cases(each, True), loss_cases(each, False), healthy_cases(flights),
             cause_cases(max(each // 3, 1))]  # fmt: skip
    with ProcessPoolExecutor(workers, initializer=_prepare, initargs=(cruise_s,)) as pool:
        judged = list(pool.map(_judge, [case for part in parts for case in part], chunksize=5))
    ends = np.cumsum([0, *(len(part) for part in parts)]).tolist()
    within, before, healthy, causes = (judged[a:b] for a, b in pairwise(ends))
    tables = detection(parts[0], within), detection(parts[1], before)
    return {
        "on": f"{platform.machine()}, {os.cpu_count()} cores shared with others, {workers} "
              f"processes, Python {platform.python_version()}, numpy {np.__version__}",
        "simulated": f"climb {CLIMB_S} s, cruise {cruise_s} s; ramp {RAMP_S:g} s, 60 to 200 s "
                     "into cruise",
        "healthy": false_alarms(healthy), "in_flight": tables[0], "before_flight": tables[1],
        "smallest_always_found_percent": {"in_flight": smallest(tables[0]),
                                          "before_flight": smallest(tables[1])},
        "confusion": confusion(parts[3], causes), "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def table_of(result: dict[str, Any]) -> str:
    """As people read it."""
    healthy = result["healthy"]
    lines = [
        f"false alarms: {healthy['false_alarms']} of {healthy['flights']} healthy flights "
        f"({healthy['engines']} engines); greatest score {healthy['score_greatest']:.1f}, "
        f"threshold {healthy['threshold']:.1f}",
    ]
    for key, title in (("in_flight", "HPC efficiency lost in flight"),
                       ("before_flight", "lost before the flight")):  # fmt: skip
        lines += [
            "", f"{title}: smallest found every time "
            f"{result['smallest_always_found_percent'][key]} %",
            "loss %   found  isolated  HPC first  ± holds  ± %   onset held  onset ± s",
        ]  # fmt: skip
        for row in result[key]:
            lines.append(
                f"{row['loss_percent']:6.1f}  {row['found']:6.2f}  {row['isolated']:8.2f}  "
                f"{row['hpc_first']:9.2f}  {_shown(row['held_by_95'], 7)}  "
                f"{_shown(row['half_95_percent'], 4)}  {_shown(row['onset_held_by_95'], 10)}  "
                f"{_shown(row['onset_half_95_s'], 9)}"
            )
    lines += ["", "cause (amount): named first; share in which the truth is among those named"]
    for cause, row in result["confusion"].items():
        first = ", ".join(f"{name} {n}" for name, n in row["first"].items())
        lines.append(f"{cause:9s} ({row['amount']:+g}): {first}; {row['named']:.2f}")
    lines += ["", f"{result['seconds']} s on {result['on']}"]
    return "\n".join(lines)


def _shown(value: float | None, width: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.2f}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.detect", description=__doc__)
    parser.add_argument("--flights", type=int, default=200, help="healthy ones, two engines each")
    parser.add_argument("--each", type=int, default=30, help="flights of each size of loss")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    result = run(options.flights, options.each, options.workers)
    print(table_of(result))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
