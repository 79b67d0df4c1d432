"""What of a reconciliation a person must look into.

In: a `Reconciliation`. Out: suspects, each with what it is about and its figures. Pure.
Always holds: kind `maintenance` is about an engine or its sensors, `capa` about a model of ours;
two findings of one thing have a subject in common, whatever the flight or the model's version.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from ground.reconcile.result import SHARED_INPUTS, EngineResult, ModelError, Reconciliation

MODEL_RMS_MAX = {"egt": 10.0, "ff": 100.0, "n2": 1.0}
"""Of edge minus full fidelity in stable windows of a whole flight, in the output's own unit. Half
of the 20 Cel at which the EGT monitor of `egt_rom` raises its alert: beyond it an alert may be
false or late. Fuel flow and N2 have no monitor: assumptions, about 8 % of cruise flow and 1 %."""
STEPS_MIN = 30  # of a model error that counts (assumption)
Figures = dict[str, float | int | str | None]


@dataclass(frozen=True, slots=True)
class Suspect:
    """subject: its identity; others: what it may be instead, as these readings cannot tell."""

    kind: Literal["maintenance", "capa"]
    subject: str
    title: str
    text: str
    advice: str
    others: tuple[str, ...] = ()
    figures: Figures = field(default_factory=dict)

    @property
    def subjects(self) -> tuple[str, ...]:
        return (self.subject, *self.others)


def suspects_of(result: Reconciliation) -> list[Suspect]:
    """At most one an engine, and one a model's output."""
    found = [suspect for one in result.engines for suspect in _of_engine(result.tail, one)]
    return found + list(_of_models(result))


def _of_engine(tail: str, engine: EngineResult) -> Iterator[Suspect]:
    verdict = engine.verdict
    figures: Figures = {
        "estimate": verdict.estimate, "estimate_95": verdict.estimate_95, "unit": verdict.unit,
        "probability": verdict.probability, "score": verdict.score,
        "threshold": verdict.threshold, "onset_ns": verdict.onset.t_ns if verdict.onset else None,
        "windows": engine.windows, "steady_rows": engine.steady, "baseline": engine.baseline,
    }  # fmt: skip
    if verdict.kind == "model_out_of_range":
        yield Suspect(
            "capa", f"range:{engine.esn or engine.position}",
            f"the full-fidelity model does not speak of ESN {engine.esn}", verdict.text,
            verdict.advice, (), figures,
        )  # fmt: skip
    if verdict.kind in ("degrading", "sensor_fault", "unexplained"):
        names = [_thing(name) for name in (verdict.cause, *verdict.not_separable) if name]
        subjects = list(dict.fromkeys(_subject(tail, engine.esn, name) for name in names))
        subject = subjects[0] if subjects else f"engine:{engine.esn}:unexplained"
        what = verdict.cause.replace("_", " ") or "off its baseline"
        yield Suspect(
            "maintenance", subject, f"ESN {engine.esn}: {what}, {verdict.kind.replace('_', ' ')}",
            verdict.text, verdict.advice, tuple(subjects[1:]), figures,
        )  # fmt: skip


def _subject(tail: str, esn: str, thing: str) -> str:
    """An input that all engines share is of the aircraft: one case, whichever engine shows it."""
    shared = thing.removeprefix("sensor_") in SHARED_INPUTS
    return f"tail:{tail}:{thing}" if shared else f"engine:{esn}:{thing}"


def _thing(cause: str) -> str:
    """What is looked at: `hpc` of `hpc_eff` and `hpc_flow`, `sensor_egt` of `egt` and `bias_egt`."""
    if cause.startswith("bias_"):
        return "sensor_" + cause[len("bias_") :]
    component, _, parameter = cause.rpartition("_")
    return component if parameter in ("eff", "flow") else f"sensor_{cause}"


def _of_models(result: Reconciliation) -> Iterator[Suspect]:
    worst: dict[tuple[str, str], ModelError] = {}
    for error in result.models:
        if error.phase != "all" or not error.steady or error.n < STEPS_MIN:
            continue
        if error.rms <= MODEL_RMS_MAX.get(error.output, float("inf")):
            continue
        key = (error.model.split("-")[0], error.output)
        if key not in worst or error.rms > worst[key].rms:
            worst[key] = error
    for (model, output), error in worst.items():
        most = MODEL_RMS_MAX[output]
        yield Suspect(
            "capa", f"model:{model}:{output}", f"{model} {output}: model error",
            f"{error.model} is {error.rms:.3g} {error.unit} rms off the full-fidelity model in "
            f"{output} of ESN {error.esn} (limit {most:g}), over {error.n} steps",
            "calibrate: fit the model aboard to the full-fidelity model over the flights seen",
            (), {"rms": error.rms, "mean": error.mean, "max_abs": error.max_abs, "n": error.n,
                 "limit": most, "unit": error.unit, "model": error.model},
        )  # fmt: skip
