"""Small state that outlives a restart: keys and values beside the records.

In: a value under a key. Out: the value as last committed or about to be. Always holds: a value
that did not change is not written again; after a rollback what it wrote is read again. A value whose
seal is broken, or whose key is locked, is absent: its owner begins anew.
"""

from __future__ import annotations

import apsw

from edge.outbox.sealing import PLAIN, Sealing
from shared.errors import Corrupt
from shared.log import event

IN_CLEAR = frozenset({"owner", "boot", "locked"})  # read before any key is unwrapped


class Kept:
    """Rows of `kv`, with what is known of them. Its keys are few and fixed in the code."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self.sealing: Sealing | None = None
        self._known: dict[str, bytes | None] = {}
        self._changed: set[str] = set()

    def begin(self) -> None:
        """A transaction begins."""
        self._changed.clear()

    def undo(self) -> None:
        """It was rolled back: what is known of what it wrote is not what is stored."""
        for key in self._changed:
            self._known.pop(key, None)

    def get(self, key: str) -> bytes | None:
        if key not in self._known:
            self._known[key] = self._read(key)
        return self._known[key]

    def holds(self, key: str, value: bytes) -> bool:
        return self.get(key) == value

    def put(self, key: str, value: bytes) -> None:
        data_key, data = PLAIN, value
        if self.sealing is not None and key not in IN_CLEAR:
            data_key, data = self.sealing.seal(value, ("kv", key))
        self._known.pop(key, None)
        self._changed.add(key)
        self._db.execute("INSERT OR REPLACE INTO kv VALUES (?, ?, ?)", (key, data, data_key))
        self._known[key] = value

    def _read(self, key: str) -> bytes | None:
        row = self._db.execute("SELECT value, data_key FROM kv WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        data, data_key = row
        if data_key == PLAIN:
            return bytes(data)
        if self.sealing is None:
            return None
        try:
            return self.sealing.open(data_key, data, ("kv", key))
        except Corrupt as error:
            event("store.damaged", what=error.what, where=error.where)
            return None
