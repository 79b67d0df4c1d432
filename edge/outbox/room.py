"""Room: how large the store is, how large it may become, and what it gives back to the disk.

In: the bytes it may take, its WAL and reserve included. Out: how many bytes are over a share of
that. Always holds: on a full disk the store no longer grows; the reserve beside it carries it to
where it works inside what it has, and it grows again once the reserve can be held again.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from edge.outbox.database import PAGE_BYTES, RESERVE_BYTES, WAL_PAGES
from edge.outbox.reserve import Reserve

BATCH_PAGES = 256  # at once, so that one drop record names several records
VACUUM_PAGES = 256  # in one `tidy`: 1 MB
CHECKPOINT_BYTES = 1 << 20
EVICT_SHARE = 0.95
"""Of the pages it may have: above, an append evicts."""


class Room:
    """Of one open database."""

    def __init__(self, db: apsw.Connection, path: Path, bytes_max: int) -> None:
        self._db, self._path = db, path
        wal_pages = min(WAL_PAGES, bytes_max // 16 // PAGE_BYTES)
        reserve_bytes = min(RESERVE_BYTES, bytes_max // 16)
        self._reserve = Reserve(path.with_name(path.name + "-reserve"), reserve_bytes)
        self._pages_most = (bytes_max - 2 * wal_pages * PAGE_BYTES - reserve_bytes) // PAGE_BYTES
        db.execute(f"PRAGMA wal_autocheckpoint = {wal_pages}")
        db.execute(f"PRAGMA journal_size_limit = {wal_pages * PAGE_BYTES}")
        self.grow()

    def grow(self) -> None:
        """Up to its size if the reserve is held, else not beyond the pages it has."""
        self._bound(self._reserve.hold())

    def shrink(self) -> None:
        """After a full disk: give up the reserve, move the WAL, stay inside what there is."""
        self._reserve.give_up()
        # restart, not truncate: what the WAL has of the disk is kept for what follows
        self._db.execute("PRAGMA wal_checkpoint(restart)").fetchall()
        self._bound(False)

    def bytes_over(self, share: float) -> int:
        """How much is to go for it to be at `share` of its pages, in batches; 0 when it is."""
        pages_max = int(self._pages_max * share)
        over = self.live_pages() - pages_max
        return max(over, min(BATCH_PAGES, pages_max // 16)) * PAGE_BYTES if over > 0 else 0

    def share_bytes(self, share: float) -> int:
        """So much of its pages."""
        return int(self._pages_max * share) * PAGE_BYTES

    def live_pages(self) -> int:
        pages: int = self._db.pragma("page_count") - self._db.pragma("freelist_count")
        return pages

    def size_bytes(self) -> int:
        """What the disk gives to it."""
        return self._path.stat().st_size + self._wal_bytes() + self._reserve.held_bytes

    def tidy(self) -> None:
        """Return free pages to the disk and keep the WAL short."""
        if self._db.pragma("freelist_count") > 2 * VACUUM_PAGES:
            self._db.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
        try:
            if self._wal_bytes() > CHECKPOINT_BYTES:
                self._db.execute("PRAGMA wal_checkpoint(truncate)")
        except apsw.FullError:
            self._reserve.give_up()
        self.grow()

    def _bound(self, may_grow: bool) -> None:
        most = self._pages_most
        self._pages_max = most if may_grow else min(most, self._db.pragma("page_count"))
        self._db.execute(f"PRAGMA max_page_count = {self._pages_max}")

    def _wal_bytes(self) -> int:
        try:
            return self._path.with_name(self._path.name + "-wal").stat().st_size
        except FileNotFoundError:
            return 0
