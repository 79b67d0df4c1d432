"""The commands of `tailtwin-edge`, one module each.

A module has `add(commands)`, which declares its parser, and an act that gets the parsed arguments
and returns the exit code. Heavy imports are inside the act, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def command(commands: Commands, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    """A parser with help and examples; `examples` are command lines, one a line."""
    lines = "".join(f"  {line.strip()}\n" for line in examples.strip().splitlines())
    return commands.add_parser(
        name, help=summary, description=summary[:1].upper() + summary[1:] + ".",
        epilog=f"examples:\n{lines}", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def printable(text: str) -> str:
    """What a foreign file says, for a terminal: nothing in it moves the cursor or renames the window."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def add_profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--profile", type=Path, required=True, help="the computer's profile, TOML", metavar="FILE"
    )


def add_state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state", type=Path, required=True, help="state folder; survives reboots", metavar="DIR"
    )
