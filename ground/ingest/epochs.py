"""Epochs: in which order the ground met the epochs of a tail, and what each hello says of them.

In: hellos. Out: rows of `tails` and `epochs`, and which open periods lost their outbox.
Always holds: an epoch never gets a newer serial than one that came after it. The outbox says the
hellos of its older epochs first and of the living one last, so the serial is age, and the last
hello names the epoch that lives; a period is given up only when both agree that its epoch is old.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, exists, func, select, update

from ground.ingest import schema
from ground.ingest.rows import serial_of, write
from shared.messages import Hello

_tails, _epochs, _flights = schema.tails, schema.epochs, schema.flights


def note_hello(db: Connection, tail: str, hello: Hello, now_ns: int) -> None:
    """Rows of one hello; open periods of an older epoch are looked at again."""
    known = db.scalar(select(_tails.c.epoch).where(_tails.c.tail == tail))
    serial = db.scalar(
        select(_epochs.c.serial).where(_epochs.c.tail == tail, _epochs.c.epoch == hello.epoch)
    )
    if serial is None:
        newest = select(func.coalesce(func.max(_epochs.c.serial), 0)).where(_epochs.c.tail == tail)
        serial = (db.scalar(newest) or 0) + 1
    write(db, _tails, [{"tail": tail, "epoch": hello.epoch, "boot": hello.boot,
                        "t_hello_ns": now_ns}])  # fmt: skip
    write(db, _epochs, [{"tail": tail, "epoch": hello.epoch, "serial": serial,
                         "nonce": hello.nonce}])  # fmt: skip
    if known == hello.epoch:
        return
    manifests = schema.manifests
    with_manifest = select(manifests.c.flight).where(manifests.c.tail == tail)
    db.execute(
        update(_flights)
        .where(
            _flights.c.tail == tail,
            _flights.c.abandoned != is_old(),
            _flights.c.flight.not_in(with_manifest),
        )
        .values(dirty=True)
    )


def is_old() -> Any:
    """Condition on a row of `flights`: its epoch is older than the one that lives."""
    of_tail = select(_tails.c.epoch).where(_tails.c.tail == _flights.c.tail)
    living = of_tail.correlate_except(_tails).scalar_subquery()
    return and_(
        exists().where(_tails.c.tail == _flights.c.tail, _tails.c.epoch != _flights.c.epoch),
        serial_of(_flights.c.tail, _flights.c.epoch) < serial_of(_flights.c.tail, living),
    )
