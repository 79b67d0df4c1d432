"""Series for the report's plots, from the ground's API and the run log.

In: a run and what the ground answered. Out: `Pictures`.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hil.figure import EngineSeries, Pictures
from hil.groundapi import GroundApi, to_ns
from hil.rig import find_declaration
from shared.errors import Unreachable

if TYPE_CHECKING:
    from hil.leg import Leg
    from hil.plant.flight import Flight
    from hil.scorecard import Answers, Run

POINTS = 1500
ALERTS_DRAWN_MAX = 20
EGT = "egt"  # outputs of the ROM whose name begins so are drawn


async def picture(run: Run, answers: Answers, api: GroundApi, leg: Leg) -> Pictures:
    """Everything that is drawn of one flight. A signal that the ground does not give stays empty."""
    log, flight = run.log, leg.flight
    later = [x.first_sample for x in run.legs if x.first_sample > leg.first_sample]
    samples = log.samples[leg.first_sample : later[0] if later else None]
    start_ns = samples[0].t_event_ns if samples else flight.start_ns
    pictures = Pictures(name=_name(answers, leg), t0_ns=flight.start_ns)
    span = {"start": start_ns, "end": flight.end_ns, "points": POINTS}

    def within(t_ns: int) -> bool:
        return flight.start_ns <= t_ns <= flight.end_ns

    pictures.t_altitude_ns, pictures.altitude_ft = await _series(
        api, run.signals.roles.get("altitude_ft", ""), span
    )
    alive = [s for s in samples if s.alive]
    pictures.phases = [(s.t_event_ns, s.phase) for s in _changes(alive, "phase")]
    pictures.gate = [
        (to_ns(g["t"]), g["decision"] == "open", "<br>".join(g["reasons"]))
        for g in reversed(answers.gate) if within(to_ns(g["t"]))
    ]  # fmt: skip
    pictures.cuts = [
        (c.start_event_ns, c.end_event_ns or flight.end_ns, c.link)
        for c in log.cuts if within(c.start_event_ns)
    ]  # fmt: skip
    pictures.downs = [
        (k.t_event_ns, k.back_event_ns or flight.end_ns) for k in log.kills if within(k.t_event_ns)
    ]
    pictures.t_outbox_ns = [s.t_event_ns for s in alive]
    pictures.unsafe_records = [s.unsafe_records for s in alive]
    pictures.oldest_unsafe_s = [s.oldest_unsafe_s for s in alive]
    onsets = answers.alerts[-ALERTS_DRAWN_MAX:]  # newest first: the earliest are drawn
    pictures.alerts = [
        (to_ns(a["onset"]), f"{a['name']} {a['esn']}") for a in onsets if within(to_ns(a["onset"]))
    ]
    pictures.onset_k = _onset_k(run, leg)
    for engine in run.scenario.tail.engines:
        drawn = await _engine(run, answers, api, engine.position, engine.esn, span)
        _explain(drawn, answers.reconciliations.get(pictures.name), flight, engine.position)
        pictures.engines.append(drawn)
    return pictures


def _name(answers: Answers, leg: Leg) -> str:
    """The id that the flight has on the ground; empty when it has none."""
    for period in answers.periods:
        opened_ns = to_ns(period["opened"])
        if period["kind"] == "flight" and leg.flight.start_ns <= opened_ns <= leg.flight.end_ns:
            return str(period["flight"])
    return ""


def _explain(
    drawn: EngineSeries, said: dict[str, Any] | None, flight: Flight, position: int
) -> None:
    """Full fidelity, model error and health of one engine, and the plant's truth beside it."""
    for series in (said or {}).get("series", []):
        if series["esn"] != drawn.esn:
            continue
        columns = series["columns"]
        if series["name"] == EGT:
            drawn.t_full_ns, drawn.full = series["t_ns"], columns["full"]
            edge = columns.get("edge") or [None] * len(drawn.full)
            drawn.error = [
                None if a is None or b is None else a - b
                for a, b in zip(edge, drawn.full, strict=True)
            ]
        elif series["name"] == "health":
            drawn.t_health_ns, drawn.subject = series["t_ns"], series["subject"]
            drawn.health = columns["estimate"]
            drawn.health_low, drawn.health_high = columns["low"], columns["high"]
    lost, onset_ns = flight.meta["degradation"], flight.meta["onset_ns"]
    if drawn.t_health_ns and lost and lost["engine"] == position and onset_ns:
        full_ns = onset_ns + round(lost["ramp_s"] * 1e9)
        corners = [(drawn.t_health_ns[0], 0.0), (onset_ns, 0.0), (full_ns, -lost["percent"]),
                   (drawn.t_health_ns[-1], -lost["percent"])]  # fmt: skip
        first_ns = drawn.t_health_ns[0]
        drawn.truth = [c for i, c in enumerate(corners) if i > 1 or onset_ns > first_ns]


