"""Results of reconciliations, by flight: rows in `control.db`, bytes in `blobs/`.

In: a `Reconciliation` as JSON. Out: the newest, or any other.
Always holds: a result names the revision of the closure it is of; results are numbered from 1 for
each flight and never changed or removed; the same bytes as the newest of that revision are not
stored twice; a job has one result at most.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    func,
    insert,
    select,
)

from ground.database import transaction
from ground.jobs.blobs import Blobs
from ground.reconcile.result import Reconciliation, decode_result
from ground.twins.control import METADATA

WHERE = "control.db"
LISTED_MAX = 1000

reconciliations = Table(
    "reconciliations",
    METADATA,
    Column("tail", String(32), nullable=False),
    Column("flight", String(32), nullable=False),
    Column("number", Integer, nullable=False, comment="of this flight, from 1"),
    Column("closure_revision", Integer, nullable=False),
    Column("closure_state", String(16), nullable=False),
    Column("inputs_sha256", String(64), nullable=False),
    Column("result", String(64), nullable=False, comment="sha-256 of a blob"),
    Column("bytes", Integer, nullable=False),
    Column("job", String(16), nullable=False),
    Column("verdicts", String, nullable=False, comment="JSON: one line an engine"),
    Column("t_ground_ns", BigInteger, nullable=False),
    PrimaryKeyConstraint("tail", "flight", "number"),
)
Index("reconciliations_by_job", reconciliations.c.job, unique=True)


class Line(msgspec.Struct, frozen=True):
    """The verdict on one engine, in a line."""

    position: int
    esn: str
    kind: str
    text: str


class Stored(msgspec.Struct, frozen=True):
    """A result, without its bytes."""

    tail: str
    flight: str
    number: int
    closure_revision: int
    closure_state: str
    inputs_sha256: str
    result: str
    bytes: int
    job: str
    verdicts: tuple[Line, ...]
    t_ground_ns: int


class Reconciliations:
    """The read side. reader: of `control.db`."""

    def __init__(self, reader: Engine, blobs: Blobs) -> None:
        self._reader, self._blobs = reader, blobs

    def newest(self, tail: str, flight: str, revision: int | None = None) -> Stored | None:
        """Of the newest closure revision that has one, or of `revision`."""
        found = self._rows(tail, flight, revision, 1)
        return found[0] if found else None

    def all(self, tail: str, flight: str) -> list[Stored]:
        """Newest first."""
        return self._rows(tail, flight, None, LISTED_MAX)

    def body(self, stored: Stored) -> bytes:
        """The JSON as it was made; Corrupt when the blob is gone or damaged."""
        return self._blobs.get(stored.result)

    def read(self, stored: Stored) -> Reconciliation:
        return decode_result(self.body(stored), stored.flight)

    def _rows(self, tail: str, flight: str, revision: int | None, limit: int) -> list[Stored]:
        c = reconciliations.c
        query = (
            select(reconciliations).where(c.tail == tail, c.flight == flight)
            .order_by(c.closure_revision.desc(), c.number.desc()).limit(limit)
        )  # fmt: skip
        if revision is not None:
            query = query.where(c.closure_revision == revision)
        with transaction(self._reader, WHERE) as db:
            return [_stored(dict(row._mapping)) for row in db.execute(query)]


def add(db: Connection, result: Reconciliation, sha256: str, size: int, job: str, now_ns: int
        ) -> Stored:  # fmt: skip
    """Number and keep a result; the one that is there when it says the same."""
    c = reconciliations.c
    of_flight = (c.tail == result.tail, c.flight == result.flight)
    last = db.execute(
        select(reconciliations)
        .where(*of_flight, c.closure_revision == result.closure_revision)
        .order_by(c.number.desc()).limit(1)
    ).first()  # fmt: skip
    if last is not None and last.result == sha256:
        return _stored(dict(last._mapping))
    number = (db.scalar(select(func.max(c.number)).where(*of_flight)) or 0) + 1
    lines = tuple(
        Line(one.position, one.esn, one.verdict.kind, one.verdict.text) for one in result.engines
    )
    row = {
        "tail": result.tail, "flight": result.flight, "number": number,
        "closure_revision": result.closure_revision, "closure_state": result.closure_state,
        "inputs_sha256": result.inputs_sha256, "result": sha256, "bytes": size, "job": job,
        "verdicts": msgspec.json.encode(lines).decode(), "t_ground_ns": now_ns,
    }  # fmt: skip
    db.execute(insert(reconciliations).values(**row))
    return _stored(row)


def _stored(row: dict[str, Any]) -> Stored:
    verdicts = msgspec.json.decode(row["verdicts"], type=tuple[Line, ...])
    return Stored(**{**row, "verdicts": verdicts})
