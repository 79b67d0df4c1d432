"""report.html: the run as pictures, in one file that needs no network.

In: `Pictures`, plain series already fetched from the ground, and report.json. Out: HTML.
"""

from __future__ import annotations

import html
import itertools
from dataclasses import dataclass, field
from pathlib import Path
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


@dataclass(slots=True)
class Pictures:
    """What is drawn. Times in ns of event time."""

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
    updates: list[tuple[int, str, str, str]] = field(default_factory=list)
    """(time, bundle, decision, reasons)."""
    alerts: list[tuple[int, str]] = field(default_factory=list)
    t0_ns: int = 0


def write_report(path: Path, report: dict[str, Any], pictures: Pictures) -> None:
    """Write the whole page to `path`."""
    figure = _figure(pictures)
    plot = figure.to_html(
        full_html=False,
        include_plotlyjs=True,
        config={"displaylogo": False, "displayModeBar": False},
    )
    path.write_text(
        _PAGE.format(
            title=html.escape(str(report["scenario"]["name"])),
            verdict=_verdict(report),
            summary=_summary(report),
            checks=_checks(report),
            plot=plot,
            updates=_updates(report),
            closures=_closures(report),
            limits=_limits(report),
        )
    )


def _figure(pictures: Pictures) -> go.Figure:
    titles = ["Pressure altitude and phase"]
    titles += [f"EGT of engine {i + 1} ({e.esn})" for i, e in enumerate(pictures.engines)]
    titles += ["EGT deviation: measured minus baseline", "Outbox", "Gate and updates"]
    rows = len(titles)
    figure = make_subplots(
        rows,
        1,
        shared_xaxes=True,
        vertical_spacing=0.035,
        subplot_titles=titles,
        row_heights=[1.2] + [1.0] * len(pictures.engines) + [0.9, 0.9, 0.7],
        specs=[[{"secondary_y": True}] for _ in titles],
    )
    minutes = _Minutes(pictures.t0_ns)
    _altitude(figure, pictures, minutes)
    for i, engine in enumerate(pictures.engines):
        _egt(figure, engine, minutes, 2 + i)
    deviation_row = 2 + len(pictures.engines)
    _deviation(figure, pictures, minutes, deviation_row)
    _outbox(figure, pictures, minutes, deviation_row + 1)
    _gate(figure, pictures, minutes, deviation_row + 2)
    for start, end, name in pictures.cuts:
        figure.add_vrect(
            x0=minutes(start), x1=minutes(end), fillcolor=LINK_CUT, line_width=0, row="all", col=1
        )
        figure.add_annotation(
            x=(minutes(start) + minutes(end)) / 2,
            y=1.0,
            yref="y domain",
            text=f"{name} link cut",
            showarrow=False,
            font_size=10,
        )
    for start, end in pictures.downs:
        figure.add_vrect(
            x0=minutes(start), x1=minutes(end), fillcolor=DOWN, line_width=0, row="all", col=1
        )
        figure.add_annotation(
            x=minutes(end),
            y=0.85,
            yref="y domain",
            text="edge killed",
            showarrow=False,
            font_size=10,
            xanchor="left",
        )
    figure.update_xaxes(title_text="minutes since the first reading", row=rows, col=1)
    figure.update_layout(
        height=290 * rows,
        template="plotly_white",
        hovermode="x",
        margin={"l": 70, "r": 70, "t": 130, "b": 50},
        legend={"orientation": "h", "yref": "container", "y": 0.995, "yanchor": "top"},
    )
    return figure


class _Minutes:
    """Event time as minutes since the start of the run."""

    def __init__(self, t0_ns: int) -> None:
        self._t0_ns = t0_ns

    def __call__(self, t_ns: int) -> float:
        return (t_ns - self._t0_ns) / 6e10

    def all(self, times: list[int]) -> list[float]:
        return [self(t) for t in times]


def _altitude(figure: go.Figure, pictures: Pictures, minutes: _Minutes) -> None:
    figure.add_trace(
        go.Scatter(
            x=minutes.all(pictures.t_altitude_ns),
            y=pictures.altitude_ft,
            name="altitude",
            line={"color": "#1f4e79"},
        ),
        1,
        1,
    )
    changes = [*pictures.phases, (pictures.t_outbox_ns[-1] if pictures.t_outbox_ns else 0, "")]
    for (start, phase), (end, _) in itertools.pairwise(changes):
        figure.add_vrect(
            x0=minutes(start),
            x1=minutes(end),
            opacity=0.55,
            line_width=0,
            row=1,
            col=1,
            fillcolor=PHASE_COLOURS.get(phase, "#eeeeee"),
            layer="below",
        )
        if end - start > 90e9:
            figure.add_annotation(
                x=(minutes(start) + minutes(end)) / 2,
                y=0.03,
                yref="y domain",
                text=phase,
                showarrow=False,
                font_size=10,
                textangle=0,
            )
    figure.update_yaxes(title_text="ft", row=1, col=1, secondary_y=False)


