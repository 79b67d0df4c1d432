"""An answer on paper: the table and the curves, as a document of ground/paper.

In: an `Answer`. Out: a `Document`. Always holds: numbers are the answer's own, rounded.
"""

from __future__ import annotations

from collections.abc import Iterator

from ground.lake.records import iso
from ground.paper.chart import Chart, Level, Line, Mark
from ground.paper.document import Block, Document, Facts, Figure, Heading, Paragraph, Table, Verdict
from ground.whatif.answer import Answer, Change, EngineAnswer, Margin, Scenario
from ground.whatif.inputs import KNOWN, Part

BLUE, RED, GREY = "#2471a3", "#c0392b", "#888888"
TITLES = {"egt": "EGT", "ff": "Fuel flow", "n2": "N2", "thrust": "Thrust", "n1": "N1"}
UNITS = {"Cel": "°C", "[ft_i]": "ft", "1": ""}
DIFFERENCES = {"Cel": "K"}
ABSOLUTE = ("gross_weight", "ambient", "bleed", "anti_ice")
SHOWN = ("egt", "ff", "thrust")
REASONS = {
    "bad_input": "an input is missing or no number", "out_of_range": "outside the model's range",
    "not_converged": "the model found no answer", "not_level_flight": "drag answers level flight only",
    "thrust_not_reached": "no N1 gives this thrust",
}  # fmt: skip


def document(answer: Answer) -> Document:
    """The whole answer."""
    blocks: list[Block] = [Heading("Asked"), Facts(_asked(answer))]
    for engine in answer.engines:
        blocks += _engine(engine)
    if answer.scenario is not None:
        blocks += _scenario(answer.scenario)
    blocks += [Paragraph(note) for note in answer.notes]
    blocks.append(Heading("Made from"))
    rows = [("request", "", answer.request_sha256)]
    if answer.engine_type:
        rows.append(("engine type", answer.engine_type, answer.engine_type_sha256))
    rows += [("baseline", f"{e.esn} {e.baseline_source}".strip(), e.baseline_sha256)
             for e in answer.engines]  # fmt: skip
    rows += [(kind.replace("_", " "), name, sha256) for kind, name, sha256 in answer.inputs]
    if answer.scenario is not None:
        rows.append(("model", answer.scenario.model, answer.scenario.model_sha256))
    blocks.append(
        Table(("Kind", "Name", "SHA-256"), tuple(rows), "lll", (0.13, 0.29, 0.58), mono=True)
    )
    about = answer.flight or ("steady point" if answer.engines else "scenario")
    return Document("What if", f"{about} · {changes_text(answer)}",
                    f"what-if {answer.request_sha256[:12]}", tuple(blocks))  # fmt: skip


def changes_text(answer: Answer) -> str:
    """The overrides in one line, with units."""
    changes = answer.request["set"]
    assert isinstance(changes, dict)
    return ", ".join(f"{name} {value}" for name, value in _values(answer, "set")) or "no change"


def _asked(answer: Answer) -> tuple[tuple[str, str], ...]:
    request = answer.request
    rows = [("Flight", answer.flight)] if answer.flight else []
    rows += [(f"point: {name}", value) for name, value in _values(answer, "point")]
    rows += [(f"set: {name}", value) for name, value in _values(answer, "set")]
    if answer.scenario:
        rows.append(("Over", f"{request['hours']:g} h"))
    if answer.engines:
        rows += [("Held", str(request["hold"])), ("EGT limit", f"{request['egt_limit_cel']:g} °C")]
    return tuple(rows)


def _values(answer: Answer, part: str) -> list[tuple[str, str]]:
    keys: tuple[Part, Part] = ("tank point", "tank") if answer.scenario else ("point", "set")
    key = keys[part == "set"]
    said = answer.request[part]
    assert isinstance(said, dict)
    out = []
    for name, value in said.items():
        one = KNOWN[key][name]
        sign = "+" if value >= 0 and _is_change(key, name) else ""
        unit = UNITS.get(one.unit, one.unit)
        out.append((name, f"{sign}{value:g} {unit}".strip().replace("-", "\u2212")))
    return out


def _is_change(key: Part, name: str) -> bool:
    if key in ("point", "tank point"):
        return name == "isa_dev"
    return name == "heat_leak" if key == "tank" else name not in ABSOLUTE


