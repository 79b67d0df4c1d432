"""`tailtwin-sign assign`: the whole set that a tail should run, chosen among what is published."""

from __future__ import annotations

import argparse

from signing.commands import (
    Commands,
    add_change,
    add_keys,
    add_repo,
    command,
    done,
    key_ring,
    repositories,
)  # fmt: skip

EXAMPLES = """
tailtwin-sign assign --repo var/tuf --keys ~/keys --tail N1 egt/egt-2.0.0.tar.zst vib/vib-1.0.0.tar.zst
tailtwin-sign assign --repo var/tuf --keys ~/keys --tail N1 --rollback-of 0123456789abcdef egt/egt-1.0.0.tar.zst
"""


def add(commands: Commands) -> None:
    parser = command(commands, "assign", "say the whole set of bundles of a tail", EXAMPLES, _run)
    add_repo(parser)
    add_keys(parser)
    add_change(parser)
    parser.add_argument("--tail", required=True, metavar="TAIL")
    parser.add_argument("--rollback-of", default="", metavar="SET",
                        help="the set that is to be left for the last known good one")  # fmt: skip
    parser.add_argument("target", nargs="+", metavar="TARGET",
                        help="target paths as `inspect` shows them: all of the set")  # fmt: skip


def _run(args: argparse.Namespace) -> int:
    found = repositories(args)
    found.director.assign(key_ring(args), args.tail, args.target, found.image, args.rollback_of)
    count = f"{len(args.target)} bundle{'s' * (len(args.target) != 1)}"
    return done(args, f"{args.tail} is to run {count}")
