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
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import apsw

from edge.outbox import retention, rows
from edge.outbox.database import (
    PAGE_BYTES,
    RESERVE_BYTES,
    WAL_PAGES,
    move_aside,
    open_database,
    typed_errors,
)
from edge.outbox.reserve import Reserve
from edge.outbox.streams import Stream, Streams, pack
from edge.outbox.values import AckCounts, Opened, OutboxStats, RecordRef
from shared.clock import Clock
from shared.envelope import TIME_NONE, seal
from shared.errors import ConfigError, Corrupt, Rejected, Unreachable
from shared.messages import Ack, Audit, StreamPosition, encode
from shared.sync.ranges import RangeSet
from shared.sync.sender import Held
from shared.topics import CLASSES, check_identifier

__all__ = ["AckCounts", "Opened", "Outbox", "OutboxStats", "RecordRef"]

KV_BYTES_MAX = 64 * 1024
JOURNAL_BYTES_MAX = 1 << 20
BYTES_MIN = 1 << 20
EVICT_RECORDS = 64  # in one transaction, so that an append stays about a millisecond
EVICT_PAGES = 256  # at once, so that one drop record names several records
VACUUM_PAGES = 256  # in one `maintain`: 1 MB
CHECKPOINT_BYTES = 1 << 20
NOTHING = pack(RangeSet())


