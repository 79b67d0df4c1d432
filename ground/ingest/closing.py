"""Closing: signs what the comparison of a period found, and again when it changes.

In: the ledger, after each commit. Out: rows of `closures`, one a revision, signed.
Always holds: a revision is written only when its content differs from the one before. A period
that misses something is closed once no record of it came for the settle time, so that a backlog
on its way does not make a revision a batch; a complete one at once.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, func, or_, select, update
from sqlalchemy.exc import DBAPIError

from ground.ingest import schema
from ground.ingest.closure import Finding, Holding, bounded, compare
from ground.ingest.epochs import is_old
from ground.ingest.ledger import BUGS, Ledger, begin
from ground.ingest.rows import write
from ground.ingest.thinned import kept_of
from shared.clock import Clock
from shared.identity import Signer
from shared.messages import MANIFEST_BYTES_MAX, Closure, Manifest, decode, encode
from shared.sync.ranges import RangeSet

CLOSURE_VERSION = 1
CLOSURE_BYTES_MAX = MANIFEST_BYTES_MAX
SPARE_BYTES = 1024  # for its revision and signature
PASS_NS = 200_000_000  # assumption: records wait this long for closures, acks are due each 250 ms
FLIGHTS_MAX = 64  # looked at in one go; the rest follows in the next


class Closing:
    """One per ledger, in its process: only ingest writes `ledger.db`."""

    def __init__(
        self, ledger: Ledger, signer: Signer, operator: str, clock: Clock, settle_ns: int
    ) -> None:
        self._ledger, self._signer, self._operator = ledger, signer, operator
        self._clock, self._settle_ns = clock, settle_ns
        self.pending = True
        """True while a period with a manifest waits to be compared again."""
        self.failed: dict[str, str] = {}
        """Periods that a bug of ours keeps from being closed, since the start; at most 64."""

    def close_due(self) -> list[Closure]:
        """Write and sign every closure that is due; those that are new or revised.

        At most PASS_NS of work, one period at least; `pending` says whether some are left.
        """
        now_ns, start_ns = self._clock.wall_ns(), self._clock.mono_ns()
        written: list[Closure] = []
        with begin(self._ledger.engine) as db:
            due = _due(db)
            self.pending = bool(due)
            for flight in due:
                try:
                    with db.begin_nested():
                        revised, is_done = self._close(db, flight, now_ns)
                except BUGS as error:
                    revised, is_done = self._fail(flight, error)
                except DBAPIError:  # the disk: no period is to blame
                    raise
                except Exception as error:  # one period must not stop the closures of the fleet
                    revised, is_done = self._fail(flight, error)
                if revised:
                    written.append(revised)
                if is_done:
                    _set(db, flight, dirty=False)
                if self._clock.mono_ns() - start_ns > PASS_NS:
                    break
        return written

    def _close(
        self, db: Connection, flight: Due, now_ns: int
    ) -> tuple[Closure | None, bool]:  # fmt: skip
        """The closure when it is new or revised, and whether the period is done with for now."""
        manifest, body = _manifest(db, flight.tail, flight.flight)
        settled = not 0 <= now_ns - flight.t_ground_ns < self._settle_ns
        if manifest is not None:
            finding = compare(manifest, self._holdings(db, manifest))
            if finding.state == "gaps" and not settled:
                return None, False
        elif flight.is_old:  # its epoch died before the manifest came, if nothing more comes
            if not (settled and not 0 <= now_ns - flight.t_hello_ns < self._settle_ns):
                return None, False
            finding = Finding("abandoned", flight.records, 0, [])
        else:
            finding = Finding("open", flight.records, 0, [])
        _set(db, flight, abandoned=finding.state == "abandoned")
        closure = self._closure(flight, manifest, body, finding, now_ns)
        return self._write(db, closure), True

    def _fail(self, flight: Due, error: Exception) -> tuple[None, bool]:
        """Not tried again before another record of it comes."""
        if len(self.failed) < FLIGHTS_MAX:
            self.failed[f"{flight.tail}/{flight.flight}"] = f"{error!r:.200}"
        return None, True

    def _holdings(self, db: Connection, manifest: Manifest) -> dict[tuple[str, str], Holding]:
        """Of the period's own numbers only: an epoch may have thinned and dropped for months."""
        spans: dict[tuple[str, str], tuple[int, int]] = {}
        for part in manifest.parts:
            low, high = spans.get((part.epoch, part.stream), (part.low, part.high))
            spans[part.epoch, part.stream] = min(low, part.low), max(high, part.high)
        holdings = {}
        for (epoch, stream), (low, high) in spans.items():
            drops, records = schema.drops.c, schema.records.c
            dropped = db.execute(select(drops.low, drops.high, drops.reason).where(
                drops.tail == manifest.tail, drops.epoch == epoch, drops.stream == stream,
                drops.low < high, drops.high > low
            ).order_by(drops.low))  # fmt: skip
            marked = db.execute(select(records.seq, records.mark).where(
                records.tail == manifest.tail, records.epoch == epoch, records.stream == stream,
                records.seq >= low, records.seq < high, records.mark != ""
            ))  # fmt: skip
            held = self._ledger.held.get((manifest.tail, epoch, stream), RangeSet())
            holdings[epoch, stream] = Holding(
                held, [(row[0], row[1], row[2]) for row in dropped],
                [(row[0], row[1]) for row in marked],
                kept_of(db, manifest.tail, epoch, stream, low, high),
            )  # fmt: skip
        return holdings

    def _closure(
        self, flight: Due, manifest: Manifest | None, body: bytes,
        finding: Finding, now_ns: int,
    ) -> Closure:  # fmt: skip
        kind = manifest.kind if manifest else ("ground" if "-G" in flight.flight else "flight")
        return Closure(
            CLOSURE_VERSION, self._operator, flight.tail, flight.flight, kind, 1, finding.state,
            finding.records, finding.records_missing, finding.gaps,
            hashlib.sha256(body).digest() if manifest else b"", now_ns,
        )  # fmt: skip

    def _write(self, db: Connection, closure: Closure) -> Closure | None:
        table = schema.closures
        last = db.execute(
            select(table.c.revision, table.c.body)
            .where(table.c.tail == closure.tail, table.c.flight == closure.flight)
            .order_by(table.c.revision.desc())
            .limit(1)
        ).first()
        closure = fitted(closure)
        if last is not None:
            before = decode(Closure, last.body, "closure", CLOSURE_BYTES_MAX)
            still_open = closure.state == before.state == "open"  # not a revision a record
            if still_open or _content(before) == _content(closure):
                return None
            closure = msgspec.structs.replace(closure, revision=last.revision + 1)
        body = encode(closure)
        write(db, table, [{
            "tail": closure.tail, "flight": closure.flight, "revision": closure.revision,
            "state": closure.state, "kind": closure.kind, "records": closure.records,
            "records_missing": closure.records_missing, "t_ground_ns": closure.t_ground_ns,
            "body": body, "signed": self._signer.sign("closure", body),
        }])  # fmt: skip
        return closure


