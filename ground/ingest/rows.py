"""Rows: how a batch is written into the tables of the ledger, statement by statement.

In: a connection in a transaction, and rows. Always holds: of tables that keep one row a tail or
a group the newest stands, whatever order records come in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    Connection,
    Table,
    and_,
    case,
    delete,
    func,
    literal_column,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert

from ground.ingest import schema
from ground.ingest.index import FORK, Entry, Row, identity_row
from ground.ingest.intake import Arrival
from ground.ingest.segments import Place

IDENTITY = ("tail", "epoch", "stream", "seq")
_UPSERT: dict[Table, tuple[str, ...]] = {
    schema.coverage: ("tail", "epoch", "stream"),
    schema.last_values: ("tail", "grp"),
    schema.states: ("tail",),
    schema.tails: ("tail",),
    schema.epochs: ("tail", "epoch"),
}
_ONCE = {schema.signal_sets, schema.drops, schema.parts, schema.tail_sets, schema.thinned}


def write(db: Connection, table: Table, rows: list[Row]) -> None:
    """Insert rows; newest wins in tables that keep one row, first wins where all are equal."""
    if not rows:
        return
    statement = insert(table)
    if table in _UPSERT:
        names = [column.name for column in table.columns]
        fresh = statement.excluded
        statement = statement.on_conflict_do_update(
            index_elements=list(_UPSERT[table]),
            set_={name: fresh[name] for name in names},
            where=_is_newer(table, fresh),
        )
    elif table in _ONCE:
        statement = statement.on_conflict_do_nothing()
    db.execute(statement, rows)


def _is_newer(table: Table, fresh: Any) -> Any:
    """Condition on which a row is replaced; None: always.

    A state is newer by its seq, and by the age of its epoch: bus time may lie, and one lie far
    in the future would freeze the twin.
    """
    c = table.c
    if table is schema.last_values:
        return fresh.t_ns >= c.t_ns
    if table is not schema.states:
        return None
    same_epoch = fresh.epoch == c.epoch
    of_newer = _fresh_is_not_older(table)
    return or_(and_(same_epoch, fresh.seq > c.seq), and_(not_(same_epoch), of_newer))


def _fresh_is_not_older(table: Table) -> Any:
    """In an upsert: the epoch that comes is at least as new as the one that stands."""
    # literal: SQLAlchemy would put the table itself into the FROM of the sub-select
    tail: Any = literal_column(f"{table.name}.tail")
    before: Any = literal_column(f"{table.name}.epoch")
    return serial_of(tail, literal_column("excluded.epoch")) >= serial_of(tail, before)


def serial_of(tail: Any, epoch: Any) -> Any:
    """Serial of an epoch in the order of first hellos; 0 when none came yet."""
    t = schema.epochs.alias()
    query = select(func.coalesce(func.max(t.c.serial), 0)).where(t.c.tail == tail,
                                                                t.c.epoch == epoch)  # fmt: skip
    return query.correlate_except(t).scalar_subquery()


def record(arrival: Arrival, place: Place, entry: Entry, now_ns: int) -> Row:
    e = arrival.envelope
    # Only blocks are marked: of other classes the record itself is what there is to hold.
    mark = entry.mark if e.cls == "block" else ""
    return identity_row(e) | place._asdict() | {
        "cls": e.cls, "flight": e.flight, "t_event_ns": e.t_event_ns, "t_quality": e.t_quality,
        "schema": e.schema, "codec": e.codec, "sha256": e.sha256,
        "sealed_sha256": arrival.sealed_sha256, "t_ground_ns": now_ns, "mark": mark,
    }  # fmt: skip


def stamp(table: Table, now_ns: int) -> Row:
    return {"t_ground_ns": now_ns} if "t_ground_ns" in table.c else {}


def write_flights(db: Connection, stored: Iterable[tuple[Arrival, bool]], now_ns: int) -> None:
    """stored: records and forks of a batch, and whether each is new (a fork is not)."""
    table = schema.flights
    rows: dict[tuple[str, str, str], Row] = {}
    for arrival, is_new in stored:
        e = arrival.envelope
        names = {e.flight, arrival.manifest.flight if arrival.manifest else ""} - {""}
        for flight in names:
            row = rows.setdefault((e.tail, flight, e.epoch), {
                "tail": e.tail, "flight": flight, "epoch": e.epoch, "t_first_ns": e.t_event_ns,
                "t_last_ns": e.t_event_ns, "t_ground_ns": now_ns, "records": 0,
                "abandoned": False, "dirty": True,
            })  # fmt: skip
            row["t_first_ns"] = min(row["t_first_ns"], e.t_event_ns)
            row["t_last_ns"] = max(row["t_last_ns"], e.t_event_ns)
            row["records"] += is_new and flight == e.flight
    if not rows:
        return
    statement = insert(table)
    fresh = statement.excluded
    db.execute(
        statement.on_conflict_do_update(
            index_elements=["tail", "flight"],
            set_={
                "epoch": case((_fresh_is_not_older(table), fresh.epoch), else_=table.c.epoch),
                "t_first_ns": func.min(table.c.t_first_ns, fresh.t_first_ns),
                "t_last_ns": func.max(table.c.t_last_ns, fresh.t_last_ns),
                "t_ground_ns": fresh.t_ground_ns,
                "records": table.c.records + fresh.records,
                "abandoned": False,
                "dirty": True,
            },
        ),
        list(rows.values()),
    )


def distrust(db: Connection, arrival: Arrival) -> None:
    """Both sides of a fork leave every index; the bytes stay in the segments."""
    e = arrival.envelope
    identity = (e.tail, e.epoch, e.stream, e.seq)
    records, flights = schema.records, schema.flights
    for table in (records, schema.manifests):  # a manifest may be of a period it does not lie in
        stored = select(table.c.flight).where(*same(table, *identity))
        db.execute(update(flights).where(flights.c.tail == e.tail, flights.c.flight.in_(stored))
                   .values(dirty=True))  # fmt: skip
    db.execute(update(records).where(*same(records, *identity)).values(mark=FORK))
    for table in (schema.blocks, schema.alerts, schema.audits, schema.manifests):
        db.execute(delete(table).where(*same(table, *identity)))


def same(table: Table, tail: str, epoch: str, stream: str, seq: int) -> list[Any]:
    c = table.c
    return [c.tail == tail, c.epoch == epoch, c.stream == stream, c.seq == seq]


def sealed_sha256(db: Connection, tail: str, epoch: str, stream: str, seq: int) -> bytes | None:
    table = schema.records
    found: bytes | None = db.scalar(
        select(table.c.sealed_sha256).where(*same(table, tail, epoch, stream, seq))
    )
    return found


def meta(db: Connection, key: str) -> str:
    table = schema.meta
    return db.scalar(select(table.c.value).where(table.c.key == key)) or ""


def put_meta(db: Connection, key: str, value: str) -> None:
    statement = insert(schema.meta).values(key=key, value=value)
    db.execute(statement.on_conflict_do_update(index_elements=["key"], set_={"value": value}))
