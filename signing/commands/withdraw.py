"""`tailtwin-sign withdraw`: a bundle that nobody is to take any more."""

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
tailtwin-sign withdraw --repo var/tuf --keys ~/keys egt/egt-2.0.0.tar.zst
"""


def add(commands: Commands) -> None:
    parser = command(commands, "withdraw", "take a bundle out of the image", EXAMPLES, _run)
    add_repo(parser)
    add_keys(parser)
    add_change(parser)
    add_propose(parser)
    parser.add_argument("target", metavar="TARGET", help="its path as `inspect` shows it")


def _run(args: argparse.Namespace) -> int:
    from signing.ceremony import draft

    found = repositories(args)
    ring = key_ring(args)
    if args.propose:
        return draft(
            args, found, found.image, lambda change: found.image.remove(change, args.target)
        )
    found.image.withdraw(ring, args.target)
    tails = found.tails_with(args.target)
    still = f"; assign another set to {', '.join(tails[:9])}" if tails else ""
    return done(args, f"{args.target} is withdrawn{still}")
