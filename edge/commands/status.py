"""`tailtwin-edge status`: how the edge is, and where the data is."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edge.commands import Commands, add_state, command, printable

if TYPE_CHECKING:
    from edge.health import Status

STALE_S = 5.0  # the daemon writes twice a second; ten in a row are missing
NOT_RUNNING = 69  # EX_UNAVAILABLE of sysexits.h
WATCH_S = 1.0
WIDTH = 16


def add(commands: Commands) -> None:
    parser = command(
        commands, "status", "say how the edge is and where its data is",
        """tailtwin-edge status --state /var/lib/tailtwin
        tailtwin-edge status --state /var/lib/tailtwin --json
        tailtwin-edge status --state /var/lib/tailtwin --watch""",
    )  # fmt: skip
    add_state(parser)
    parser.add_argument("--json", action="store_true", help="the whole status, for programs")
    parser.add_argument("--watch", action="store_true", help="again every second, until Ctrl-C")
    parser.set_defaults(act=_run)


def _run(args: argparse.Namespace) -> int:
    while True:
        code = _once(args.state, as_json=args.json, clear=args.watch and sys.stdout.isatty())
        if not args.watch:
            return code
        time.sleep(WATCH_S)


def _once(state: Path, *, as_json: bool, clear: bool) -> int:
    from edge.health import read_status

    path = state / "status.json"
    status = read_status(path)
    if status is None:
        print(f"{path}: no status: is this the state folder, and has the edge ever run here?",
              file=sys.stderr)  # fmt: skip
        return NOT_RUNNING
    age_s = age_of(status, time.time_ns(), time.monotonic_ns())
    needed = _needed(state)
    if as_json:
        print(to_json(status, age_s, needed))
    else:
        table = "\n".join(map(printable, (*lines(status, age_s), *_needs(needed))))
        print("\033[2J\033[H" * clear + table, flush=True)
    return 0 if age_s <= STALE_S else NOT_RUNNING


def age_of(status: Status, wall_ns: int, mono_ns: int) -> float:
    """How old a status is, s: by whichever clock says more."""
    by_mono_s, by_wall_s = (mono_ns - status.mono_ns) / 1e9, (wall_ns - status.wall_ns) / 1e9
    if by_mono_s < 0:
        return max(by_wall_s, 2 * STALE_S)  # of another boot
    # a clock that was set shows in the next status, half a second later
    return max(by_mono_s, by_wall_s)


def _needed(state: Path) -> tuple[str, ...]:
    """What stands against updates although the gate were open; nothing where none were ever set
    up."""
    from edge.update.needed import what_is_needed
    from edge.updating import trust_folder

    trust = trust_folder(state)
    return what_is_needed(trust, time.time_ns()) if trust.is_dir() else ()


def _needs(needed: tuple[str, ...]) -> Iterator[str]:
    if needed:
        yield from ("", "BEFORE THE NEXT UPDATE", *(f"- {text}" for text in needed))


def to_json(status: Status, age_s: float, needed: tuple[str, ...] = ()) -> str:
    """The status, its age, whether the daemon runs, and what the next update needs."""
    import msgspec

    whole = msgspec.to_builtins(status) | {
        "age_s": round(age_s, 3), "is_running": age_s <= STALE_S, "updates_need": list(needed),
    }  # fmt: skip
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode()


def lines(status: Status, age_s: float) -> Iterator[str]:
    """The table, for people."""
    if age_s > STALE_S:
        how = "was stopped" if status.is_stopping else "does not run, or hangs"
        yield f"STALE: the edge {how}; this is how it was {duration(age_s)} ago"
        yield ""
    for title, text in _rows(status):
        first, *more = text if isinstance(text, list) else [text]
        yield f"{title:{WIDTH}}{first}".rstrip()
        yield from (f"{'':{WIDTH}}{line}" for line in more)


def _rows(s: Status) -> Iterator[tuple[str, str | list[str]]]:
    yield "tail", f"{s.tail}   boot {s.boot}   epoch {s.epoch}   pid {s.pid}"
    yield "phase", f"{s.phase} ({s.confidence} confidence)"
    yield "flight", s.flight or "none yet"
    yield "gate", "open" if s.gate_open else ["shut", *(f"- {why}" for why in s.gate_reasons)]
    yield "bus", _bus(s)
    yield "link", _link(s)
    yield "models", _models(s)
    yield "alerts", list(s.alerts) or "none stands"
    if s.updates_pending:
        yield "updates wait", [target or "what is directed" for target in s.updates_pending]
    yield from _budget(s)
    if s.late:
        yield "TASKS LATE", [f"{name}: no heartbeat for {x:.0f} s" for name, x in s.late.items()]
    yield "", ""
    yield "WHERE IS MY DATA", ""
    yield from _data(s)


def _bus(s: Status) -> str:
    refused = sum(s.refused.values())
    text = f"{s.messages_per_s:,.0f} messages/s, longest tick {s.tick_ms_max:.1f} ms"
    text += f", {refused:,} refused" if refused else ""
    return text if s.bus_open else f"NOT ALL OPEN; {text}"


def _link(s: Status) -> str:
    if s.link == "none":
        return f"none{f' ({s.link_why})' if s.link_why else ''}"
    rate = s.backlog.link_bytes_per_s
    return s.link if rate is None else f"{s.link}, {size(rate)}/s up"


def _models(s: Status) -> list[str]:
    head = f"worker {s.worker}" + (f", slot {s.slot}" if s.slot else "")
    head += f", set {s.set_id}" if s.set_id else ""
    muted = [f"MUTED {name}: {why}" for name, why in s.muted.items()]
    probation = [f"on probation: {s.probation}"] if s.probation else []
    return [head, *s.bundles, *muted, *probation]


def _budget(s: Status) -> Iterator[tuple[str, str | list[str]]]:
    units = {"cpu": "% of one core", "memory": "MB", "storage": "MB", "lag": "ms"}
    for name, value in s.governor.measured.items():
        bound, peak = s.governor.budget.get(name), s.governor.peak.get(name, value)
        of = "not judged here" if bound is None else f"of {bound:g}, {value / bound:.0%}"
        yield name, f"{value:.1f} {units[name]} ({of}; peak {peak:.1f})"
    shed = " ".join(s.governor.shed) or "nothing is shed"
    more = "; OVER BUDGET, nothing left to shed" if s.governor.is_exhausted else ""
    yield "governor", f"level {s.governor.level}: {shed}{more}"


def _data(s: Status) -> Iterator[tuple[str, str | list[str]]]:
    backlog = s.backlog
    oldest = min(
        ((w.oldest_event_ns, cls) for cls, w in backlog.unsafe.items() if w.oldest_event_ns),
        default=None,
    )
    if not backlog.unsafe:
        yield "not safe yet", "nothing: the ground has all of it"
    else:
        records = sum(w.records for w in backlog.unsafe.values())
        yield "not safe yet", [
            f"{records:,} records, {size(backlog.bytes_left)}",
            *(f"{cls:10}{w.records:>9,} records {size(w.bytes):>10}"
              for cls, w in backlog.unsafe.items()),
        ]  # fmt: skip
    if oldest is not None:
        age_s = max(0.0, (s.t_event_ns - oldest[0]) / 1e9)
        yield "oldest", f"{duration(age_s)} old, class {oldest[1]}"
    yield "all safe in", _expected(s)
    yield "outbox", f"{size(s.outbox_bytes)} of {size(s.outbox_bytes_max)}"
    comes = backlog.appended_bytes_per_s
    if backlog.hours_left is None or comes is None:
        yield "room", "not known yet"
    else:
        yield (
            "room",
            (
                f"{backlog.hours_left:,.0f} h at {size(comes)}/s, without any link, "
                "before something not safe is dropped"
            ),
        )


def _expected(s: Status) -> str:
    if not s.backlog.unsafe:
        return "now"
    if s.link == "none":
        return "not known: there is no link"
    seconds = s.backlog.seconds_to_safe
    if seconds is None:
        return "not known: the link is not faster than what is recorded"
    return f"about {duration(seconds)}"


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
