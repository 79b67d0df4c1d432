"""A TOML file as a struct: how every program reads its settings.

In: bytes or a path. Out: a checked struct. Always holds: whatever is wrong with the file is a
ConfigError that names file, key and remedy; a nested or long one beyond Python's limits too.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from shared.errors import ConfigError

T = TypeVar("T")
ERROR_CHARS_MAX = 300


def load_settings_file(kind: type[T], path: Path, remedy: str, missing: str = "") -> T:
    """The file at `path` as `kind`. missing: the remedy when there is no file to read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", str(path), missing or remedy) from None
    return parse_settings(kind, data, str(path), remedy)


def parse_settings(kind: type[T], data: bytes, where: str, remedy: str) -> T:
    """The same from bytes."""
    try:
        return msgspec.convert(tomllib.loads(data.decode()), kind)
    except (ValueError, OverflowError, RecursionError, msgspec.ValidationError) as error:
        raise ConfigError(str(error)[:ERROR_CHARS_MAX], where, remedy) from None
