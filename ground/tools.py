"""Tools: the commands of the CLI that do one thing and end.

In: paths and arguments. Out: files and lines. Always holds: what is made is complete or not
there; a private file has mode 0600.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from ground.app import only_one
from ground.broker import write_server_config
from ground.config import (
    GroundConfig,
    HttpConfig,
    NatsConfig,
    Paths,
    load_config,
    write_config,
)
from ground.database import open_reader, open_writer
from ground.ingest.carried import take_export
from ground.ingest.closing import Closing
from ground.ingest.ledger import Ledger
from ground.ingest.segments import SegmentReader, Segments
from ground.lake.records import FlightRow, Records, iso
from ground.offers import offer
from ground.twins.control import Control, load_tail_file
from shared.clock import SystemClock
from shared.errors import ConfigError, Rejected
from shared.files import write_durably
from shared.identity import Signer, key_id
from shared.messages import Closure
from shared.topics import check_identifier


def init(paths: Paths, operator: str, nats_port: int, mqtt_port: int, http_port: int) -> None:
    """Make key, settings, `control.db` and an empty ledger."""
    config = GroundConfig(
        operator=operator, nats=NatsConfig(port=nats_port, mqtt_port=mqtt_port),
        http=HttpConfig(port=http_port),
    )  # fmt: skip
    paths.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths.state.chmod(0o700)  # also when it was there
    write_config(paths, config)
    signer = Signer.create(paths.key)
    control = Control.open(paths.control, write=True)
    control.add_services()
    segments = Segments(paths.segments, config.ingest.segment_bytes_max)
    engine = open_writer(paths.ledger)
    ledger = Ledger(engine, segments, SegmentReader(paths.segments), SystemClock())
    engine.dispose()
    write_server_config(config, paths, control)
    print(f"ground of {operator} in {paths.state}")
    print(f"  key     {signer.public.hex()} ({signer.key_id})")
    print(f"  ledger  {ledger.id}")
    print(f"  listens nats {nats_port}, mqtt {mqtt_port}, http {http_port} on {config.host}")


def enroll(paths: Paths, tail_file: Path, device_pub: Path, out: Path, *, replace_key: bool
           ) -> None:  # fmt: skip
    """Store a twin and write its link credentials to `out`."""
    config = load_config(paths)
    tail = load_tail_file(tail_file)
    if tail.operator != config.operator:
        raise ConfigError(f"{tail.operator!r}, but this ground is of {config.operator!r}",
                          f"{tail_file}: operator", "enrol it at its own ground")  # fmt: skip
    public = _public(device_pub)
    signer = Signer.load(paths.key)
    control = Control.open(paths.control, write=True)
    user = control.enrol(tail, public, SystemClock().wall_ns(), replace_key=replace_key)
    out.parent.mkdir(parents=True, exist_ok=True)
    text = (
        f'user = "{user.user}"\npassword = "{user.password}"\n'
        f'ground_pub = "{signer.public.hex()}"\n'
    )
    write_durably(out, text.encode(), private=True)
    write_server_config(config, paths, control)
    print(f"enrolled {tail.tail} ({tail.registration}), device key {key_id(public)}, in {out}")


def _public(path: Path) -> bytes:
    remedy = "64 hex digits of a raw Ed25519 public key, as `tailtwin-edge init` writes them"
    try:
        public = bytes.fromhex(path.read_text()[:200].strip())
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", str(path), remedy) from None
    except ValueError:
        raise ConfigError("not hexadecimal", str(path), remedy) from None
    if len(public) != 32:
        raise ConfigError(f"{len(public)} bytes, not 32", str(path), remedy)
    return public


def print_offer(paths: Paths, tail: str, target: str, wait_s: float) -> None:
    """Offer a bundle, and say what the tail decided."""
    decided = asyncio.run(offer(paths, tail, target, wait_s, SystemClock()))
    if decided is None:
        print(f"offered {target} to {tail}; not waiting for its answer")
        return
    print(f"{tail} in {decided.phase}: {decided.decision} {target}")
    for reason in decided.reasons:
        print(f"  {reason}")


def import_export(paths: Paths, file: Path, *, as_json: bool) -> None:
    """Take an export that came by hand, and say what became of it."""
    config = load_config(paths)
    control, clock = Control.open(paths.control), SystemClock()
    with only_one(paths, "ingest"):
        segments = Segments(paths.segments, config.ingest.segment_bytes_max)
        engine = open_writer(paths.ledger)
        try:
            ledger = Ledger(engine, segments, SegmentReader(paths.segments), clock)
            signer = Signer.load(paths.key)
            closing = Closing(ledger, signer, config.operator, clock, 0)
            carried = take_export(
                file, paths.state, config.operator, control.device_keys(), ledger, closing
            )
        finally:
            segments.close()
            engine.dispose()
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


def print_flights(paths: Paths, tail: str, *, as_json: bool) -> None:
    """One line a period."""
    if tail:
        check_identifier(tail, "--tail")
    rows = Records(open_reader(paths.ledger), SegmentReader(paths.segments)).flights(tail)
    if as_json:
        print(json.dumps([_flight_json(row) for row in rows], indent=1))
        return
    print(f"{'flight':32} {'kind':6} {'state':9} {'rev':>3} {'records':>8} {'missing':>7}  "
          f"{'opened':24} {'closed':24}")  # fmt: skip
    for row in rows:
        print(f"{row.flight:32} {row.kind:6} {row.state:9} {row.revision:3d} {row.records:8d} "
              f"{row.records_missing:7d}  {iso(row.opened_ns):24.24} "
              f"{iso(row.closed_ns) if row.closed_ns else '-':24.24}")  # fmt: skip


def print_closure(paths: Paths, flight: str, *, as_json: bool) -> None:
    """The newest revision, gap by gap."""
    check_identifier(flight, "FLIGHT")
    records = Records(open_reader(paths.ledger), SegmentReader(paths.segments))
    row = records.flight(flight)
    if row is None:
        raise Rejected("no such flight", flight, "list them with `tailtwin-ground flights`")
    closure = records.closure(row.tail, flight)
    if closure is None:
        if as_json:
            print(json.dumps({**_flight_json(row), "gaps": []}, indent=1))
        else:
            print(f"{flight} is open: no manifest yet; {row.records} records so far")
        return
    if as_json:
        print(json.dumps(closure_json(closure), indent=1))
        return
    print(f"{flight} ({closure.kind}) is {closure.state}, revision {closure.revision}: "
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


def _flight_json(row: FlightRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in row.__struct_fields__}
