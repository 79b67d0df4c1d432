"""`tailtwin-ground worker`: write flight files, in this process."""

from __future__ import annotations

import argparse

from ground.commands import Commands, command
from ground.config import Paths


def add(commands: Commands) -> None:
    parser = command(
        commands, "worker", "run the worker alone", "tailtwin-ground worker --state var/ground"
    )
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    from ground.app import run_worker

    run_worker(Paths(args.state))
    return 0
