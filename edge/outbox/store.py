"""The outbox: every record from the moment it is appended until the ground provably has it.

In: payloads, journalled readings, acks. Out: sealed records in the order in which a link should
carry them, and small persisted state. Always holds: what a method returned is on disk (WAL,
synchronous=FULL) unless a `transaction()` is open around it, which then is one commit; `seq` is
contiguous per (epoch, stream); a record goes only when it is safe or with a drop record in the
same transaction; sealed bytes never change.

At its size the outbox gives up records in the order of `retention`. When that is not enough,
or the disk itself is full, a call raises Unreachable, nothing of its transaction is kept, the
counters are untouched, and the next call may succeed: space is made at the end of the failed one.
On a full disk the store no longer grows; it has a reserve beside it to get that far, works inside
what it has, and grows again once the reserve can be held again. It opens on a full disk too.

With a keyring everything rests sealed (`sealing`). After a sync that failed nothing is written any
more: the process is to end, and the next one reads the disk again (`database.Unsynced`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from heapq import merge
from itertools import islice
from pathlib import Path
from types import TracebackType

import apsw

from edge.outbox import figures, rows
from edge.outbox.books import Books, Moment
from edge.outbox.database import PAGE_BYTES, Unsynced, move_aside, open_database, typed_errors
from edge.outbox.journal import Journal
from edge.outbox.kept import Kept
from edge.outbox.keyring import Keyring
from edge.outbox.room import EVICT_SHARE, Room
from edge.outbox.sealing import Sealing
from edge.outbox.streams import Streams
from edge.outbox.values import AckCounts, Opened, OutboxStats, RecordRef
from shared.clock import Clock
from shared.envelope import TIME_NONE
from shared.errors import ConfigError, Corrupt, Rejected, Unreachable
from shared.messages import Ack, Audit, StreamPosition, encode
from shared.sync.sender import Held
from shared.topics import check_identifier

__all__ = ["AckCounts", "Opened", "Outbox", "OutboxStats", "RecordRef"]

KV_BYTES_MAX = 64 * 1024
JOURNAL_BYTES_MAX = 1 << 20
BYTES_MIN = 1 << 20
BOOT_TRIES = 3  # each failed one makes room for the next
FULL_PAGES = 64  # freed after a full disk
THIN_SHARE, THINNED_SHARE, KEEP_SHARE = 0.86, 0.85, 0.93
"""`maintain` thins from above the first down to the second, so that a drop record names several;
it evicts above the third."""
DROP_SHARE, DROP_SHARE_MAX = 0.05, 0.1
"""Of the pages, for drop records: `maintain` folds them above the first, any call above the other."""
THIN_RECORDS = 8
"""In one `maintain`, which shares the thread with the tick: 4 ms of CPU, p99 9 ms (bench/retention.py).
Fewer make drop records dearer than what is thinned."""


class Outbox:
    """The only writer of its file; not thread-safe."""

    def __init__(
        self, db: apsw.Connection, path: Path, operator: str, tail: str,
        random: Callable[[int], bytes], bytes_max: int, opened: Opened, keyring: Keyring | None,
    ) -> None:  # fmt: skip
        self._db, self.path, self._random = db, path, random
        self.operator, self.tail, self.opened = operator, tail, opened
        self._depth, self._doomed, self._boot_due = 0, False, False
        self._unsynced: Unsynced | None = None
        self._thinning = False
        self.bytes_appended = 0
        """Since this open, drop records not counted."""
        with self._errors():
            self._room = Room(db, path, bytes_max)
            self._kept = Kept(db)
            self._check_owner()
            sealing = self._kept.sealing = self._sealing = Sealing(db, operator, tail, keyring)
            self._books = Books(db, operator, tail, sealing, lambda n: self._random(n))
            self._journal = Journal(db, sealing)
            # What an older program, or this one without a key, left in the clear goes with its row.
            db.execute(f"PRAGMA secure_delete = {'on' if sealing.is_beside_plain() else 'off'}")
        self._begin_boot()

    @classmethod
    def open(
        cls, path: Path, *, operator: str, tail: str, clock: Clock,
        random: Callable[[int], bytes], bytes_max: int, keyring: Keyring | None = None,
    ) -> Outbox:  # fmt: skip
        """The outbox at `path`; `opened` says whether it is new and what was quarantined.

        bytes_max: of the file, its WAL and its reserve. keyring: None keeps what is written from
        now on in the clear. Unreachable, or ConfigError when the file is of another tail; a
        corrupt file is moved aside and a new epoch begins. Records whose data key these keys do
        not unwrap stay, locked, and a new epoch begins beside them.
        """
        if bytes_max < BYTES_MIN:
            raise ConfigError(f"{bytes_max} bytes is too small", "bytes_max", f"≥ {BYTES_MIN}")
        check_identifier(operator, "operator")
        check_identifier(tail, "tail")

        def attempt(opened: Opened) -> Outbox:
            db = open_database(path)
            try:
                return cls(db, path, operator, tail, random, bytes_max, opened, keyring)
            except BaseException as error:
                db.close(True)
                if isinstance(error, UnicodeDecodeError):  # which no check of SQLite looks for
                    raise Corrupt("text that is none", str(path)) from None
                raise

        try:
            return attempt(Opened(created=not path.exists()))
        except Unsynced:
            raise  # the disk, not the file
        except Corrupt as error:
            aside = move_aside(path, clock.wall_ns())
            return attempt(Opened(created=True, quarantined=aside, reason=error.what))

    def close(self) -> None:
        with self._errors():
            try:
                self._db.execute("PRAGMA wal_checkpoint(truncate)")
            except apsw.FullError:
                pass  # the WAL stays, and is read at the next open
            self._db.close(True)

    def __enter__(self) -> Outbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._db.close(True)

    @property
    def epoch(self) -> str:
        return self._books.epoch

    @property
    def _streams(self) -> Streams:
        return self._books.streams

    # -- writing

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is done inside is one commit, or nothing. Inner ones join the outer one."""
        if self._depth:
            self._depth += 1
            try:
                yield
            except BaseException:
                self._doomed = True
                raise
            finally:
                self._depth -= 1
            return
        with self._errors():
            if self._unsynced is not None:
                raise self._unsynced
            self._db.execute("BEGIN IMMEDIATE")
        self._begin()
        self._depth, self._doomed = 1, False
        try:
            with self._errors():
                if self._boot_due:
                    self._put_boot()
                yield
                assert not self._doomed, "an inner transaction failed; let the outer one fail too"
                self._make_room(EVICT_SHARE)
                self._db.execute("COMMIT")
        except BaseException as error:
            self._depth = 0
            self._roll_back(full=isinstance(error.__cause__, apsw.FullError))
            raise
        self._depth, self._boot_due = 0, False

    def append(
        self, cls: str, payload: bytes, *, stream: str | None = None, schema: str,
        codec: str = "", flight: str, t_event_ns: int, t_quality: int,
    ) -> RecordRef:  # fmt: skip
        """Seal a payload as the next record of its stream (default: its class)."""
        with self.transaction():
            self._books.moment = Moment(flight, t_event_ns, t_quality)
            ref = self._books.append(cls, payload, stream or cls, schema, codec)
        self.bytes_appended += ref.bytes
        return ref

    def audit(
        self, kind: str, decision: str, *, flight: str, t_event_ns: int, t_quality: int,
        subject: str = "", phase: str = "", reasons: Sequence[str] = (),
        detail: Mapping[str, str] | None = None,
    ) -> RecordRef:  # fmt: skip
        """Append a decision to the hash chain; the chain goes on through epochs of this store."""
        with self.transaction():
            payload = encode(
                Audit(
                    previous=self.get("audit.previous") or b"", kind=kind, decision=decision,
                    subject=subject, phase=phase, reasons=list(reasons), detail=dict(detail or {}),
                )
            )  # fmt: skip
            self.put("audit.previous", hashlib.sha256(payload).digest())
            return self.append(
                "audit", payload, schema="audit/1", flight=flight, t_event_ns=t_event_ns,
                t_quality=t_quality,
            )  # fmt: skip

    def journal(self, group: str, data: bytes, readings: int) -> None:
        """Keep readings of a group that are not in a block yet; Rejected when over the cap."""
        _check_size(data, JOURNAL_BYTES_MAX, f"journal of {group}")
        with self.transaction():
            self._journal.add(group, data, readings)

    def journal_clear(self, group: str) -> None:
        """Forget the journal of a group: its readings are in a block now (same transaction)."""
        with self.transaction():
            self._journal.clear(group)

    def journal_entries(self) -> list[tuple[str, bytes]]:
        """(group, data) in the order in which they were journalled."""
        with self._errors():
            return self._journal.entries()

    def put(self, key: str, value: bytes) -> None:
        """Keep at most 64 kB under a key; Rejected when it is more. Free when it is there."""
        _check_size(value, KV_BYTES_MAX, key)
        if self.get(key) != value:
            with self.transaction():
                self._kept.put(key, value)

    def get(self, key: str) -> bytes | None:
        with self._errors():
            return self._kept.get(key)

    def new_epoch(self) -> str:
        """Begin an epoch: the ground is ahead of this one, which is diverged from now on."""
        with self.transaction():
            self._books.diverge()
            return self._books.begin_epoch()

    def maintain(self) -> None:
        """Make room before it is needed, return free pages to the disk, keep the WAL short.

        Call it every few seconds between appends; each call is bounded to some milliseconds.
        """
        try:
            with self.transaction():
                over = self._room.bytes_over(THIN_SHARE)
                if over:
                    self._books.evict_safe(over)
                self._thinning = bool(
                    self._room.bytes_over(THINNED_SHARE if self._thinning else THIN_SHARE)
                )
                if not self._books.fold(self._room.share_bytes(DROP_SHARE)) and self._thinning:
                    self._books.thin(THIN_RECORDS)
                self._make_room(KEEP_SHARE)
        except Unreachable:
            return  # appends say it; room was made at the end of the failed transaction
        with self._errors():
            self._room.tidy()

    # -- what the sender needs (shared.sync.sender.Store)

    def positions(self) -> dict[str, dict[str, StreamPosition]]:
        """By epoch, the current one first, then by stream."""
        return {
            epoch: {stream.name: stream.position for stream in self._streams.of_epoch(epoch)}
            for epoch in self._streams.epochs_held()
        }

    def next_seqs(self, epoch: str | None = None) -> dict[str, int]:
        """Next sequence number of each stream of an epoch, the current one by default."""
        return {s.name: s.next_seq for s in self._streams.of_epoch(epoch or self.epoch)}

    def is_diverged(self, epoch: str) -> bool:
        return epoch in self._streams.diverged

    def pending(
        self, cls: str, epochs: Collection[str], cursors: Mapping[tuple[str, str], int], limit: int
    ) -> list[Held]:
        """Records of a class that are not received, oldest first, from each stream's cursor on."""
        found: list[list[tuple[int, Held]]] = []
        for stream in self._streams.of_class(cls):
            cursor = cursors.get((stream.epoch, stream.name), 0)
            if stream.epoch in epochs and cursor < stream.next_seq:
                with self._errors():
                    found.append(rows.waiting(self._db, stream, cursor, limit))
        # a merge, not a sort: whatever the ages, each stream's records keep their order
        in_turn = merge(*found, key=lambda pair: pair[0])
        return [held for _, held in islice(in_turn, limit)]

    def read(self, held: Held) -> bytes | None:
        """Sealed bytes of a record; None when it was evicted or received meanwhile."""
        stream = self._streams.all.get((held.epoch, held.stream))
        if stream is None or held.seq in stream.received:
            return None
        return self.sealed(held)

    def records(self) -> Iterator[Held]:
        """Every record held, those that the ground has too: what a copy is made from."""
        for stream in list(self._streams.all.values()):
            for low, high in list(stream.held):
                with self._errors():
                    for seq, size in rows.sizes(self._db, stream, low, high):
                        yield Held(stream.epoch, stream.name, seq, stream.cls, size)

    def sealed(self, held: Held) -> bytes | None:
        """The same, received or not; None when it is not held or locked.

        One that the disk has damaged goes now, with a drop record: nobody could ever prove it.
        """
        stream = self._streams.all.get((held.epoch, held.stream))
        if stream is None:
            return None
        with self._errors():
            try:
                return self._books.read(stream, held.seq)
            except Corrupt as error:
                damage = error.what
        try:
            with self.transaction():
                self._books.drop_damaged(stream, held.seq, damage)
        except Unreachable:
            pass  # it stays, and is found again
        return None

    def apply_ack(self, ack: Ack, *, answer: bool) -> AckCounts:
        """Take over what the ground holds. The signature and the epoch are checked already.

        answer: it answers a hello, so it replaces what was believed: what the ground no longer
        has is pending again. Otherwise it only adds.
        """
        try:
            with self.transaction():
                return self._books.learn(ack, answer, keep=True)
        except Unreachable:  # a full disk: known until the restart, and then told again
            return self._books.learn(ack, answer, keep=False)

    def stats(self) -> OutboxStats:
        with self._errors():
            return figures.stats(
                self._db, self._streams, self._room.size_bytes(), self._books.evicted_unsafe,
                self._books.thinned,
            )  # fmt: skip

    def unsafe_by_class(self) -> dict[str, tuple[int, int, int]]:
        """What the ground has still to get: records, bytes, earliest event time (0: none) a class.

        Reads a row a record, about 10 ms for 50,000 of them: for every few seconds.
        """
        with self._errors():
            return figures.unsafe_by_class(self._db, self._streams)

    # -- inside

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Typed; and once a sync has failed nothing is written through this connection."""
        try:
            with typed_errors(self.path):
                yield
        except Unsynced as error:
            self._unsynced = error
            self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            raise

    def _check_owner(self) -> None:
        self._owner = f"{self.operator}/{self.tail}".encode()
        found = self._kept.get("owner") or self._owner
        if found != self._owner:
            raise ConfigError(
                f"this outbox belongs to {found.decode(errors='replace')}", str(self.path),
                "move it aside once its records are on the ground",
            )  # fmt: skip

    def _begin_boot(self) -> None:
        self.boot = int.from_bytes(self.get("boot") or b"") + 1
        self._lost_keys = max(self._sealing.locked, default=0)
        if self._lost_keys <= int.from_bytes(self.get("locked") or b""):
            self._lost_keys = 0  # known since an earlier boot
        self._boot_due = True  # from now on the first thing in every transaction, until one commits
        for attempt in range(BOOT_TRIES):
            try:
                with self.transaction():
                    break
            except Unreachable as error:
                needed = not self._streams.epochs or self._lost_keys
                if needed and attempt == BOOT_TRIES - 1:
                    raise  # a store that has no epoch of its own can do nothing
                if not needed:
                    self.opened = replace(self.opened, full=error.what)
                    break
        self.opened = replace(self.opened, locked=self._streams.locked)

    def _put_boot(self) -> None:
        self._kept.put("owner", self._owner)
        self._kept.put("boot", self.boot.to_bytes(8))
        self._sealing.put_key()
        if not self._streams.epochs:
            self._books.begin_epoch()
        elif self._lost_keys:
            self._begin_anew()

    def _begin_anew(self) -> None:
        """The keys are new: what the old ones sealed stays for them, and for the recovery key.

        The state beside the records is locked with them, so identities must not go on from it.
        """
        self._kept.put("locked", self._lost_keys.to_bytes(8))
        self._journal.bound_locked()
        old = self.epoch
        self._books.begin_epoch()
        self.audit(
            "store", "locked", subject=old, flight="", t_event_ns=0, t_quality=TIME_NONE,
            reasons=["their data key does not unwrap with this device's key"],
            detail={"records": str(self._streams.locked)},
        )  # fmt: skip

    def _roll_back(self, full: bool) -> None:
        """Undo, and after a full disk make some room for the next call."""
        with self._errors():
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._undo()
        if not full:
            return
        self._begin()
        try:
            self._room.shrink()
            with self._db:
                if self._boot_due:
                    self._sealing.put_key()  # drop records are sealed with it
                if not self._books.fold(self._room.share_bytes(DROP_SHARE_MAX)):
                    self._books.evict(FULL_PAGES * PAGE_BYTES)
        except apsw.Error:  # nothing to be had; the failure that is under way tells it
            self._undo()

    def _begin(self) -> None:
        self._kept.begin()
        self._books.begin()

    def _undo(self) -> None:
        self._kept.undo()
        self._books.undo()

    def _make_room(self, share: float) -> None:
        if not self._room.bytes_over(share):
            return
        self._books.fold(self._room.share_bytes(DROP_SHARE_MAX))
        over = self._room.bytes_over(share)
        if over:
            self._books.evict(over)


def _check_size(data: bytes, bytes_max: int, where: str) -> None:
    if len(data) > bytes_max:
        raise Rejected(f"{len(data)} bytes, over the cap of {bytes_max}", where)
