"""Sets: the signal sets of the ledger, parsed when they are needed.

In: hashes. Out: parsed sets. Always holds: at most CACHE_TEXT_BYTES_MAX of text are kept parsed,
whatever tails send; the rest is read from the ledger again.
"""

from __future__ import annotations

from collections import OrderedDict

from sqlalchemy import Connection, select

from ground.ingest import schema
from shared.errors import ConfigError
from shared.signals import SignalSet, parse_signal_set

CACHE_TEXT_BYTES_MAX = 4 << 20  # assumption: a set has 20 to 60 kB, a fleet few of them
SETS_OF_TAIL_MAX = 64  # assumption: a set is a change of avionics software, a few in a year


class SetCache:
    """The sets used last."""

    def __init__(self) -> None:
        self._sets: OrderedDict[bytes, SignalSet] = OrderedDict()
        self._bytes = 0

    def put(self, signal_set: SignalSet) -> None:
        if signal_set.sha256 in self._sets:
            return
        self._sets[signal_set.sha256] = signal_set
        self._bytes += len(signal_set.text)
        while self._bytes > CACHE_TEXT_BYTES_MAX and len(self._sets) > 1:
            self._bytes -= len(self._sets.popitem(last=False)[1].text)

    def clear(self) -> None:
        self._sets.clear()
        self._bytes = 0

    def of(self, db: Connection) -> KnownSets:
        """What this transaction can look up."""
        return KnownSets(self, db)

    def cached(self, sha256: bytes) -> SignalSet | None:
        found = self._sets.get(sha256)
        if found is not None:
            self._sets.move_to_end(sha256)
        return found

    @property
    def text_bytes(self) -> int:
        return self._bytes


class KnownSets:
    """The cache, and behind it the table."""

    def __init__(self, cache: SetCache, db: Connection) -> None:
        self._cache, self._db = cache, db

    def get(self, sha256: bytes, /) -> SignalSet | None:
        found = self._cache.cached(sha256)
        if found is not None:
            return found
        table = schema.signal_sets
        text = self._db.scalar(select(table.c.text).where(table.c.sha256 == sha256))
        if text is None:
            return None
        try:
            found = parse_signal_set(text, "ledger")
        except ConfigError:  # an older program took it; its blocks stay unread
            return None
        self._cache.put(found)
        return found
