"""The reconciliation of one flight, put together.

    flight file ─▶ rows ─▶ stable windows ─▶ deviation ─▶ causes, onset ─▶ verdict
    KPI records ─▶ edge predictions ─▶ model error           (all against this ESN's baseline)

In: `FlightInputs`, the engine type, baselines by ESN. Out: a `Reconciliation`.
Always holds: one engine that fails never stops the other, and neither stops the flight: what
could not be made is a finding; the same inputs give the same result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ground.models.baseline import Baseline
from ground.reconcile.errors import EdgeSteps, deltas_of, deviations_of, edge_steps, model_errors
from ground.reconcile.fidelity import Fidelity, TurbofanFidelity
from ground.reconcile.flight import FlightInputs
from ground.reconcile.judge import RUNNING_N1, Judged, judge
from ground.reconcile.plots import engine_series, health_series
from ground.reconcile.result import (
    Code,
    EngineResult,
    Finding,
    Input,
    ModelError,
    Reconciliation,
    Series,
)
from ground.reconcile.rows import Binding, Rows, binding_of, rows_of_file
from ground.reconcile.verdict import not_enough
from shared.errors import TailTwinError

if TYPE_CHECKING:
    from ground.models.turbofan.engine import EngineType

HOLE_S = 3  # a second or two without a sample is a bus that jitters; assumption
HOLES_NAMED = 3
FidelityOf = Callable[["EngineType", Baseline], Fidelity]


def reconcile(
    flight: FlightInputs, engine_type: EngineType, baselines: Mapping[str, Baseline],
    fidelity_of: FidelityOf = TurbofanFidelity, bind: Callable[[int], Binding] = binding_of,
) -> Reconciliation:  # fmt: skip
    """Reconcile a flight. baselines: by ESN, those in force when the flight began.

    Reads the flight file; writes nothing.
    """
    findings = [*flight.findings, *_gaps(flight)]
    esns = _esns(flight, findings)
    rows = _rows(flight, [bind(position) for position in esns], findings)
    edge, problems = edge_steps(flight.kpis)
    findings += [Finding(code="wrong_unit", text=text) for text in problems]
    judged = {
        position: _judged(flight, position, esn, rows, bind(position), engine_type,
                          baselines, fidelity_of, findings)
        for position, esn in esns.items()
    }  # fmt: skip
    models = _models(edge, judged, findings)
    used = [baselines[esn] for esn in esns.values() if esn in baselines]
    compared = [x for x in judged.values() if x.rows is not None]
    return Reconciliation(
        tail=flight.tail, flight=flight.flight, closure_revision=flight.closure_revision,
        closure_state=flight.closure_state,
        start_ns=int(rows.t_ns[0]) if len(rows) else None,
        end_ns=int(rows.t_ns[-1]) if len(rows) else None,
        inputs=(
            *flight.inputs, Input("engine_type", engine_type.name, engine_type.sha256),
            *(Input("baseline", x.esn, x.sha256) for x in used),
            Input("code", "ground/reconcile, ground/models", code_sha256()),
        ),
        engine_type=engine_type.name, models=tuple(models),
        deviations=tuple(y for x in compared if x.rows is not None and x.model is not None
                         for y in deviations_of(x.rows, x.model)),
        deltas=tuple(y for first, second in pairwise(compared)
                     if first.rows is not None and second.rows is not None
                     for y in deltas_of(first.rows, second.rows,
                                        [x.model for x in (first, second) if x.model])),
        engines=tuple(x.result for x in judged.values()), findings=tuple(findings),
        series=tuple(_series(compared, edge)),
    )  # fmt: skip


@cache
def code_sha256() -> str:
    """Over the sources that make the figures, so that a result names what made it."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), *here.parent.glob("models/*.py"),
                        *here.parent.glob("models/turbofan/**/*.py")]):  # fmt: skip
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _gaps(flight: FlightInputs) -> list[Finding]:
    """What the closure says is missing: it is not in any figure here."""
    if not flight.gaps:
        return []
    records = sum(x.high - x.low for x in flight.gaps if x.kind == "records")
    outages = [x for x in flight.gaps if x.kind == "outage"]
    groups = ", ".join(sorted({x.name for x in outages}))
    text = f"closure revision {flight.closure_revision} has gaps: "
    text += f"{records} records missing, {len(outages)} outages" + (f" of {groups}" * bool(groups))
    return [Finding(code="holes", text=text)]


def _esns(flight: FlightInputs, findings: list[Finding]) -> dict[int, str]:
    """ESN by position; empty for a position whose ESN changed in the flight."""
    seen: dict[int, dict[str, int]] = {}
    for one in sorted(flight.esns, key=lambda x: x.t_ns):
        seen.setdefault(one.position, {}).setdefault(one.esn, one.t_ns)
    if not seen:
        text = "no record of this flight says which engines are installed"
        findings.append(Finding(code="esn_unknown", text=text))
    found = {}
    for position, esns in sorted(seen.items()):
        found[position] = next(iter(esns)) if len(esns) == 1 else ""
        if len(esns) > 1:
            text = f"the ESN at position {position} changed within the flight: "
            text += ", then ".join(esns)
            text += "; its readings belong to no one engine and are not judged"
            findings.append(Finding(code="esn_changed", text=text, esn=next(iter(esns))))
    known = {esn for esns in seen.values() for esn in esns}
    told = {series.esn for kpi in flight.kpis for series in kpi.series if series.esn}
    for esn in sorted(told - known if known else ()):
        text = f"model outputs aboard are of ESN {esn}, which no record says is installed"
        findings.append(Finding(code="esn_changed", text=text, esn=esn))
    return found


