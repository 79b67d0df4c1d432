"""The SQLite file under the outbox.

In: a path. Out: a connection that is durable at every commit, and typed errors. Always holds:
a file that is corrupt is moved aside, never written to and never deleted while it is the newest
one moved; one process has the file at a time (exclusive lock, so WAL needs no shared memory).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import apsw

from shared.errors import Corrupt, Rejected, TailTwinError, Unreachable
from shared.files import sync_folder

SCHEMA_VERSION = 2
_FROM_1 = """
ALTER TABLE kv ADD COLUMN data_key INTEGER NOT NULL DEFAULT 0;
ALTER TABLE record ADD COLUMN data_key INTEGER NOT NULL DEFAULT 0;
ALTER TABLE journal ADD COLUMN data_key INTEGER NOT NULL DEFAULT 0;
CREATE TABLE data_key (
    id INTEGER PRIMARY KEY, device_key_id TEXT NOT NULL, for_device BLOB NOT NULL,
    recovery_key_id TEXT NOT NULL, for_recovery BLOB NOT NULL
) STRICT;
PRAGMA user_version = 2;
"""  # an aircraft that gets this program may hold records that the ground has not
APPLICATION_ID = 0x54544F42  # "TTOB"
PAGE_BYTES = 4096
WAL_PAGES = 128  # a checkpoint every 512 kB, so that RESERVE_BYTES hold what it moves into the file
RESERVE_BYTES = 1 << 20
# Larger files are checked without their payloads: 250 MB open in 0.06 s, not 0.37 s (2 cores).
FULL_CHECK_BYTES = 64 << 20
CACHE_KIB = 4096

_BROKEN = (apsw.CorruptError, apsw.NotADBError)
_UNREADABLE = (apsw.SQLITE_IOERR_READ, apsw.SQLITE_IOERR_SHORT_READ, apsw.SQLITE_IOERR_CORRUPTFS)
_UNSYNCED = (apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC)
_OUTSIDE = (
    apsw.FullError, apsw.IOError, apsw.BusyError, apsw.CantOpenError, apsw.ReadOnlyError,
    apsw.PermissionsError, apsw.LockedError,
)  # fmt: skip


class Unsynced(Corrupt):
    """The disk failed a sync. What was written since the last good one may be anything, and the
    page cache may show what the disk does not hold: only a process that reads the disk again
    knows. What was acknowledged before is in the WAL, which was synced."""


@contextmanager
def typed_errors(path: Path) -> Iterator[None]:
    """SQLite's errors that come from outside, as ours; its other errors are our bugs."""
    try:
        yield
    except (*_OUTSIDE, *_BROKEN) as error:
        found = _typed(error, path)
        if isinstance(found, Corrupt):
            _mark_suspect(path)
        raise found from error


def _typed(error: apsw.Error, path: Path) -> TailTwinError:
    if isinstance(error, apsw.IOError):
        detail = getattr(error, "extendedresult", 0)
        if detail in _UNSYNCED:
            return Unsynced(
                f"a sync failed: {error}", str(path), "restart; the disk is then read again"
            )
        if detail in _UNREADABLE:
            return Corrupt(
                f"cannot be read: {error}", str(path), "restart; the file is then moved aside"
            )
    if isinstance(error, _BROKEN):
        return Corrupt(
            f"SQLite says: {error}", str(path), "restart; the file is then checked and moved aside"
        )
    return _unreachable(error, path)


def _mark_suspect(path: Path) -> None:
    try:
        suspect_mark(path).touch()
    except OSError:
        pass  # a disk that takes no name either; a file below FULL_CHECK_BYTES is checked anyway


def _unreachable(error: Exception, path: Path) -> TailTwinError:
    if isinstance(error, apsw.FullError):
        return Unreachable("disk or quota is full", str(path), "make room; nothing was written")
    if isinstance(error, apsw.BusyError):
        return Unreachable("another process has it", str(path), "stop the other recorder")
    return Unreachable(f"cannot read or write: {error}", str(path), "check disk and permissions")


