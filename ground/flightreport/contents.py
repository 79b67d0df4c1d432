"""Contents of a flight report: what a maintenance manager reads first stands first.

In: what the ground holds of one flight. Out: a `Document`.
Always holds: every figure is one of the reconciliation's, rounded, never computed again; what is
not known is said to be unknown; what was made from what stands at the end, by hash.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ground.flightreport import figures
from ground.flightreport.figures import difference_unit, unit_text
from ground.lake.records import iso
from ground.paper.document import (
    Block,
    Document,
    Facts,
    Figure,
    Heading,
    Paragraph,
    Table,
    Tone,
    Verdict,
)
from ground.reconcile.result import EngineResult, Kind, Onset, Reconciliation, Series
from ground.twins.control import Twin
from shared.messages import Closure, Gap, Manifest

GAPS_SHOWN = 20
TONES: dict[Kind, tuple[Tone, str]] = {
    "healthy": ("good", "HEALTHY"), "degrading": ("bad", "DEGRADING"),
    "sensor_fault": ("watch", "SENSOR FAULT"), "unexplained": ("watch", "UNEXPLAINED"),
    "model_out_of_range": ("unknown", "NOT JUDGED"), "not_enough_data": ("unknown", "NOT JUDGED"),
}  # fmt: skip
PARTS = {"fan": "Fan", "lpc": "Booster", "hpc": "HPC", "hpt": "HPT", "lpt": "LPT"}
ABOUT_ERROR = (
    "Edge model minus full fidelity at the same inputs: how far the model aboard is from the one "
    "on the ground. Recalibration reduces this, and nothing else."
)
ABOUT_DEVIATION = (
    "Sensor minus the baseline of this engine's serial number, over stable windows: how the "
    "engine has changed. Only an approved maintenance event moves a baseline."
)


@dataclass(frozen=True, slots=True)
class CaseLine:
    """An open or closed case of this flight."""

    case: str
    kind: str
    state: str
    title: str
    owner: str
    opened_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What the ground holds of one flight; null where it holds none."""

    tail: str
    flight: str
    made_ns: int
    twin: Twin | None = None
    manifest: Manifest | None = None
    closure: Closure | None = None
    reconciliation: Reconciliation | None = None
    why_none: str = ""
    """Of the reconciliation."""
    cases: tuple[CaseLine, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)


def contents(sources: Sources) -> Document:
    """The report."""
    blocks: list[Block] = [*_verdicts(sources)]
    blocks += [Heading("Flight"), Facts(_facts(sources)), *_closure(sources.closure)]
    if (result := sources.reconciliation) is not None:
        if (chart := figures.conditions(result)) is not None:
            blocks.append(Figure(chart, 36.0))
        blocks += [block for engine in result.engines for block in _engine(result, engine)]
        blocks += [*_deviations(result), *_errors(result)]
    blocks += [*_cases(sources), *_findings(result), *_provenance(sources)]
    twin, leg = sources.twin, sources.manifest.leg if sources.manifest else None
    name = f"{twin.registration} · {twin.type}" if twin else sources.tail
    subtitle = f"{name} · {sources.flight}" + (f" · leg {leg}" if leg is not None else "")
    return Document("Flight report", subtitle, f"{sources.tail} · {sources.flight} · made "
                    f"{_minute(sources.made_ns)}", tuple(blocks))  # fmt: skip


def parameter_name(name: str) -> str:
    """`hpc_eff` as people say it."""
    part, _, kind = name.partition("_")
    return f"{PARTS.get(part, part)} {'efficiency' if kind == 'eff' else 'flow capacity'}"


def _verdicts(sources: Sources) -> Iterator[Block]:
    result = sources.reconciliation
    if result is None:
        why = sources.why_none or "It has not run yet."
        yield Verdict("unknown", "NOT JUDGED", "No reconciliation of this flight", _sentence(why))
        return
    if sources.closure is not None and sources.closure.revision != result.closure_revision:
        yield Paragraph(
            f"The verdicts are of closure revision {result.closure_revision}; the newest is "
            f"{sources.closure.revision}."
        )
    for engine in result.engines:
        tone, label = TONES[engine.verdict.kind]
        title = f"Engine {engine.position} · ESN {engine.esn}"
        text, advice = map(_sentence, (engine.verdict.text, engine.verdict.advice))
        yield Verdict(tone, label, title, text, advice)


def _facts(sources: Sources) -> tuple[tuple[str, str], ...]:
    twin, manifest = sources.twin, sources.manifest
    rows = [("Tail", sources.tail), ("Flight", sources.flight)]
    if twin:
        rows += [("Registration", twin.registration), ("Type", twin.type),
                 ("Operator", twin.operator)]  # fmt: skip
    if manifest:
        o = manifest.oooi
        rows += [("Out", _second(o.out_ns)), ("Off", _second(o.off_ns)), ("On", _second(o.on_ns)),
                 ("In", _second(o.in_ns))]  # fmt: skip
        if o.off_ns is not None and o.on_ns is not None:
            rows.append(("In the air", _span(o.on_ns - o.off_ns)))
        rows.append(("Engines", ", ".join(manifest.esns) or "not said"))
    return tuple(rows)


