"""The pictures of a run: its flights side by side, one column each.

In: `Pictures` of each flight, plain series already fetched. Out: one plotly figure.
Always holds: rows share their scale over the flights; what nobody said leaves a break in a line.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

PHASE_COLOURS = {
    "unknown": "#999999",
    "parked": "#dfe6ee",
    "taxi_out": "#f3e3b3",
    "takeoff": "#f2b36f",
    "climb": "#bfe0c2",
    "cruise": "#c4daf2",
    "descent": "#d9cdee",
    "approach": "#e9c6da",
    "landing": "#f0a8a0",
    "taxi_in": "#f3e3b3",
}
ENGINE_COLOURS = ("#1e8449", "#b9770e")
BAND_COLOURS = ("rgba(30,132,73,0.15)", "rgba(185,119,14,0.18)")
PHASE_NAMED_SHARE = 0.06  # of the flight; a shorter phase has no room for its name
LINK_CUT, DOWN = "rgba(214,69,65,0.18)", "rgba(40,40,40,0.35)"


@dataclass(slots=True)
class EngineSeries:
    """EGT of one engine, Cel. Times in ns of event time."""

    esn: str
    t_measured_ns: list[int] = field(default_factory=list)
    measured: list[float | None] = field(default_factory=list)
    t_predicted_ns: list[int] = field(default_factory=list)
    predicted: list[float | None] = field(default_factory=list)
    deviation: list[float | None] = field(default_factory=list)
    t_full_ns: list[int] = field(default_factory=list)
    full: list[float | None] = field(default_factory=list)
    """Full fidelity on the ground, with this ESN's baseline."""
    error: list[float | None] = field(default_factory=list)
    """Model error: said aboard minus full fidelity, at t_full_ns."""
    t_health_ns: list[int] = field(default_factory=list)
    health: list[float | None] = field(default_factory=list)
    """Estimated change of a health parameter, %, with its 95 % band; `subject` says which."""
    health_low: list[float | None] = field(default_factory=list)
    health_high: list[float | None] = field(default_factory=list)
    subject: str = ""
    truth: list[tuple[int, float]] = field(default_factory=list)
    """The plant's own change of that parameter, %, at its corners."""


@dataclass(slots=True)
class Pictures:
    """What is drawn of one flight. Times in ns of event time."""

    name: str = ""

    t_altitude_ns: list[int] = field(default_factory=list)
    altitude_ft: list[float | None] = field(default_factory=list)
    phases: list[tuple[int, str]] = field(default_factory=list)
    cuts: list[tuple[int, int, str]] = field(default_factory=list)
    downs: list[tuple[int, int]] = field(default_factory=list)
    engines: list[EngineSeries] = field(default_factory=list)
    onset_k: float | None = None
    t_outbox_ns: list[int] = field(default_factory=list)
    unsafe_records: list[int] = field(default_factory=list)
    oldest_unsafe_s: list[float | None] = field(default_factory=list)
    gate: list[tuple[int, bool, str]] = field(default_factory=list)
    """(time, whether it is open, reasons why not), each time they changed."""
    alerts: list[tuple[int, str]] = field(default_factory=list)
    t0_ns: int = 0


def figure_of(flights: list[Pictures]) -> go.Figure:
    """Every flight a column, every subject a row."""
    engines = max(len(f.engines) for f in flights)
    explained = any(e.t_full_ns for f in flights for e in f.engines)
    rows: list[tuple[str, float]] = [("Pressure altitude and phase", 1.2)]
    names = [e.esn for e in flights[0].engines]
    rows += [(f"EGT of engine {i + 1} ({names[i]})", 1.0) for i in range(engines)]
    rows += [("EGT deviation aboard: measured minus predicted", 0.9)]
    if explained:
        rows += [("EGT model error: aboard minus full fidelity of this ESN", 0.9),
                 ("Health estimated on the ground, 95 % band, and the plant's truth", 0.9)]  # fmt: skip
    rows.append(("Outbox", 0.9))
    columns = len(flights)
    titles = [
        text if columns == 1 else f"{text} · {flight.name}"
        for text, _ in rows
        for flight in flights
    ]
    figure = make_subplots(
        len(rows), columns, shared_xaxes=True, shared_yaxes=True, vertical_spacing=0.028,
        horizontal_spacing=0.06, subplot_titles=titles, row_heights=[h for _, h in rows],
        specs=[[{"secondary_y": True}] * columns for _ in rows],
    )  # fmt: skip
    for column, pictures in enumerate(flights, 1):
        _column(figure, pictures, column, explained)
    for column in range(1, columns + 1):
        figure.update_xaxes(title_text="minutes since the first reading", row=len(rows), col=column)
    figure.update_annotations(font_size=12 if columns > 1 else 15)
    figure.update_layout(
        height=270 * len(rows),
        template="plotly_white",
        hovermode="x",
        margin={"l": 70, "r": 70, "t": 130, "b": 50},
        legend={"orientation": "h", "yref": "container", "y": 0.995, "yanchor": "top"},
    )
    return figure


