"""Figures of a flight report: one chart for each series of a reconciliation worth looking at.

In: series and verdicts of a `Reconciliation`. Out: `Chart`.
"""

from __future__ import annotations

from itertools import groupby

from ground.paper.chart import Band, Chart, Level, Line, Mark, Span
from ground.reconcile.result import EngineResult, Onset, Reconciliation, Series

NS = 1e9
RED, BLUE, GREEN, AMBER, PURPLE = "#c0392b", "#2471a3", "#1e8449", "#b9770e", "#6c3483"
PHASE_COLOURS = {
    "unknown": "#999999", "parked": "#dfe6ee", "taxi_out": "#f3e3b3", "takeoff": "#f2b36f",
    "climb": "#bfe0c2", "cruise": "#c4daf2", "descent": "#d9cdee", "approach": "#e9c6da",
    "landing": "#f0a8a0", "taxi_in": "#f3e3b3",
}  # fmt: skip
TITLES = {"egt": "EGT", "ff": "Fuel flow", "n2": "N2"}
UNITS = {"Cel": "°C", "[ft_i]": "ft", "1": ""}


def unit_text(unit: str) -> str:
    """A UCUM unit as people print it."""
    return UNITS.get(unit, unit)


def difference_unit(unit: str) -> str:
    return "K" if unit == "Cel" else unit_text(unit)


def conditions(result: Reconciliation) -> Chart | None:
    """Altitude and the phases of the flight."""
    series = next((s for s in result.series if s.name == "conditions"), None)
    if series is None or "altitude" not in series.columns:
        return None
    line = Line("", _seconds(series), series.columns["altitude"], "#1f4e79", 0.5)
    return Chart(title="Pressure altitude and phases", unit="ft", lines=(line,),
                 spans=_phases(series, labels=True))  # fmt: skip


def measured(series: Series) -> Chart:
    """Measured, aboard and on the ground, one above the other."""
    x, columns = _seconds(series), series.columns
    lines = [Line("measured", x, columns["measured"], RED, 0.3)]
    lines.append(Line("full fidelity", x, columns["full"], GREEN, 0.35))
    if "edge" in columns:
        lines.append(Line("edge model", x, columns["edge"], BLUE, 0.35, (1.2, 0.8)))
    return Chart(title=f"{TITLES.get(series.name, series.name)}, {_engine(series)}",
                 unit=unit_text(series.unit), lines=tuple(lines), spans=_phases(series))  # fmt: skip


def deviation(series: Series, engine: EngineResult) -> Chart:
    """Sensor minus baseline."""
    line = Line("", _seconds(series), series.columns["deviation"], PURPLE, 0.35)
    return Chart(
        title=f"{TITLES.get(series.name, series.name)}: measured minus baseline, {_engine(series)}",
        unit=difference_unit(series.unit), lines=(line,), spans=_phases(series) + _onset(engine),
        marks=_mark(engine), levels=(Level(0.0, "", "#888888"),), stretch=True,
    )  # fmt: skip


def health(series: Series, engine: EngineResult, name: str) -> Chart:
    """A health parameter with its band of 95 %, and when it began to move."""
    x, columns = _seconds(series), series.columns
    return Chart(
        title=f"{name}, {_engine(series)}", unit="%",
        lines=(Line("estimate", x, columns["estimate"], BLUE, 0.5),),
        bands=(Band("95 %", x, columns["low"], columns["high"], BLUE),),
        spans=_phases(series) + _onset(engine), marks=_mark(engine),
        levels=(Level(0.0, "as at the baseline", "#888888"),), stretch=True,
    )  # fmt: skip


def _seconds(series: Series) -> tuple[float, ...]:
    return tuple(t / NS for t in series.t_ns)


def _engine(series: Series) -> str:
    return f"engine {series.position} ({series.esn})"


def _phases(series: Series, *, labels: bool = False) -> tuple[Span, ...]:
    spans = []
    pairs = list(zip(_seconds(series), series.phase, strict=True))
    runs = [list(run) for _, run in groupby(pairs, key=lambda pair: pair[1])]
    for k, run in enumerate(runs):
        end = runs[k + 1][0][0] if k + 1 < len(runs) else run[-1][0]
        phase = run[0][1]
        label = phase.replace("_", " ") if labels else ""
        spans.append(Span(run[0][0], end, PHASE_COLOURS.get(phase, "#eeeeee"), label,
                          0.55 if labels else 0.3))  # fmt: skip
    return tuple(spans)


def _known_onset(engine: EngineResult) -> Onset | None:
    onset = engine.verdict.onset
    return onset if onset is not None and onset.t_ns is not None else None


def _mark(engine: EngineResult) -> tuple[Mark, ...]:
    onset = _known_onset(engine)
    return (Mark(onset.t_ns / NS, "began", RED),) if onset and onset.t_ns else ()


def _onset(engine: EngineResult) -> tuple[Span, ...]:
    onset = _known_onset(engine)
    if onset is None or onset.t_95_ns is None:
        return ()
    return (Span(onset.t_95_ns[0] / NS, onset.t_95_ns[1] / NS, RED, "", 0.15),)