def _closure(closure: Closure | None) -> Iterator[Block]:
    yield Heading("What the ground holds of it")
    if closure is None:
        yield Paragraph("The flight is open: the ground has no closure of it yet.")
        return
    words = {
        "complete": "Complete: every record the aircraft says it made is here.",
        "gaps": "With gaps: they are named below.",
        "open": "Open: the aircraft has not said yet what it recorded.",
        "abandoned": "Abandoned: what is missing will not come.",
    }[closure.state]
    yield Paragraph(
        f"{words} {closure.records:,} records held, {closure.records_missing:,} missing; closure "
        f"revision {closure.revision} of {_second(closure.t_ground_ns)}."
    )
    if closure.gaps:
        rows = tuple(_gap(gap) for gap in closure.gaps[:GAPS_SHOWN])
        more = len(closure.gaps) - GAPS_SHOWN
        yield Table(("Gap", "Where", "Missing", "Cause"), rows, "llrl", (0.2, 0.4, 0.12, 0.28),
                    f"and {more} more" if more > 0 else "")  # fmt: skip


def _gap(gap: Gap) -> tuple[str, ...]:
    missing = "?" if gap.missing < 0 else f"{gap.missing:,}"
    if gap.kind == "records":
        return f"records of {gap.name}", f"{gap.low:,} to {gap.high - 1:,}", missing, gap.cause
    where = f"{_second(gap.start_ns)[11:]} to {_second(gap.end_ns)[11:]}"
    return f"readings of {gap.name}", where, missing, gap.cause.replace("_", " ")


def _engine(result: Reconciliation, engine: EngineResult) -> Iterator[Block]:
    yield Heading(f"Engine {engine.position} · ESN {engine.esn}")
    v = engine.verdict
    facts = [("Verdict", TONES[v.kind][1].capitalize()),
             ("Stable windows", f"{engine.windows:,} ({engine.steady:,} s of {engine.running:,} s "
                                "running)")]  # fmt: skip
    if v.estimate is not None:
        name = parameter_name(v.cause) if "_" in v.cause else v.cause.upper()
        facts.append((name, _plus_minus(v.estimate, v.estimate_95, 2) + f" {unit_text(v.unit)}"))
    if v.probability is not None:
        facts.append(("Against all else tried", f"{100 * v.probability:.1f} %"))
    if v.onset is not None:
        facts.append(("Since", _onset(v.onset)))
    if v.not_separable:
        facts.append(("Not told apart from", ", ".join(map(_cause_name, v.not_separable))))
    baseline = engine.baseline[:12] or "none"
    facts.append(("Baseline", f"{baseline} ({engine.baseline_event})" if engine.baseline_event
                  else baseline))  # fmt: skip
    yield Facts(tuple(facts))
    mine = {s.name: s for s in result.series if s.esn == engine.esn}
    yield from _figures(mine, engine)
    if engine.parameters:
        rows = tuple(
            (parameter_name(p.name), _plus_minus(p.estimate, p.estimate_95, 2),
             f"{100 * p.learned:.0f} %")
            for p in engine.parameters
        )  # fmt: skip
        yield Table(("Health parameter", "Change, %", "Learned from this flight"), rows, "lrr",
                    (0.4, 0.3, 0.3), "All together, against this engine's baseline; ± is 95 %. "
                    "Where little was learned, the figure is what was assumed before.")  # fmt: skip


def _figures(mine: dict[str, Series], engine: EngineResult) -> Iterator[Block]:
    if (egt := mine.get("egt")) is not None:
        yield Figure(figures.measured(egt), 50.0)
        if any(one is not None for one in egt.columns["deviation"]):
            yield Figure(figures.deviation(egt, engine), 40.0)
    if (health := mine.get("health")) is not None:
        yield Figure(figures.health(health, engine, _cause_name(health.subject)), 42.0)


def _deviations(result: Reconciliation) -> Iterator[Block]:
    if not result.deviations:
        return
    yield Heading("Deviation: how the engines have changed")
    rows = [
        (f"{d.position} · {d.esn}", figures.TITLES.get(d.output, d.output),
         d.phase.replace("_", " "), f"{d.n:,}", _plus_minus(d.mean, d.mean_95, 2),
         f"{d.sigma:.2f}", difference_unit(d.unit))
        for d in result.deviations
    ]  # fmt: skip
    yield Table(("Engine", "Quantity", "Phase", "Rows", "Mean ± 95 %", "Spread (1 sd)", "Unit"),
                tuple(rows), "lllrrrl", (0.2, 0.14, 0.14, 0.12, 0.18, 0.14, 0.08),
                ABOUT_DEVIATION)  # fmt: skip
    if result.deltas:
        rows = [
            (f"{d.esns[1]} minus {d.esns[0]}", figures.TITLES.get(d.output, d.output),
             d.phase.replace("_", " "), f"{d.n:,}", _plus_minus(d.mean, d.mean_95, 2), "",
             difference_unit(d.unit))
            for d in result.deltas
        ]  # fmt: skip
        yield Table(("Engines", "Quantity", "Phase", "Rows", "Mean ± 95 %", "", "Unit"),
                    tuple(rows), "lllrrrl", (0.3, 0.14, 0.14, 0.12, 0.18, 0.04, 0.08),
                    "Engine to engine: deviations at the same times, one minus the other.")  # fmt: skip


