"""What the ground made of the flights, beside the plant's truth.

In: reconciliations as the API gives them, and the flights as they were flown. Out: figures for
report.json, and checks. Always holds: the truth is used here only, after the ground has spoken.
"""

from __future__ import annotations

import math
from typing import Any

from hil.groundapi import to_text
from hil.plant.flight import Flight
from hil.scenario import Scenario

Check = tuple[str, bool, str]
EGT = "egt"


def figures(reconciliation: dict[str, Any] | None) -> dict[str, Any] | None:
    """Model error by model and output over all phases, and the verdict of each engine."""
    if reconciliation is None:
        return None
    found: dict[str, Any] = {}
    for error in reconciliation["models"]:
        if error["phase"] == "all" and error["steady"]:
            key = f"{error['model']} {error['output']} {error['esn']}"
            found[key] = {k: error[k] for k in ("rms", "mean", "max_abs", "unit", "n")}
    return {
        "models": found,
        "engines": {e["esn"]: e["verdict"] for e in reconciliation["engines"]},
        "findings": reconciliation["findings"],
    }


def model_error(reconciliation: dict[str, Any] | None, output: str = EGT) -> float | None:
    """RMS of edge minus full fidelity over every engine, steady rows of all phases."""
    errors = [
        e for e in (reconciliation or {}).get("models", [])
        if e["output"] == output and e["phase"] == "all" and e["steady"] and e["n"]
    ]  # fmt: skip
    n = sum(e["n"] for e in errors)
    return math.sqrt(sum(e["n"] * e["rms"] ** 2 for e in errors) / n) if n else None


def checks(
    scenario: Scenario, flown: list[tuple[str, Flight, dict[str, Any] | None]]
) -> list[Check]:
    """flown: (flight id, what was flown, what the ground made of it), in order."""
    found = []
    for flight_id, flight, said in flown:
        for esn, kind in scenario.expect.verdicts.items():
            found.append(_verdict(flight_id, flight, said, esn, kind))
    if scenario.expect.model_error_ratio_min is not None:
        found.append(_ratio(scenario.expect.model_error_ratio_min, [s for _, _, s in flown]))
    return found


def _verdict(
    flight_id: str, flight: Flight, said: dict[str, Any] | None, esn: str, kind: str
) -> Check:
    name = f"{flight_id}: {esn} is found {kind}"
    engine = next((e for e in (said or {}).get("engines", []) if e["esn"] == esn), None)
    if engine is None:
        return name, False, "no reconciliation of it"
    verdict = engine["verdict"]
    ok, detail = verdict["kind"] == kind, verdict["text"]
    lost = flight.meta["degradation"]
    if kind == "degrading" and lost is not None:
        inside, words = _beside_truth(engine, flight)
        ok, detail = ok and inside, f"{detail}; {words}"
    return name, ok, detail


def _beside_truth(engine: dict[str, Any], flight: Flight) -> tuple[bool, str]:
    """Whether cause, size and onset are the plant's within what the ground claims. Causes that the
    readings cannot tell apart are all named; the size is that of the plant's own."""
    verdict = engine["verdict"]
    lost = flight.meta["degradation"]
    truth = -float(lost["percent"])
    cause = str(lost["parameter"])
    words = f"the plant's truth: {cause} {truth:+.2f} %"
    tried = next((h for h in engine["hypotheses"] if h["name"] == cause), None)
    named = cause in (verdict["cause"], *verdict["not_separable"])
    if not named or tried is None or tried["estimate"] is None:
        return False, words
    ok = abs(tried["estimate"] - truth) <= tried["estimate_95"]
    onset, onset_ns = verdict["onset"], flight.meta["onset_ns"]
    if onset_ns is None or onset is None:
        return ok, words
    if onset["shape"] == "standing":  # right only where it was there before the engines ran
        return ok and onset_ns < flight.meta["oooi_ns"]["out"], f"{words}, standing at the start"
    early_ns, late_ns = onset["t_95_ns"]
    return ok and early_ns <= onset_ns <= late_ns, f"{words} since {to_text(onset_ns)}"


def _ratio(least: float, said: list[dict[str, Any] | None]) -> Check:
    name = f"the model error is at least {least:g} times smaller in the second flight"
    rms = [model_error(one) for one in said]
    if len(rms) != 2 or rms[0] is None or rms[1] is None:
        return name, False, f"EGT rms {rms}"
    ratio = rms[0] / max(rms[1], 1e-9)
    return (
        name,
        ratio >= least,
        f"EGT rms {rms[0]:.2f} Cel, then {rms[1]:.2f} Cel: {ratio:.1f} times",
    )
