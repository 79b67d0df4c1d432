"""A disk under SQLite that writes down what is done to it, and what a power cut leaves of that.

In: an apsw connection opened while `recorded` holds. Out: the operations, in order; from any
prefix of them, images: the files as a reboot may find them.
Always holds: an image has every byte that was synced and every name whose folder was synced.
Of the rest each sector of 512 bytes, each truncation, each creation and each deletion is there or
not, as drawn: a write can be torn, lost, or on the disk before one that was issued earlier.
Bytes beside a write never change with it, which is what SQLite expects of a disk
(SQLITE_IOCAP_POWERSAFE_OVERWRITE); a disk that breaks that is not modelled.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import apsw

SECTOR_BYTES = 512
Mode = Literal["nothing", "all", "some", "torn", "reordered"]
MODES: tuple[Mode, ...] = ("nothing", "all", "some", "torn", "reordered")
"""What of the unsynced survives. `all` is what kill -9 leaves; `torn`: all but the last write,
which is cut at a sector."""

_NUMBERS = itertools.count()
# As SQLite's own file layer: a new file of these kinds has its folder synced at its first sync.
_OWN_FOLDER_SYNC = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL


class Op(NamedTuple):
    """One change. at: offset of a write, size after a truncation."""

    kind: Literal["create", "write", "truncate", "sync", "delete", "sync_folder"]
    name: str = ""
    at: int = 0
    data: bytes = b""


class _RecordingFile(apsw.VFSFile):
    def __init__(self, vfs: _RecordingVFS, path: Any, flags: list[int]) -> None:
        name = path.filename() if isinstance(path, apsw.URIFilename) else path
        is_new = not Path(name).exists()
        super().__init__(vfs.base, path, flags)
        self._ops, self._name = vfs.ops, Path(name).name
        self._sync_folder = is_new and bool(flags[0] & _OWN_FOLDER_SYNC)
        if is_new:
            self._ops.append(Op("create", self._name))

    def xWrite(self, data: Any, offset: int) -> None:
        super().xWrite(data, offset)
        self._ops.append(Op("write", self._name, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        super().xTruncate(size)
        self._ops.append(Op("truncate", self._name, size))

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._ops.append(Op("sync", self._name))
        if self._sync_folder:
            self._ops.append(Op("sync_folder"))
            self._sync_folder = False


class _RecordingVFS(apsw.VFS):
    base = "unix"

    def __init__(self, name: str, ops: list[Op], seed: int) -> None:
        self.ops, self._seed = ops, seed
        super().__init__(name, self.base)

    def xRandomness(self, numbytes: int) -> bytes:
        return random.Random(self._seed).randbytes(numbytes)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _RecordingFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self.ops.append(Op("delete", Path(filename).name))
        if syncdir:
            self.ops.append(Op("sync_folder"))


@contextmanager
def recorded(seed: int) -> Iterator[list[Op]]:
    """The operations of every connection that is opened meanwhile.

    seed: of SQLite's own random numbers (salts of the WAL), so that a life can be lived again.
    """
    name, ops = f"recording-{os.getpid()}-{next(_NUMBERS)}", list[Op]()
    vfs = _RecordingVFS(name, ops, seed)
    apsw.set_default_vfs(name)
    apsw.randomness(0)  # forget what it had; it asks the default VFS for a new seed
    try:
        yield ops
    finally:
        apsw.set_default_vfs("unix")
        apsw.randomness(0)
        vfs.unregister()


@dataclass(slots=True)
class _File:
    """synced: what a power cut leaves. unsynced: what was done to it since."""

    synced: bytes = b""
    unsynced: list[Op] = field(default_factory=list)


class Disk:
    """The files after a prefix of the operations; `do` takes the next one."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self._now = {name: _File(data) for name, data in (files or {}).items()}
        self._durable = dict(self._now)

    def do(self, op: Op) -> None:
        if op.kind == "create":
            self._now[op.name] = _File()
        elif op.kind == "delete":
            del self._now[op.name]
        elif op.kind == "sync_folder":
            self._durable = dict(self._now)
        elif op.kind == "sync":
            file = self._now[op.name]
            file.synced, file.unsynced = _applied(file.synced, file.unsynced), []
        else:
            self._now[op.name].unsynced.append(op)

    @property
    def is_certain(self) -> bool:
        """Nothing is unsynced: every image is the same."""
        files = (*self._now.values(), *self._durable.values())
        return self._now == self._durable and not any(file.unsynced for file in files)

    def image(self, mode: Mode, draw: random.Random) -> dict[str, bytes]:
        """The files as a reboot may find them."""
        names = dict(self._durable)
        for name in sorted({*self._now, *self._durable}):
            newer = self._now.get(name)
            if newer is not names.get(name) and _chance(mode, draw):
                if newer is None:
                    del names[name]
                else:
                    names[name] = newer
        return {
            name: _applied(file.synced, _surviving(file.unsynced, mode, draw))
            for name, file in names.items()
        }


def _chance(mode: Mode, draw: random.Random) -> bool:
    return mode in ("all", "torn") or (mode != "nothing" and draw.random() < 0.5)


def _surviving(ops: list[Op], mode: Mode, draw: random.Random) -> list[Op]:
    if mode == "nothing" or not ops:
        return []
    if mode == "all":
        return ops
    if mode == "torn":
        last = _sectors(ops[-1])
        return [*ops[:-1], *last[: draw.randrange(len(last))]]
    keep = draw.random()
    kept = [part for op in ops for part in _sectors(op) if draw.random() < keep]
    if mode == "reordered":
        draw.shuffle(kept)
    return kept


def _sectors(op: Op) -> list[Op]:
    """A write as writes of one sector each, whole sectors or what it has of them."""
    if op.kind != "write":
        return [op]
    parts, at, end = [], op.at, op.at + len(op.data)
    while at < end:
        stop = min(end, (at // SECTOR_BYTES + 1) * SECTOR_BYTES)
        parts.append(op._replace(at=at, data=op.data[at - op.at : stop - op.at]))
        at = stop
    return parts


def _applied(data: bytes, ops: list[Op]) -> bytes:
    if not ops:
        return data
    file = bytearray(data)
    for op in ops:
        if op.kind == "truncate":
            del file[op.at :]
            continue
        if len(file) < op.at:
            file.extend(bytes(op.at - len(file)))
        file[op.at : op.at + len(op.data)] = op.data
    return bytes(file)