def _errors(result: Reconciliation) -> Iterator[Block]:
    if not result.models:
        return
    yield Heading("Model error: how far the model aboard is off")
    rows = tuple(
        (m.model, f"{m.position} · {m.esn}", figures.TITLES.get(m.output, m.output),
         m.phase.replace("_", " ") + (", stable" if m.steady else ""), f"{m.n:,}",
         _plus_minus(m.mean, m.mean_95, 2), f"{m.rms:.2f}", f"{m.max_abs:.1f}",
         difference_unit(m.unit))
        for m in result.models
    )  # fmt: skip
    yield Table(
        ("Model", "Engine", "Quantity", "Phase", "Steps", "Mean ± 95 %", "RMS", "Largest", "Unit"),
        rows, "llllrrrrl", (0.24, 0.11, 0.1, 0.14, 0.08, 0.13, 0.07, 0.08, 0.05), ABOUT_ERROR,
    )  # fmt: skip


def _cases(sources: Sources) -> Iterator[Block]:
    yield Heading("Cases")
    if not sources.cases:
        yield Paragraph("None was opened on this flight.")
        return
    rows = tuple((c.case, c.kind, c.state, c.title, c.owner or "nobody yet", _minute(c.opened_ns))
                 for c in sources.cases)  # fmt: skip
    yield Table(("Case", "Kind", "State", "About", "Owner", "Opened"), rows, "llllll",
                (0.15, 0.13, 0.1, 0.32, 0.12, 0.18))  # fmt: skip


def _findings(result: Reconciliation | None) -> Iterator[Block]:
    if result is None or not result.findings:
        return
    yield Heading("What to know about these figures")
    rows = tuple((f.esn or "flight", _sentence(f.text)) for f in result.findings)
    yield Table(("Of", "Finding"), rows, "ll", (0.15, 0.85))


def _provenance(sources: Sources) -> Iterator[Block]:
    yield Heading("Made from")
    result, closure = sources.reconciliation, sources.closure
    rows: list[tuple[str, ...]] = []
    if result is not None:
        rows += [(one.kind.replace("_", " "), one.name, one.sha256) for one in result.inputs]
    elif closure is not None and closure.manifest_sha256:
        rows.append(("manifest", sources.flight, closure.manifest_sha256.hex()))
    if rows:
        yield Table(("Kind", "Name", "SHA-256"), tuple(rows), "lll", (0.13, 0.29, 0.58),
                    "The same inputs give the same figures.", mono=True)  # fmt: skip
    versions = {"Python": platform.python_version(), "numpy": np.__version__, **sources.versions}
    bundles = sources.manifest.bundles if sources.manifest else []
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield Paragraph(f"Models aboard: {', '.join(bundles) or 'none said'}. Made with {text}.", True)


def _sentence(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    is_name = "_" in text.split()[0]  # of a model, which is written as it is
    return (text if is_name else text[0].upper() + text[1:]) + ("" if text[-1] in ".!?" else ".")


def _cause_name(cause: str) -> str:
    if cause.startswith("bias_"):
        return f"{cause[5:].upper()} sensor"
    return parameter_name(cause) if "_" in cause else cause


def _onset(onset: Onset) -> str:
    if onset.t_ns is None:
        return "before this flight's first stable window"
    text = _second(onset.t_ns)
    if onset.t_95_ns is not None:
        low, high = (_second(t)[11:19] for t in onset.t_95_ns)
        text += f" (95 %: {low} to {high})"
    return text + (", still growing" if onset.still_growing else "")


def _plus_minus(value: float, half: float | None, digits: int) -> str:
    value = round(value, digits) + 0.0  # no minus before a zero
    text = f"{value:+.{digits}f}".replace("-", "\u2212")
    return text if half is None else f"{text} ± {half:.{digits}f}"


def _second(t_ns: int | None) -> str:
    return "not seen" if t_ns is None else iso(t_ns)[:19].replace("T", " ") + " UTC"


def _minute(t_ns: int) -> str:
    return iso(t_ns)[:16].replace("T", " ") + " UTC"


def _span(span_ns: int) -> str:
    minutes = round(span_ns / 60e9)
    return f"{minutes // 60} h {minutes % 60:02d} min"
