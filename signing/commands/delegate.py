"""`tailtwin-sign delegate`: let a maker or an operator sign bundles of some names, for a time."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from shared.errors import Rejected
from signing.commands import (
    Commands,
    add_change,
    add_repo,
    command,
    public_key,
    repositories,
)  # fmt: skip

EXAMPLES = """
tailtwin-sign delegate --repo usb/repo --to usb/public/loop-engines.pub.json --paths 'egt_*/*' --until 2028-03-01
tailtwin-sign delegate --repo usb/repo --to oem.pub.json --paths 'vib/*' --until 2028-03-01 --within who.json
"""


def add(commands: Commands) -> None:
    parser = command(
        commands, "delegate", "draft that somebody else may sign bundles of some names", EXAMPLES,
        _run,
    )  # fmt: skip
    add_repo(parser)
    add_change(parser)
    parser.add_argument(
        "--to", type=Path, required=True, action="append", metavar="FILE",
        help="a .pub.json; the first one's name is the role's",
    )  # fmt: skip
    parser.add_argument("--threshold", type=int, default=1, metavar="N", help="how many sign (1)")
    parser.add_argument("--paths", required=True, action="append", metavar="PATTERN",
                        help="names of bundles, as in 'egt_*/*'")  # fmt: skip
    parser.add_argument("--until", required=True, metavar="DATE",
                        help="the day it ends, as in 2028-03-01")  # fmt: skip
    parser.add_argument("--within", type=Path, metavar="FILE",
                        help="JSON: what its bundles may be made for, at most")  # fmt: skip


def _run(args: argparse.Namespace) -> int:
    from signing.ceremony import draft
    from signing.declare import read_applicability
    from signing.image import Delegation

    try:
        until = datetime.strptime(args.until, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise Rejected(f"{args.until[:40]!r} is no day", "--until", "as in 2028-03-01") from None
    keys = tuple(public_key(file) for file in args.to)
    wanted = Delegation(
        name=args.to[0].name.removesuffix(".pub.json"), keys=keys, paths=tuple(args.paths),
        until=until, threshold=args.threshold,
        within=read_applicability(args.within) if args.within else None,
    )  # fmt: skip
    found = repositories(args)
    return draft(args, found, found.image, lambda change: found.image.entrust(change, wanted))
