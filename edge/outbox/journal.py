"""The journal: readings that are not in a block yet.

In: entries of a group. Out: the same in their order, until the group's block is appended. Always
holds: an entry that does not open is not returned. One whose seal is broken goes with its group;
one whose key is locked stays, for the recovery key, the newest LOCKED_MAX of them.
"""

from __future__ import annotations

import apsw

from edge.outbox.sealing import Sealing
from shared.errors import Corrupt
from shared.log import event

LOCKED_MAX = 2048  # assumption: 30 s of some sixty groups, 8 MB


class Journal:
    """Rows of `journal`. Nothing here commits."""

    def __init__(self, db: apsw.Connection, sealing: Sealing) -> None:
        self._db, self._sealing = db, sealing
        locked, self._last = 0, 0
        for number, data_key in db.execute("SELECT id, data_key FROM journal ORDER BY id"):
            self._last = number
            locked = locked if sealing.has(data_key) else number
        self._locked_to = locked
        """Entries up to this id are never cleared: a key loss is older than what this boot writes,
        so at worst a few readable ones are kept with them."""

    def add(self, group: str, data: bytes, readings: int) -> None:
        self._last += 1  # ids go up even over a rollback
        data_key, sealed = self._sealing.seal(data, ("journal", group, self._last))
        self._db.execute(
            "INSERT INTO journal VALUES (?, ?, ?, ?, ?)",
            (self._last, group, sealed, readings, data_key),
        )

    def clear(self, group: str) -> None:
        self._db.execute("DELETE FROM journal WHERE grp = ? AND id > ?", (group, self._locked_to))

    def bound_locked(self) -> None:
        """Keep the newest locked ones only."""
        self._db.execute(
            "DELETE FROM journal WHERE id <= ? AND id NOT IN"
            " (SELECT id FROM journal WHERE id <= ? ORDER BY id DESC LIMIT ?)",
            (self._locked_to, self._locked_to, LOCKED_MAX),
        )

    def entries(self) -> list[tuple[str, bytes]]:
        """(group, data) in the order in which they were journalled."""
        found: list[tuple[str, bytes]] = []
        rows = self._db.execute(
            "SELECT id, grp, data, data_key FROM journal WHERE id > ? ORDER BY id",
            (self._locked_to,),
        )
        for number, group, sealed, data_key in rows:
            try:
                data = self._sealing.open(data_key, sealed, ("journal", group, number))
            except Corrupt as error:
                event("store.damaged", what=error.what, where=error.where)
                continue
            if data is not None:
                found.append((group, data))
        return found
