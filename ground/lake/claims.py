"""Claims: which of several workers does a thing that has a name.

In: names. Out: who may. Always holds: a name has one holder at a time; the claim of a process
that was killed is free at once, because the kernel holds it (one byte of a file, locked by its
open file description). Two names may share a byte: then one waits a little, never both do it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BYTES = 1 << 40
_FLOCK = struct.Struct("hhqqi4x")  # of fcntl(2): type, whence, start, length, pid


class Claims:
    """One open file per holder."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """True for the one that may; False when another holds it."""
        byte = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % _BYTES
        held = self._lock(fcntl.F_WRLCK, byte)
        try:
            yield held
        finally:
            if held:
                self._lock(fcntl.F_UNLCK, byte)

    def close(self) -> None:
        os.close(self._handle)

    def _lock(self, kind: int, byte: int) -> bool:
        try:
            fcntl.fcntl(self._handle, fcntl.F_OFD_SETLK,
                        _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0))  # fmt: skip
        except (BlockingIOError, PermissionError):
            return False
        return True
