"""A file below a folder, named by somebody we do not trust.

In: a folder and a relative path. Out: a descriptor of a regular file below it.
Always holds: no link is followed below the folder, whoever swaps what in the meantime; a FIFO or
a device blocks nobody; a path of hidden, upward or odd names reaches no file system.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

_NAME = r"[A-Za-z0-9_%~+-][A-Za-z0-9_.%~+-]{0,254}"
PATH = re.compile(rf"{_NAME}(?:/{_NAME}){{0,7}}\Z")
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_below(folder: Path, path: str) -> int:
    """A descriptor to read from; OSError otherwise, FileNotFoundError when there is nothing."""
    if not PATH.match(path):
        raise OSError(errno.EINVAL, "not a path of a repository")
    *between, last = path.split("/")
    at = os.open(folder, _FOLDER_FLAGS)
    try:
        for name in between:
            below = os.open(name, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(last, flags, dir_fd=at)
    finally:
        os.close(at)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor
