"""`tailtwin-edge accept`: a technician accepts the set that waits for it."""

from __future__ import annotations

import argparse
import re

from edge.commands import Commands, add_state, command


def add(commands: Commands) -> None:
    parser = command(
        commands, "accept", "accept a set of models that waits for a technician",
        "tailtwin-edge accept --state /var/lib/tailtwin 3f9a1c0d5e7b2468 --by J-17",
    )  # fmt: skip
    add_state(parser)
    parser.add_argument("set", metavar="SET", help="its id, as `tailtwin-edge updates` shows it")
    parser.add_argument("--by", required=True, metavar="NAME", help="who accepts; recorded")
    parser.set_defaults(act=_run)


def _run(args: argparse.Namespace) -> int:
    from edge.update.requests import Accept, leave
    from shared.errors import ConfigError

    if not re.fullmatch("[0-9a-f]{16}", args.set):
        raise ConfigError(
            f"{args.set!r} is no set", "accept", "its id of 16 digits, as `updates` shows"
        )
    leave(args.state, Accept(set_id=args.set, by=args.by))
    print(f"set {args.set} is accepted by {args.by}; if it is the one that waits, it goes live once "
          "the gate is open: see `tailtwin-edge updates`")  # fmt: skip
    return 0
