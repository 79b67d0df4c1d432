"""A disk under SQLite whose syncs, writes or reads fail when told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import apsw

_NUMBERS = count()


class Faults:
    """What fails now. sync_main: of the database file, not of its WAL.

    reads_at: offsets into the database file that cannot be read.
    """

    def __init__(self) -> None:
        self.sync = self.sync_main = self.write = False
        self.reads_at: set[int] = set()
        self.syncs = 0


class _File(apsw.VFSFile):
    def __init__(self, faults: Faults, path: Any, flags: list[int]) -> None:
        super().__init__("unix", path, flags)
        self._faults = faults
        self._is_main = bool(flags[0] & apsw.SQLITE_OPEN_MAIN_DB)

    def xSync(self, flags: int) -> None:
        self._faults.syncs += 1
        if self._faults.sync or (self._is_main and self._faults.sync_main):
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
        super().xSync(flags)

    def xWrite(self, data: Any, offset: int) -> None:
        if self._faults.write:
            raise apsw.exception_for(apsw.SQLITE_IOERR_WRITE)
        super().xWrite(data, offset)

    def xRead(self, amount: int, offset: int) -> bytes:
        if self._is_main and offset in self._faults.reads_at:
            raise apsw.exception_for(apsw.SQLITE_IOERR_READ)
        return super().xRead(amount, offset)


class _Vfs(apsw.VFS):
    def __init__(self, name: str, faults: Faults) -> None:
        self._faults = faults
        super().__init__(name, "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> _File:
        return _File(self._faults, name, flags)


@contextmanager
def faulty_disk() -> Iterator[Faults]:
    """Every connection opened meanwhile is on it."""
    faults = Faults()
    vfs = _Vfs(f"faulty-{next(_NUMBERS)}", faults)
    try:
        yield faults
    finally:
        vfs.unregister()
