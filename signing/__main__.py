"""`tailtwin-sign`: make, fill, refresh and read the image repository.

In: arguments. Out: a table or JSON, and an exit code of sysexits.h.
Always holds: a user's mistake is one line that says what, where and what to do.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from shared.errors import Rejected, TailTwinError
from shared.request import load_request, summary
from signing.declare import declare, read_applicability
from signing.keys import KeyFolder, read_passphrase
from signing.publish import EXPIRY_DAYS, Repository, RepositoryView, wall_now

PASSPHRASE_VARIABLE = "TAILTWIN_SIGN_PASSPHRASE_FILE"

EXAMPLES = """\
examples:
  tailtwin-sign init    --repo var/tuf --keys ~/keys
  tailtwin-sign publish --repo var/tuf --keys ~/keys egt-2.0.0-5f0c9a1b2c3d.tar.zst
  tailtwin-sign publish --repo var/tuf --keys ~/keys --request request
  tailtwin-sign refresh --repo var/tuf --keys ~/keys
  tailtwin-sign inspect --repo var/tuf --json

init makes root-1.pem, root-2.pem, … (2 of 3 sign a new root), targets.pem, snapshot.pem and
timestamp.pem. Take the root keys away afterwards; publish needs the other three, refresh only
snapshot.pem and timestamp.pem.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did what was asked."""
    arguments = _parser().parse_args(argv)
    try:
        view = _run(arguments)
    except TailTwinError as error:
        print(f"tailtwin-sign: {error}", file=sys.stderr)
        return error.exit_code
    print(_json(view) if arguments.json else _table(view))
    return 0


def _run(arguments: argparse.Namespace) -> RepositoryView:
    days = dict(EXPIRY_DAYS)
    for text in getattr(arguments, "expires", []):
        role, value = _expiry(text)
        days[role] = value
    repository = Repository(arguments.repo, wall_now(), days)
    if arguments.command == "inspect":
        return repository.inspect()
    keys = KeyFolder(arguments.keys, _passphrase(arguments.passphrase_file))
    if arguments.command == "init":
        return repository.create(keys, arguments.root_keys, arguments.root_threshold)
    if arguments.command == "refresh":
        return repository.refresh(keys)
    who = read_applicability(arguments.applicability) if arguments.applicability else None
    bundles = list(arguments.bundle)
    if bool(bundles) == bool(arguments.request):
        raise Rejected("bundles or a request", "publish", "name BUNDLEs, or give --request DIR")
    if not arguments.request:
        return repository.publish(keys, [declare(b, who) for b in bundles])
    request, files = load_request(arguments.request)
    print(summary(request, files.bundle), file=sys.stderr)
    declared = declare(arguments.request / request.bundle, who)
    if hashlib.sha256(declared.data).hexdigest() != request.bundle_sha256:
        raise Rejected("changed while it was read", request.bundle, "do not sign this")
    return repository.publish(keys, [declared])


def _passphrase(path: Path | None) -> bytes | None:
    given = path or os.environ.get(PASSPHRASE_VARIABLE)
    return read_passphrase(Path(given)) if given else None


def _expiry(text: str) -> tuple[str, float]:
    role, _, value = text.partition("=")
    try:
        days = float(value)
    except ValueError:
        days = 0.0
    if role not in EXPIRY_DAYS or not 0 < days <= 3660:
        raise Rejected(
            f"{text!r} is not an expiry", "--expires", "ROLE=DAYS, as in timestamp=1 or targets=90"
        )
    return role, days


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tailtwin-sign",
        description="Make, fill, refresh and read the image repository (TUF) of model bundles.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, with_keys: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--repo", type=Path, required=True, metavar="DIR", help="the repository")
        sub.add_argument("--json", action="store_true", help="print JSON instead of a table")
        if with_keys:
            sub.add_argument("--keys", type=Path, required=True, metavar="DIR", help="key files")
            sub.add_argument(
                "--passphrase-file", type=Path, metavar="FILE",
                help=f"its first line encrypts the keys (or ${PASSPHRASE_VARIABLE})",
            )  # fmt: skip
            sub.add_argument(
                "--expires", action="append", default=[], metavar="ROLE=DAYS",
                help="; ".join(f"{role}={days:g}" for role, days in EXPIRY_DAYS.items()),
            )  # fmt: skip
        return sub

    init = command("init", "make a repository and its keys")
    init.add_argument("--root-keys", type=int, default=3, metavar="N", help="how many (3)")
    init.add_argument("--root-threshold", type=int, default=2, metavar="N", help="needed (2)")
    publish = command("publish", "add bundles; the release counter of a name has to grow")
    publish.add_argument("bundle", type=Path, nargs="*", metavar="BUNDLE", help="a .tar.zst")
    publish.add_argument(
        "--request", type=Path, metavar="DIR",
        help="what `tailtwin-ground calibrate` wrote; its summary goes to stderr",
    )  # fmt: skip
    publish.add_argument(
        "--applicability", type=Path, metavar="FILE", help="JSON; default: what bundle.json says"
    )
    command("refresh", "sign snapshot and timestamp again, with the online keys only")
    command("inspect", "verify the repository and show what it says", with_keys=False)
    return parser


def _json(view: RepositoryView) -> str:
    return msgspec.json.format(msgspec.json.encode(view), indent=2).decode()


def _table(view: RepositoryView) -> str:
    rows = [("ROLE", "VERSION", "EXPIRES", "KEYS", "")]
    rows += [
        (r.role, str(r.version), r.expires, f"{r.threshold} of {r.keys}",
         "EXPIRED" if r.is_expired else "")
        for r in view.roles
    ]  # fmt: skip
    rows += [("", "", "", "", ""), ("BUNDLE", "RELEASE", "MADE FOR", "BYTES", "SHA-256")]
    rows += [
        (b.target, str(b.release), _made_for(b.applicability), str(b.length), b.sha256[:12])
        for b in view.bundles
    ] or [("none yet", "", "", "", "")]  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4]]).rstrip()
        for row in rows
    )


def _made_for(who: object) -> str:
    fields = msgspec.structs.asdict(who)  # type: ignore[arg-type]  # any Struct
    return "; ".join(f"{name} {', '.join(v[:3])}" for name, v in fields.items() if v)


if __name__ == "__main__":
    sys.exit(main())
