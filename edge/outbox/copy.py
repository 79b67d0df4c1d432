"""A copy of an outbox, taken beside a running recorder and read without writing to the original.

In: the path of an outbox, a folder with room, the keys to open it with. Out: its records, journal
and state, each opened or with the reason why not. Always holds: the original is only read, and
without any lock; a copy is what the outbox was at one commit, or Unreachable says it could not be
had. SQLite writes pages into the file only from the WAL, and begins the WAL anew only with another
salt in its header: a file copied before the WAL, between two looks at the same header, is whole
again once that WAL is laid over it. Not for the recorder's own process: closing a file there would
give up SQLite's locks on it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import apsw

from edge.outbox import rows
from edge.outbox.database import open_database, typed_errors
from edge.outbox.kept import Kept
from edge.outbox.keyring import Keyring
from edge.outbox.sealing import Sealing
from edge.outbox.streams import Streams
from shared.errors import Corrupt, Rejected, TailTwinError, Unreachable
from shared.files import need_room
from shared.sync.sender import Held

ATTEMPTS_MAX = 20  # the recorder begins its WAL anew about once a minute; copying takes seconds
WAL_HEADER_BYTES = 32
SPARE_BYTES = 8 << 20
PAGE_FAULTS_MAX = 20
NAME = "outbox.db"


def take(path: Path, folder: Path) -> Path:
    """A copy of the outbox at `path` in `folder`; its path. Nothing is left there on failure."""
    wal = path.with_name(path.name + "-wal")
    copied, copied_wal = folder / NAME, folder / f"{NAME}-wal"
    try:
        _check_room(path, wal, folder)
        for _ in range(ATTEMPTS_MAX):
            before = _state(path, wal)
            shutil.copyfile(path, copied)
            copied_wal.write_bytes(wal.read_bytes() if wal.exists() else b"")
            if before == _state(path, wal) and before[0] == _header(copied_wal):
                return copied
    except FileNotFoundError:
        raise Rejected(
            "no outbox there", str(path), "name a state folder or an outbox.db"
        ) from None
    except OSError as error:
        raise Unreachable(f"cannot copy: {error.strerror}", str(path), "check both disks") from None
    raise Unreachable(
        f"it changed under {ATTEMPTS_MAX} attempts to copy it", str(path), "stop the recorder"
    )


def _state(path: Path, wal: Path) -> tuple[bytes, int, int]:
    """Header of the WAL; without one also when the file changed, for a WAL that came and went."""
    header, file = _header(wal), path.stat()
    return (header, 0, 0) if header else (header, file.st_mtime_ns, file.st_size)


def _header(wal: Path) -> bytes:
    try:
        with wal.open("rb") as file:
            return file.read(WAL_HEADER_BYTES)
    except FileNotFoundError:
        return b""


def _check_room(path: Path, wal: Path, folder: Path) -> None:
    need = path.stat().st_size + (wal.stat().st_size if wal.exists() else 0) + SPARE_BYTES
    need_room(folder, need, "needed for the copy that is read",
              "make room, or name another folder with --scratch")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """A record of the copy. sealed: its envelope, or None and why not. t_event_ns: of its row."""

    held: Held
    t_event_ns: int
    sealed: bytes | None
    fault: str = ""
    is_locked: bool = False


class StoreCopy:
    """An opened copy; to be closed. Pages that are damaged are faults, not errors."""

    def __init__(self, path: Path, keyring: Keyring | None) -> None:
        """Corrupt when not even its tables can be read; Rejected when it is no outbox."""
        self.path = path
        self.page_faults: list[str] = []
        try:
            self._db = open_database(path)
        except Corrupt as error:
            self.page_faults.append(error.what)
            self._db = apsw.Connection(str(path))
        try:
            with typed_errors(path):
                self._open(keyring)
        except BaseException:
            self.close()
            raise

    def _open(self, keyring: Keyring | None) -> None:
        kept = self._kept = Kept(self._db)
        operator, _, tail = (kept.get("owner") or b"/").decode(errors="replace").partition("/")
        self.operator, self.tail = operator, tail
        self.boot = int.from_bytes(kept.get("boot") or b"")
        kept.sealing = self._sealing = Sealing(self._db, operator, tail, keyring)
        self.streams = Streams(self._db, self._sealing.has)
        self.audit_end = kept.get("audit.previous") or b""
        self.has_state_key = not self._locked("SELECT count(*) FROM kv WHERE data_key IN ({})")
        self.journal_locked = self._locked("SELECT count(*) FROM journal WHERE data_key IN ({})")

    def _locked(self, query: str) -> int:
        count: int = self._db.execute(
            query.format(", ".join(map(str, sorted(self._sealing.locked))))
        ).get
        return count

    def __enter__(self) -> StoreCopy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        self._db.close(True)

    @property
    def record_count(self) -> int:
        return sum(stream.held.size for stream in self.streams.all.values())

    def check_pages(self) -> list[str]:
        """Every page, index and constraint of the file; what is wrong with them."""
        try:
            said = [str(row[0]) for row in self._db.execute(
                f"PRAGMA integrity_check({PAGE_FAULTS_MAX})")]  # fmt: skip
        except apsw.Error as error:
            said = [str(error)]
        self.page_faults += [text for text in said if text != "ok"]
        return self.page_faults

    def kept(self, key: str) -> bytes | None:
        """What the recorder kept under a key; None where there is nothing, or it does not open."""
        try:
            return self._kept.get(key)
        except (apsw.Error, TailTwinError):
            return None

    def records(self, cls: str = "") -> Iterator[Found]:
        """Every record, or those of a class, by stream and seq. A row that cannot be reached is told
        with its stream."""
        for stream in self.streams.all.values():
            if cls and stream.cls != cls:
                continue
            for low, high in stream.held:
                for seq in range(low, high):
                    held = Held(stream.epoch, stream.name, seq, stream.cls, 0)
                    if seq in stream.locked:
                        yield Found(held, 0, None, "its key is not here", is_locked=True)
                        continue
                    try:
                        yield self._record(held, stream.record_id(seq))
                    except (apsw.Error, TailTwinError) as error:
                        yield Found(held, 0, None, getattr(error, "what", str(error)))

    def _record(self, held: Held, number: int) -> Found:
        row = rows.sealed(self._db, number)
        if row is None:
            return Found(held, 0, None, "its row has no bytes")
        t_event_ns = rows.event_time_ns(self._db, number)
        place = ("record", held.epoch, held.stream, held.seq)
        return Found(held, t_event_ns, self._sealing.open(*row, place))

    def journal(self) -> Iterator[tuple[str, bytes | None]]:
        """(group, data) in order; None where it does not open."""
        query = "SELECT id, grp, data, data_key FROM journal ORDER BY id"
        for number, group, data, data_key in self._db.execute(query):
            try:
                yield group, self._sealing.open(data_key, data, ("journal", group, number))
            except Corrupt:
                yield group, None

    def newest_ns(self) -> int:
        """The latest event time of any record; 0 when there is none."""
        newest: int = self._db.execute("SELECT coalesce(max(t_event_ns), 0) FROM record").get
        return newest
