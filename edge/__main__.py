"""tailtwin-edge: the program aboard."""

from __future__ import annotations

import argparse
import os
import sys

from edge.commands import (
    accept,
    admit,
    doctor,
    export,
    init,
    install,
    recovery_key,
    replay,
    rollback,
    run,
    status,
    updates,
    verify,
)
from shared.errors import TailTwinError

COMMANDS = (
    run, init, install, recovery_key, admit, status, updates, accept, rollback, verify, export,
    doctor, replay,
)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run one command; its exit code (sysexits.h)."""
    os.umask(0o077)  # what an aircraft keeps is nobody else's
    args = _parser().parse_args(argv)
    try:
        code: int = args.act(args)
    except TailTwinError as error:
        print(f"tailtwin-edge: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tailtwin-edge", description="Records an aircraft, runs its signed models, keeps "
        "every record until the ground proves it has it.",
        epilog="`tailtwin-edge COMMAND --help` has examples.",
    )  # fmt: skip
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
