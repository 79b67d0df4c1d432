"""Closing: signs what the comparison of a period found, and again when it changes.

In: the ledger, after each commit. Out: rows of `closures`, one a revision, signed.
Always holds: a revision is written only when its content differs from the one before. A period
that misses something is closed once no record of it came for the settle time, so that a backlog
on its way does not make a revision a batch; a complete one at once.
"""

from __future__ import annotations

import hashlib

import msgspec
from sqlalchemy import Connection, Row, or_, select, update

from ground.ingest import schema
from ground.ingest.closure import Finding, Holding, compare
from ground.ingest.ledger import Ledger, begin
from ground.ingest.rows import write
from shared.clock import Clock
from shared.identity import Signer
from shared.messages import MANIFEST_BYTES_MAX, Closure, Manifest, decode, encode
from shared.sync.ranges import RangeSet

CLOSURE_VERSION = 1
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

    def close_due(self) -> list[Closure]:
        """Write and sign every closure that is due; those that are new or revised."""
        now_ns = self._clock.wall_ns()
        written: list[Closure] = []
        with begin(self._ledger.engine) as db:
            due = _dirty(db)
            self.pending = bool(due)
            for flight in due:
                manifest, body = _manifest(db, flight.tail, flight.flight)
                finding = self._find(db, flight, manifest)
                settled = now_ns - flight.t_ground_ns >= self._settle_ns
                if finding.state == "gaps" and not settled and flight.t_ground_ns <= now_ns:
                    continue
                closure = self._closure(flight, manifest, body, finding, now_ns)
                if revised := self._write(db, closure):
                    written.append(revised)
                table = schema.flights
                db.execute(update(table).where(table.c.tail == flight.tail,
                                               table.c.flight == flight.flight)
                           .values(dirty=False))  # fmt: skip
        return written

    def _find(self, db: Connection, flight: Row[tuple[object, ...]], manifest: Manifest | None
              ) -> Finding:  # fmt: skip
        if manifest is None:  # its epoch died before the manifest came
            return Finding("abandoned", flight.records, 0, [])
        return compare(manifest, self._holdings(db, manifest))

    def _holdings(self, db: Connection, manifest: Manifest) -> dict[tuple[str, str], Holding]:
        holdings = {}
        for epoch, stream in {(part.epoch, part.stream) for part in manifest.parts}:
            drops, records = schema.drops.c, schema.records.c
            dropped = db.execute(select(drops.low, drops.high, drops.reason).where(
                drops.tail == manifest.tail, drops.epoch == epoch, drops.stream == stream
            ).order_by(drops.low))  # fmt: skip
            marked = db.execute(select(records.seq, records.mark).where(
                records.tail == manifest.tail, records.epoch == epoch, records.stream == stream,
                records.mark != ""
            ))  # fmt: skip
            held = self._ledger.held.get((manifest.tail, epoch, stream), RangeSet())
            holdings[epoch, stream] = Holding(
                held, [(row[0], row[1], row[2]) for row in dropped],
                [(row[0], row[1]) for row in marked],
            )  # fmt: skip
        return holdings

    def _closure(
        self, flight: Row[tuple[object, ...]], manifest: Manifest | None, body: bytes,
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
        if last is not None:
            before = decode(Closure, last.body, "closure", MANIFEST_BYTES_MAX)
            closure = msgspec.structs.replace(closure, revision=last.revision + 1)
            if _content(before) == _content(closure):
                return None
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


def _dirty(db: Connection) -> list[Row[tuple[object, ...]]]:
    flights, manifests = schema.flights, schema.manifests
    has_manifest = (
        select(manifests.c.flight)
        .where(manifests.c.tail == flights.c.tail, manifests.c.flight == flights.c.flight)
        .exists()
    )
    return list(
        db.execute(
            select(flights)
            .where(flights.c.dirty, or_(flights.c.abandoned, has_manifest))
            .order_by(flights.c.t_ground_ns)
            .limit(FLIGHTS_MAX)
        )
    )


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
