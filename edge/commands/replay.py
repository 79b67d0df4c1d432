"""`tailtwin-edge replay`: a recording through the real pipeline."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from edge.commands import Commands, command
from shared.errors import Rejected, Unreachable

if TYPE_CHECKING:
    from edge.config import Profile
    from edge.replay import Progress
    from shared.signals import SignalSet

PARTLY = 1  # exit code when some of the file could not be used
SHOWN_MAX = 24  # lines of one table on the terminal; the report has all


def add(commands: Commands) -> None:
    parser = command(
        commands, "replay", "run a recording through the real pipeline, as fast as it can",
        """
        tailtwin-edge replay flight.csv --signals set.toml
        tailtwin-edge replay qar.csv.gz --signals a320.toml --time-column UTC --time-unit iso \\
            --map ALT_STD=ALT --map GS=GS --report out.json
        tailtwin-edge replay flight.csv --profile acms.toml --outbox var/replayed
        """,
    )  # fmt: skip
    parser.add_argument("file", type=Path, help="the recording, CSV, may be gzip")
    parser.add_argument(
        "--signals", type=Path, metavar="FILE",
        help="its signal set, TOML (docs/signal-set.md); default: that of the profile",
    )  # fmt: skip
    parser.add_argument(
        "--profile", type=Path, metavar="FILE",
        help="a computer's profile: its gate rule and recording limits",
    )  # fmt: skip
    parser.add_argument("--report", type=Path, metavar="FILE", help="write everything as JSON")
    parser.add_argument(
        "--outbox", type=Path, metavar="DIR",
        help="keep the outbox in this new folder; default: a temporary one",
    )  # fmt: skip
    parser.add_argument("--time-column", default="t", metavar="NAME", help="default: t")
    parser.add_argument(
        "--time-unit", choices=("s", "ms", "us", "ns", "iso"), default="s",
        help="of the time column; iso is RFC 3339; default: s",
    )  # fmt: skip
    parser.add_argument(
        "--absolute",
        action="store_true",
        help="time counts from 1970-01-01; without this from 2026-01-01",
    )
    parser.add_argument(
        "--map", action="append", default=[], metavar="COLUMN=SIGNAL",
        help="bind a column; only columns given so are read; default: columns named like signals",
    )  # fmt: skip
    parser.set_defaults(act=_run)


def _run(args: argparse.Namespace) -> int:
    import logging

    import msgspec

    from edge.acquire.csvfile import CsvSource
    from edge.acquire.csvtable import TimeColumn
    from edge.replay import Replay
    from edge.replay_table import table
    from shared.log import setup

    setup("replay", "error")
    logging.disable(logging.WARNING)
    profile, signals = _settings(args)
    time_column = TimeColumn(args.time_column, args.time_unit, args.absolute)
    source = CsvSource(args.file, signals, time_column, _names(args.map))
    source.open(0.0)
    with ExitStack() as stack:
        stack.callback(source.close)
        if args.outbox is None:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="tailtwin-replay-")))
        else:
            folder = _new_folder(args.outbox)
        replay = Replay(
            signals, folder, gate=profile.gate if profile else None,
            recording=profile.recording if profile else None,
        )  # fmt: skip
        stack.callback(replay.close)
        start_s = time.monotonic()
        replay.run(source.slices(replay.chunk_s), _progress())
        elapsed_s = max(time.monotonic() - start_s, 1e-6)
        report = replay.report(args.file.name, elapsed_s, source.refused, source.problems)
    if not report.samples:
        why = report.problems[-1] if report.problems else "it has no rows"
        raise Rejected(f"nothing of it can be used: {why}", str(args.file), "see --help")
    if args.report is not None:
        _write(args.report, msgspec.json.format(msgspec.json.encode(report)))
    print(table(report, SHOWN_MAX))
    if args.outbox is not None:
        print(f"\noutbox: {report.outbox.path}")
    return PARTLY if report.refused else 0


def _settings(args: argparse.Namespace) -> tuple[Profile | None, SignalSet]:
    from edge.config import load_profile
    from shared.errors import ConfigError
    from shared.signals import load_signal_set

    if args.profile is None and args.signals is None:
        raise ConfigError("no signal set", "--signals", "name one; docs/signal-set.md says how")
    profile, signals = load_profile(args.profile) if args.profile else (None, None)
    if args.signals is not None:
        signals = load_signal_set(args.signals)
    assert signals is not None
    return profile, signals


def _names(maps: list[str]) -> dict[str, str] | None:
    names = {}
    for text in maps:
        column, equals, signal = text.rpartition("=")
        if not (column and equals and signal):
            raise Rejected(f"{text!r} is no mapping", "--map", "write COLUMN=SIGNAL")
        names[column] = signal
    return names or None


def _new_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise Rejected("is not empty", str(folder), "name a new folder for --outbox")
    except OSError as error:
        raise Unreachable(f"cannot use it: {error.strerror}", str(folder), "check it") from None
    return folder


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data + b"\n")
    except OSError as error:
        raise Unreachable(f"cannot write: {error.strerror}", str(path), "check it") from None


def _progress() -> Progress:
    """To the terminal only: a line that is written over."""
    if not sys.stderr.isatty():
        return lambda samples, seconds: None

    def say(samples: int, seconds: float) -> None:
        print(f"\r{samples:,} samples, {seconds / 60:,.0f} min of recording ", end="",
              file=sys.stderr, flush=True)  # fmt: skip

    return say
