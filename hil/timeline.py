"""The gate timeline: when the update gate was open, and what was decided of updates, each with why.

In: `Pictures` of each flight and the update decisions of report.json. Out: HTML: a plotly figure,
one row a flight, and a table of every decision under the same numbers.
Always holds: each decision that the ground has is in the table, those without event time too.
"""

from __future__ import annotations

import html
import itertools
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hil.figure import PHASE_COLOURS, Pictures
from hil.groundapi import to_ns

LANES = (
    "refused", "deferred", "due", "failed", "fetched", "accepted", "unchanged", "activated",
    "muted", "rolled_back", "passed",
)  # fmt: skip
"""From bottom to top; decisions of other names follow. Those that nobody took have no lane."""
WORDS = {"rolled_back": "swapped back", "due": "to go back"}
COLOURS = {
    "refused": "#c0392b", "failed": "#c0392b", "muted": "#8e44ad", "activated": "#1e8449",
    "passed": "#1e8449", "rolled_back": "#2471a3", "fetched": "#7f8c8d",
}  # fmt: skip
OTHER_COLOUR = "#b9770e"
OPEN_COLOUR = "#58d68d"
NAMED_SHARE = 0.05  # of a flight; a shorter phase has no room for its name
ROW_PX, LANE_PX = 90, 24
REASONS_SHOWN = 2
_STRAIGHT = ' style="white-space:nowrap"'


def timeline(flights: list[Pictures], updates: list[dict[str, Any]]) -> str:
    """updates: oldest first, as in report.json."""
    if not updates:
        return "<p>Nothing was decided of any update.</p>"
    numbered = list(enumerate(updates, 1))
    figure = _figure([f for f in flights if f.t_outbox_ns], numbered)
    plot = figure.to_html(
        full_html=False, include_plotlyjs=False,
        config={"displaylogo": False, "displayModeBar": False},
    )  # fmt: skip
    return f"{plot}\n{_table(numbered)}"


def bundle_of(update: dict[str, Any]) -> str:
    """What a decision is about, for people: a bundle, else the set, by its bundles or its id."""
    offered = str(update["bundle"]).rpartition("/")[2].removesuffix(".tar.zst")
    named = update["name"] if update["step"] == "probation" else ""
    return str(offered or named or update["bundles"] or update["set"] or "what is directed")


def word(decision: str) -> str:
    """A decision for people."""
    return WORDS.get(decision, decision.replace("_", " "))


def _figure(flights: list[Pictures], numbered: list[tuple[int, dict[str, Any]]]) -> go.Figure:
    taken = {u["decision"] for _, u in numbered}
    lanes = [x for x in LANES if x in taken] + sorted(taken - set(LANES))
    figure = make_subplots(
        max(1, len(flights)), 1, vertical_spacing=0.16,
        subplot_titles=[f.name or "no flight" for f in flights],
    )  # fmt: skip
    for row, pictures in enumerate(flights, 1):
        _row(figure, row, pictures, numbered, lanes)
    figure.update_layout(
        height=max(1, len(flights)) * (ROW_PX + LANE_PX * (len(lanes) + 1)), hovermode="closest",
        template="plotly_white", showlegend=False, margin={"l": 110, "r": 30, "t": 40, "b": 50},
    )  # fmt: skip
    return figure


