"""Recovery: what can still be read of an outbox that no recorder will open again.

In: a copy of the file (with its WAL), the keys one has. Out: every record that proves itself, and
the journal. Always holds: nothing is written to the file; a record comes out only when its seal
or its hashes hold and its identity is the one of its row. Damage costs the records it is on:
tables are walked from both ends, and records whose row is gone are found by their bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import apsw

from edge.outbox.database import APPLICATION_ID
from edge.outbox.keyring import Keyring
from edge.outbox.sealing import PLAIN, Place, Sealing
from edge.outbox.streams import SEQ_BITS, SEQ_MASK
from shared.envelope import Envelope, open_envelope
from shared.errors import Corrupt, Rejected
from shared.sync.sender import Held

_DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.IOError)


class Copy:
    """A copy of an outbox file, open for reading. Rejected when it is no outbox at all.

    keyring: of the device, or `Keyring.from_recovery`; None reads what is in the clear.
    """

    def __init__(self, path: Path, keyring: Keyring | None = None) -> None:
        has_wal = path.with_name(path.name + "-wal").exists()
        query = "mode=rw" if has_wal else "mode=ro&immutable=1"
        flags = apsw.SQLITE_OPEN_URI
        flags |= apsw.SQLITE_OPEN_READWRITE if has_wal else apsw.SQLITE_OPEN_READONLY
        self.locked = self.damaged = 0
        """Records that these keys do not open, and those that are not what was written."""
        try:
            self._db = apsw.Connection(f"{path.absolute().as_uri()}?{query}", flags=flags)
            self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            if self._db.pragma("application_id") != APPLICATION_ID:
                raise Rejected("not an outbox", str(path))
            has_keys = self._db.pragma("user_version") > 1
            owner: Any = self._db.execute("SELECT value FROM kv WHERE key = 'owner'").get or b"/"
            self.operator, _, self.tail = owner.decode().partition("/")
            self._sealing = (
                Sealing(self._db, self.operator, self.tail, keyring) if has_keys else None
            )
            self._streams = {
                row[0]: (str(row[1]), str(row[2]), str(row[3]))
                for row in self._db.execute("SELECT id, epoch, stream, cls FROM stream")
            }
        except apsw.Error as error:
            raise Rejected(
                f"cannot be read as an outbox: {error}", str(path), "try an older copy"
            ) from error

    def __enter__(self) -> Copy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._db.close(True)

    def records(self) -> Iterator[tuple[Held, bytes]]:
        """(identity, envelope bytes) of every record that is read and proves itself."""
        for number in sorted(set(self._ids("record")) | set(self._ids("sealed"))):
            stream = self._streams.get(number >> SEQ_BITS)
            if stream is None:
                self.damaged += 1
                continue
            epoch, name, cls = stream
            data = self._open(number, ("record", epoch, name, number & SEQ_MASK))
            if data is not None:
                yield Held(epoch, name, number & SEQ_MASK, cls, len(data)), data

    def journal(self) -> Iterator[tuple[str, bytes]]:
        """(group, data) of the readings that were not in a block yet, as far as they open."""
        for number in self._ids("journal"):
            row = self._row("journal", "grp, data", number)
            if row is None:
                continue
            for data_key in self._keys_for("journal", number):
                try:
                    data = self._unseal(data_key, row[1], ("journal", row[0], number))
                except Corrupt:
                    continue
                if data is not None:
                    yield row[0], data

    def _ids(self, table: str) -> list[int]:
        """Of the rows that can be reached, going up until a damaged page and down until one."""
        found: dict[int, None] = {}
        for order in ("ASC", "DESC"):
            try:
                for row in self._db.execute(
                    f"SELECT id FROM {table} ORDER BY id {order}"  # noqa: S608 constants
                ):
                    found[int(row[0])] = None
                break
            except _DAMAGE:
                continue
        return sorted(found)

    def _open(self, number: int, place: Place) -> bytes | None:
        row, is_locked = self._row("sealed", "data", number), False
        for data_key in self._keys_for("record", number) if row else ():
            try:
                data = self._unseal(data_key, row[0], place)
            except Corrupt:
                continue
            is_locked |= data is None
            if data is not None and _proves(data, place):
                return data
        self.locked += is_locked
        self.damaged += not is_locked
        return None

    def _row(self, table: str, columns: str, number: int) -> Any:
        """None when it is not there or cannot be read."""
        query = f"SELECT {columns} FROM {table} WHERE id = ?"  # noqa: S608 constants
        try:
            return self._db.execute(query, (number,)).fetchone()
        except _DAMAGE:
            return None

    def _keys_for(self, table: str, number: int) -> list[int]:
        """The key of its row; where that cannot be read, every key there is."""
        if self._sealing is None:
            return [PLAIN]
        row = self._row(table, "data_key", number)
        return [row[0]] if row is not None else [PLAIN, *self._sealing.opened]

    def _unseal(self, data_key: int, data: bytes, place: Place) -> bytes | None:
        return data if self._sealing is None else self._sealing.open(data_key, data, place)


def _proves(data: bytes, place: Place) -> bool:
    try:
        envelope: Envelope = open_envelope(data)
    except Rejected:
        return False
    return envelope.identity[1:] == place[1:]
