"""`tailtwin-ground api`: serve HTTP, in this process."""

from __future__ import annotations

import argparse

from ground.commands import Commands, add_tuf_repo, command
from ground.config import Paths


def add(commands: Commands) -> None:
    parser = command(
        commands, "api", "run the HTTP api alone", "tailtwin-ground api --state var/ground"
    )
    add_tuf_repo(parser)
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    from ground.app import run_api

    run_api(Paths(args.state), args.tuf_repo)
    return 0
