"""The one-screen summary at the end of a run.

In: report.json. Out: what a person reads first.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hil.scorecard import closure_words
from hil.timeline import bundle_of, word

DETAIL_CHARS_MAX = 150


def print_summary(
    report: dict[str, Any], folder: Path, wall_s: float, console: Console | None = None
) -> None:
    """Print it; plain text without a terminal."""
    console = console or Console(width=None if Console().is_terminal else 140)
    scenario, edge, link = report["scenario"], report["edge"], report["link"]
    seen = report["comparison"]
    console.print()
    console.print(
        f"[bold]{scenario['name']}[/bold]  tail {report['tail']}, seed {scenario['seed']}, "
        f"{scenario['rate']:g} x real time, {wall_s:.0f} s of wall time",
        highlight=False,
    )
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column()
    if seen:
        facts.add_row(
            "samples",
            f"{seen['published']:,} published, {seen['in_lake']:,} in the lake, {seen['lost']} lost; "
            f"{seen['in_named_outages']:,} fell in named outages",
        )
    if report["alert_latency"]:
        told = report["alert_latency"]
        facts.add_row("alerts", f"{told['n']:,} measured; durable {told['durable_ms']} ms; "
                      f"handed to the link {told['handed_ms']} ms after the reading was sent")  # fmt: skip
    for flight in report["flights"]:
        if flight["records_made"] is None:
            continue  # a period that is still open: an orderly stop leaves one
        facts.add_row(
            flight["kind"],
            f"{flight['flight_id']}: {closure_words(flight['closure'])}, "
            f"{flight['records_in_ledger']} of {flight['records_made']} records",
        )
    for alike in _alike(report["updates"]):
        facts.add_row("update", _update(alike))
    facts.add_row(
        "edge",
        f"{edge['cpu_percent_of_one_core']} % of one core at {edge['speedup']:g} x, "
        f"{edge['msgs_per_s']} msg/s, peak {edge['rss_peak_mb']} MB with short-lived children, "
        f"{edge['storage_peak_mb']} MB on disk, {edge['overruns']} late ticks",
    )
    facts.add_row(
        "link", f"{link['bytes_up']:,} B up, {link['bytes_per_sample']} B a sample on the wire"
    )
    console.print(facts)
    console.print()
    checks = Table(box=None, pad_edge=False)
    checks.add_column("")
    checks.add_column("check", no_wrap=True)
    checks.add_column("what was seen", style="dim")
    for check in report["checks"]:
        mark = Text("ok", "green") if check["ok"] else Text("FAILED", "bold red")
        checks.add_row(mark, check["name"], _short(check["detail"]))
    console.print(checks, highlight=False)
    if report["budget"]:
        console.print()
        beside = Table(box=None, pad_edge=False)
        for column in ("beside the budget", "measured", "must", "aim"):
            beside.add_column(column)
        for row in report["budget"]:
            beside.add_row(row["what"], str(row["measured"]), row["must"], row["aim"])
        console.print(beside, highlight=False)
    failed = sum(not check["ok"] for check in report["checks"])
    verdict = "[bold green]every check holds[/]" if not failed else f"[bold red]{failed} failed[/]"
    console.print(f"\n{verdict}   {folder / 'report.html'}   {folder / 'report.json'}")


def _alike(updates: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Decisions one after the other that differ in their reasons only."""

    def key(update: dict[str, Any]) -> tuple[str, ...]:
        return update["phase"], bundle_of(update), update["decision"]

    return [list(found) for _, found in itertools.groupby(updates, key)]


def _update(alike: list[dict[str, Any]]) -> str:
    update = alike[0]
    more = len(update["reasons"]) - 1
    reasons = f": {update['reasons'][0]}" if update["reasons"] else ""
    reasons += f" (and {more} more)" if more > 0 else ""
    times = f" {len(alike)} times, at first" if len(alike) > 1 else ""
    return f"{update['phase']}: {bundle_of(update)} {word(update['decision'])}{times}{reasons}"


def _short(text: str) -> str:
    """Whole words of a detail; report.json has all of it."""
    if len(text) <= DETAIL_CHARS_MAX:
        return text
    return text[:DETAIL_CHARS_MAX].rpartition(" ")[0] + " …"