class Outbox:
    """The only writer of its file; not thread-safe."""

    def __init__(
        self, db: apsw.Connection, path: Path, operator: str, tail: str,
        random: Callable[[int], bytes], bytes_max: int, opened: Opened,
    ) -> None:  # fmt: skip
        self._db, self.path, self._random = db, path, random
        self.operator, self.tail, self.opened = operator, tail, opened
        self._depth, self._doomed, self._boot_due = 0, False, False
        self._last = ("", 0, TIME_NONE)  # flight, event time and its quality of the last append
        self._evicted_unsafe = 0
        wal_pages = min(WAL_PAGES, bytes_max // 16 // PAGE_BYTES)
        wal_bytes = 2 * wal_pages * PAGE_BYTES
        reserve_bytes = min(RESERVE_BYTES, bytes_max // 16)
        self._reserve = Reserve(path.with_name(path.name + "-reserve"), reserve_bytes)
        self._pages_most = (bytes_max - wal_bytes - reserve_bytes) // PAGE_BYTES
        with typed_errors(path):
            db.execute(f"PRAGMA wal_autocheckpoint = {wal_pages}")
            db.execute(f"PRAGMA journal_size_limit = {wal_pages * PAGE_BYTES}")
            self._let_grow(self._reserve.hold())
            self._load()
        self._begin_boot()

    @classmethod
    def open(
        cls, path: Path, *, operator: str, tail: str, clock: Clock,
        random: Callable[[int], bytes], bytes_max: int,
    ) -> Outbox:  # fmt: skip
        """The outbox at `path`; `opened` says whether it is new and what was quarantined.

        bytes_max: of the file, its WAL and its reserve. Unreachable, or ConfigError when the file is of
        another tail; a corrupt file is moved aside and a new epoch begins.
        """
        if bytes_max < BYTES_MIN:
            raise ConfigError(f"{bytes_max} bytes is too small", "bytes_max", f"≥ {BYTES_MIN}")
        check_identifier(operator, "operator")
        check_identifier(tail, "tail")

        def attempt(opened: Opened) -> Outbox:
            db = open_database(path)
            try:
                return cls(db, path, operator, tail, random, bytes_max, opened)
            except BaseException:
                db.close(True)
                raise

        try:
            return attempt(Opened(created=not path.exists()))
        except Corrupt as error:
            aside = move_aside(path, clock.wall_ns())
            return attempt(Opened(created=True, quarantined=aside, reason=error.what))

    def close(self) -> None:
        with typed_errors(self.path):
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
        return self._streams.epochs[0]

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
        with typed_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")
        self._depth, self._doomed = 1, False
        try:
            with typed_errors(self.path):
                if self._boot_due:
                    self._put_boot()
                yield
                assert not self._doomed, "an inner transaction failed; let the outer one fail too"
                self._make_room(self._pages_evict)
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
            self._last = (flight, t_event_ns, t_quality)
            return self._append(cls, payload, stream or cls, schema, codec)

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
            self._db.execute(
                "INSERT INTO journal (grp, data, readings) VALUES (?, ?, ?)",
                (group, data, readings),
            )

    def journal_clear(self, group: str) -> None:
        """Forget the journal of a group: its readings are in a block now (same transaction)."""
        with self.transaction():
            self._db.execute("DELETE FROM journal WHERE grp = ?", (group,))

    def journal_entries(self) -> list[tuple[str, bytes]]:
        """(group, data) in the order in which they were journalled."""
        with typed_errors(self.path):
            entries: list[tuple[str, bytes]] = self._db.execute(  # type: ignore[assignment]  # by schema
                "SELECT grp, data FROM journal ORDER BY id"
            ).fetchall()
        return entries

    def put(self, key: str, value: bytes) -> None:
        """Keep at most 64 kB under a key; Rejected when it is more."""
        _check_size(value, KV_BYTES_MAX, key)
        with self.transaction():
            self._keep(key, value)

    def get(self, key: str) -> bytes | None:
        with typed_errors(self.path):
            value: bytes | None = self._db.execute("SELECT value FROM kv WHERE key = ?", (key,)).get
        return value

    def new_epoch(self) -> str:
        """Begin an epoch: the ground is ahead of this one, which is diverged from now on."""
        with self.transaction():
            epoch = self._random(6).hex()
            self._db.execute("UPDATE epoch SET diverged = 1 WHERE epoch = ?", (self.epoch,))
            self._db.execute("INSERT INTO epoch (epoch) VALUES (?)", (epoch,))
            self._streams.diverged.add(self.epoch)
            self._streams.epochs.insert(0, epoch)
        return epoch

    def maintain(self) -> None:
        """Give up what is over the size, return free pages to the disk, keep the WAL short.

        Call it every few seconds between appends; each call is bounded to some milliseconds.
        """
        try:
            with self.transaction():
                self._make_room(self._pages_evict * 98 // 100)
        except Unreachable:
            return  # appends say it; room was made at the end of the failed transaction
        with typed_errors(self.path):
            if self._db.pragma("freelist_count") > 2 * VACUUM_PAGES:
                self._db.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
            try:
                if self._wal_bytes() > CHECKPOINT_BYTES:
                    self._db.execute("PRAGMA wal_checkpoint(truncate)")
            except apsw.FullError:
                self._reserve.give_up()
            self._let_grow(self._reserve.hold())

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
        found: list[tuple[int, Held]] = []
        for stream in self._streams.of_class(cls):
            cursor = cursors.get((stream.epoch, stream.name), 0)
            if stream.epoch in epochs and cursor < stream.next_seq:
                with typed_errors(self.path):
                    found += rows.waiting(self._db, stream, cursor, limit)
        found.sort(key=lambda pair: pair[0])
        return [held for _, held in found[:limit]]

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
                with typed_errors(self.path):
                    for seq, size in rows.sizes(self._db, stream, low, high):
                        yield Held(stream.epoch, stream.name, seq, stream.cls, size)

    def sealed(self, held: Held) -> bytes | None:
        """Sealed bytes of a record, received or not; None when it is not held."""
        stream = self._streams.all.get((held.epoch, held.stream))
        if stream is None:
            return None
        with typed_errors(self.path):
            return rows.sealed(self._db, stream.record_id(held.seq))

    def apply_ack(self, ack: Ack, *, answer: bool) -> AckCounts:
        """Take over what the ground holds. The signature and the epoch are checked already.

        answer: it answers a hello, so it replaces what was believed: what the ground no longer
        has is pending again. Otherwise it only adds.
        """
        try:
            with self.transaction():
                return self._learn(ack, answer, keep=True)
        except Unreachable:  # a full disk: known until the restart, and then told again
            return self._learn(ack, answer, keep=False)

    def _learn(self, ack: Ack, answer: bool, keep: bool) -> AckCounts:
        received = safe = 0
        nothing = RangeSet()
        told, kept = (
            {name: RangeSet.from_coverage(coverage) for name, coverage in part.items()}
            for part in (ack.received, ack.safe)
        )
        for stream in list(self._streams.of_epoch(ack.epoch)):
            name = stream.name
            gained = stream.learn(told.get(name, nothing), kept.get(name, nothing), answer)
            if gained is None:
                continue
            received, safe = received + gained[0], safe + gained[1]
            if keep:
                self._db.execute(
                    "UPDATE stream SET received = ?, safe = ? WHERE id = ?",
                    (pack(stream.received), pack(stream.safe), stream.id),
                )
        return AckCounts(received, safe)

    def stats(self) -> OutboxStats:
        depth = dict.fromkeys(CLASSES, 0)
        first: list[int] = []
        records = 0
        for stream in self._streams.all.values():
            records += stream.held.size
            unsafe = stream.held_unsafe()
            depth[stream.cls] += unsafe
            if unsafe:
                first.append(stream.record_id(stream.first(stream.held, stream.safe)))
        with typed_errors(self.path):
            times = [rows.event_time_ns(self._db, number) for number in first]
        size = self.path.stat().st_size + self._wal_bytes() + self._reserve.held_bytes
        return OutboxStats(records, size, depth, min(times, default=None), self._evicted_unsafe)

    # -- inside

    def _load(self) -> None:
        self._streams = Streams(self._db)
        self._born = self._db.execute("SELECT coalesce(max(born), 0) FROM record").get

    def _begin_boot(self) -> None:
        owner = f"{self.operator}/{self.tail}".encode()
        if (self.get("owner") or owner) != owner:
            raise ConfigError(
                f"this outbox belongs to {(self.get('owner') or b'').decode()}", str(self.path),
                "move it aside once its records are on the ground",
            )  # fmt: skip
        self.boot = int.from_bytes(self.get("boot") or b"") + 1
        self._boot_due = True  # from now on the first thing in every transaction, until one commits
        try:
            with self.transaction():
                pass
        except Unreachable as error:
            if not self._streams.epochs:
                raise  # a store that has no epoch can do nothing
            self.opened = replace(self.opened, full=error.what)

    def _put_boot(self) -> None:
        self._keep("owner", f"{self.operator}/{self.tail}".encode())
        self._keep("boot", self.boot.to_bytes(8))
        if not self._streams.epochs:
            epoch = self._random(6).hex()
            self._db.execute("INSERT INTO epoch (epoch) VALUES (?)", (epoch,))
            self._streams.epochs.append(epoch)

    def _keep(self, key: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO kv VALUES (?, ?)", (key, value))

    def _roll_back(self, full: bool) -> None:
        """Undo, read the books again, and after a full disk make some room for the next call."""
        with typed_errors(self.path):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._load()
        if not full:
            return
        self._reserve.give_up()
        try:
            # restart, not truncate: what the WAL has of the disk is kept for what follows
            self._db.execute("PRAGMA wal_checkpoint(restart)").fetchall()
            self._let_grow(False)
            with self._db:
                self._make_room(self._live_pages() - EVICT_RECORDS)
        except apsw.Error:  # nothing to be had; the failure that is under way tells it
            self._load()

    def _let_grow(self, may: bool) -> None:
        """Up to its size, or not beyond the pages it has."""
        pages_max = (
            self._pages_most if may else min(self._pages_most, self._db.pragma("page_count"))
        )
        self._db.execute(f"PRAGMA max_page_count = {pages_max}")
        self._pages_evict = pages_max * 95 // 100

    def _stream(self, cls: str, name: str) -> Stream:
        stream = self._streams.all.get((self.epoch, name))
        if stream is None:
            check_identifier(name, "stream")
            self._db.execute(
                "INSERT INTO stream (epoch, stream, cls, next_seq, received, safe)"
                " VALUES (?, ?, ?, 0, ?, ?)",
                (self.epoch, name, cls, NOTHING, NOTHING),
            )
            stream = Stream(self._db.last_insert_rowid(), self.epoch, name, cls, 0)
            self._streams.all[self.epoch, name] = stream
        assert stream.cls == cls, "a stream has one class"
        return stream

    def _append(self, cls: str, payload: bytes, name: str, schema: str, codec: str) -> RecordRef:
        stream, (flight, t_event_ns, t_quality) = self._stream(cls, name), self._last
        seq = stream.next_seq
        envelope, data = seal(
            operator=self.operator, tail=self.tail, epoch=self.epoch, stream=name, seq=seq,
            cls=cls, flight=flight, t_event_ns=t_event_ns, t_quality=t_quality, schema=schema,
            codec=codec, payload=payload,
        )  # fmt: skip
        self._born += 1
        number = stream.record_id(seq)
        rows.insert(self._db, number, self._born, t_event_ns, envelope.sha256, data)
        self._db.execute("UPDATE stream SET next_seq = ? WHERE id = ?", (seq + 1, stream.id))
        stream.next_seq = seq + 1
        stream.held.add(seq)
        return RecordRef(self.epoch, name, seq, len(data))

    def _live_pages(self) -> int:
        pages: int = self._db.pragma("page_count") - self._db.pragma("freelist_count")
        return pages

    def _wal_bytes(self) -> int:
        try:
            return self.path.with_name(self.path.name + "-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def _make_room(self, pages_max: int) -> None:
        """Evict up to EVICT_RECORDS records while the live pages are over `pages_max`."""
        over = self._live_pages() - pages_max
        if over <= 0:
            return
        bytes_over = max(over, min(EVICT_PAGES, pages_max // 16)) * PAGE_BYTES
        streams = self._streams.all.values()
        oldest = rows.evictable(self._db, streams, bytes_over, EVICT_RECORDS)
        evicted = retention.choose(oldest, bytes_over, EVICT_RECORDS)
        for candidate in evicted:  # before the drop records, which may need their room
            stream = self._streams.all[candidate.epoch, candidate.stream]
            rows.delete(self._db, stream.record_id(candidate.seq))
            stream.held.remove_range(candidate.seq, candidate.seq + 1)
            self._evicted_unsafe += not candidate.safe
        for drop in retention.drops(evicted, self.epoch):
            self._append("drop", encode(drop), "drop", "drop/1", "")


def _check_size(data: bytes, bytes_max: int, where: str) -> None:
    if len(data) > bytes_max:
        raise Rejected(f"{len(data)} bytes, over the cap of {bytes_max}", where)