def _egt(figure: go.Figure, engine: EngineSeries, minutes: _Minutes, row: int) -> None:
    first = row == 2
    figure.add_trace(
        go.Scatter(
            x=minutes.all(engine.t_measured_ns),
            y=engine.measured,
            name="EGT measured",
            line={"color": "#c0392b", "width": 1.2},
            legendgroup="m",
            showlegend=first,
        ),
        row,
        1,
    )
    figure.add_trace(
        go.Scatter(
            x=minutes.all(engine.t_predicted_ns),
            y=engine.predicted,
            name="EGT predicted aboard",
            legendgroup="p",
            showlegend=first,
            line={"color": "#2471a3", "width": 1.6, "dash": "dot"},
        ),
        row,
        1,
    )
    figure.update_yaxes(title_text="°C", row=row, col=1, secondary_y=False)


def _deviation(figure: go.Figure, pictures: Pictures, minutes: _Minutes, row: int) -> None:
    for i, engine in enumerate(pictures.engines):
        figure.add_trace(
            go.Scatter(
                x=minutes.all(engine.t_predicted_ns),
                y=engine.deviation,
                name=f"deviation, engine {i + 1}",
                line={"color": ["#1e8449", "#b9770e"][i % 2]},
            ),
            row,
            1,
        )
    if pictures.onset_k is not None:
        figure.add_hline(
            y=pictures.onset_k,
            line_dash="dash",
            line_color="#c0392b",
            row=row,
            col=1,
            annotation_text="alert onset",
            annotation_font_size=10,
        )
    for t_ns, name in pictures.alerts:
        figure.add_vline(
            x=minutes(t_ns),
            line_color="#c0392b",
            line_width=1,
            row=row,
            col=1,
            annotation_text=name,
            annotation_font_size=10,
        )
    figure.update_yaxes(title_text="K", row=row, col=1, secondary_y=False)


def _outbox(figure: go.Figure, pictures: Pictures, minutes: _Minutes, row: int) -> None:
    x = minutes.all(pictures.t_outbox_ns)
    figure.add_trace(
        go.Scatter(
            x=x,
            y=pictures.unsafe_records,
            name="records not yet safe",
            line={"color": "#6c3483", "shape": "hv"},
        ),
        row,
        1,
    )
    figure.add_trace(
        go.Scatter(
            x=x,
            y=pictures.oldest_unsafe_s,
            name="age of the oldest",
            line={"color": "#909497", "width": 1},
        ),
        row,
        1,
        secondary_y=True,
    )
    figure.update_yaxes(title_text="records", row=row, col=1, secondary_y=False)
    figure.update_yaxes(title_text="s (flight)", row=row, col=1, secondary_y=True, showgrid=False)


def _gate(figure: go.Figure, pictures: Pictures, minutes: _Minutes, row: int) -> None:
    figure.add_trace(
        go.Scatter(
            x=[minutes(t) for t, _, _ in pictures.gate],
            y=[int(is_open) for _, is_open, _ in pictures.gate],
            text=[why for _, _, why in pictures.gate],
            name="gate",
            line={"color": "#117a65", "shape": "hv"},
            fill="tozeroy",
            hovertemplate="%{y}: %{text}",
        ),
        row,
        1,
    )
    colours = {"activated": "#1e8449", "refused": "#c0392b", "failed": "#c0392b"}
    figure.add_trace(
        go.Scatter(
            x=[minutes(t) for t, *_ in pictures.updates],
            y=[0.5] * len(pictures.updates),
            text=_labels(pictures.updates),
            customdata=[
                f"{bundle}: {decision}<br>{reasons}"
                for _, bundle, decision, reasons in pictures.updates
            ],
            mode="markers+text",
            textposition="top center",
            name="update attempts",
            marker={
                "size": 11,
                "symbol": "diamond",
                "color": [colours.get(d, "#b9770e") for _, _, d, _ in pictures.updates],
            },
            hovertemplate="%{customdata}",
        ),
        row,
        1,
    )
    figure.update_yaxes(
        tickvals=[0, 1],
        ticktext=["shut", "open"],
        range=[-0.1, 1.25],
        row=row,
        col=1,
        secondary_y=False,
    )


