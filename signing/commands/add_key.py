"""`tailtwin-sign add-key`: one more key for a role, as a draft for those who answer for it."""

from __future__ import annotations

import argparse
from pathlib import Path

from signing.commands import (
    ROLES,
    Commands,
    add_change,
    add_repo,
    command,
    public_key,
    repositories,
)  # fmt: skip

EXAMPLES = """
tailtwin-sign add-key --repo usb/repo --role image-root --new usb/public/image-root-4.pub.json
tailtwin-sign add-key --repo usb/repo --role attestor --new attestor-2.pub.json --threshold 2
"""


def add(commands: Commands) -> None:
    parser = command(commands, "add-key", "draft one more key for a role", EXAMPLES, _run)
    add_repo(parser)
    add_change(parser)
    parser.add_argument("--role", required=True, metavar="ROLE", help=ROLES)
    parser.add_argument("--new", type=Path, required=True, metavar="FILE", help="its .pub.json")
    parser.add_argument("--threshold", type=int, default=0, metavar="N", help="how many sign")


def _run(args: argparse.Namespace) -> int:
    from signing.ceremony import draft_key_change
    from signing.rolekeys import KeyChange

    wanted = KeyChange(args.role, add=public_key(args.new), threshold=args.threshold)
    return draft_key_change(args, repositories(args), wanted)