def suspect_mark(path: Path) -> Path:
    """Exists when reading failed at run time: the next open checks every page."""
    return path.with_name(path.name + "-suspect")


def open_database(path: Path) -> apsw.Connection:
    """A connection to the outbox at `path`, made when it is not there.

    Corrupt when it is damaged (`move_aside` then), Unreachable, or Rejected when a newer
    program made it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    check_all = suspect_mark(path).exists() or (
        path.exists() and path.stat().st_size <= FULL_CHECK_BYTES
    )
    if suspect_mark(path).exists():
        _forget_cached(path)
    db: apsw.Connection | None = None
    try:
        with typed_errors(path):
            empty = not path.exists() or path.stat().st_size == 0
            db = apsw.Connection(str(path))
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # while it may be damaged
            db.execute("PRAGMA locking_mode = exclusive")
            if empty:  # setting these writes even when nothing changes
                db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
                db.execute("PRAGMA auto_vacuum = incremental")
            db.execute("PRAGMA journal_mode = wal")
            db.execute("PRAGMA synchronous = full")
            db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            db.execute("PRAGMA temp_store = memory")
            _make_or_check(db, path, check_all)
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
            suspect_mark(path).unlink(missing_ok=True)
    except BaseException:
        if db is not None:
            db.close(True)
        raise
    return db


def _forget_cached(path: Path) -> None:
    """Have the kernel read the disk again: after a failed sync it calls pages clean that the disk
    never took (fsyncgate), and a check of the cache would find them in order."""
    for file in (path, path.with_name(path.name + "-wal")):
        try:
            handle = os.open(file, os.O_RDONLY)
        except OSError:
            continue
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def _make_or_check(db: apsw.Connection, path: Path, check_all: bool) -> None:
    version = db.pragma("user_version")
    if version == 0 and db.execute("SELECT count(*) FROM sqlite_schema").get == 0:
        schema = resources.files("edge.outbox").joinpath("schema.sql").read_text()
        with db:
            db.execute(schema)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        sync_folder(path.parent)
        return
    if db.pragma("application_id") != APPLICATION_ID:
        raise Rejected("not an outbox", str(path), "name another file, or move this one away")
    if version == 1:
        with db:
            db.execute(_FROM_1)
        version = SCHEMA_VERSION
    if version != SCHEMA_VERSION:
        raise Rejected(
            f"outbox schema {version}; this program reads 1 to {SCHEMA_VERSION}",
            str(path),
            "run the program that made it, or move it away",
        )
    light = ["(kv)", "(data_key)", "(record)", "(journal)"]
    checks = [f"quick_check{table}" for table in ([""] if check_all else light)]
    # with their indices: a flipped bit in a name is a row that no insert gets past
    for check in (*checks, "integrity_check(epoch)", "integrity_check(stream)"):
        for (verdict,) in db.execute(f"PRAGMA {check}"):
            if verdict != "ok":
                raise apsw.CorruptError(str(verdict)[:200])


def move_aside(path: Path, wall_ns: int) -> Path:
    """Rename a corrupt file and its WAL; only the newest one moved is kept. Returns its path."""
    try:
        return _move_aside(path, wall_ns)
    except OSError as error:
        raise Unreachable(
            f"damaged, and cannot be moved aside: {error.strerror}", str(path), "change the disk"
        ) from error


def _move_aside(path: Path, wall_ns: int) -> Path:
    for older in path.parent.glob(path.name + ".corrupt-*"):
        older.unlink()
    aside = path.with_name(f"{path.name}.corrupt-{wall_ns}")
    wal = path.with_name(path.name + "-wal")
    if wal.exists():
        # A second name first: a power cut between two renames would leave a file without its WAL,
        # which is an older state of it, and the next move would delete what was moved already.
        os.link(wal, aside.with_name(aside.name + "-wal"))
    path.rename(aside)
    sync_folder(path.parent)
    wal.unlink(missing_ok=True)
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    suspect_mark(path).unlink(missing_ok=True)
    sync_folder(path.parent)
    return aside
