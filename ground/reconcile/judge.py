"""One engine of one flight, judged.

In: its rows, its full-fidelity model. Out: its `EngineResult`, its rows for comparisons, its
health over time. Always holds: whatever is missing ends in a verdict that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

from ground.models.baseline import INPUTS, OUTPUTS, Baseline
from ground.reconcile.errors import NORMAL_95, EngineRows
from ground.reconcile.explain import explain, joint_of, least_loss, second_of
from ground.reconcile.fidelity import FULL_SCALE, Fidelity
from ground.reconcile.health import (
    PARAMETERS,
    SENSITIVITY_SIGMA,
    Observed,
    model_error,
    white_noise,
)
from ground.reconcile.onset import Evidence
from ground.reconcile.result import EngineResult, Finding, Verdict
from ground.reconcile.rows import Binding, Rows
from ground.reconcile.verdict import THRESHOLD, hypotheses_of, not_enough, verdict_of
from ground.reconcile.windows import STEADY, Windows, steady_rows, windows_of
from shared.behaviour.formulas import corrected_speed, theta
from shared.bundle import Steady
from shared.phases import AIRBORNE

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
RUNNING_N1 = 15.0  # %; below ground idle (21 % here) and above windmilling on the ground
POWER_MIN = 70.0
"""Corrected N1 (%) of readings that a verdict rests on: climb and cruise, as in trend monitoring. Near
idle a small error of fuel flow or a lag is a large share of it: the plant's healthy engines were
0.3 % off in EGT at 53 to 60 %, 0.05 % above 80 %."""
AIRBORNE_MACH = 0.25  # what counts as airborne while no phase is known; assumption
GOOD_SHARE = 0.5  # of the seconds that an engine runs; with less, a reading is not there
_QUANTITIES = {"n1": "N1", "n2": "N2", "egt": "EGT", "ff": "fuel flow", "mach": "Mach",
               "tat": "TAT", "anti_ice": "anti-ice"}  # fmt: skip
WINDOWS_MIN, ROWS_MIN = 4, 60
"""Of a verdict: a minute of steady flight; assumption."""


@dataclass(frozen=True, eq=False)
class Health:
    """One health parameter over time: estimate and ± 95 % of each window, in %."""

    subject: str
    t_ns: Int64
    estimate: Float64
    estimate_95: Float64


@dataclass(frozen=True, eq=False)
class Judged:
    """What is known of one engine after a flight."""

    result: EngineResult
    findings: tuple[Finding, ...]
    rows: EngineRows | None = None
    health: Health | None = None
    model: Mapping[str, float] | None = None
    """1 sigma of the baseline, own unit."""


def judge(
    rows: Rows, binding: Binding, baseline: Baseline, fidelity: Fidelity, steady: Steady = STEADY
) -> Judged:
    """Judge one engine. steady: of the bundle that flew."""
    name = f"engine {binding.position} (ESN {baseline.esn})"
    found = _compare(rows, binding, baseline, fidelity, steady)
    windows, why = found.windows, found.why
    findings = _findings(name, baseline.esn, why, found.running, found.calm)
    counted = EngineResult(
        position=binding.position, esn=baseline.esn, baseline=baseline.sha256,
        baseline_event=baseline.event, rows=len(rows), good=rows.counts(binding),
        running=int((why == "ok").sum()), steady=int(windows.rows.sum()), windows=len(windows),
        verdict=_too_little(name, found),
    )  # fmt: skip
    if len(windows) < WINDOWS_MIN or windows.rows.sum() < ROWS_MIN:
        text = f"{int(windows.rows.sum())} s of stable flight in {len(windows)} windows, "
        text += f"{ROWS_MIN} s in {WINDOWS_MIN} are needed"
        findings.append(Finding(code="too_few_windows", esn=baseline.esn, text=f"{name}: {text}"))
        return Judged(counted, tuple(findings), found.engine)
    return _explained(name, found, counted, findings, baseline, fidelity)


def _explained(
    name: str, found: _Compared, counted: EngineResult, findings: list[Finding],
    baseline: Baseline, fidelity: Fidelity,
) -> Judged:  # fmt: skip
    columns, windows = found.engine.columns, found.windows
    used = windows.label >= 0
    level = {x: float(np.median((columns[x] + FULL_SCALE[x])[used])) for x in OUTPUTS}
    sigma = dict(baseline.smoothed_rms) or dict(baseline.sigma)
    observed = _observed(found, model_error(sigma, level))
    points = {x: windows.mean(columns[x]) for x in INPUTS}
    slope = np.nan_to_num(fidelity.sensitivities(points, {}, PARAMETERS))
    causes, direction = explain(observed, slope, points, fidelity)
    second = second_of(observed, direction, causes[0]) if causes[0].score >= THRESHOLD else None
    verdict = verdict_of(name, observed, causes, level, least_loss(observed, direction), second)
    result = msgspec.structs.replace(
        counted, verdict=verdict, hypotheses=hypotheses_of(observed, causes),
        parameters=joint_of(observed, causes[0], slope, points, fidelity),
    )  # fmt: skip
    if verdict.kind == "unexplained":
        findings.append(Finding(code="no_single_cause", esn=baseline.esn, text=verdict.text))
    if verdict.not_separable:
        findings.append(Finding(code="ambiguous", esn=baseline.esn, text=verdict.text))
    own = {x: float(observed.model[i] * level[x]) for i, x in enumerate(OUTPUTS)}
    health = _health(observed, direction, causes[0], verdict)
    return Judged(result, tuple(findings), found.engine, health, own)


@dataclass(frozen=True, eq=False)
class _Compared:
    """An engine's rows beside its baseline. z: ln(measured / baseline), EGT in K, [n, 3]."""

    engine: EngineRows
    windows: Windows
    z: Float64
    n1c: Float64
    why: npt.NDArray[np.str_]
    running: Bools
    calm: Bools


