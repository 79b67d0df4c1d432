"""The live view of a run: a table on a terminal, plain lines without one.

In: the newest `Sample` of the run log. Out: what a person wants to see while an aircraft flies.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hil.runlog import Sample

PLAIN_PERIOD_S = 5.0
NOTES_SHOWN = 16


class View:
    """`show` it each sample, `note` what the bench does."""

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._console = console or Console()
        self._title = title
        self.flight_s = 0.0
        """Length of what will be flown, once that is known."""
        self._notes: deque[str] = deque(maxlen=NOTES_SHOWN)
        self._live: Live | None = None
        self._plain_at_s = 0.0
        self._last: Sample | None = None

    def __enter__(self) -> View:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=5, transient=False)
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def note(self, text: str) -> None:
        """Something happened: kept in the table, printed at once without a terminal."""
        at = f"{_minutes(self._last.flight_s)}  " if self._last else ""
        self._notes.append(at + text)
        if self._live is None:
            print(f"* {at}{text}", file=sys.stdout, flush=True)
        else:
            self._live.update(self._table())

    def show(self, sample: Sample) -> None:
        """The newest sample."""
        self._last = sample
        if self._live is not None:
            self._live.update(self._table())
        elif time.monotonic() >= self._plain_at_s:
            self._plain_at_s = time.monotonic() + PLAIN_PERIOD_S
            print(_line(sample), flush=True)

    def _table(self) -> Group:
        sample = self._last
        if sample is None:
            return Group(*[Text(note) for note in self._notes])
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column(width=52, no_wrap=True, overflow="ellipsis")
        table.add_column(style="dim", width=11)
        table.add_column(width=32, no_wrap=True, overflow="ellipsis")
        edge = Text("recording", "green") if sample.alive else Text("DOWN (killed)", "bold red")
        gate = Text("open", "bold green") if sample.gate_open else Text("shut", "yellow")
        more = len(sample.gate_reasons) - 1
        why = f"  {sample.gate_reasons[0]}" if sample.gate_reasons and not sample.gate_open else ""
        why += f" (+{more} more)" if why and more > 0 else ""
        link = Text(sample.link, "red" if sample.link == "none" else "green")
        alerts = Text(", ".join(sample.alerts) or "none", "bold red" if sample.alerts else "green")
        table.add_row("phase", Text(sample.phase, "bold"), "edge", edge)
        table.add_row("gate", gate + Text(why, "dim"), "link", link)
        table.add_row("messages/s", f"{sample.messages_per_s:,.0f}", "edge CPU",
                      f"{sample.cpu_percent:.1f} % of one core")  # fmt: skip
        table.add_row("outbox", f"{sample.outbox_records:,} records, {sample.unsafe_records:,} "
                      "not yet safe",
                      "edge memory", f"{sample.rss_mb:.0f} MB, all processes")  # fmt: skip
        table.add_row("models", _models(sample), "not safe", _age(sample))
        table.add_row("alerts", alerts, "worker", sample.worker)
        done = ProgressBar(total=self.flight_s, completed=min(sample.flight_s, self.flight_s))
        notes = Text("\n".join(self._notes), "cyan")
        title = f"{self._title}  {_minutes(sample.flight_s)} of {_minutes(self.flight_s)}"
        return Group(Panel(Group(table, Text(), done), title=title, title_align="left"), notes)


def _line(sample: Sample) -> str:
    gate = "open" if sample.gate_open else "shut"
    state = sample.phase if sample.alive else "EDGE DOWN"
    return (
        f"{_minutes(sample.flight_s)}  {state:9} gate {gate}  link {sample.link:5} "
        f"{sample.messages_per_s:6.0f} msg/s  outbox {sample.unsafe_records:4} not safe, oldest "
        f"{_age(sample)}  alerts {', '.join(sample.alerts) or 'none'}  "
        f"CPU {sample.cpu_percent:4.1f} %  {sample.rss_mb:.0f} MB"
    )


def _models(sample: Sample) -> Text:
    """Name and version of each live bundle; those that are muted first."""
    named = [label.rsplit("-", 2) for label in sample.bundles]
    silent = [Text(f"{name} muted", "bold magenta") for name, *_ in named if name in sample.muted]
    others = [Text(" ".join(rest[:2])) for rest in named if rest[0] not in sample.muted]
    return Text(", ").join([*silent, *others]) if named else Text("none")


def _age(sample: Sample) -> str:
    return "-" if sample.oldest_unsafe_s is None else f"{sample.oldest_unsafe_s:.0f} s"


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
