"""The baselines of this ground, in `control.db`: which engine is to be compared with what.

In: proposals with a maintenance event, who approves it and why. Out: the baseline that held for an
ESN at a time. Always holds: a row is added by `approve` and by nothing else, and never changed or
removed (the database refuses it); rows are a chain of hashes; no calibration writes here.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    Engine,
    Index,
    Integer,
    LargeBinary,
    Row,
    String,
    Table,
    event,
    insert,
    select,
)

from ground.database import open_reader, open_writer, transaction
from ground.models.baseline import Baseline, parse_baseline
from ground.twins.control import METADATA, Control
from shared.errors import Rejected

WHERE = "control.db"
Event = Literal["installation", "engine_change", "wash", "shop_visit"]
EVENTS: tuple[Event, ...] = get_args(Event)
WHO_CHARS_MAX, WHY_CHARS_MAX = 64, 1000

baselines = Table(
    "baselines",
    METADATA,
    Column("serial", Integer, primary_key=True, autoincrement=True),
    Column("esn", String(32), nullable=False),
    Column("since_ns", BigInteger, nullable=False, comment="event time from which it holds"),
    Column("event", String(16), nullable=False),
    Column("approved_by", String(WHO_CHARS_MAX), nullable=False),
    Column("approved_ns", BigInteger, nullable=False),
    Column("reason", String(WHY_CHARS_MAX), nullable=False),
    Column("body", LargeBinary, nullable=False, comment="JSON of the Baseline"),
    Column("previous", LargeBinary(32), nullable=False, comment="sha-256 of the row before"),
    sqlite_autoincrement=True,
)
Index("baselines_by_esn", baselines.c.esn, baselines.c.serial)
_IS_THERE = (
    "when new.serial in (select serial from baselines)"  # else `insert or replace` removes it
)
for _verb, _when in (("update", ""), ("delete", ""), ("insert", _IS_THERE)):
    _refusal = DDL(  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
        f"create trigger baselines_no_{_verb} before {_verb} on baselines {_when} begin "
        "select raise(abort, 'baselines are only added to'); end"
    )
    event.listen(baselines, "after_create", _refusal.execute_if(dialect="sqlite"))


class Approved(msgspec.Struct, frozen=True, kw_only=True):
    """One row. since_ns: from which event time on it holds."""

    serial: int
    since_ns: int
    baseline: Baseline


class Baselines:
    """Reads; `approve` needs the file open for writing."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @staticmethod
    def open(control: Path, *, write: bool = False) -> Baselines:
        engine = open_writer(control) if write else open_reader(control)
        if write:
            METADATA.create_all(engine, tables=[baselines])
        return Baselines(engine)

    def of_esn(self, esn: str, at_ns: int | None = None) -> Baseline | None:
        """What held at that event time, or holds now; None when nothing was approved by then."""
        held = [x for x in self.history(esn) if at_ns is None or x.since_ns <= at_ns]
        return held[-1].baseline if held else None

    def history(self, esn: str = "") -> list[Approved]:
        """Every row, of one ESN or of all, oldest first."""
        query = select(baselines).order_by(baselines.c.serial)
        if esn:
            query = query.where(baselines.c.esn == esn)
        with transaction(self._engine, WHERE) as db:
            if not self._engine.dialect.has_table(db, "baselines"):
                return []  # nothing was ever approved here
            return [
                Approved(
                    serial=row.serial, since_ns=row.since_ns,
                    baseline=parse_baseline(row.body, f"{WHERE}: baselines {row.serial}"),
                )
                for row in db.execute(query)
            ]  # fmt: skip

    def approve(
        self, proposal: Baseline, event: str, by: str, reason: str, *, engine_sha256: str,
        control: Control, now_ns: int, since_ns: int | None = None,
    ) -> Approved:  # fmt: skip
        """Add a row. since_ns: when the event was; None is now, and for the first baseline of an
        ESN always. Rejected says what is missing or does not fit."""
        where = f"baseline of ESN {proposal.esn}"
        if event not in EVENTS:
            raise Rejected(
                f"{event!r} is no maintenance event", where, f"one of {', '.join(EVENTS)}"
            )
        by, reason = by.strip(), reason.strip()
        if not 0 < len(by) <= WHO_CHARS_MAX or not 0 < len(reason) <= WHY_CHARS_MAX:
            raise Rejected("who approves it, and why, has to be said", where,
                           f"--by and --reason, up to {WHO_CHARS_MAX} and {WHY_CHARS_MAX} letters")  # fmt: skip
        _check_fits(proposal, control, engine_sha256, where)
        approved = msgspec.structs.replace(
            proposal, event=event, approved_by=by, approved_ns=now_ns, reason=reason
        )
        body = msgspec.json.encode(approved, order="deterministic")
        with transaction(self._engine, WHERE) as db:
            newest = select(baselines.c.since_ns).where(baselines.c.esn == proposal.esn)
            known = db.scalar(newest.order_by(baselines.c.serial.desc()).limit(1))
            since = since_ns if since_ns is not None else 0 if known is None else now_ns
            if since > now_ns or (known is not None and since < known):
                raise Rejected("is not between the last event of this ESN and now",
                               f"{where}: --since",
                               "give the time of the maintenance event; `baseline show` lists the "
                               "earlier ones")  # fmt: skip
            last = db.execute(
                select(baselines).order_by(baselines.c.serial.desc()).limit(1)
            ).first()
            values = {
                "esn": approved.esn, "since_ns": since, "event": event, "approved_by": by,
                "approved_ns": now_ns, "reason": reason, "body": body,
                "previous": _link(last.previous, last.since_ns, last.body) if last else bytes(32),
            }  # fmt: skip
            key = db.execute(insert(baselines).values(**values)).inserted_primary_key
            assert key is not None
            serial = int(key[0])
        return Approved(serial=serial, since_ns=since, baseline=approved)

    def faults(self) -> list[str]:
        """Where the chain is broken, or a row says other than what was approved; empty when whole."""
        found: list[str] = []
        link = bytes(32)
        with transaction(self._engine, WHERE) as db:
            if not self._engine.dialect.has_table(db, "baselines"):
                return found
            for row in db.execute(select(baselines).order_by(baselines.c.serial)):
                if row.previous != link:
                    found.append(f"baseline {row.serial} does not follow the one before it")
                if not _is_as_approved(row):
                    found.append(f"baseline {row.serial} is not as it was approved")
                link = _link(row.previous, row.since_ns, row.body)
        return found


