"""`tailtwin-ground init`: make a ground."""

from __future__ import annotations

import argparse

from ground.commands import Commands, command
from ground.config import GroundConfig, HttpConfig, NatsConfig, Paths, write_config


def add(commands: Commands) -> None:
    parser = command(
        commands, "init", "make a ground: key, settings, databases",
        "tailtwin-ground init --state var/ground --operator OPX",
    )  # fmt: skip
    parser.add_argument("--operator", required=True, help="1 to 32 of A-Z a-z 0-9 _ -")
    parser.add_argument("--nats-port", type=int, default=4222, metavar="N")
    parser.add_argument("--mqtt-port", type=int, default=1883, metavar="N")
    parser.add_argument("--http-port", type=int, default=8080, metavar="N")
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    make(Paths(args.state), args.operator, args.nats_port, args.mqtt_port, args.http_port)
    return 0


def make(paths: Paths, operator: str, nats_port: int, mqtt_port: int, http_port: int) -> None:
    """Make key, settings, `control.db` and an empty ledger; print them."""
    from ground.broker import write_server_config
    from ground.database import open_writer
    from ground.ingest.ledger import Ledger
    from ground.ingest.segments import SegmentReader, Segments
    from ground.twins.control import Control
    from shared.clock import SystemClock
    from shared.identity import Signer

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