def _compare(
    rows: Rows, binding: Binding, baseline: Baseline, fidelity: Fidelity, steady: Steady
) -> _Compared:
    columns = rows.of(binding)
    running = columns["n1"] >= RUNNING_N1
    full, why = _predict(columns, running, fidelity)
    z = np.stack(
        [np.log(_positive(columns[x] + FULL_SCALE[x]) / _positive(full[x] + FULL_SCALE[x]))
         for x in OUTPUTS], axis=1,
    )  # fmt: skip
    calm = steady_rows(columns, steady) & running & _airborne(rows, columns["mach"])
    spoken = calm & np.isfinite(z).all(axis=1)
    n1c = corrected_speed(columns["n1"], theta(columns["tat"]))
    low, high = baseline.n1c
    windows = windows_of(spoken & (n1c >= max(low, POWER_MIN)) & (n1c <= high))
    engine = EngineRows(
        binding.position, baseline.esn, rows.t_ns, rows.phase, columns, full, spoken
    )
    return _Compared(engine, windows, z, n1c, why, running, calm)


def _predict(
    columns: Mapping[str, Float64], running: Bools, fidelity: Fidelity
) -> tuple[dict[str, Float64], npt.NDArray[np.str_]]:
    """Predictions on all rows; `why` is empty where the engine does not run."""
    n = len(running)
    full = {x: np.full(n, np.nan) for x in OUTPUTS}
    why = np.full(n, "", "U16")
    if running.any():
        spoken = fidelity.predict({x: columns[x][running] for x in INPUTS})
        why[running] = spoken.why
        for x in OUTPUTS:
            full[x][running] = spoken.outputs[x]
    return full, why


def _airborne(rows: Rows, mach: Float64) -> Bools:
    known = np.isin(rows.phase, [str(x) for x in AIRBORNE])
    found: Bools = known | ((rows.phase == "unknown") & (mach >= AIRBORNE_MACH))
    return found


def _positive(values: Float64) -> Float64:
    return np.where(values > 0, values, np.nan)


