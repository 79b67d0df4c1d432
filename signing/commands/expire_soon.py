"""`tailtwin-sign expire-soon`: what has to be signed again before long."""

from __future__ import annotations

import argparse

from shared.errors import Rejected
from signing.commands import DAYS_MAX, Commands, add_repo, command, print_json, repositories

EXAMPLES = """
tailtwin-sign expire-soon --repo var/tuf
tailtwin-sign expire-soon --repo var/tuf --days 60 --json
"""


def add(commands: Commands) -> None:
    parser = command(
        commands, "expire-soon", "list what expires before long; exit code 1 when something does",
        EXAMPLES, _run,
    )  # fmt: skip
    add_repo(parser)
    parser.add_argument(
        "--days", type=float, default=30, metavar="N",
        help="how soon (30); what `refresh` renews is listed when half of its life is over",
    )  # fmt: skip


def _run(args: argparse.Namespace) -> int:
    from signing.expiry import expiring

    if not 0 < args.days <= DAYS_MAX:
        raise Rejected("not a number of days", "--days", f"1 to {DAYS_MAX}")
    found = repositories(args)
    soon = [one for r in (found.image, found.director) for one in expiring(r, args.days)]
    if args.json:
        print_json(soon)
    else:
        for one in soon:
            print(f"{one.repository} {one.what}: {one.expires} ({one.days:.1f} days), {one.remedy}")
        if not soon:
            print(f"nothing needs a person within {args.days:g} days, and `refresh` is not overdue")
    return 1 if soon else 0
