"""The commands of `tailtwin-ground`, one module each.

A module has `add(commands)`, which declares its parser, and `run(args)`, which gets the parsed
arguments and returns the exit code. Heavy imports are inside `run`: `--help` answers at once,
ingest carries no web framework, the CLI no numpy.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def command(
    commands: Commands, name: str, summary: str, examples: str = ""
) -> argparse.ArgumentParser:
    """A parser that asks for the state folder; `examples` are command lines, one a line."""
    lines = "".join(f"  {line.strip()}\n" for line in examples.strip().splitlines())
    parser = commands.add_parser(
        name, help=summary, description=summary[:1].upper() + summary[1:] + ".",
        epilog=f"examples:\n{lines}" if lines else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--state", type=Path, required=True, metavar="DIR",
                        help="folder of this ground")  # fmt: skip
    return parser


def write_out(path: Path, data: bytes) -> None:
    """The file a command was asked for, as a whole or not at all."""
    from shared.errors import Rejected
    from shared.files import write_durably

    try:
        write_durably(path, data)
    except OSError as error:
        raise Rejected(f"cannot write: {error.strerror}", str(path), "check the path") from None


def second(t_ns: int | None) -> str:
    """A time in a table; `-` where there is none."""
    from ground.lake.records import iso

    return f"{iso(t_ns):.19}Z" if t_ns else "-"


def add_tuf_repo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tuf-repo", type=Path, metavar="DIR",
                        help="where image/ and director/ are, to serve at /tuf")  # fmt: skip
