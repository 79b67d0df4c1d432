"""`tailtwin-ground import`: take an export that came by hand, and say what became of it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ground.commands import Commands, command
from ground.config import Paths, load_config

if TYPE_CHECKING:
    from ground.ingest.carried import Carried


def add(commands: Commands) -> None:
    parser = command(
        commands, "import", "take what `tailtwin-edge export` wrote; ingest must not run",
        "tailtwin-ground import --state var/ground /mnt/stick/B737-28001-20261121T060000Z.ttx",
    )  # fmt: skip
    parser.add_argument("file", type=Path, metavar="FILE.ttx")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    from ground.app import only_one

    paths = Paths(args.state)
    load_config(paths)
    with only_one(paths, "ingest"):
        carried = _take(paths, args.file)
    _print(carried, as_json=args.json)
    return 0


def _take(paths: Paths, file: Path) -> Carried:
    from ground.database import open_writer
    from ground.ingest.carried import take_export
    from ground.ingest.closing import Closing
    from ground.ingest.ledger import Ledger
    from ground.ingest.segments import SegmentReader, Segments
    from ground.twins.control import Control
    from shared.clock import SystemClock
    from shared.identity import Signer

    config, clock = load_config(paths), SystemClock()
    control = Control.open(paths.control)
    segments = Segments(paths.segments, config.ingest.segment_bytes_max)
    engine = open_writer(paths.ledger)
    try:
        ledger = Ledger(engine, segments, SegmentReader(paths.segments), clock)
        closing = Closing(ledger, Signer.load(paths.key), config.operator, clock, 0)
        return take_export(
            file, paths.state, config.operator, control.device_keys(), ledger, closing
        )
    finally:
        segments.close()
        engine.dispose()


def _print(carried: Carried, *, as_json: bool) -> None:
    from ground.lake.records import iso

    made, closed = carried.manifest, {one.flight: one.state for one in carried.closures}
    counts = {name: count for name, count in carried.counts.items() if count}
    if as_json:
        print(json.dumps({"tail": made.tail, "selection": made.selection, **counts,
                          "closures": closed}, indent=1))  # fmt: skip
        return
    print(f"{made.tail}, made {iso(made.t_made_ns)}: {made.selection or 'everything'}")
    for name, count in sorted(counts.items()):
        print(f"  {name.replace('_', ' '):20} {count:8,}")
    if counts.get("journal_entries"):
        print("  journal entries are not taken: the aircraft seals them into blocks itself")
    for flight, state in closed.items():
        print(f"  {flight} is {state}")
