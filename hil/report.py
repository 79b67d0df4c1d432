"""report.html: the run as pictures, in one file that needs no network.

In: `Pictures` of each flight, plain series already fetched from the ground, and report.json.
Out: HTML.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from hil.figure import Pictures, figure_of
from hil.timeline import timeline


def write_report(path: Path, report: dict[str, Any], flights: list[Pictures]) -> None:
    """Write the whole page to `path`."""
    figure = figure_of(flights)
    plot = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        config={"displaylogo": False, "displayModeBar": False},
    )
    path.write_text(
        _PAGE.format(
            title=html.escape(str(report["scenario"]["name"])),
            plotly=get_plotlyjs(),
            verdict=_verdict(report),
            summary=_summary(report),
            width=1200 if len(flights) == 1 else 1640,
            explained=_explained(report),
            checks=_checks(report),
            plot=plot,
            updates=timeline(flights, report["updates"]),
            closures=_closures(report),
            limits=_limits(report),
        )
    )


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


def _explained(report: dict[str, Any]) -> str:
    """What the ground made of each flight: verdicts, then model errors, flights as columns."""
    told = [f for f in report["flights"] if f["reconciliation"]]
    if not told:
        return ""
    rows = [
        [flight["flight_id"], esn, verdict["kind"].replace("_", " "), verdict["text"],
         verdict["advice"]]
        for flight in told
        for esn, verdict in flight["reconciliation"]["engines"].items()
    ]  # fmt: skip
    errors = [
        [flight["flight_id"], name, f"{e['rms']:.2f}", f"{e['mean']:+.2f}", f"{e['max_abs']:.2f}",
         e["unit"], _n(e["n"])]
        for flight in told
        for name, e in flight["reconciliation"]["models"].items()
    ]  # fmt: skip
    return (
        "<h2>What the ground made of it</h2>"
        + _table(["flight", "engine", "verdict", "in words", "what to do"], rows)
        + "<p>Model error, aboard minus full fidelity with this engine's baseline, steady rows:</p>"
        + _table(["flight", "model, output, engine", "rms", "mean", "largest", "unit", "n"], errors)
    )


def _checks(report: dict[str, Any]) -> str:
    rows = [["ok" if c["ok"] else "FAILED", c["name"], c["detail"]] for c in report["checks"]]
    return _table(["", "check", "detail"], rows)


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
<script>{plotly}</script>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: {width}px; color: #222;
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
{explained}
<h2>Update gate and decisions</h2>
<p>Every decision aboard is a chained audit record; this is what the ground has of them.</p>
{updates}
<h2>What was recorded, sent and seen</h2>
{plot}
<h2>Checks</h2>{checks}
<h2>Closures</h2>{closures}
<h2>Remarks</h2><ul>{limits}</ul>
</html>
"""
