"""`tailtwin-ground closure`: what the ground holds of one period, gap by gap."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from ground.commands import Commands, command
from ground.config import Paths

if TYPE_CHECKING:
    from shared.messages import Closure


def add(commands: Commands) -> None:
    parser = command(
        commands, "closure", "say what the ground holds of one period",
        "tailtwin-ground closure B737-28001-3f9a1c-F00001 --state var/ground --json",
    )  # fmt: skip
    parser.add_argument("flight", metavar="FLIGHT")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    import msgspec

    from ground.database import open_reader
    from ground.ingest.segments import SegmentReader
    from ground.lake.records import Records
    from shared.errors import Rejected
    from shared.topics import check_identifier

    paths, flight = Paths(args.state), args.flight
    check_identifier(flight, "FLIGHT")
    records = Records(open_reader(paths.ledger), SegmentReader(paths.segments))
    row = records.flight(flight)
    if row is None:
        raise Rejected("no such flight", flight, "list them with `tailtwin-ground flights`")
    closure = records.closure(row.tail, flight)
    if closure is not None:
        _print(closure, as_json=args.json)
    elif args.json:
        print(json.dumps({**msgspec.structs.asdict(row), "gaps": []}, indent=1))
    else:
        print(f"{flight} is open: no manifest yet; {row.records} records so far")
    return 0


def _print(closure: Closure, *, as_json: bool) -> None:
    from ground.lake.records import iso

    if as_json:
        print(json.dumps(closure_json(closure), indent=1))
        return
    print(f"{closure.flight} ({closure.kind}) is {closure.state}, revision {closure.revision}: "
          f"{closure.records} records, {closure.records_missing} missing")  # fmt: skip
    for gap in closure.gaps:
        if gap.kind == "records":
            print(f"  records  {gap.name:20} [{gap.low}, {gap.high}) {gap.missing:6d}  {gap.cause}")
        else:
            count = "?" if gap.missing < 0 else str(gap.missing)
            print(f"  outage   {gap.name:20} {iso(gap.start_ns)} to {iso(gap.end_ns)} "
                  f"{count:>6} readings  {gap.cause}")  # fmt: skip


def closure_json(closure: Closure) -> dict[str, object]:
    """A closure as JSON has it."""
    return {
        "flight": closure.flight, "tail": closure.tail, "kind": closure.kind,
        "state": closure.state, "revision": closure.revision, "records": closure.records,
        "records_missing": closure.records_missing,
        "gaps": [{name: getattr(gap, name) for name in gap.__struct_fields__}
                 for gap in closure.gaps],
        "manifest_sha256": closure.manifest_sha256.hex(), "t_ground_ns": closure.t_ground_ns,
    }  # fmt: skip