def _engine(engine: EngineAnswer) -> Iterator[Block]:
    name = f"Engine {engine.position}" if engine.position else "Engine"
    yield Heading(f"{name} · ESN {engine.esn}" if engine.esn else f"{name} (type nominal)")
    yield from (_margin(one) for one in engine.margins)
    rows = tuple(_row(one) for one in engine.changes)
    if rows:
        yield Table(("Quantity", "Phase", "Points", "Baseline", "Changed", "Mean change", "Largest",
                     "Unit"), rows, "llrrrrrl", (0.15, 0.14, 0.1, 0.14, 0.14, 0.14, 0.12, 0.07))  # fmt: skip
    if engine.t_ns:
        solved = f"every {engine.every_s} s" if engine.every_s > 1 else "every second"
        shown = f"one in {engine.shown_every_s} s" if engine.shown_every_s > 1 else "all"
        yield Paragraph(
            f"{engine.points:,} points are solved, {solved}; {shown} drawn.", small=True
        )
        yield from (Figure(_chart(engine, quantity)) for quantity in SHOWN)
    elif engine.sweep:
        yield Figure(_sweep(engine))
    if engine.refused:
        yield Table(("Case", "Why there is no answer", "Points", "From", "To"),
                    tuple((r.case, REASONS.get(r.reason, r.reason), f"{r.points:,}",
                           _time(r.start_ns), _time(r.end_ns)) for r in engine.refused),
                    "llrll", (0.12, 0.38, 0.1, 0.2, 0.2))  # fmt: skip


def _margin(margin: Margin) -> Verdict:
    below = margin.margin_k >= 0
    at = f" at {_time(margin.t_ns)}, {margin.phase.replace('_', ' ')}" if margin.t_ns else ""
    above = f" {margin.points_above:,} points are above it." if margin.points_above else ""
    return Verdict(
        "good" if below else "bad", f"{margin.margin_k:+.1f} K".replace("-", "\u2212"),
        f"EGT margin, {margin.case}",
        f"Hottest {margin.limit_cel - margin.margin_k:.1f} °C{at}, limit {margin.limit_cel:g} °C.{above}",
    )  # fmt: skip


def _row(one: Change) -> tuple[str, ...]:
    unit = UNITS.get(one.unit, one.unit)
    digits = 0 if one.output == "thrust" else 1
    change, largest = (f"{v:+,.{digits}f}".replace("-", "\u2212")
                       for v in (one.mean_change, one.largest_change))  # fmt: skip
    difference = f" ({DIFFERENCES[one.unit]})" if one.unit in DIFFERENCES else ""
    return (TITLES[one.output], one.phase.replace("_", " "), f"{one.points:,}",
            f"{one.baseline:,.{digits}f}", f"{one.changed:,.{digits}f}", change, largest,
            unit + difference)  # fmt: skip


def _chart(engine: EngineAnswer, quantity: str) -> Chart:
    x = tuple(t / 1e9 for t in engine.t_ns)
    lines = (Line("baseline", x, engine.series["baseline"][quantity], BLUE),
             Line("changed", x, engine.series["changed"][quantity], RED))  # fmt: skip
    levels: tuple[Level, ...] = ()
    if quantity == "egt" and engine.margins:
        levels = (Level(engine.margins[0].limit_cel, "limit", RED),)
    unit = {"egt": "°C", "ff": "kg/h", "thrust": "N"}[quantity]
    return Chart(title=TITLES[quantity], unit=unit, lines=lines, levels=levels)


def _sweep(engine: EngineAnswer) -> Chart:
    x = tuple(v or 0.0 for v in engine.sweep["n1"])
    lines = (Line("baseline", x, engine.sweep["baseline"], BLUE, 0.5),
             Line("changed", x, engine.sweep["changed"], RED, 0.5))  # fmt: skip
    levels = (Level(engine.margins[0].limit_cel, "limit", RED),) if engine.margins else ()
    marks = tuple(Mark(n1, name, colour) for name, colour in (("baseline", BLUE), ("changed", RED))
                  if (n1 := engine.series[name]["n1"][0]) is not None)  # fmt: skip
    return Chart(marks=marks, title="EGT at these conditions", unit="°C", lines=lines, levels=levels,
                 x_title="N1, %", is_time=False)  # fmt: skip


def _scenario(scenario: Scenario) -> Iterator[Block]:
    yield Heading(f"Scenario of model {scenario.model}")
    for curve in scenario.curves:
        lines = (Line("baseline", scenario.hours, curve.baseline, BLUE, 0.5),
                 Line("changed", scenario.hours, curve.changed, RED, 0.5))  # fmt: skip
        yield Figure(Chart(title=curve.name, unit=UNITS.get(curve.unit, curve.unit), lines=lines,
                           x_title="h", is_time=False), 42.0)  # fmt: skip
    yield from (Paragraph(text) for text in scenario.events)


def _time(t_ns: int | None) -> str:
    return "" if t_ns is None else iso(t_ns)[11:19] + " UTC"
