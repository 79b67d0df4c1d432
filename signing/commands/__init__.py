"""The commands of `tailtwin-sign`, one module each, found by being here.

A module has `add(commands)`, which declares its parser with `command(…, run=_run)`; `_run` gets the
parsed arguments and returns the exit code. Heavy imports are inside it, so that `--help` answers at
once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from shared.errors import Rejected

if TYPE_CHECKING:
    from securesystemslib.signer import Key

    from signing.change import Plan
    from signing.keyring import Keyring
    from signing.keys import KeyFolder
    from signing.repositories import Repositories
    from signing.summary import RoleSummary

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
PASSPHRASE_VARIABLE = "TAILTWIN_SIGN_PASSPHRASE_FILE"
DAYS_MAX = 3660
ROLES = (
    "image-root, image-targets, image-snapshot, image-timestamp, director-root, director-targets, "
    "director-snapshot, director-timestamp, director-tails, tail-TAIL, calibration, attestor, or a "
    "delegate's name"
)


class DryRun(Exception):  # not an error: what was asked for is done
    """Everything was shown; nothing is to be signed."""


def command(
    commands: Commands, name: str, summary: str, examples: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:  # fmt: skip
    """A parser with help and examples; `examples` are command lines, one a line."""
    lines = "".join(f"  {line.strip()}\n" for line in examples.strip().splitlines())
    parser = commands.add_parser(
        name, help=summary, description=summary[:1].upper() + summary[1:] + ".",
        epilog=f"examples:\n{lines}", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true",
                        help="print JSON instead of text; one document for each repository changed")  # fmt: skip
    return parser


def add_repo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repo", type=Path, required=True, metavar="DIR",
                        help="where image/, director/ and drafts/ are")  # fmt: skip


def add_keys(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument(
        "--keys", type=Path, required=required, action="append", default=None, metavar="DIR",
        help="folder of keys; more than once for more than one stick",
    )  # fmt: skip
    parser.add_argument(
        "--passphrase-file", type=Path, metavar="FILE",
        help=f"its first line opens the keys (or ${PASSPHRASE_VARIABLE})",
    )  # fmt: skip
    parser.add_argument("--pin-file", type=Path, metavar="FILE",
                        help="its first line is the PIN of the token or TPM")  # fmt: skip


def add_change(parser: argparse.ArgumentParser) -> None:
    """What every command has that signs: a dry run, and lifetimes other than the usual ones."""
    parser.add_argument("--dry-run", action="store_true",
                        help="show what would be signed, and stop")  # fmt: skip
    parser.add_argument(
        "--expires", action="append", default=[], metavar="ROLE=DAYS",
        help="root, targets, calibration, tails, snapshot or timestamp; as in timestamp=1",
    )  # fmt: skip


def add_propose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--propose", action="store_true",
                        help="write drafts for those who have the offline keys")  # fmt: skip


def key_ring(args: argparse.Namespace) -> Keyring:
    """The keys of every folder given."""
    from signing.keyring import Keyring

    return Keyring(*(key_folder(args, folder) for folder in args.keys or ()))


def key_folder(args: argparse.Namespace, folder: Path) -> KeyFolder:
    from signing.keys import KeyFolder, read_passphrase
    from signing.keys.pin import pin_of

    given = args.passphrase_file or os.environ.get(PASSPHRASE_VARIABLE)
    passphrase = read_passphrase(Path(given)) if given else None
    return KeyFolder(folder, passphrase, pin_of(args.pin_file))


def repositories(args: argparse.Namespace) -> Repositories:
    """What lies in `--repo`; whatever is about to be signed is shown first."""
    from signing.repositories import Repositories
    from signing.repository import wall_now

    return Repositories(
        args.repo, wall_now(), lifetimes(getattr(args, "expires", [])), review(args)
    )


def review(args: argparse.Namespace) -> Callable[[Plan], None]:
    """Shows a plan; DryRun where that was all."""

    def review_plan(plan: Plan) -> None:
        from signing.summary import summaries

        show(args, summaries(plan))

    return review_plan


def show(args: argparse.Namespace, found: tuple[RoleSummary, ...]) -> None:
    """What is about to be signed, read before the keys are used; DryRun where that was all."""
    from signing.summary import text

    if args.json:
        announce(args, {"dry_run": bool(args.dry_run), "signs": found})
    else:
        announce(args, text(found))


def announce(args: argparse.Namespace, what: object) -> None:
    """What is about to be signed, on its way to whoever reads it; DryRun where that was all,
    Rejected where nobody reads."""
    try:
        print(what) if isinstance(what, str) else print_json(what)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing waits for the exit
        raise Rejected("nobody reads what is to be signed; nothing was", "stdout",
                       "run it without a pipe that ends early") from None  # fmt: skip
    if args.dry_run:
        raise DryRun


def lifetimes(given: list[str]) -> Mapping[str, float]:
    from signing.repository import EXPIRY_DAYS

    days = dict(EXPIRY_DAYS)
    for text in given:
        role, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if role not in days or not 0 < number <= DAYS_MAX:
            raise Rejected(
                f"{text!r} is not an expiry", "--expires", f"ROLE=DAYS: {', '.join(days)}"
            )
        days[role] = number
    return days


def public_key(file: Path) -> Key:
    """The key of a `{name}.pub.json`, with the name that its file has."""
    from signing.keyring import named
    from signing.keys import KeyFolder

    name = file.name.removesuffix(".pub.json")
    if name == file.name:
        raise Rejected("not the name of a public key", str(file), "{name}.pub.json")
    return named(KeyFolder(file.parent).public(name), name)


def print_json(value: object) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def done(args: argparse.Namespace, text: str) -> int:
    """Say what was done; with `--json` the plan was the answer already."""
    if not args.json:
        print(text)
    return 0
