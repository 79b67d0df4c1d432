"""Room on the disk that nobody else gets: a file that is given up when the disk is full.

In: a path, a size. Out: whether the room is held. Always holds: giving it up needs no room, so
that a store that filled the disk can still move its WAL into its file and delete records.
"""

from __future__ import annotations

import os
from pathlib import Path

SPARE_BYTES = 256 * 1024  # left free for others when it is made


class Reserve:
    """`size` bytes in a file of their own."""

    def __init__(self, path: Path, size: int) -> None:
        self._path, self.size = path, size

    @property
    def held_bytes(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def give_up(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            pass  # a disk that refuses even that gives nothing back

    def hold(self) -> bool:
        """Make it when there is room; whether it is there."""
        try:
            if self.held_bytes == self.size:
                return True
            disk = os.statvfs(self._path.parent)
            if disk.f_bavail * disk.f_frsize < self.size + SPARE_BYTES:
                return False
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.posix_fallocate(handle, 0, self.size)
            finally:
                os.close(handle)
        except OSError:
            self.give_up()
            return False
        return True