def _is_as_approved(row: Row[Any]) -> bool:
    try:
        said = parse_baseline(row.body, f"{WHERE}: baselines {row.serial}")
    except Rejected:
        return False
    names = ("esn", "event", "approved_by", "approved_ns", "reason")
    return all(getattr(row, name) == getattr(said, name) for name in names)


def _link(previous: bytes, since_ns: int, body: bytes) -> bytes:
    return hashlib.sha256(previous + since_ns.to_bytes(8, "big") + body).digest()


def _check_fits(proposal: Baseline, control: Control, engine_sha256: str, where: str) -> None:
    """The engine hangs on a tail of ours, and is of that part number and type."""
    fitted = {e.esn: (e.part_number, t.tail) for t in control.twins() for e in t.engines}
    if proposal.esn not in fitted:
        raise Rejected("no enrolled tail has this engine", where, "enrol the tail that it hangs on")
    part_number, tail = fitted[proposal.esn]
    if proposal.part_number != part_number:
        raise Rejected(f"is of {proposal.part_number!r}, {tail} has {part_number!r}", where,
                       "rows of that engine")  # fmt: skip
    if proposal.engine_type_sha256 != engine_sha256:
        raise Rejected(
            f"was fitted with engine type {proposal.engine_type_sha256[:12]}, this ground has "
            f"{engine_sha256[:12]}", where, "fit it again",
        )  # fmt: skip
