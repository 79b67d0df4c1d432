"""The PIN of a token or a TPM's key: from a file, or asked for.

In: a file, or a terminal. Out: what gives the PIN when a store asks for it. Always holds: a PIN
never comes from a command line, where others of the machine read it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from getpass import getpass
from pathlib import Path

from shared.errors import Rejected
from signing.keys.keyfile import read_private

Pin = Callable[[str], str]  # asked for whose (`the token root-1`); Rejected when there is none


def no_pin(whose: str) -> str:
    raise Rejected(f"{whose} asks for a PIN", remedy="see --pin-file")


def pin_of(file: Path | None) -> Pin:
    """The first line of a file that its owner alone may read; without one, the terminal's."""
    return _asked if file is None else lambda _: _line(file)


def _asked(whose: str) -> str:
    if not sys.stdin.isatty():
        return no_pin(whose)
    return getpass(f"PIN of {whose}: ")


def _line(file: Path) -> str:
    try:
        line = read_private(file).decode().splitlines()[:1]
    except UnicodeDecodeError:
        raise Rejected("not a PIN", str(file), "its first line is the PIN") from None
    if not line or not line[0]:
        raise Rejected("no PIN", str(file), "its first line is the PIN")
    return line[0]
