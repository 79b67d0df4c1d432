"""Sealing at rest: the data keys of one store, and what is encrypted with them.

In: bytes and the place they belong to. Out: (key id, sealed bytes), and the bytes again.
Always holds: a fresh AES-256-GCM data key every boot; its nonces count up from 0 in this process
and never go back, not even with a rolled-back transaction, so none repeats; the associated data
binds operator, tail and place, so that bytes moved to another row do not open. Key id 0 is plain:
a store without a keyring. docs/adr/0009 has reasons and figures.
"""

from __future__ import annotations

import apsw
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge.outbox.keyring import Keyring, WrappedKey
from shared.errors import Corrupt

PLAIN = 0
COUNT_BYTES = 8
OVERHEAD_BYTES = COUNT_BYTES + 16  # nonce count, tag

Place = tuple[str | int, ...]
"""What the sealed bytes are: ("record", epoch, stream, seq), ("journal", group, id), ("kv", key)."""


class Sealing:
    """The keys that this process has, and the one that it seals with."""

    def __init__(self, db: apsw.Connection, operator: str, tail: str, keyring: Keyring | None):
        self._db, self._operator, self._tail = db, operator, tail
        self._owner = f"{operator}/{tail}".encode()
        self._keys: dict[int, AESGCM] = {}
        locked: set[int] = set()
        # Ids up to this one count as lost already: one that is used again would be lost unnoticed.
        mark = db.execute("SELECT value FROM kv WHERE key = 'locked'").get
        number = max(PLAIN, int.from_bytes(mark or b""))
        for row in db.execute("SELECT * FROM data_key").fetchall():
            wrapped = WrappedKey(*row)  # type: ignore[arg-type]  # by schema
            number = max(number, wrapped.id)
            key = keyring.unwrap(wrapped, self._owner) if keyring else None
            if key is None:
                locked.add(wrapped.id)
            else:
                self._keys[wrapped.id] = AESGCM(key)
        self.locked = frozenset(locked)
        """Ids of keys that this process cannot unwrap."""
        self._fresh: WrappedKey | None = None
        self.key, self._count = PLAIN, 0
        if keyring is not None:
            data_key = keyring.fresh()
            self.key = number + 1
            self._keys[self.key] = AESGCM(data_key)
            self._fresh = keyring.wrap(self.key, self._owner, data_key)

    @property
    def opened(self) -> list[int]:
        """Ids of the keys that this process can open with."""
        return list(self._keys)

    def has(self, key: int) -> bool:
        """Whether this process can open what was sealed with it."""
        return key == PLAIN or key in self._keys

    def is_beside_plain(self) -> bool:
        """Whether this process seals and the store has records in the clear."""
        first = "SELECT count(*) FROM (SELECT 1 FROM record WHERE data_key = 0 LIMIT 1)"
        return self.key != PLAIN and bool(self._db.execute(first).get)

    def put_key(self) -> None:
        """This boot's key into the store, and those that nothing needs any more out of it."""
        needed = {
            row[0]
            for table in ("record", "journal", "kv")
            for row in self._db.execute(f"SELECT DISTINCT data_key FROM {table}")  # noqa: S608
        }
        for (number,) in self._db.execute("SELECT id FROM data_key").fetchall():
            if number not in needed:
                self._db.execute("DELETE FROM data_key WHERE id = ?", (number,))
        if self._fresh is not None:
            fresh = self._fresh
            self._db.execute(
                "INSERT OR REPLACE INTO data_key VALUES (?, ?, ?, ?, ?)",
                (fresh.id, fresh.device_key_id, fresh.for_device, fresh.recovery_key_id,
                 fresh.for_recovery),
            )  # fmt: skip

    def seal(self, plain: bytes, place: Place) -> tuple[int, bytes]:
        """(key id, bytes at rest)."""
        if self.key == PLAIN:
            return PLAIN, plain
        nonce = self._count.to_bytes(12)
        self._count += 1  # before use: whatever happens, this one is not used again
        sealed = self._keys[self.key].encrypt(nonce, plain, self._bound(place))
        return self.key, nonce[-COUNT_BYTES:] + sealed

    def open(self, key: int, data: bytes, place: Place) -> bytes | None:
        """The plain bytes; None when their key is locked, Corrupt when they are not what was
        sealed for this place."""
        if key == PLAIN:
            return data
        cipher = self._keys.get(key)
        if cipher is None:
            return None
        try:
            nonce = data[:COUNT_BYTES].rjust(12, b"\0")
            return cipher.decrypt(nonce, data[COUNT_BYTES:], self._bound(place))
        except (InvalidTag, ValueError):
            raise Corrupt("its seal is broken", "/".join(map(str, place))) from None

    def _bound(self, place: Place) -> bytes:
        return msgspec.msgpack.encode((self._operator, self._tail, *place))