def _rows(flight: FlightInputs, bindings: list[Binding], findings: list[Finding]) -> Rows:
    """Rows of the flight; empty, with a finding, when its file cannot be read."""
    if flight.kind != "flight":
        findings.append(Finding(code="not_a_flight", text="a ground period: nothing flew"))
    try:
        rows = rows_of_file(flight.path, flight.sets, bindings, flight.phases)
    except TailTwinError as error:
        findings.append(Finding(code="holes", text=str(error)))
        return Rows(np.zeros(0, np.int64), {}, {}, np.zeros(0, "U1"))
    for name, why in sorted(rows.refused.items()):
        code: Code = "wrong_unit" if "is in" in why or "unit" in why else "no_signal"
        findings.append(Finding(code=code, text=f"{name} is not used: {why}"))
    return rows


def _judged(
    flight: FlightInputs, position: int, esn: str, rows: Rows, binding: Binding,
    engine_type: EngineType, baselines: Mapping[str, Baseline], fidelity_of: FidelityOf,
    findings: list[Finding],
) -> Judged:  # fmt: skip
    name = f"engine {position}" + (f" (ESN {esn})" if esn else "")

    def nothing(why: str, advice: str) -> Judged:
        verdict = not_enough(name, why, advice)
        return Judged(
            EngineResult(position=position, esn=esn, baseline="", baseline_event="",
                         rows=len(rows), good=rows.counts(binding), running=0, steady=0,
                         windows=0, verdict=verdict), (),
        )  # fmt: skip

    if not esn:
        return nothing("its ESN changed within the flight", "correct the tail's engine records")
    if len(rows) < 2:
        return nothing("this flight has no rows", "see the closure for what is missing")
    findings += _holes(name, esn, rows, binding)
    if esn not in baselines:
        text = f"{name}: there is no approved baseline of this ESN"
        findings.append(Finding(code="no_baseline", esn=esn, text=text))
        return nothing("it has no approved baseline", "fit and approve one")
    try:
        fidelity = fidelity_of(engine_type, baselines[esn])
    except TailTwinError as error:
        findings.append(Finding(code="baseline_not_of_type", esn=esn, text=f"{name}: {error}"))
        return nothing("its baseline was fitted with another engine type", "fit it again")
    try:
        found = judge(rows, binding, baselines[esn], fidelity)
    except Exception as error:  # one engine must not stop the other; the finding names the bug
        text = f"{name}: {error!r:.300}"
        findings.append(Finding(code="engine_failed", esn=esn, text=text))
        return nothing("its reconciliation failed", "report this as a bug, with the flight's id")
    findings += found.findings
    return found


def _holes(name: str, esn: str, rows: Rows, binding: Binding) -> list[Finding]:
    """Seconds without every reading, while the engine runs."""
    columns = rows.of(binding)
    running = np.flatnonzero(columns["n1"] >= RUNNING_N1)
    if not len(running):
        return []
    inside = slice(int(running[0]), int(running[-1]) + 1)
    whole = np.stack(list(columns.values()))[:, inside]
    missing = np.isnan(whole).any(axis=0)
    edges = np.diff(np.concatenate(([False], missing, [False])).astype(np.int8))
    spans = np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)
    spans = spans[spans[:, 1] - spans[:, 0] >= HOLE_S]
    if not len(spans):
        return []
    longest = spans[np.argsort(spans[:, 0] - spans[:, 1], kind="stable")][:HOLES_NAMED]
    t_ns = rows.t_ns[inside]
    named = ", ".join(f"{high - low} s from {_second(t_ns[low])}" for low, high in longest.tolist())
    more = f" and {len(spans) - HOLES_NAMED} more" if len(spans) > HOLES_NAMED else ""
    text = f"{name}: {int((spans[:, 1] - spans[:, 0]).sum())} s without all readings: {named}{more}"
    return [Finding(code="holes", esn=esn, text=text)]


def _models(
    edge: list[EdgeSteps], judged: Mapping[int, Judged], findings: list[Finding]
) -> list[ModelError]:
    found: list[ModelError] = []
    if not edge:
        text = "no model aboard predicted an output that full fidelity has"
        findings.append(Finding(code="no_predictions", text=text))
    by_esn = {x.result.esn: x.rows for x in judged.values() if x.rows is not None}
    for steps in edge:
        engine = by_esn.get(steps.esn)
        if engine is None:
            continue  # its absence is said above
        errors, outside = model_errors(steps, engine)
        found += errors
        if outside:
            text = f"{steps.model} {steps.output} of ESN {steps.esn}: {outside} steps are not "
            text += "compared, full fidelity does not speak there"
            findings.append(Finding(code="edge_outside_full", esn=steps.esn, text=text))
    return found


def _series(judged: list[Judged], edge: list[EdgeSteps]) -> list[Series]:
    found = []
    for one in judged:
        if one.rows is not None:
            found += engine_series(one.rows, edge)
            if one.health is not None:
                found.append(health_series(one.rows, one.health))
    return found


def _second(t_ns: int) -> str:
    from ground.lake.records import iso

    return iso(int(t_ns))[:19] + "Z"
