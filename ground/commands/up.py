"""`tailtwin-ground up`: every process of a ground, as children of one."""

from __future__ import annotations

import argparse

from ground.commands import Commands, add_tuf_repo, command
from ground.config import Paths, load_config


def add(commands: Commands) -> None:
    parser = command(
        commands, "up", "run nats-server, ingest, worker and api",
        "tailtwin-ground up --state var/ground --tuf-repo var/tuf",
    )  # fmt: skip
    add_tuf_repo(parser)
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    from ground.supervise import up
    from ground.twins.control import Control
    from shared.errors import ConfigError
    from shared.log import setup

    paths = Paths(args.state)
    if args.tuf_repo and not args.tuf_repo.is_dir():
        raise ConfigError("no such folder", f"--tuf-repo {args.tuf_repo}",
                          "make it with `tailtwin-sign`")  # fmt: skip
    setup("up")
    config = load_config(paths)
    up(paths, config, Control.open(paths.control), args.tuf_repo,
       lambda line: print(line, flush=True))  # fmt: skip
    return 0
