"""`tailtwin-sign refresh`: sign again what is about to expire."""

from __future__ import annotations

import argparse

from shared.errors import Rejected
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
tailtwin-sign refresh --repo var/tuf --keys ~/online
tailtwin-sign refresh --repo usb/repo --role image-root
tailtwin-sign refresh --repo var/tuf --keys ~/desk --role calibration
"""


def add(commands: Commands) -> None:
    parser = command(
        commands, "refresh", "sign snapshots, timestamps and old tails again", EXAMPLES, _run
    )
    add_repo(parser)
    add_keys(parser, required=False)
    add_change(parser)
    parser.add_argument(
        "--role", metavar="ROLE",
        help="instead draft image-root, image-targets, director-root, director-targets or a "
        "delegate's role anew, or sign calibration again",
    )  # fmt: skip


def _run(args: argparse.Namespace) -> int:
    from signing.ceremony import refresh_role

    found = repositories(args)
    if args.role:
        return refresh_role(args, found, args.role)
    if not args.keys:
        raise Rejected("the online keys sign it", "--keys", "--keys DIR")
    ring = key_ring(args)
    plans = [found.image.refresh, found.director.refresh]
    from signing.commands import DryRun

    for refresh in plans:
        try:
            refresh(ring)
        except DryRun:
            continue
    return 0 if args.dry_run else done(args, "both repositories are fresh")