def _findings(
    name: str, esn: str, why: npt.NDArray[np.str_], running: Bools,
    calm: Bools,
) -> list[Finding]:  # fmt: skip
    found = []
    texts = {
        "not_converged": "the full-fidelity model does not converge in {n} of {all} running "
        "seconds ({calm} of them steady); nothing is said there",
        "out_of_range": "{n} of {all} running seconds ({calm} of them steady) are outside the "
        "range of the full-fidelity model; nothing is said there",
    }
    for code, text in texts.items():
        here = why == code
        if here.any():
            filled = text.format(n=int(here.sum()), all=int(running.sum()),
                                 calm=int((here & calm).sum()))  # fmt: skip
            found.append(Finding(code=code, esn=esn, text=f"{name}: {filled}"))  # type: ignore[arg-type]  # both are codes
    return found


def _too_little(name: str, found: _Compared) -> Verdict:
    why, calm, windows = found.why, found.calm, found.windows
    silent = _silent(found)
    if silent:
        return not_enough(
            name, f"no good reading of {', '.join(silent)} in most of the flight",
            "look for the sensor, its wiring and its signal in the closure and the findings; the next "
            "flight says no more as long as it is not there",
        )  # fmt: skip
    lost = int((calm & ((why == "out_of_range") | (why == "not_converged"))).sum())
    if lost >= 0.5 * calm.sum() and lost >= ROWS_MIN:
        return not_enough(
            name, f"the full-fidelity model does not speak in {lost} of {int(calm.sum())} steady "
            "seconds", "look at the flight by hand; the model's valid range is in docs/models.md",
            out_of_range=True,
        )  # fmt: skip
    return not_enough(
        name, f"only {int(windows.rows.sum())} s of stable flight with every reading good",
        "wait for the next flight",
    )  # fmt: skip


def _silent(found: _Compared) -> list[str]:
    """Quantities without a good reading in most of the seconds in which the engine ran."""
    columns, n1 = found.engine.columns, found.engine.columns["n1"]
    if not np.isfinite(n1).any():
        return ["N1"]
    n = int(found.running.sum())
    return [_QUANTITIES.get(name, name) for name, column in columns.items()
            if n and np.isfinite(column[found.running]).sum() < GOOD_SHARE * n]  # fmt: skip


def _observed(found: _Compared, model: Float64) -> Observed:
    windows, t_ns, full = found.windows, found.engine.t_ns, found.engine.full
    label = windows.label
    ends = np.flatnonzero(np.diff(np.concatenate(([-1], label, [-1]))))
    bounds = [(low, high) for low, high in pairwise(ends.tolist()) if label[low] >= 0]
    half = (t_ns[1] - t_ns[0]) // 2
    absolute = [np.log(_positive(full[x] + FULL_SCALE[x])) for x in OUTPUTS]
    rate = [[float((y[high - 1] - y[low]) / max(high - 1 - low, 1)) for y in absolute]
            for low, high in bounds]  # fmt: skip
    mach = found.engine.columns["mach"]
    return Observed(
        start_ns=np.array([t_ns[low] - half for low, _ in bounds]),
        stop_ns=np.array([t_ns[high - 1] + half for _, high in bounds]),
        rows=windows.rows, z=np.stack([windows.mean(found.z[:, i]) for i in range(3)], axis=1),
        rate=np.array(rate), white=white_noise(found.z, label), model=model,
        condition=np.stack([windows.mean(found.n1c), windows.mean(mach)], axis=1),
        level=np.stack([windows.mean(full[x] + FULL_SCALE[x]) for x in OUTPUTS], axis=1),
    )  # fmt: skip


def _health(observed: Observed, direction: Float64, best: Evidence, verdict: Verdict) -> Health:
    """Each window alone, as if the one parameter were all that moves: for the plot."""
    subject = best.cause.name if verdict.kind == "degrading" else "hpc_eff"
    u = direction[:, :, PARAMETERS.index(subject)]
    own = np.stack([np.diagonal(c) for c in observed.covariance], axis=1)
    push = (u * u / own).sum(axis=1)
    estimate = (u * observed.z / own).sum(axis=1) / push
    sigma = np.hypot(1 / np.sqrt(push), SENSITIVITY_SIGMA * estimate)
    middle = (observed.start_ns + observed.stop_ns) // 2
    return Health(subject, middle, 100 * estimate, 100 * NORMAL_95 * sigma)
