"""Thinned blocks: which of a record and what was made of it the lake counts.

In: blocks and the records they stand for, as they are written, in any order. Out: rows of
`blocks` that go again; what closures say of a record that was thinned. Always holds: of a record
and the blocks that stand for it the lake has one, the fullest that is held and can be read. An
aircraft thins what it has no ack for, which the ground may well have.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, and_, delete, func, select

from ground.ingest import schema
from ground.ingest.index import NO_SET, Row
from ground.ingest.rows import same

TRUSTED = ("", NO_SET)


def tails_with_any(db: Connection) -> set[str]:
    """Tails that ever sent a thinned block."""
    return set(db.scalars(select(schema.thinned.c.tail).distinct()))


def settle(db: Connection, blocks: Iterable[Row], thinned: Iterable[Row], tails: set[str]) -> None:
    """Take what is there twice out of the index. blocks, thinned: rows just written; tails: those
    with any thinned block, these included."""
    t = schema.thinned.c
    for row in thinned:  # is what it stands for here?
        mark = select(schema.records.c.mark).where(
            *same(schema.records, row["tail"], row["epoch"], row["stream"], row["seq"])
        )
        if db.scalar(mark) in TRUSTED:
            _uncount(db, row["tail"], row["by_epoch"], row["by_stream"], row["by_seq"])
    for row in blocks:  # does something stand for it?
        if row["tail"] not in tails:
            continue
        key = (row["tail"], row["epoch"], row["stream"], row["seq"])
        successors = select(t.by_epoch, t.by_stream, t.by_seq).where(*same(schema.thinned, *key))
        for epoch, stream, seq in db.execute(successors).all():
            _uncount(db, row["tail"], epoch, stream, seq)


def _uncount(db: Connection, tail: str, epoch: str, stream: str, seq: int) -> None:
    db.execute(delete(schema.blocks).where(*same(schema.blocks, tail, epoch, stream, seq)))


def kept_of(
    db: Connection, tail: str, epoch: str, stream: str, low: int, high: int
) -> dict[int, int]:
    """By seq of [low, high): 1 of how many of its readings the fullest block keeps that is held for it."""
    t, r = schema.thinned.c, schema.records.c
    is_its = and_(
        r.tail == t.tail, r.epoch == t.by_epoch, r.stream == t.by_stream, r.seq == t.by_seq
    )
    found = db.execute(
        select(t.seq, func.min(t.keep_every))
        .join(schema.records, is_its)
        .where(
            t.tail == tail,
            t.epoch == epoch,
            t.stream == stream,
            t.seq >= low,
            t.seq < high,
            r.mark.in_(TRUSTED),
        )
        .group_by(t.seq)
    )
    return {row[0]: row[1] for row in found}
