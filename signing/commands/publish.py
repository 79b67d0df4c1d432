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
    parser.add_argument("--unattested", action="store_true",
                        help="though no attestor vouches for it; aircraft that ask refuse it")  # fmt: skip
    parser.add_argument("--applicability", type=Path, metavar="FILE",
                        help="JSON; default: what bundle.json says")  # fmt: skip


def _run(args: argparse.Namespace) -> int:
    from signing.attest import fit_to_publish
    from signing.ceremony import draft, publish_drafts

    given = (bool(args.bundle), bool(args.request), bool(args.draft))
    if sum(given) != 1:
        raise Rejected("bundles, a request or drafts", "publish",
                       "name BUNDLEs, or give --request DIR or --draft FILE")  # fmt: skip
    found = repositories(args)
    ring = key_ring(args)
    if args.draft:
        return publish_drafts(args, found, ring, args.draft)
    role, declared, parent = _from_request(args) if args.request else _from_files(args)
    if not args.unattested:
        root = found.image.chain().root.signed
        for one in declared:
            fit_to_publish(one.data, root, parent)
    if args.propose:
        return draft(args, found, found.image,
                     lambda change: found.image.add(change, declared, role))  # fmt: skip
    found.image.publish(ring, declared, role)
    count = f"{len(declared)} bundle{'s' * (len(declared) != 1)}"
    return done(args, f"published {count} as {role}; `assign` directs tails to it")


def _from_files(args: argparse.Namespace) -> tuple[str, list[Declared], bytes]:
    """(role, bundles, the bytes of the parent where they are calibrations)."""
    from shared.files import read_bounded
    from signing.declare import declare, read_applicability
    from signing.verify import BUNDLE_BYTES_MAX

    if (args.role == "calibration") != bool(args.tail and args.parent):
        raise Rejected("a calibration has a tail and a parent, and nothing else has", "--role",
                       "--role calibration --tail TAIL --parent FILE")  # fmt: skip
    parent, sha256 = b"", ""
    if args.parent:
        parent = read_bounded(args.parent, BUNDLE_BYTES_MAX, "this is no bundle")
        sha256 = hashlib.sha256(parent).hexdigest()
    who = read_applicability(args.applicability) if args.applicability else None
    return args.role, [declare(file, who, args.tail, sha256) for file in args.bundle], parent


def _from_request(args: argparse.Namespace) -> tuple[str, list[Declared], bytes]:
    """A request that names a parent is a calibration for its tail; others are releases."""
    from shared.files import read_bounded
    from shared.request import load_request, summary
    from signing.declare import declare, read_applicability
    from signing.verify import BUNDLE_BYTES_MAX

    request, files = load_request(args.request)
    print(summary(request, files.bundle), file=sys.stderr)
    who = read_applicability(args.applicability) if args.applicability else None
    file, parent, tail, role = args.request / request.bundle, b"", "", args.role
    if request.parent:
        role, tail = "calibration", request.tail
        parent = read_bounded(args.request / request.parent, BUNDLE_BYTES_MAX, "this is no bundle")
    declared = declare(file, who, tail, request.parent_sha256 if parent else "")
    read = (declared.data, request.bundle_sha256), (parent, request.parent_sha256)
    if any(data and hashlib.sha256(data).hexdigest() != said for data, said in read):
        raise Rejected("changed while it was read", request.bundle, "do not sign this")
    return role, [declared], parent
