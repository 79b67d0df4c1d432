"""`tailtwin-ground ingest`: take records, in this process."""

from __future__ import annotations

import argparse

from ground.commands import Commands, command
from ground.config import Paths


def add(commands: Commands) -> None:
    parser = command(
        commands, "ingest", "run ingest alone", "tailtwin-ground ingest --state var/ground"
    )
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    from ground.app import run_ingest

    run_ingest(Paths(args.state))
    return 0