def _onset_k(run: Run, leg: Leg) -> float | None:
    """The onset of the first EGT monitor of the bundle that the leg flew, for the line in the plot."""
    declared = find_declaration(run.scenario.bundle)
    if leg is not run.legs[0]:  # what the ground made in between, if it made any
        declared = next((run.folder / "request").glob("*_v*.json"), declared)
    monitors = json.loads(declared.read_bytes())["monitors"]
    return next((float(m["onset"]) for m in monitors if m["output"].startswith(EGT)), None)


async def _engine(
    run: Run, answers: Answers, api: GroundApi, position: int, esn: str, span: dict[str, Any]
) -> EngineSeries:
    drawn = EngineSeries(esn)
    name = f"ENG{position}_EGT"
    if name in run.signals.position:
        drawn.t_measured_ns, drawn.measured = await _series(api, name, span)
    for kpi in sorted(answers.kpis, key=lambda k: to_ns(k["t0"])):
        t0_ns = to_ns(kpi["t0"])
        if not span["start"] <= t0_ns <= span["end"]:
            continue
        for series in kpi["series"]:
            if series["esn"] != esn or not series["name"].startswith(EGT):
                continue
            for i, (measured, predicted) in enumerate(
                zip(series["measured"], series["predicted"], strict=True)
            ):
                both = measured is not None and predicted is not None
                t_ns, step_ns = t0_ns + round((i + 0.5) * kpi["step_s"] * 1e9), kpi["step_s"] * 1e9
                before_ns = drawn.t_predicted_ns[-1] if drawn.t_predicted_ns else t_ns
                if t_ns - before_ns > 3 * step_ns:  # nobody said anything here: draw no line
                    drawn.t_predicted_ns.append(round(before_ns + step_ns))
                    drawn.predicted.append(None)
                    drawn.deviation.append(None)
                drawn.t_predicted_ns.append(t_ns)
                drawn.predicted.append(predicted)
                drawn.deviation.append(measured - predicted if both else None)
    return drawn


async def _series(
    api: GroundApi, name: str, span: dict[str, Any]
) -> tuple[list[int], list[float | None]]:
    """Means of one signal, with a break where nothing was recorded."""
    if not name:
        return [], []
    try:
        answer = await api.twin("telemetry", signals=name, **span)
    except Unreachable:
        return [], []
    series = answer["series"][0]
    times = [to_ns(t) for t in series["t"]]
    values: list[float | None] = series["mean"] if series["mode"] == "buckets" else series["value"]
    if len(times) < 3:
        return times, values
    usual_ns = sorted(b - a for a, b in pairwise(times))[len(times) // 2]
    t_out, v_out = [times[0]], [values[0]]
    for (before, _), (t_ns, value) in pairwise(zip(times, values, strict=True)):
        if t_ns - before > 3 * usual_ns:
            t_out.append(before + usual_ns)
            v_out.append(None)
        t_out.append(t_ns)
        v_out.append(value)
    return t_out, v_out


def _changes(samples: list[Any], attribute: str) -> list[Any]:
    """Samples in which an attribute differs from the one before, and the last one."""
    kept = [
        sample
        for i, sample in enumerate(samples)
        if i == 0 or getattr(sample, attribute) != getattr(samples[i - 1], attribute)
    ]
    return [*kept, samples[-1]] if samples else []