def _column(figure: go.Figure, pictures: Pictures, column: int, explained: bool) -> None:
    at = _At(figure, column)
    minutes = _Minutes(pictures.t0_ns)
    _altitude(at.row(1), pictures, minutes)
    for i, engine in enumerate(pictures.engines):
        _egt(at.row(2 + i), engine, minutes, is_first=i == 0)
    row = 2 + len(pictures.engines)
    _deviation(at.row(row), pictures, minutes)
    if explained:
        _error(at.row(row + 1), pictures, minutes)
        _health(at.row(row + 2), pictures, minutes)
        row += 2
    _outbox(at.row(row + 1), pictures, minutes)
    spans = [(a, b, LINK_CUT, f"{name} link cut", 1.0) for a, b, name in pictures.cuts]
    spans += [(a, b, DOWN, "edge killed", 0.85) for a, b in pictures.downs]
    for start, end, colour, text, y in spans:
        figure.add_vrect(
            x0=minutes(start),
            x1=minutes(end),
            fillcolor=colour,
            line_width=0,
            row="all",
            col=column,
        )
        at.row(1).note(minutes(start), y, text, xanchor="left")


@dataclass(slots=True, frozen=True)
class _Cell:
    """One subplot."""

    figure: go.Figure
    row_: int
    column: int

    def line(self, *, secondary_y: bool = False, **how: Any) -> None:
        """A trace; the legend names each once, however many flights there are."""
        how.setdefault("legendgroup", how.get("name"))
        how["showlegend"] = how.get("showlegend", True) and self.column == 1
        self.figure.add_trace(
            go.Scatter(**how), row=self.row_, col=self.column, secondary_y=secondary_y
        )

    def note(self, x: float, y_share: float, text: str, **how: Any) -> None:
        self.figure.add_annotation(
            x=x, y=y_share, yref="y domain", text=text, showarrow=False, font_size=10,
            row=self.row_, col=self.column, **how,
        )  # fmt: skip

    def y_axis(self, *, secondary_y: bool = False, **how: Any) -> None:
        if self.column > 1:
            how.pop("title_text", None)
        self.figure.update_yaxes(row=self.row_, col=self.column, secondary_y=secondary_y, **how)


@dataclass(slots=True, frozen=True)
class _At:
    figure: go.Figure
    column: int

    def row(self, number: int) -> _Cell:
        return _Cell(self.figure, number, self.column)


class _Minutes:
    """Event time as minutes since the start of the run."""

    def __init__(self, t0_ns: int) -> None:
        self._t0_ns = t0_ns

    def __call__(self, t_ns: int) -> float:
        return (t_ns - self._t0_ns) / 6e10

    def all(self, times: list[int]) -> list[float]:
        return [self(t) for t in times]


def _altitude(cell: _Cell, pictures: Pictures, minutes: _Minutes) -> None:
    cell.line(
        x=minutes.all(pictures.t_altitude_ns), y=pictures.altitude_ft, name="altitude",
        line={"color": "#1f4e79"},
    )  # fmt: skip
    whole_ns = pictures.t_outbox_ns[-1] - pictures.t0_ns if pictures.t_outbox_ns else 0
    changes = [*pictures.phases, (pictures.t_outbox_ns[-1] if pictures.t_outbox_ns else 0, "")]
    for (start, phase), (end, _) in itertools.pairwise(changes):
        cell.figure.add_vrect(
            x0=minutes(start), x1=minutes(end), opacity=0.55, line_width=0, row=cell.row_,
            col=cell.column, fillcolor=PHASE_COLOURS.get(phase, "#eeeeee"), layer="below",
        )  # fmt: skip
        if end - start > PHASE_NAMED_SHARE * whole_ns:
            cell.note((minutes(start) + minutes(end)) / 2, 0.03, phase)
    cell.y_axis(title_text="ft")


