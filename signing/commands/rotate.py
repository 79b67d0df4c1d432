"""`tailtwin-sign rotate`: a new key in the place of another, as a draft."""

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
tailtwin-sign rotate --repo usb/repo --role image-timestamp --key image-timestamp --new image-timestamp-2.pub.json
tailtwin-sign rotate --repo usb/repo --role director-tails --key director-tails --new director-tails-2.pub.json
"""


def add(commands: Commands) -> None:
    parser = command(commands, "rotate", "draft a new key in the place of another", EXAMPLES, _run)
    add_repo(parser)
    add_change(parser)
    parser.add_argument("--role", required=True, metavar="ROLE", help=ROLES)
    parser.add_argument("--key", required=True, metavar="NAME",
                        help="the old key's name, or how its keyid begins")  # fmt: skip
    parser.add_argument("--new", type=Path, required=True, metavar="FILE", help="its .pub.json")


def _run(args: argparse.Namespace) -> int:
    from signing.ceremony import draft_key_change
    from signing.rolekeys import KeyChange

    wanted = KeyChange(args.role, add=public_key(args.new), remove=args.key)
    return draft_key_change(args, repositories(args), wanted)
