"""`tailtwin-sign`: ceremonies with keys, and the two repositories that come of them.

In: arguments. Out: text or JSON, and an exit code of sysexits.h; `expire-soon` says 1 when
something does. Always holds: what is to be signed is shown before a key is used; a user's mistake
is one line that says what, where and what to do.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from functools import cache

import signing.commands
from shared.errors import TailTwinError, Unreachable
from signing.commands import DryRun

EXAMPLES = """\
examples:
  tailtwin-sign init    --repo var/tuf --keys ~/keys
  tailtwin-sign publish --repo var/tuf --keys ~/keys egt-2.0.0-5f0c9a1b2c3d.tar.zst
  tailtwin-sign assign  --repo var/tuf --keys ~/keys --tail B737-28001 egt/egt-2.0.0-5f0c9a1b2c3d.tar.zst
  tailtwin-sign refresh --repo var/tuf --keys ~/keys
  tailtwin-sign expire-soon --repo var/tuf
  tailtwin-sign inspect --repo var/tuf --json

Every command that signs shows what it will sign first, and stops there with --dry-run. The
ceremonies of offline keys are in docs/runbooks/signing.md.

exit codes: 0 done; 1 something expires (expire-soon); 2 no such option; 65 refused; 69 not there, full,
or in use; 74 damaged; 75 expired; 78 settings; 130 stopped
"""


STOPPED = 130  # as shells say of a program that was interrupted


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did what was asked."""
    os.environ.setdefault("TSS2_LOG", "all+none")  # libtss2's own lines; our errors say it in one
    args = _parser().parse_args(argv)
    try:
        code: int = args.run(args)
    except DryRun:
        return 0
    except TailTwinError as error:
        print(f"tailtwin-sign: {_printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return 0  # what was to be signed had been read: see signing.commands.announce
    except OSError as error:  # a stick that was pulled, a folder that is read-only or full
        where = _printable(str(error.filename or args.command))
        print(f"tailtwin-sign: {where}: {error.strerror}\n"
              "  to do: see that it is there, writable and has room", file=sys.stderr)  # fmt: skip
        return Unreachable.exit_code
    except (KeyboardInterrupt, EOFError):
        print("tailtwin-sign: stopped", file=sys.stderr)
        return STOPPED
    return code


def _printable(text: str) -> str:
    """What errors repeat of foreign files moves no cursor."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


@cache
def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tailtwin-sign",
        description="Make, fill, refresh and read the two repositories (TUF) of model bundles.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in sorted(m.name for m in pkgutil.iter_modules(signing.commands.__path__)):
        importlib.import_module(f"signing.commands.{module}").add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
