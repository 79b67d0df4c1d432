"""`tailtwin-sign sign`: one person's signature on a draft, on a machine without a network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import Rejected
from signing.commands import Commands, add_keys, announce, command, done, key_folder

if TYPE_CHECKING:
    from signing.summary import RoleSummary

EXAMPLES = """
tailtwin-sign sign --draft usb/image-2.root.json --root usb/1.root.json --key image-root-1 --keys stick-1
"""


def add(commands: Commands) -> None:
    parser = command(commands, "sign", "add one person's signature to a draft", EXAMPLES, _run)
    add_keys(parser)
    parser.add_argument("--draft", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--root", type=Path, action="append", default=[], metavar="FILE",
        help="the trusted root, or the role that delegates; by default that of the draft's folder",
    )  # fmt: skip
    parser.add_argument("--before", type=Path, metavar="FILE",
                        help="the version that it replaces, to show what changes")  # fmt: skip
    parser.add_argument("--key", required=True, metavar="NAME", help="the signer's key")
    parser.add_argument("--yes", action="store_true", help="do not ask at a terminal")
    parser.add_argument("--dry-run", action="store_true",
                        help="show what would be signed, and stop")  # fmt: skip


def _run(args: argparse.Namespace) -> int:
    from tuf.api.metadata import Root

    from signing.ceremony import beside
    from signing.drafts import add_signature, counted, may_sign, read_draft
    from signing.keyring import name_of
    from signing.summary import summary, text

    if len(args.keys) != 1:
        raise Rejected("one person signs at a time", "--keys", "one folder")
    draft = read_draft(args.draft)
    known = beside(draft, args.root, args.before)
    step = may_sign(draft, known.delegators)
    shown = summary(draft.repository, step, known.before)
    signed = [k for k in step.keys if k.keyid in draft.metadata.signatures]
    if args.json:
        so_far = [key.keyid for key in signed]
        announce(args, {"dry_run": args.dry_run, "signs": [shown], "signed": so_far})
    else:
        announce(args, "\n".join([text((shown,)), *_beside(shown, list(map(name_of, signed)))]))
    asked = sys.stdin is not None and sys.stdin.isatty() and not args.yes
    if asked and input(f"sign it with {args.key}? [y/N] ").strip().lower() != "y":
        raise Rejected("not signed", str(args.draft), "answer y to sign")
    add_signature(draft, step, key_folder(args, args.keys[0]).load(args.key))
    before = known.before if isinstance(known.before, Root) else None
    return done(args, f"signed by {args.key}: {counted(draft, step, before)}")


def _beside(shown: RoleSummary, signed: list[str]) -> Iterator[str]:
    """What a person should know of a draft besides what it changes."""
    from signing.summary import printable

    if signed:
        yield f"    signed so far by {', '.join(map(printable, signed))}"
    if shown.version_before + 1 < shown.version:
        have = f"version {shown.version_before}" if shown.version_before else "none"
        yield (
            f"    (version {shown.version - 1}, which it replaces, is not at hand, but {have}: "
            "what is shown as changed may be older; fetch the repository again)"
        )