def _row(
    figure: go.Figure, row: int, pictures: Pictures, numbered: list[tuple[int, dict[str, Any]]],
    lanes: list[str],
) -> None:  # fmt: skip
    end_ns = pictures.t_outbox_ns[-1]

    def minutes(t_ns: int) -> float:
        return (t_ns - pictures.t0_ns) / 6e10

    top = len(lanes)
    strip = {"row": row, "col": 1, "line_width": 0, "layer": "below"}
    phases = [*pictures.phases, (end_ns, "")]
    for (start, phase), (end, _) in itertools.pairwise(phases):
        figure.add_shape(type="rect", x0=minutes(start), x1=minutes(end), y0=top - 0.4, y1=top + 0.4,
                         fillcolor=PHASE_COLOURS.get(phase, "#eee"), **strip)  # fmt: skip
        if end - start > NAMED_SHARE * (end_ns - pictures.t0_ns):
            figure.add_annotation(x=minutes((start + end) // 2), y=top, text=phase, row=row, col=1,
                                  showarrow=False, font_size=10)  # fmt: skip
    spans = _open_spans(pictures, end_ns)
    for start, end in spans:
        figure.add_shape(type="rect", x0=minutes(start), x1=minutes(end), y0=-0.6, y1=top - 0.5,
                         fillcolor=OPEN_COLOUR, opacity=0.35, **strip)  # fmt: skip
    _why_shut(figure, row, pictures, minutes)
    _marks(figure, row, pictures, end_ns, numbered, lanes, minutes)
    figure.update_yaxes(tickvals=list(range(top + 1)), range=[-0.7, top + 0.6], row=row, col=1,
                        ticktext=[*map(word, lanes), "phase"])  # fmt: skip
    figure.update_xaxes(title_text="minutes since the first reading; green: the gate is open",
                        range=[0, minutes(end_ns)], row=row, col=1)  # fmt: skip


def _open_spans(pictures: Pictures, end_ns: int) -> list[tuple[int, int]]:
    looks = sorted(
        [*((t, is_open) for t, is_open, _ in pictures.gate),
         *((start, False) for start, _ in pictures.downs), (end_ns, False)]
    )  # fmt: skip
    return [(a, b) for (a, is_open), (b, _) in itertools.pairwise(looks) if is_open]


def _why_shut(figure: go.Figure, row: int, pictures: Pictures, minutes: Any) -> None:
    """At the foot, what the gate said each time it opened or shut; on hover."""
    figure.add_trace(go.Scatter(
        x=[minutes(t) for t, _, _ in pictures.gate], y=[-0.6] * len(pictures.gate), mode="markers",
        marker={"symbol": "line-ns", "size": 6, "line": {"width": 1, "color": "#555"}},
        text=["the gate is open" if is_open else f"the gate is shut<br>{why}"
              for _, is_open, why in pictures.gate],
        hovertemplate="%{text}<extra></extra>",
    ), row=row, col=1)  # fmt: skip


def _marks(
    figure: go.Figure, row: int, pictures: Pictures, end_ns: int,
    numbered: list[tuple[int, dict[str, Any]]], lanes: list[str], minutes: Any,
) -> None:  # fmt: skip
    here = [
        (number, to_ns(u["t"]), u) for number, u in numbered
        if u["t"] and pictures.t0_ns <= to_ns(u["t"]) <= end_ns
    ]  # fmt: skip
    figure.add_trace(go.Scatter(
        x=[minutes(t_ns) for _, t_ns, _ in here],
        y=[lanes.index(u["decision"]) for _, _, u in here],
        text=[str(number) for number, _, _ in here], textposition="middle right",
        textfont={"size": 10}, mode="markers+text",
        marker={"size": 10, "symbol": "diamond",
                "color": [COLOURS.get(u["decision"], OTHER_COLOUR) for _, _, u in here]},
        customdata=[_hover(number, u) for number, _, u in here],
        hovertemplate="%{customdata}<extra></extra>",
    ), row=row, col=1)  # fmt: skip


def _hover(number: int, update: dict[str, Any]) -> str:
    reasons = "<br>".join(html.escape(r) for r in update["reasons"])
    return (f"{number}. {html.escape(bundle_of(update))}: {word(update['decision'])} at "
            f"{update['step']}, {update['phase']}<br>{reasons}")  # fmt: skip


def _table(numbered: list[tuple[int, dict[str, Any]]]) -> str:
    head = ("", "event time", "phase", "what", "set", "by", "step", "decision", "reasons")
    rows = []
    for number, u in numbered:
        time = f"{u['t'][5:10]} {u['t'][11:19]}" if u["t"] else "-"
        cells = (str(number), time, u["phase"], bundle_of(u), u["set"] or "", _who(u),
                 u["step"] or "", word(u["decision"]))  # fmt: skip
        rows.append(
            "<tr>" + "".join(f"<td{_STRAIGHT}>{html.escape(str(c))}</td>" for c in cells)
            + f"<td>{_reasons(u)}{_gate(u)}</td></tr>"
        )  # fmt: skip
    heads = "".join(f"<th>{h}</th>" for h in head)
    return f"<table><tr>{heads}</tr>{''.join(rows)}</table>"


def _who(update: dict[str, Any]) -> str:
    return " ".join(filter(None, (update["origin"], update["by"])))


def _reasons(update: dict[str, Any]) -> str:
    """The first ones; the others folded away."""
    said = [html.escape(reason) for reason in update["reasons"]]
    shown, more = "; ".join(said[:REASONS_SHOWN]), said[REASONS_SHOWN:]
    if not more:
        return shown
    rest = "; ".join(more)
    return f"{shown}<details><summary>and {len(more)} more reasons</summary>{rest}</details>"


def _gate(update: dict[str, Any]) -> str:
    """What the gate looked at, folded away."""
    if not update["gate"]:
        return ""
    seen = html.escape(update["inputs"] or "nothing was ever heard")
    return f"<details><summary>gate {update['gate']}: what it saw</summary>{seen}</details>"
