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


TAILS_MAX = 40  # of a line; `inspect` has them all


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
    tails = found.tails_with(args.target)
    more = f" and {len(tails) - TAILS_MAX} more" if len(tails) > TAILS_MAX else ""
    still = f"assign another set to {', '.join(tails[:TAILS_MAX])}{more}" if tails else ""
    if args.propose:
        draft(args, found, found.image, lambda change: found.image.remove(change, args.target))
        return done(args, f"then {still}") if still else 0
    found.image.withdraw(ring, args.target)
    return done(args, f"{args.target} is withdrawn; {still}".removesuffix("; "))
