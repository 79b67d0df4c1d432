"""`tailtwin-sign revoke`: a key, or a whole delegation, that is to count no more, as a draft."""

from __future__ import annotations

import argparse

from shared.errors import Rejected
from signing.commands import ROLES, Commands, add_change, add_repo, command, repositories

EXAMPLES = """
tailtwin-sign revoke --repo usb/repo --role image-root --key image-root-2
tailtwin-sign revoke --repo usb/repo --role loop-engines
tailtwin-sign revoke --repo usb/repo --role tail-B737-28001
"""


def add(commands: Commands) -> None:
    parser = command(
        commands, "revoke", "draft that a key, or a whole delegation, counts no more", EXAMPLES,
        _run,
    )  # fmt: skip
    add_repo(parser)
    add_change(parser)
    parser.add_argument("--role", required=True, metavar="ROLE", help=ROLES)
    parser.add_argument("--key", default="", metavar="NAME",
                        help="the key; without it the whole delegation")  # fmt: skip
    parser.add_argument("--threshold", type=int, default=0, metavar="N", help="how many sign")


def _run(args: argparse.Namespace) -> int:
    from signing.ceremony import draft_key_change, draft_revocation
    from signing.rolekeys import KeyChange

    found = repositories(args)
    if args.key:
        wanted = KeyChange(args.role, remove=args.key, threshold=args.threshold)
        return draft_key_change(args, found, wanted)
    if args.threshold:
        raise Rejected("a threshold is for a key", "--threshold", "give --key as well")
    return draft_revocation(args, found, args.role)
