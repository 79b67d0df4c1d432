"""Rows of records: the SQL that writes, finds and deletes them.

In: a connection, a stream, ranges of it. Out: rows as values. Always holds: a record has a row
in `record` and its bytes in `sealed`, or neither; nothing here commits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import apsw

from edge.outbox.retention import ORDER, Candidate
from edge.outbox.streams import SEQ_MASK, Stream
from shared.envelope import Envelope
from shared.sync.ranges import Range, RangeSet
from shared.sync.sender import Held


def insert(
    db: apsw.Connection, number: int, born: int, envelope: Envelope, size: int,
    data_key: int, data: bytes,
) -> None:  # fmt: skip
    """size: of the envelope's bytes, which `data` holds sealed."""
    db.execute(
        "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?)",
        (number, born, envelope.t_event_ns, size, envelope.sha256, data_key),
    )
    db.execute("INSERT INTO sealed VALUES (?, ?)", (number, data))


def delete(db: apsw.Connection, number: int) -> None:
    db.execute("DELETE FROM record WHERE id = ?", (number,))
    db.execute("DELETE FROM sealed WHERE id = ?", (number,))


def sealed(db: apsw.Connection, number: int) -> tuple[int, bytes] | None:
    """(data key, bytes at rest) of a record."""
    row = db.execute(
        "SELECT data_key, data FROM record JOIN sealed USING (id) WHERE id = ?", (number,)
    ).fetchone()
    return None if row is None else (row[0], row[1])


def event_time_ns(db: apsw.Connection, number: int) -> int:
    t_event_ns: int = db.execute("SELECT t_event_ns FROM record WHERE id = ?", (number,)).get
    return t_event_ns


def sizes(db: apsw.Connection, stream: Stream, low: int, high: int) -> list[tuple[int, int]]:
    """(seq, bytes) of the records of [low, high)."""
    found = db.execute(
        "SELECT id, size FROM record WHERE id >= ? AND id < ? ORDER BY id",
        (stream.record_id(low), stream.record_id(high)),
    )
    return [(number & SEQ_MASK, size) for number, size in found]


def weigh(db: apsw.Connection, stream: Stream, ranges: Iterable[Range]) -> tuple[int, int]:
    """Bytes of the records in `ranges`, and the earliest event time of those that have one, or 0."""
    size, oldest_ns = 0, 0
    for low, high in ranges:
        found = db.execute(
            "SELECT coalesce(sum(size), 0), coalesce(min(nullif(t_event_ns, 0)), 0) FROM record"
            " WHERE id >= ? AND id < ?",
            (stream.record_id(low), stream.record_id(high)),
        ).get
        assert found is not None
        size += found[0]
        oldest_ns = min(oldest_ns, found[1]) if oldest_ns and found[1] else oldest_ns or found[1]
    return size, oldest_ns


def waiting(db: apsw.Connection, stream: Stream, cursor: int, limit: int) -> list[tuple[int, Held]]:
    """(born, record) of at most `limit` records from `cursor` on that are not received."""
    return [
        (born, Held(stream.epoch, stream.name, seq, stream.cls, size))
        for seq, born, size, _ in _oldest(db, stream, stream.pending(cursor), limit)
    ]


def candidates(db: apsw.Connection, stream: Stream, safe: bool, limit: int) -> list[Candidate]:
    """Its at most `limit` oldest records that are safe, or that are not."""
    among = stream.held.intersection(stream.safe)
    if not safe:
        among = RangeSet(part for low, high in stream.held for part in among.missing(low, high))
    return [
        Candidate(stream.epoch, stream.name, seq, stream.cls, born, size, sha256, safe)
        for seq, born, size, sha256 in _oldest(db, stream, among, limit)
    ]


def safe(db: apsw.Connection, streams: Collection[Stream], limit: int) -> list[Candidate]:
    """Of each stream its oldest records that the ground has."""
    return [c for stream in streams for c in candidates(db, stream, safe=True, limit=limit)]


def pending(db: apsw.Connection, stream: Stream, cursor: int, limit: int) -> list[Candidate]:
    """Its at most `limit` first records from `cursor` on that are neither received nor locked."""
    return [
        Candidate(stream.epoch, stream.name, seq, stream.cls, born, size, sha256, safe=False)
        for seq, born, size, sha256 in _oldest(db, stream, stream.pending(cursor), limit)
    ]


def unsafe(db: apsw.Connection, stream: Stream, limit: int) -> list[Candidate]:
    """Its at most `limit` first records that are neither safe nor locked, received or not."""
    return [
        Candidate(stream.epoch, stream.name, seq, stream.cls, born, size, sha256, safe=False)
        for seq, born, size, sha256 in _oldest(db, stream, stream.unsafe(), limit)
    ]


def one(db: apsw.Connection, stream: Stream, seq: int) -> list[Candidate]:
    """The record as a candidate, if it is held."""
    is_safe = stream.safe.contains(seq)
    return [
        Candidate(stream.epoch, stream.name, seq, stream.cls, born, size, sha256, is_safe)
        for seq, born, size, sha256 in _oldest(db, stream, [(seq, seq + 1)], 1)
    ]


def evictable(
    db: apsw.Connection, streams: Collection[Stream], bytes_over: int, limit: int
) -> list[Candidate]:
    """What `retention.choose` may need: the safe ones, then classes in ORDER until it is enough."""
    found: list[Candidate] = []
    for cls in ("", *ORDER):
        for stream in streams:
            if cls in ("", stream.cls):
                found += candidates(db, stream, safe=not cls, limit=limit)
        if len(found) >= limit or sum(c.size for c in found) >= bytes_over:
            break
    return found


def _oldest(
    db: apsw.Connection, stream: Stream, ranges: Iterable[Range], limit: int
) -> list[tuple[int, int, int, bytes]]:
    """(seq, born, size, sha256) of the first `limit` rows in `ranges`."""
    found: list[tuple[int, int, int, bytes]] = []
    for low, high in ranges:
        if len(found) >= limit:
            break
        for number, born, size, sha256 in db.execute(
            "SELECT id, born, size, sha256 FROM record WHERE id >= ? AND id < ?"
            " ORDER BY id LIMIT ?",
            (stream.record_id(low), stream.record_id(high), limit - len(found)),
        ):
            found.append((number & SEQ_MASK, born, size, sha256))
    return found
