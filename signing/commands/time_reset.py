"""`tailtwin-sign time-reset`: let one aircraft, once, set its clock by what people know."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from shared.errors import Rejected
from signing.commands import Commands, add_keys, announce, command, done, key_ring

EXAMPLES = """
tailtwin-sign time-reset --root 1.root.json --keys stick-1 --tail N1 --nonce 00112233 --out N1.json
tailtwin-sign time-reset --root 1.root.json --keys stick-2 --add N1.json --out N1.json
"""


def add(commands: Commands) -> None:
    parser = command(
        commands, "time-reset", "sign the time for one aircraft that has lost it", EXAMPLES, _run
    )
    add_keys(parser)
    parser.add_argument("--root", type=Path, required=True, metavar="FILE",
                        help="the image root, which names who may sign")  # fmt: skip
    parser.add_argument("--tail", metavar="TAIL")
    parser.add_argument("--nonce", metavar="TEXT", help="as the aircraft shows it")
    parser.add_argument("--time", metavar="TIME",
                        help="as in 2027-03-01T12:00:00Z; default: this machine's clock")  # fmt: skip
    parser.add_argument("--days", type=float, default=2, metavar="N", help="good for so long (2)")
    parser.add_argument("--add", type=Path, metavar="FILE",
                        help="a reset that others have signed, instead of a new one")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="FILE",
                        help="goes to time/TAIL.json of a medium or a server")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="show it, and stop")


def _run(args: argparse.Namespace) -> int:
    from tuf.api.metadata import Root

    from shared.files import read_bounded, write_durably
    from signing.drafts import read_metadata
    from signing.verify.resets import (
        RESET_BYTES_MAX,
        encode_reset,
        new_reset,
        parse_reset,
        signed_by,
    )

    root = read_metadata(args.root).signed
    if not isinstance(root, Root):
        raise Rejected(f"a {root.type}", str(args.root), "the image root")
    before = b""
    if args.add:
        before = read_bounded(args.add, RESET_BYTES_MAX, "this is no time reset")
        reset = parse_reset(before)
    elif args.tail and args.nonce:
        reset = new_reset(args.tail, args.nonce, _time(args.time), args.days)
    else:
        raise Rejected("whose clock?", "--tail", "--tail and --nonce, or --add FILE")
    shown = {"tail": reset.tail, "nonce": reset.nonce, "time": reset.time, "expires": reset.expires}
    if args.json:
        announce(args, {"dry_run": args.dry_run, "signs": shown})
    else:
        lines = [f"    {name}: {value}" for name, value in shown.items()]
        announce(args, "\n".join(["signs a time reset:", *lines]))
    keys = [root.get_key(keyid) for keyid in root.roles["root"].keyids]
    signers = key_ring(args).signers(keys, 1, "the image root")
    data = encode_reset(reset, signers, before)
    try:
        write_durably(args.out, data)
    except OSError as error:
        raise Rejected(f"cannot write: {error.strerror}", str(args.out), "check the path") from None
    role = root.roles["root"]
    signed = len(signed_by(data) & set(role.keyids))
    return done(args, f"signed by {signed}, {role.threshold} are needed: {args.out}")


def _time(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Rejected(
            f"{text[:40]!r} is no time", "--time", "as in 2027-03-01T12:00:00Z"
        ) from None
