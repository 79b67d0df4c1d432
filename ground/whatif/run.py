"""Run: a checked request to an answer.

In: a `Request`, and where flights, baselines and engine types come from. Out: an `Answer`.
Always holds: the same request over the same flight gives the same numbers; at most SOLVED_MAX
seconds of a flight are solved for an engine, evenly spaced.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from ground.models.baseline import Baseline, nominal
from ground.models.turbofan.engine import EngineType
from ground.reconcile.flight import FlightInputs
from ground.reconcile.rows import Rows, binding_of, rows_of_file
from ground.whatif.answer import Answer, EngineAnswer
from ground.whatif.conditions import NAMES, of_point
from ground.whatif.engine import compare, sweep
from ground.whatif.request import Request
from shared.errors import Rejected

SOLVED_MAX = {"n1": 40_000, "thrust": 10_000}
"""Seconds of a flight that are solved for one engine, by what is held: 11 h of them, or every fourth
second where N1 is looked for (which solves them some six times)."""
ENGINES_MAX = 8
RUNNING_N1_MIN = 10.0  # %; below it an engine stands or is being started (assumption)
Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a request finds what it names. baseline: of an ESN at a time, if there is one."""

    engine: Callable[[], EngineType]
    flight: Callable[[str], FlightInputs]
    baseline: Callable[[str, int], Baseline | None]


def run(request: Request, sources: Sources, progress: Progress = lambda _share, _text: None
        ) -> Answer:  # fmt: skip
    """Answer it; Rejected names a flight, an ESN or an input that is not there."""
    started_s = time.monotonic()
    if request.model == "tank":
        from ground.whatif.tank import scenario

        answer = _answer(request, scenario=scenario(request))
    elif request.point:
        answer = _of_point(request, sources)
    else:
        answer = _of_flight(request, sources, progress)
    return msgspec.structs.replace(answer, seconds=round(time.monotonic() - started_s, 3))


def _answer(request: Request, **rest: object) -> Answer:
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    return Answer(request=msgspec.structs.asdict(request), request_sha256=request.sha256,
                  versions=versions, **rest)  # type: ignore[arg-type]  # fields of Answer  # fmt: skip


def _of_point(request: Request, sources: Sources) -> Answer:
    engine, notes = sources.engine(), list[str]()
    baseline = _baseline(request, sources, engine, request.esn, 1 << 62, notes)
    columns = of_point(request.point)
    found = compare(
        engine, baseline, columns, request.set, request.hold, request.egt_limit_cel, 0,
        np.zeros(0, np.int64), np.array([""]), 0,
    )  # fmt: skip
    found = msgspec.structs.replace(found, sweep=sweep(engine, baseline, columns, request.set))
    return _answer(request, engines=(found,), notes=(*notes, *_notes(request)),
                   engine_type=engine.name, engine_type_sha256=engine.sha256)  # fmt: skip


def _of_flight(request: Request, sources: Sources, progress: Progress) -> Answer:
    flight, engine, notes = sources.flight(request.flight), sources.engine(), list[str]()
    positions = _positions(flight, request.esn)
    rows = rows_of_file(flight.path, flight.sets, map(binding_of, positions), flight.phases)
    notes += [f"{name} is not used: {why}" for name, why in sorted(rows.refused.items())]
    engines: list[EngineAnswer] = []
    for k, (position, esn) in enumerate(positions.items()):
        progress(k / len(positions), f"engine {position}")
        at_ns = int(rows.t_ns[0]) if len(rows) else 0
        baseline = _baseline(request, sources, engine, esn, at_ns, notes)
        engines.append(_of_engine(request, engine, baseline, rows, position))
    return _answer(
        request, tail=flight.tail, flight=flight.flight,
        closure_revision=flight.closure_revision, engines=tuple(engines),
        inputs=tuple((x.kind, x.name, x.sha256) for x in flight.inputs),
        notes=(*notes, *_notes(request)), engine_type=engine.name,
        engine_type_sha256=engine.sha256,
    )  # fmt: skip


def _of_engine(
    request: Request, engine: EngineType, baseline: Baseline, rows: Rows, position: int
) -> EngineAnswer:
    columns = {name: value for name, value in rows.of(binding_of(position)).items()
               if name in NAMES}  # fmt: skip
    running = np.flatnonzero(columns["n1"] >= RUNNING_N1_MIN)
    if not len(running):
        raise Rejected(f"no good sample of engine {position} running", request.flight,
                       "see its closure")  # fmt: skip
    every = -(-len(running) // SOLVED_MAX[request.hold])
    taken = running[::every]
    return compare(
        engine, baseline, {name: value[taken] for name, value in columns.items()}, request.set,
        request.hold, request.egt_limit_cel, position, rows.t_ns[taken], rows.phase[taken], every,
    )  # fmt: skip


def _positions(flight: FlightInputs, esn: str) -> dict[int, str]:
    """ESN by position; the last that something aboard said."""
    found = {one.position: one.esn for one in sorted(flight.esns, key=lambda one: one.t_ns)
             if 1 <= one.position <= ENGINES_MAX}  # fmt: skip
    if not found:
        raise Rejected(
            "nothing aboard said which engines it has", flight.flight, "see its manifest"
        )
    chosen = {k: v for k, v in sorted(found.items()) if not esn or v == esn}
    if not chosen:
        raise Rejected(
            f"no engine {esn} in this flight", "esn", f"it flew with {', '.join(found.values())}"
        )
    return chosen


def _baseline(
    request: Request, sources: Sources, engine: EngineType, esn: str, at_ns: int, notes: list[str]
) -> Baseline:
    if request.baseline == "nominal" or not esn:
        return nominal(engine, esn)
    found = sources.baseline(esn, at_ns)
    if found is None:
        notes.append(f"there is no baseline of ESN {esn}: the type's nominal engine stands for it")
        return nominal(engine, esn)
    return found


def _notes(request: Request) -> list[str]:
    notes = []
    if "payload" in request.set:
        notes.append(
            "payload: thrust required in level, steady flight by the drag of JSBSim's clean 737, as a "
            "ratio at the same Mach and altitude; only cruise is answered"
        )
    if request.hold == "thrust":
        notes.append("thrust is held: N1 is what it takes")
    return notes
