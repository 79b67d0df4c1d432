"""Records: the read side of the ledger, for api, worker and tools.

In: a read-only engine and the segments. Out: payloads and rows by tail, flight and class.
Always holds: short read transactions, so that no snapshot is pinned; answers are bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache

import msgspec
from sqlalchemy import Engine, and_, func, select

from ground.ingest import schema
from ground.ingest.segments import Place, SegmentReader
from shared.envelope import Envelope, open_envelope
from shared.messages import MANIFEST_BYTES_MAX, Closure, Manifest, decode
from shared.signals import SignalSet, parse_signal_set

FLIGHTS_MAX = 1000
SETS_CACHED = 16
SETS_AT_ONCE = 16


class FlightRow(msgspec.Struct, frozen=True):
    """One flight or ground period. state: `open` until its first closure."""

    flight: str
    tail: str
    kind: str
    state: str
    revision: int
    records: int
    records_missing: int
    opened_ns: int
    closed_ns: int | None
    t_last_ns: int
    t_ground_ns: int


class BlockRow(msgspec.Struct, frozen=True):
    """A block of the index and where it rests."""

    place: Place
    set_sha256: bytes
    t0_ns: int
    t1_ns: int
    n: int
    summary: bytes


class Records:
    """Read-only; safe to share between threads that take turns."""

    def __init__(self, engine: Engine, reader: SegmentReader) -> None:
        self.engine, self._reader = engine, reader
        self._sets: dict[bytes, SignalSet] = {}

    def envelope(self, place: Place) -> Envelope:
        """The record at `place`; Corrupt when the segment is damaged."""
        return open_envelope(self._reader.read(place), f"segment {place.segment}")

    def flights(self, tail: str = "", limit: int = FLIGHTS_MAX) -> list[FlightRow]:
        """Newest first."""
        return self._flights(tail, "", limit)

    def flight(self, flight: str) -> FlightRow | None:
        """By id. Should two tails claim one id, it is the one whose name the id begins with."""
        rows = self._flights("", flight, 16)
        rows.sort(key=lambda row: (flight.startswith(row.tail + "-"), len(row.tail)))
        return rows[-1] if rows else None

    def _flights(self, tail: str, flight: str, limit: int) -> list[FlightRow]:
        f, c, m = schema.flights, schema.closures, schema.manifests
        newest = (
            select(c.c.tail, c.c.flight, func.max(c.c.revision).label("revision"))
            .group_by(c.c.tail, c.c.flight)
            .subquery()
        )
        manifest = (
            select(m.c.tail, m.c.flight, m.c.kind, m.c.opened_ns,
                   func.max(m.c.closed_ns).label("closed_ns"))
            .group_by(m.c.tail, m.c.flight)
            .subquery()
        )  # fmt: skip
        query = (
            select(
                f, c.c.revision, c.c.state, c.c.records.label("held"), c.c.records_missing,
                manifest.c.kind, manifest.c.opened_ns, manifest.c.closed_ns,
            )
            .outerjoin(newest, and_(newest.c.tail == f.c.tail, newest.c.flight == f.c.flight))
            .outerjoin(c, and_(c.c.tail == f.c.tail, c.c.flight == f.c.flight,
                               c.c.revision == newest.c.revision))
            .outerjoin(manifest, and_(manifest.c.tail == f.c.tail,
                                      manifest.c.flight == f.c.flight))
            .order_by(f.c.t_last_ns.desc(), f.c.flight)
            .limit(limit)
        )  # fmt: skip
        if tail:
            query = query.where(f.c.tail == tail)
        if flight:
            query = query.where(f.c.flight == flight)
        with self.engine.begin() as db:
            return [
                FlightRow(
                    row.flight, row.tail,
                    row.kind or ("ground" if "-G" in row.flight else "flight"),
                    row.state or "open", row.revision or 0,
                    row.records if row.held is None else row.held, row.records_missing or 0,
                    row.t_first_ns if row.opened_ns is None else row.opened_ns,
                    row.closed_ns, row.t_last_ns, row.t_ground_ns,
                )
                for row in db.execute(query)
            ]  # fmt: skip

    def manifest(self, tail: str, flight: str) -> tuple[Manifest, bytes, bytes] | None:
        """The newest manifest of a period, its body and its signed bytes."""
        table = schema.manifests
        query = (
            select(table.c.body, table.c.signed)
            .where(table.c.tail == tail, table.c.flight == flight)
            .order_by(table.c.closed_ns.desc(), table.c.t_ground_ns.desc(), table.c.seq.desc())
            .limit(1)
        )
        with self.engine.begin() as db:
            row = db.execute(query).first()
        if row is None:
            return None
        return decode(Manifest, row.body, "manifest", MANIFEST_BYTES_MAX), row.body, row.signed

    def closure(self, tail: str, flight: str) -> Closure | None:
        """The newest revision."""
        found = self.signed_closure(tail, flight)
        return found[0] if found else None

    def signed_closure(self, tail: str, flight: str) -> tuple[Closure, bytes] | None:
        table = schema.closures
        query = (
            select(table.c.body, table.c.signed)
            .where(table.c.tail == tail, table.c.flight == flight)
            .order_by(table.c.revision.desc())
            .limit(1)
        )
        with self.engine.begin() as db:
            row = db.execute(query).first()
        if row is None:
            return None
        return decode(Closure, row.body, "closure", MANIFEST_BYTES_MAX), row.signed

    def of_flight(self, tail: str, flight: str, cls: str, limit: int) -> Iterator[Envelope]:
        """Trusted records of one class of one period, by event time."""
        table = schema.records
        query = (
            select(table.c.segment, table.c.offset, table.c.length)
            .where(table.c.tail == tail, table.c.flight == flight, table.c.cls == cls,
                   table.c.mark == "")
            .order_by(table.c.t_event_ns, table.c.epoch, table.c.stream, table.c.seq)
            .limit(limit)
        )  # fmt: skip
        with self.engine.begin() as db:
            places = [Place(*row) for row in db.execute(query)]
        for place in places:
            yield self.envelope(place)

    def signal_sets(self, hashes: Sequence[bytes]) -> dict[bytes, SignalSet]:
        """Those of `hashes` that are known; a set never changes, so it is read once."""
        found = {sha256: self._sets[sha256] for sha256 in hashes if sha256 in self._sets}
        wanted = [sha256 for sha256 in hashes if sha256 not in found]
        table = schema.signal_sets
        for k in range(0, len(wanted), SETS_AT_ONCE):
            named = table.c.sha256.in_(wanted[k : k + SETS_AT_ONCE])
            with self.engine.begin() as db:
                rows = db.execute(select(table).where(named)).all()
            for row in rows:
                if len(self._sets) >= SETS_CACHED:
                    self._sets.clear()
                found[row.sha256] = self._sets[row.sha256] = parse_signal_set(row.text, "ledger")
        return found


@lru_cache(maxsize=4096)
def iso(t_ns: int) -> str:
    """RFC 3339 in UTC with nanoseconds; out of the calendar it says the ns."""
    seconds, rest = divmod(t_ns, 1_000_000_000)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    except (OverflowError, ValueError, OSError):
        return f"{t_ns}ns"