def _content(closure: Closure) -> Closure:
    """All of it that can differ between two revisions."""
    return msgspec.structs.replace(closure, revision=0, t_ground_ns=0)


def fitted(closure: Closure) -> Closure:
    """The closure in at most what a reader takes; fewer gaps by name where it is too long."""
    while len(encode(closure)) > CLOSURE_BYTES_MAX - SPARE_BYTES:
        gaps = bounded(closure.gaps, len(closure.gaps) // 2)
        closure = msgspec.structs.replace(closure, gaps=gaps)
    return closure


class Due(NamedTuple):
    """A period to look at. t_hello_ns: of its tail's last hello."""

    tail: str
    flight: str
    records: int
    t_ground_ns: int
    is_old: bool
    t_hello_ns: int


def _due(db: Connection) -> list[Due]:
    """The oldest first, but of each tail one before a second of any: no tail fills the list."""
    f, manifests, closures, tails = (
        schema.flights.c,
        schema.manifests,
        schema.closures,
        schema.tails,
    )
    has_manifest, has_closure = (
        select(table.c.flight).where(table.c.tail == f.tail, table.c.flight == f.flight).exists()
        for table in (manifests, closures)
    )
    t_hello = select(tails.c.t_hello_ns).where(tails.c.tail == f.tail).scalar_subquery()
    turn = func.row_number().over(partition_by=f.tail, order_by=f.t_ground_ns)
    query = (
        select(f.tail, f.flight, f.records, f.t_ground_ns, is_old(), func.coalesce(t_hello, 0))
        .where(f.dirty, or_(has_manifest, has_closure, is_old()))
        .order_by(turn, f.t_ground_ns)
        .limit(FLIGHTS_MAX)
    )
    return [Due(*row) for row in db.execute(query)]


def _set(db: Connection, flight: Due, **values: bool) -> None:
    table = schema.flights
    same = (table.c.tail == flight.tail, table.c.flight == flight.flight)
    db.execute(update(table).where(*same).values(**values))


def _manifest(db: Connection, tail: str, flight: str) -> tuple[Manifest | None, bytes]:
    """The newest by its own closing time, then by when it came."""
    table = schema.manifests
    body = db.scalar(
        select(table.c.body)
        .where(table.c.tail == tail, table.c.flight == flight)
        .order_by(table.c.closed_ns.desc(), table.c.t_ground_ns.desc(), table.c.seq.desc())
        .limit(1)
    )
    if body is None:
        return None, b""
    return decode(Manifest, body, "manifest", MANIFEST_BYTES_MAX), body