def _egt(cell: _Cell, engine: EngineSeries, minutes: _Minutes, is_first: bool) -> None:
    cell.line(
        x=minutes.all(engine.t_measured_ns), y=engine.measured, name="EGT measured",
        line={"color": "#c0392b", "width": 1.2}, showlegend=is_first,
    )  # fmt: skip
    cell.line(
        x=minutes.all(engine.t_predicted_ns), y=engine.predicted, name="EGT predicted aboard",
        line={"color": "#2471a3", "width": 1.6, "dash": "dot"}, showlegend=is_first,
    )  # fmt: skip
    if engine.t_full_ns:
        cell.line(
            x=minutes.all(engine.t_full_ns), y=engine.full, name="EGT full fidelity, this ESN",
            line={"color": "#1e8449", "width": 1.4}, showlegend=is_first,
        )  # fmt: skip
    cell.y_axis(title_text="°C")


def _deviation(cell: _Cell, pictures: Pictures, minutes: _Minutes) -> None:
    for i, engine in enumerate(pictures.engines):
        cell.line(
            x=minutes.all(engine.t_predicted_ns), y=engine.deviation, name=f"engine {i + 1}",
            line={"color": ENGINE_COLOURS[i % 2]},
        )  # fmt: skip
    where = {"row": cell.row_, "col": cell.column, "annotation_font_size": 10}
    if pictures.onset_k is not None:
        cell.figure.add_hline(
            y=pictures.onset_k, line_dash="dash", line_color="#c0392b",
            annotation_text="alert onset", **where,
        )  # fmt: skip
    for i, (t_ns, name) in enumerate(sorted(pictures.alerts)):
        cell.figure.add_vline(
            x=minutes(t_ns), line_color="#c0392b", line_width=1, annotation_text=name,
            annotation_position="bottom right", annotation_yshift=14 * i, **where,
        )  # fmt: skip
    cell.y_axis(title_text="K")


def _error(cell: _Cell, pictures: Pictures, minutes: _Minutes) -> None:
    for i, engine in enumerate(pictures.engines):
        cell.line(
            x=minutes.all(engine.t_full_ns), y=engine.error, name=f"engine {i + 1}",
            line={"color": ENGINE_COLOURS[i % 2]}, showlegend=False,
        )  # fmt: skip
    cell.y_axis(title_text="K")


def _health(cell: _Cell, pictures: Pictures, minutes: _Minutes) -> None:
    for i, engine in enumerate(pictures.engines):
        x, colour = minutes.all(engine.t_health_ns), ENGINE_COLOURS[i % 2]
        edge: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip",
                                "showlegend": False}  # fmt: skip
        cell.line(x=x, y=engine.health_low, name="low", **edge)
        cell.line(x=x, y=engine.health_high, name="high", fill="tonexty",
                  fillcolor=BAND_COLOURS[i % 2], **edge)  # fmt: skip
        cell.line(x=x, y=engine.health, name=f"engine {i + 1}: {engine.subject}", showlegend=False,
                  line={"color": colour})  # fmt: skip
        if engine.truth:
            cell.line(
                x=[minutes(t) for t, _ in engine.truth], y=[v for _, v in engine.truth],
                name="the plant's truth", line={"color": "#222", "width": 1, "dash": "dash"},
            )  # fmt: skip
    cell.y_axis(title_text="%")


def _outbox(cell: _Cell, pictures: Pictures, minutes: _Minutes) -> None:
    x = minutes.all(pictures.t_outbox_ns)
    cell.line(
        x=x, y=pictures.unsafe_records, name="records not yet safe",
        line={"color": "#6c3483", "shape": "hv"},
    )  # fmt: skip
    cell.line(
        x=x, y=pictures.oldest_unsafe_s, name="age of the oldest",
        line={"color": "#909497", "width": 1}, secondary_y=True,
    )  # fmt: skip
    cell.y_axis(title_text="records")
    cell.y_axis(title_text="s (flight)", secondary_y=True, showgrid=False)