def _labels(updates: list[tuple[int, str, str, str]]) -> list[str]:
    """The decision beside each mark; of those within a minute of each other only the last."""
    order = sorted(range(len(updates)), key=lambda i: updates[i][0])
    labels = [""] * len(updates)
    for i, later in itertools.zip_longest(order, order[1:]):
        if later is None or updates[later][0] - updates[i][0] > 60e9:
            labels[i] = updates[i][2]
    return labels


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = "".join(f"<th>{html.escape(h)}</th>" for h in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{cells}</tr>{body}</table>"


def _summary(report: dict[str, Any]) -> str:
    edge, link = report["edge"], report["link"]
    flights = [f for f in report["flights"] if f["kind"] == "flight"] or report["flights"]
    rows = [
        ["tail", report["tail"]],
        ["flight", ", ".join(f["flight_id"] for f in flights)],
        [
            "samples of the flight: published / in the lake / in named outages",
            " + ".join(
                f"{_n(f['samples_published'])} / {_n(f['samples_in_lake'])} / "
                f"{_n(f['samples_in_outages'])}"
                for f in flights
            ),
        ],
        ["lost outside the named outage", str(sum(f["lost"] for f in report["flights"]))],
        ["alerts", ", ".join(a["name"] for f in report["flights"] for a in f["alerts"]) or "none"],
        [
            "edge",
            f"{edge['cpu_percent_of_one_core']} % of one core, peak {edge['rss_peak_mb']} MB "
            f"over all its processes, at {edge['speedup']} × real time",
        ],
        ["link", f"{link['bytes_up']:,} bytes up, {link['bytes_per_sample']} a sample"],
    ]
    return _table(["", ""], rows)


def _n(count: int | None) -> str:
    """A count, or a dash where nobody counted."""
    return "-" if count is None else f"{count:,}"


def _verdict(report: dict[str, Any]) -> str:
    failed = [check["name"] for check in report["checks"] if not check["ok"]]
    if failed:
        return f"<b>{len(failed)} failed:</b> {html.escape('; '.join(failed))}"
    return "<b>Every check holds.</b>"


def _checks(report: dict[str, Any]) -> str:
    rows = [["ok" if c["ok"] else "FAILED", c["name"], c["detail"]] for c in report["checks"]]
    return _table(["", "check", "detail"], rows)


def _updates(report: dict[str, Any]) -> str:
    rows = [
        [
            u["t"][:19] + "Z",
            u["bundle"].rpartition("/")[2],
            u["phase"],
            u["decision"],
            "; ".join(u["reasons"]),
        ]
        for u in report["updates"]
    ]
    return _table(["event time", "bundle", "phase", "decision", "reasons"], rows)


def _closures(report: dict[str, Any]) -> str:
    rows = []
    for flight in report["flights"]:
        closure = flight["closure"] or {"state": "none", "gaps": []}
        gaps = "; ".join(
            f"{g['name']} {g['missing']} readings ({g['cause']})"
            if g["kind"] == "outage"
            else f"{g['name']} [{g['low']}, {g['high']})"
            for g in closure["gaps"]
        )
        rows.append(
            [
                flight["flight_id"],
                closure["state"],
                flight["records_made"],
                flight["records_in_ledger"],
                gaps,
            ]
        )
    return _table(["period", "closure", "records made", "in the ledger", "gaps"], rows)


def _limits(report: dict[str, Any]) -> str:
    return "".join(f"<li>{html.escape(text)}</li>" for text in report.get("remarks", []))


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>TailTwin: {title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; color: #222;
padding: 0 1rem; }}
table {{ border-collapse: collapse; margin: .6rem 0 1.4rem; font-size: 13.5px; }}
td:first-child {{ white-space: nowrap; }}
td, th {{ padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: left;
vertical-align: top; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
</style>
<h1>TailTwin run: {title}</h1>
<p>{verdict}</p>
{summary}
<h2>What was recorded, sent and seen</h2>
{plot}
<h2>Checks</h2>{checks}
<h2>Updates</h2>{updates}
<h2>Closures</h2>{closures}
<h2>Remarks</h2><ul>{limits}</ul>
</html>
"""
