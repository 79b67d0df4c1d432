"""The ledger: every record the ground holds, once.

In: arrivals. Out: a verdict for each, after the bytes are in a segment and the rows committed.
Always holds: segment first (synced), then one transaction, then the receivers, from which acks
are made; a crash between any two of them loses and doubles nothing. A record whose identity is
known with other bytes is a fork: both are kept, neither is indexed any more.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, Select, Table, and_, delete, func, select, update
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    ProgrammingError,
)

from ground.ingest import schema
from ground.ingest.epochs import note_hello
from ground.ingest.index import CORRUPT, NO_SET, Dropped, Entry, Row, identity_row, index
from ground.ingest.intake import Arrival, Refusal
from ground.ingest.rows import (
    IDENTITY,
    distrust,
    meta,
    put_meta,
    record,
    same,
    sealed_sha256,
    stamp,
    write,
    write_flights,
)
from ground.ingest.segments import Place, SegmentReader, Segments
from ground.ingest.sets import SETS_OF_TAIL_MAX, KnownSets, SetCache
from ground.ingest.thinned import settle, tails_with_any
from ground.ingest.versions import Refused, keep
from shared.clock import Clock
from shared.envelope import open_envelope
from shared.errors import Corrupt, Rejected, Unreachable
from shared.messages import Hello
from shared.sync.ranges import RangeSet
from shared.sync.receiver import GAPS_MAX, STREAMS_MAX, Receiver, Verdict

EPOCHS_MAX = 1024  # of one tail (assumption: an epoch is a repair or a restore, a few a year)
FORKS_MAX = 10_000  # of one tail; more are counted and refused
REINDEX_RECORDS = 256
_SET_DECODER = msgspec.msgpack.Decoder(list[tuple[int, int]])

BUGS = (IntegrityError, ProgrammingError, DataError, InterfaceError, NotSupportedError)
"""Of the database: a statement of ours is wrong, not the disk."""

Fault = Callable[[str], None]
"""Told at each step of a commit; a test kills the process there."""


@dataclass(slots=True)
class Committed:
    """What one batch became. verdicts: one an arrival that was not refused."""

    verdicts: list[tuple[Arrival, Verdict]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    problems: list[tuple[Arrival, str]] = field(default_factory=list)
    flights: set[tuple[str, str]] = field(default_factory=set)
    versions: list[Refused] = field(default_factory=list)
    """Version reports that are kept and do not count."""

    def extend(self, other: Committed) -> None:
        self.verdicts += other.verdicts
        self.refused += other.refused
        self.problems += other.problems
        self.flights |= other.flights
        self.versions += other.versions


class Reindexed(NamedTuple):
    """done: how many left the queue. damaged: those that cannot be read, and why."""

    done: int
    damaged: list[str]


class Ledger:
    """The only writer of `ledger.db` and of the segments. One per state folder."""

    def __init__(
        self, engine: Engine, segments: Segments, reader: SegmentReader, clock: Clock,
        fault: Fault = lambda _step: None,
    ) -> None:  # fmt: skip
        self.engine, self._segments, self._reader = engine, segments, reader
        self._clock, self._fault = clock, fault
        schema.METADATA.create_all(engine)
        self.receivers: dict[tuple[str, str], Receiver] = {}
        self.held: dict[tuple[str, str, str], RangeSet] = {}
        self.nonces: dict[tuple[str, str], bytes] = {}
        """Of the last hello of each (tail, epoch); every ack carries it."""
        self._sets = SetCache()
        self._sets_of_tail: dict[str, set[bytes]] = {}
        self._late_sets = True
        self._forks: dict[str, int] = {}
        self._thinned: set[str] = set()
        """Tails that sent a thinned block, at least."""
        self.id = self._identity()
        self.bytes_cut = self._resume()
        self._stale = False

    def receiver(self, tail: str, epoch: str) -> Receiver:
        """Of this epoch, new if need be; Rejected when the tail has too many."""
        key = (tail, epoch)
        if key not in self.receivers:
            if sum(1 for of_tail, _ in self.receivers if of_tail == tail) >= EPOCHS_MAX:
                raise Rejected(f"more than {EPOCHS_MAX} epochs", tail)
            self.receivers[key] = Receiver(tail, epoch)
        return self.receivers[key]

    def commit(self, arrivals: Sequence[Arrival]) -> Committed:
        """Make a batch durable. Unreachable when the disk takes no more: nothing happened."""
        result = Committed()
        if self._stale:
            self._resume_after_failure()
        with self.engine.connect() as db, db.begin():
            self._classify(db, arrivals, result)
        stored = [a for a, verdict in result.verdicts if verdict is not Verdict.DUPLICATE]
        if not stored:
            return result
        try:
            places = self._segments.append([arrival.sealed for arrival in stored])
            self._fault("appended")
            with self.engine.begin() as db:
                drops, held = self._insert(db, dict(zip(map(id, stored), places, strict=True)),
                                           result)  # fmt: skip
                self._fault("inserted")
            self._fault("committed")
            self._tell(result, drops, held)
        except BaseException as error:
            self._stale = True
            if isinstance(error, (OSError, DBAPIError)):
                raise _unreachable(error) from None
            raise
        return result

    def _tell(
        self, result: Committed, drops: list[tuple[str, Dropped]],
        held: dict[tuple[str, str, str], RangeSet],
    ) -> None:  # fmt: skip
        """The receivers, now that it is durable."""
        self.held.update(held)
        for arrival, verdict in result.verdicts:
            e = arrival.envelope
            if verdict is Verdict.NEW:
                self.receiver(e.tail, e.epoch).commit([(e.stream, e.seq)])
            elif verdict is Verdict.FORK:
                self._forks[e.tail] = self._forks.get(e.tail, 0) + 1
        for tail, drop in drops:
            self._cover(tail, drop)

    def _cover(self, tail: str, drop: Dropped) -> bool:
        """Nobody need send it any more; False when this would break a bound of its epoch."""
        try:
            receiver = self.receiver(tail, drop.epoch)
        except Rejected:
            return False
        ranges = receiver.received.get(drop.stream)
        if ranges is None:
            if len(receiver.received) >= STREAMS_MAX:
                return False
        elif ranges.range_count >= GAPS_MAX and not (
            ranges.touches(drop.low) or ranges.within(drop.low, drop.high)
        ):  # one that closes gaps is what helps
            return False
        receiver.cover(drop.stream, drop.low, drop.high)
        return True

    def _classify(self, db: Connection, arrivals: Sequence[Arrival], result: Committed) -> None:
        batch: dict[tuple[str, str, str, int], bytes] = {}
        for arrival in arrivals:
            e = arrival.envelope
            try:
                receiver = self.receiver(e.tail, e.epoch)
                verdict = receiver.classify(
                    e.stream, e.seq, arrival.sealed_sha256,
                    lambda stream, seq, e=e: sealed_sha256(  # type: ignore[misc]  # bound now
                        db, e.tail, e.epoch, stream, seq
                    ),
                )  # fmt: skip
                if verdict is Verdict.NEW and e.identity in batch:
                    same = batch[e.identity] == arrival.sealed_sha256
                    verdict = Verdict.DUPLICATE if same else Verdict.FORK
                if verdict is Verdict.FORK:
                    verdict = self._known_fork(db, arrival)
            except Rejected as error:
                result.refused.append(Refusal("bound", f"{e.tail}/{e.stream}", error.what))
                continue
            if verdict is Verdict.NEW:
                batch[e.identity] = arrival.sealed_sha256
            result.verdicts.append((arrival, verdict))

    def _known_fork(self, db: Connection, arrival: Arrival) -> Verdict:
        """A fork that was kept before is a duplicate."""
        e, t = arrival.envelope, schema.forks.c
        known = and_(*same(schema.forks, e.tail, e.epoch, e.stream, e.seq),
                    t.sealed_sha256 == arrival.sealed_sha256)  # fmt: skip
        if db.scalar(select(t.seq).where(known)) is not None:
            return Verdict.DUPLICATE
        if self._forks.get(e.tail, 0) >= FORKS_MAX:
            raise Rejected(f"more than {FORKS_MAX} forks", e.tail)
        return Verdict.FORK

    def _insert(
        self, db: Connection, places: dict[int, Place], result: Committed
    ) -> tuple[list[tuple[str, Dropped]], dict[tuple[str, str, str], RangeSet]]:
        now_ns = self._clock.wall_ns()
        rows: dict[Table, list[Row]] = {}
        drops: list[tuple[str, Dropped]] = []
        sets = self._sets.of(db)
        held: dict[tuple[str, str, str], RangeSet] = {}
        forked: list[Arrival] = []
        for arrival, verdict in result.verdicts:
            if verdict is Verdict.DUPLICATE:
                continue
            e, place = arrival.envelope, places[id(arrival)]
            if e.flight:
                result.flights.add((e.tail, e.flight))
            if verdict is Verdict.FORK:
                row = identity_row(e) | place._asdict()
                row.update(sealed_sha256=arrival.sealed_sha256, t_ground_ns=now_ns)
                rows.setdefault(schema.forks, []).append(row)
                forked.append(arrival)
                continue
            entry = index(arrival, sets)
            if entry.signal_set:
                entry = self._take_set(e.tail, entry)
            if entry.problem:
                result.problems.append((arrival, entry.problem))
            if entry.drop:
                drops.append((e.tail, entry.drop))
            if arrival.manifest:
                result.flights.add((e.tail, arrival.manifest.flight))
            rows.setdefault(schema.records, []).append(record(arrival, place, entry, now_ns))
            for table, row in entry.rows:
                rows.setdefault(table, []).append(row | stamp(table, now_ns))
            key = (e.tail, e.epoch, e.stream)
            if key not in held:
                held[key] = self.held[key].copy() if key in self.held else RangeSet()
            held[key].add(e.seq)
        for table, table_rows in rows.items():
            write(db, table, table_rows)
        replaced = rows.get(schema.thinned, [])
        self._thinned.update(row["tail"] for row in replaced)
        settle(db, rows.get(schema.blocks, []), replaced, self._thinned)
        for arrival in forked:
            distrust(db, arrival)
        result.versions += keep(db, [
            (arrival.envelope, arrival.version) for arrival, verdict in result.verdicts
            if arrival.version and verdict is Verdict.NEW
        ], now_ns)  # fmt: skip
        self._finish(db, result, drops, held, now_ns)
        return drops, held

    def _take_set(self, tail: str, entry: Entry) -> Entry:
        """The entry of a signal set, or one without rows when the tail has too many."""
        assert entry.signal_set is not None
        sha256, known = entry.signal_set.sha256, self._sets_of_tail.setdefault(tail, set())
        if sha256 not in known and len(known) >= SETS_OF_TAIL_MAX:
            return Entry(problem=f"more than {SETS_OF_TAIL_MAX} signal sets of this tail")
        known.add(sha256)
        self._sets.put(entry.signal_set)
        self._late_sets = True
        return entry

    def _finish(
        self, db: Connection, result: Committed, drops: list[tuple[str, Dropped]],
        held: dict[tuple[str, str, str], RangeSet], now_ns: int,
    ) -> None:  # fmt: skip
        """Coverage, flights and the end of the segments, in the same transaction."""
        write(db, schema.coverage, [
            {"tail": tail, "epoch": epoch, "stream": stream,
             "held": msgspec.msgpack.encode(list(ranges))}
            for (tail, epoch, stream), ranges in held.items()
        ])  # fmt: skip
        write_flights(db, [(arrival, verdict is Verdict.NEW) for arrival, verdict in result.verdicts
                           if verdict is not Verdict.DUPLICATE], now_ns)  # fmt: skip
        flights, parts = schema.flights, schema.parts
        for tail, drop in drops:
            touched = select(parts.c.flight).where(
                parts.c.tail == tail, parts.c.epoch == drop.epoch, parts.c.stream == drop.stream,
                parts.c.low < drop.high, parts.c.high > drop.low,
            )  # fmt: skip
            db.execute(update(flights).where(flights.c.tail == tail, flights.c.flight.in_(touched))
                       .values(dirty=True))  # fmt: skip
        segment, end = self._segments.position
        put_meta(db, "segment_end", f"{segment}:{end}")

    def reindex(self) -> Reindexed:
        """Index up to 256 blocks whose signal set came after them."""
        flights = schema.flights
        damaged: list[str] = []
        with begin(self.engine) as db:
            found = db.execute(_late_blocks().limit(REINDEX_RECORDS)).all()
            sets = self._sets.of(db)
            for row in found:
                flight, entry = self._read_again(row, sets)
                if entry.problem:
                    damaged.append(f"{'/'.join(map(str, row[:4]))}: {entry.problem}")
                records, blocks = schema.records, schema.blocks
                db.execute(update(records).where(*same(records, *row[:4])).values(mark=entry.mark))
                if not entry.problem:
                    db.execute(delete(blocks).where(*same(blocks, *row[:4])))
                for table, values in entry.rows:
                    write(db, table, [values])
                db.execute(update(flights).where(flights.c.tail == row.tail,
                                                 flights.c.flight == flight)
                           .values(dirty=True))  # fmt: skip
        return Reindexed(len(found), damaged)

    def _read_again(self, row: Any, sets: KnownSets) -> tuple[str, Entry]:
        """Flight and entry of a stored block; what cannot be read is marked, not an error."""
        try:
            place = Place(row.segment, row.offset, row.length)
            envelope = open_envelope(self._reader.read(place))
        except (Corrupt, Rejected) as error:
            return row.flight, Entry(mark=CORRUPT, problem=error.what)
        entry = index(Arrival(envelope, b"", b""), sets)
        if entry.mark == NO_SET:
            return row.flight, Entry(mark=CORRUPT, problem="its signal set cannot be read")
        return row.flight, entry

    def waiting(self) -> bool:
        """True when a block waits for a signal set that is known by now."""
        if not self._late_sets:
            return False
        with begin(self.engine) as db:
            self._late_sets = db.execute(_late_blocks().limit(1)).first() is not None
        return self._late_sets

    def greet(self, tail: str, hello: Hello) -> None:
        """Note the epoch that lives, and the nonce that acks of this epoch carry from now on."""
        self.nonces[tail, hello.epoch] = hello.nonce
        with begin(self.engine) as db:
            note_hello(db, tail, hello, self._clock.wall_ns())

    def _identity(self) -> str:
        with self.engine.begin() as db:
            known = meta(db, "ledger")
            if known:
                return known
            fresh = secrets.token_hex(8)
            put_meta(db, "ledger", fresh)
            put_meta(db, "version", str(schema.VERSION))
            return fresh

    def _resume(self) -> int:
        """Take everything from the tables and cut the segments to them; bytes cut."""
        self.receivers.clear()
        self.held.clear()
        self.nonces.clear()
        self._sets.clear()
        self._sets_of_tail.clear()
        self._late_sets = True
        self._forks.clear()
        with self.engine.connect() as db, db.begin():
            self._load(db)
            end = meta(db, "segment_end")
        segment, _, offset = (end or "0:0").partition(":")
        return self._segments.recover(int(segment), int(offset))

    def _resume_after_failure(self) -> None:
        """A commit failed: whether its transaction holds is for the tables to say."""
        try:
            self._resume()
        except (OSError, DBAPIError) as error:
            raise _unreachable(error) from None
        self._stale = False

    def _load(self, db: Connection) -> None:
        for row in db.execute(select(schema.coverage)):
            ranges = RangeSet(_SET_DECODER.decode(row.held))
            self.held[row.tail, row.epoch, row.stream] = ranges
            receiver = self.receivers.setdefault(
                (row.tail, row.epoch), Receiver(row.tail, row.epoch)
            )
            receiver.received[row.stream] = ranges.copy()
        for row in db.execute(select(schema.drops)):
            self._cover(row.tail, Dropped(row.epoch, row.stream, row.low, row.high))
        for row in db.execute(select(schema.tail_sets)):
            self._sets_of_tail.setdefault(row.tail, set()).add(row.sha256)
        for row in db.execute(select(schema.epochs)):
            self.nonces[row.tail, row.epoch] = row.nonce
        self._thinned = tails_with_any(db)
        forks = schema.forks.c
        for tail, count in db.execute(select(forks.tail, func.count()).group_by(forks.tail)):
            self._forks[tail] = count


def _late_blocks() -> Select[Any]:
    """Blocks that wait for a signal set which is in the ledger by now."""
    blocks, records, sets = schema.blocks, schema.records, schema.signal_sets
    names = (*IDENTITY, "flight", "segment", "offset", "length")
    return (
        select(*(records.c[name] for name in names))
        .join(blocks, and_(*(blocks.c[name] == records.c[name] for name in IDENTITY)))
        .join(sets, sets.c.sha256 == blocks.c.set_sha256)
        .where(records.c.mark == NO_SET)
    )


@contextmanager
def begin(engine: Engine) -> Iterator[Connection]:
    """A transaction; Unreachable when the disk takes no more."""
    try:
        with engine.begin() as db:
            yield db
    except DBAPIError as error:
        raise _unreachable(error) from None


def _unreachable(error: OSError | DBAPIError) -> Unreachable:
    """A disk that takes no more; what is no such thing is our own bug and goes up as it is."""
    if isinstance(error, BUGS):
        raise error
    what = str(error.orig if isinstance(error, DBAPIError) else error.strerror)
    return Unreachable(f"cannot commit: {what}", "state folder", "free disk space")
