"""Files that a power cut leaves old or new, never half.

In: a path and bytes. Out: the file, durable in content and name when the call returns.
Always holds: written aside, synced, renamed, folder synced; a private file is mode 0600 before
its first byte is written; what is written aside is a file of our own making, never one that somebody
else put there, nor what a link there points to.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from shared.errors import Rejected, Unreachable


def write_durably(path: Path, data: bytes, *, private: bool = False) -> None:
    """Replace `path` by `data`. private: for its owner only, whatever the umask."""
    aside = path.with_name(f".{path.name}.tmp")
    mode = 0o600 if private else 0o666
    try:
        with os.fdopen(open_new(aside, mode), "wb") as file:
            if private:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError:
        with suppress(OSError):  # a full stick is not to be left with half of it
            aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def open_new(path: Path, mode: int) -> int:
    """A descriptor of a new file at `path`; what was there before, a link for example, is removed."""
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)


def need_room(folder: Path, need_bytes: int, what: str, remedy: str) -> None:
    """Unreachable unless so much is free at `folder`. what: `needed for …`, after the figure."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < need_bytes:
        raise Unreachable(
            f"{free_bytes / 1e6:.0f} MB free, {need_bytes / 1e6:.0f} MB {what}", str(folder), remedy
        )


def read_bounded(path: Path, bytes_max: int, remedy: str) -> bytes:
    """The file's bytes; Unreachable when it cannot be read, Rejected (`remedy`) when it is longer."""
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise Unreachable(f"cannot read: {error.strerror}", str(path), "check the path") from None
    if len(data) > bytes_max:
        raise Rejected(f"over {bytes_max} bytes", str(path), remedy)
    return data


def sync_folder(folder: Path) -> None:
    """Make a new name in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
