"""`tailtwin-sign publish`: bundles into the image repository, or drafts that people have signed."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import Rejected
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

if TYPE_CHECKING:
    from signing.declare import Declared

EXAMPLES = """
tailtwin-sign publish --repo var/tuf --keys ~/keys egt-2.0.0-5f0c9a1b2c3d.tar.zst
tailtwin-sign publish --repo r --keys desk --role calibration --tail N1 --parent egt-2.0.tar.zst egt-2.1.tar.zst
tailtwin-sign publish --repo var/tuf --keys ~/keys --request request
tailtwin-sign publish --repo usb/repo --keys usb/online --draft usb/drafts/image-2.root.json
"""


def add(commands: Commands) -> None:
    parser = command(
        commands, "publish", "add bundles, or take over drafts that are signed", EXAMPLES, _run
    )
    add_repo(parser)
    add_keys(parser)
    add_change(parser)
    add_propose(parser)
    parser.add_argument("bundle", type=Path, nargs="*", metavar="BUNDLE", help="a .tar.zst")
    parser.add_argument("--draft", type=Path, action="append", default=[], metavar="FILE",
                        help="signed drafts; copies that different people signed are merged")  # fmt: skip
    parser.add_argument("--role", default="targets", metavar="ROLE",
                        help="targets (default), a delegate's name, or calibration")  # fmt: skip
    parser.add_argument("--tail", default="", metavar="TAIL", help="whom a calibration is for")
    parser.add_argument("--parent", type=Path, metavar="FILE",
                        help="the bundle whose numbers a calibration changes")  # fmt: skip
    parser.add_argument(
        "--request", type=Path, metavar="DIR",
        help="what `tailtwin-ground calibrate` wrote; its summary is shown",
    )  # fmt: skip
    parser.add_argument("--applicability", type=Path, metavar="FILE",
                        help="JSON; default: what bundle.json says")  # fmt: skip


def _run(args: argparse.Namespace) -> int:
    from signing.ceremony import draft, publish_drafts

    given = (bool(args.bundle), bool(args.request), bool(args.draft))
    if sum(given) != 1:
        raise Rejected("bundles, a request or drafts", "publish",
                       "name BUNDLEs, or give --request DIR or --draft FILE")  # fmt: skip
    found = repositories(args)
    ring = key_ring(args)
    if args.draft:
        return publish_drafts(args, found, ring, args.draft)
    role, declared = _from_request(args) if args.request else _from_files(args)
    if args.propose:
        return draft(args, found, found.image,
                     lambda change: found.image.add(change, declared, role))  # fmt: skip
    found.image.publish(ring, declared, role)
    return done(args, f"published {len(declared)} bundles as {role}")


def _from_files(args: argparse.Namespace) -> tuple[str, list[Declared]]:
    from signing.declare import calibration, declare, read_applicability

    if (args.role == "calibration") != bool(args.tail and args.parent):
        raise Rejected("a calibration has a tail and a parent, and nothing else has", "--role",
                       "--role calibration --tail TAIL --parent FILE")  # fmt: skip
    who = read_applicability(args.applicability) if args.applicability else None
    if args.parent:
        return args.role, [calibration(f, args.tail, args.parent, who) for f in args.bundle]
    return args.role, [declare(file, who) for file in args.bundle]


def _from_request(args: argparse.Namespace) -> tuple[str, list[Declared]]:
    """A request that names a parent is a calibration for its tail; others are releases."""
    from shared.request import load_request, summary
    from signing.declare import calibration, declare, read_applicability

    request, files = load_request(args.request)
    print(summary(request, files.bundle), file=sys.stderr)
    who = read_applicability(args.applicability) if args.applicability else None
    file = args.request / request.bundle
    if request.parent:
        role = "calibration"
        declared = calibration(file, request.tail, args.request / request.parent, who)
    else:
        role, declared = args.role, declare(file, who)
    if hashlib.sha256(declared.data).hexdigest() != request.bundle_sha256:
        raise Rejected("changed while it was read", request.bundle, "do not sign this")
    return role, [declared]
