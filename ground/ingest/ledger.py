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

import msgspec
from sqlalchemy import Connection, Engine, Table, and_, delete, func, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from ground.ingest import schema
from ground.ingest.index import NO_SET, Row, identity_row, index
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
from shared.clock import Clock
from shared.envelope import open_envelope
from shared.errors import Rejected, Unreachable
from shared.messages import Drop, Hello
from shared.signals import SignalSet, parse_signal_set
from shared.sync.ranges import RangeSet
from shared.sync.receiver import Receiver, Verdict

EPOCHS_MAX = 1024  # of one tail (assumption: an epoch is a repair or a restore, a few a year)
FORKS_MAX = 10_000  # of one tail; more are counted and refused
REINDEX_RECORDS = 256
_SET_DECODER = msgspec.msgpack.Decoder(list[tuple[int, int]])

Fault = Callable[[str], None]
"""Told at each step of a commit; a test kills the process there."""


@dataclass(slots=True)
class Committed:
    """What one batch became. verdicts: one an arrival that was not refused."""

    verdicts: list[tuple[Arrival, Verdict]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    problems: list[tuple[Arrival, str]] = field(default_factory=list)
    flights: set[tuple[str, str]] = field(default_factory=set)


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
        self._sets: dict[bytes, SignalSet] = {}
        self._forks: dict[str, int] = {}
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
        except (OSError, DBAPIError) as error:
            self._stale = True
            raise _unreachable(error) from None
        self._fault("committed")
        self._tell(result, drops, held)
        return result

    def _tell(
        self, result: Committed, drops: list[tuple[Arrival, Drop]],
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
        for arrival, drop in drops:
            e = arrival.envelope
            self.receiver(e.tail, e.epoch).cover(drop.stream, drop.low, drop.high)

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
    ) -> tuple[list[tuple[Arrival, Drop]], dict[tuple[str, str, str], RangeSet]]:
        now_ns = self._clock.wall_ns()
        rows: dict[Table, list[Row]] = {}
        drops: list[tuple[Arrival, Drop]] = []
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
            entry = index(arrival, self._sets)
            if entry.problem:
                result.problems.append((arrival, entry.problem))
            if entry.signal_set:
                self._sets[entry.signal_set.sha256] = entry.signal_set
            if entry.drop:
                drops.append((arrival, entry.drop))
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
        for arrival in forked:
            distrust(db, arrival)
        self._finish(db, result, drops, held, now_ns)
        return drops, held

    def _finish(
        self, db: Connection, result: Committed, drops: list[tuple[Arrival, Drop]],
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
        for tail in {arrival.envelope.tail for arrival, _ in drops}:
            with_manifest = select(schema.manifests.c.flight).where(schema.manifests.c.tail == tail)
            table = schema.flights
            db.execute(update(table).where(table.c.tail == tail, table.c.flight.in_(with_manifest))
                       .values(dirty=True))  # fmt: skip
        segment, end = self._segments.position
        put_meta(db, "segment_end", f"{segment}:{end}")

    def reindex(self) -> int:
        """Index up to 256 blocks whose signal set came after them; how many were done."""
        blocks, records = schema.blocks, schema.records
        if not self._sets:
            return 0
        waiting = (
            select(*(records.c[name] for name in (*IDENTITY, "segment", "offset", "length")))
            .join(blocks, and_(*(blocks.c[name] == records.c[name] for name in IDENTITY)))
            .where(records.c.mark == NO_SET, blocks.c.set_sha256.in_(list(self._sets)))
            .limit(REINDEX_RECORDS)
        )
        with begin(self.engine) as db:
            found = db.execute(waiting).all()
            for row in found:
                place = Place(row.segment, row.offset, row.length)
                envelope = open_envelope(self._reader.read(place))
                entry = index(Arrival(envelope, b"", b""), self._sets)
                db.execute(update(records).where(*same(records, *row[:4])).values(mark=entry.mark))
                db.execute(delete(blocks).where(*same(blocks, *row[:4])))
                for table, values in entry.rows:
                    write(db, table, [values])
                flights = schema.flights
                db.execute(update(flights).where(
                    flights.c.tail == envelope.tail, flights.c.flight == envelope.flight
                ).values(dirty=True))  # fmt: skip
        return len(found)

    def waiting(self) -> bool:
        """True when a block waits for a signal set that is known by now."""
        table = schema.records
        if not self._sets:
            return False
        with self.engine.begin() as db:
            return db.scalar(select(table.c.seq).where(table.c.mark == NO_SET).limit(1)) is not None

    def greet(self, tail: str, hello: Hello) -> None:
        """Note the epoch that lives; periods of a dead one that have no manifest are abandoned."""
        tails, flights = schema.tails, schema.flights
        with begin(self.engine) as db:
            known = db.scalar(select(tails.c.epoch).where(tails.c.tail == tail))
            write(db, tails, [{"tail": tail, "epoch": hello.epoch, "boot": hello.boot,
                               "t_hello_ns": self._clock.wall_ns()}])  # fmt: skip
            if known == hello.epoch:
                return
            with_manifest = select(schema.manifests.c.flight).where(schema.manifests.c.tail == tail)
            dead = flights.c.epoch != hello.epoch
            db.execute(update(flights).where(
                flights.c.tail == tail, flights.c.abandoned != dead,
                flights.c.flight.not_in(with_manifest),
            ).values(abandoned=dead, dirty=True))  # fmt: skip

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
        self._sets.clear()
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
            self.receiver(row.tail, row.epoch).cover(row.stream, row.low, row.high)
        for row in db.execute(select(schema.signal_sets)):
            self._sets[row.sha256] = parse_signal_set(row.text, "ledger")
        forks = schema.forks.c
        for tail, count in db.execute(select(forks.tail, func.count()).group_by(forks.tail)):
            self._forks[tail] = count


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
    if isinstance(error, (IntegrityError, ProgrammingError)):
        raise error
    what = str(error.orig if isinstance(error, DBAPIError) else error.strerror)
    return Unreachable(f"cannot commit: {what}", "state folder", "free disk space")
