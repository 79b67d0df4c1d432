"""Series for the report's plots, from the ground's API and the run log.

In: a run and what the ground answered. Out: `Pictures`.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hil.groundapi import GroundApi, to_ns
from hil.report import EngineSeries, Pictures
from hil.rig import find_declaration
from shared.errors import Unreachable

if TYPE_CHECKING:
    from hil.scorecard import Answers, Run

POINTS = 1500
ALERTS_DRAWN_MAX = 20
EGT = "egt"  # outputs of the ROM whose name begins so are drawn


async def picture(run: Run, answers: Answers, api: GroundApi) -> Pictures:
    """Everything that is drawn. A signal that the ground does not give stays empty."""
    log = run.log
    start_ns = log.samples[0].t_event_ns if log.samples else run.flight.start_ns
    pictures = Pictures(t0_ns=run.flight.start_ns)
    span = {"start": start_ns, "end": run.flight.end_ns, "points": POINTS}
    pictures.t_altitude_ns, pictures.altitude_ft = await _series(
        api, run.signals.roles.get("altitude_ft", ""), span
    )
    samples = [s for s in log.samples if s.alive]
    pictures.phases = [(s.t_event_ns, s.phase) for s in _changes(samples, "phase")]
    pictures.gate = [
        (s.t_event_ns, s.gate_open, "<br>".join(s.gate_reasons))
        for s in _changes(samples, "gate_reasons")
    ]
    pictures.cuts = [(c.start_event_ns, c.end_event_ns or span["end"], c.link) for c in log.cuts]
    pictures.downs = [(k.t_event_ns, k.back_event_ns or span["end"]) for k in log.kills]
    pictures.t_outbox_ns = [s.t_event_ns for s in samples]
    pictures.unsafe_records = [s.unsafe_records for s in samples]
    pictures.oldest_unsafe_s = [s.oldest_unsafe_s for s in samples]
    pictures.updates = [
        (to_ns(u["t"]), u["subject"].rpartition("/")[2], u["decision"], "<br>".join(u["reasons"]))
        for u in answers.updates
        if to_ns(u["t"]) >= pictures.t0_ns  # before the first reading there is no event time
    ]
    onsets = answers.alerts[-ALERTS_DRAWN_MAX:]  # newest first: the earliest are drawn
    pictures.alerts = [(to_ns(a["onset"]), f"{a['name']} {a['esn']}") for a in onsets]
    pictures.onset_k = _onset_k(run)
    for engine in run.scenario.tail.engines:
        pictures.engines.append(await _engine(run, answers, api, engine.position, engine.esn, span))
    return pictures


def _onset_k(run: Run) -> float | None:
    """The onset of the first EGT monitor of the first bundle, for the line in the plot."""
    monitors = json.loads(find_declaration(run.scenario.bundle).read_bytes())["monitors"]
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
