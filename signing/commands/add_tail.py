"""`tailtwin-sign add-tail`: a role of the director for a tail, signed by its offline key."""

from __future__ import annotations

import argparse

from signing.commands import (
    Commands,
    add_change,
    add_keys,
    add_propose,
    add_repo,
    command,
    done,
    key_ring,
    repositories,
)  # fmt: skip

EXAMPLES = """
tailtwin-sign add-tail --repo var/tuf --keys ~/keys B737-28001 B737-28002
tailtwin-sign add-tail --repo usb/repo --keys usb/public --propose B737-28001
"""


def add(commands: Commands) -> None:
    parser = command(commands, "add-tail", "let the director direct more tails", EXAMPLES, _run)
    add_repo(parser)
    add_keys(parser)
    add_change(parser)
    add_propose(parser)
    parser.add_argument("tail", nargs="+", metavar="TAIL", help="as in its tail file")


def _run(args: argparse.Namespace) -> int:
    from signing.ceremony import draft

    found = repositories(args)
    ring = key_ring(args)
    if args.propose:
        return draft(args, found, found.director,
                     lambda change: found.director.enrol(change, args.tail, ring))  # fmt: skip
    found.director.add_tails(ring, args.tail)
    return done(args, f"{', '.join(args.tail[:9])}: a role each; `assign` says the set of each")
