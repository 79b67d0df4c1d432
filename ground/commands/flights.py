"""`tailtwin-ground flights`: one line a period."""

from __future__ import annotations

import argparse
import json

from ground.commands import Commands, command, second
from ground.config import Paths


def add(commands: Commands) -> None:
    parser = command(
        commands, "flights", "list flights and ground periods",
        "tailtwin-ground flights --state var/ground --tail B737-28001",
    )  # fmt: skip
    parser.add_argument("--tail", default="", help="of this tail only")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    import msgspec

    from ground.database import open_reader
    from ground.ingest.segments import SegmentReader
    from ground.lake.records import Records
    from shared.topics import check_identifier

    paths = Paths(args.state)
    if args.tail:
        check_identifier(args.tail, "--tail")
    rows = Records(open_reader(paths.ledger), SegmentReader(paths.segments)).flights(args.tail)
    rows.sort(key=lambda row: row.t_last_ns, reverse=True)
    if args.json:
        print(json.dumps([msgspec.structs.asdict(row) for row in rows], indent=1))
        return 0
    print(f"{'flight':32} {'kind':6} {'state':9} {'rev':>3} {'records':>8} {'missing':>7}  "
          f"{'opened':20} {'closed':20}")  # fmt: skip
    for row in rows:
        print(f"{row.flight:32} {row.kind:6} {row.state:9} {row.revision:3d} {row.records:8d} "
              f"{row.records_missing:7d}  {second(row.opened_ns):20} "
              f"{second(row.closed_ns):20}")  # fmt: skip
    if not rows:
        print(f"no flight of {args.tail} is here" if args.tail else "no flight is here yet")
    return 0
