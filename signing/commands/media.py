"""`tailtwin-sign media`: both repositories on a laptop or a stick, for aircraft without a link."""

from __future__ import annotations

import argparse
from pathlib import Path

from signing.commands import (
    Commands,
    add_change,
    add_keys,
    add_repo,
    command,
    done,
    key_ring,
    lifetimes,
    show,
)  # fmt: skip

EXAMPLES = """
tailtwin-sign media --repo var/tuf --keys ~/online --out /media/stick
tailtwin-sign media --repo var/tuf --keys ~/online --out /media/stick --tail B737-28001 --days 45
"""


def add(commands: Commands) -> None:
    parser = command(commands, "media", "export a media folder", EXAMPLES, _run)
    add_repo(parser)
    add_keys(parser)
    add_change(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="an empty folder")
    parser.add_argument("--tail", action="append", default=[], metavar="TAIL",
                        help="only what these tails need; more than once for more")  # fmt: skip
    parser.add_argument("--days", type=float, default=30, metavar="N",
                        help="how long the medium is good for (30)")  # fmt: skip


def _run(args: argparse.Namespace) -> int:
    from signing.media import export, plans
    from signing.repositories import Repositories
    from signing.repository import wall_now
    from signing.summary import summaries

    found = Repositories(args.repo, wall_now(), lifetimes(args.expires))
    both = plans(found, args.out, args.tail, args.days)
    show(args, tuple(one for plans_ in both for plan in plans_ for one in summaries(plan)))
    files, size = export(found, key_ring(args), args.out, tuple(args.tail), args.days)
    return done(
        args, f"{files} files, {size / 1e6:.1f} MB in {args.out}, good for {args.days:g} days"
    )
