"""tailtwin-ground: make, run and ask a ground.

In: arguments. Out: an exit code; answers on stdout, logs and errors on stderr.
Always holds: a user's mistake prints what, where and what to do, never a trace.
"""

from __future__ import annotations

import argparse
import os
import sys

from ground.commands import (
    api,
    baseline,
    calibrate,
    cases,
    closure,
    enroll,
    flights,
    import_,
    ingest,
    init,
    jobs,
    offer,
    reconcile,
    report,
    up,
    versions,
    what_if,
    worker,
)
from shared.errors import TailTwinError

COMMANDS = (
    init,
    enroll,
    up,
    api,
    ingest,
    worker,
    offer,
    versions,
    import_,
    flights,
    closure,
    reconcile,
    cases,
    jobs,
    report,
    what_if,
    baseline,
    calibrate,
)
"""In the order of the help; `ground/commands/` has one module each."""

_EXAMPLES = """\
examples:
  tailtwin-ground init --state var/ground --operator OPX
  tailtwin-ground enroll --state var/ground --tail-file tail.toml --device-pub device.pub \\
      --out enrolment.toml
  tailtwin-ground up --state var/ground --tuf-repo var/tuf
  tailtwin-ground flights --state var/ground
  tailtwin-ground closure B737-28001-3f9a1c-F00001 --state var/ground --json
"""


def parser() -> argparse.ArgumentParser:
    """Every command and argument; docs/ground.md is tested against it."""
    top = argparse.ArgumentParser(
        prog="tailtwin-ground", description="The ground: takes records, closes flights, answers.",
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add(commands)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command; its exit code (sysexits.h)."""
    args = parser().parse_args(argv)
    os.umask(0o077)  # keys, passwords and flight data are of one account
    try:
        code: int = args.act(args)
    except TailTwinError as error:
        print(f"tailtwin-ground: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


if __name__ == "__main__":
    sys.exit(main())
