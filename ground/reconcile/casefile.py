"""A case as it is stored: its row, its evidence, its audit trail.

In: rows of `control.db`. Out: frozen messages; records of the chain. Always holds: every change is
one record of a chain of hashes over all cases, each naming the sha-256 of the one before it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, get_args

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Row,
    String,
    Table,
    insert,
    select,
)

from ground.twins.control import METADATA
from shared.errors import Rejected
from shared.messages import Audit, decode, encode

WHO_CHARS_MAX, WHY_CHARS_MAX = 64, 1000
State = Literal["open", "acknowledged", "in_work", "closed", "rejected"]
STATES: tuple[State, ...] = get_args(State)
ACTIVE: tuple[State, ...] = ("open", "acknowledged", "in_work")
DONE: tuple[State, ...] = ("closed", "rejected")

cases = Table(
    "cases",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("owner", String(WHO_CHARS_MAX), nullable=False),
    Column("tail", String(32), nullable=False, comment="where it was found first"),
    Column("subject", String(100), nullable=False),
    Column("title", String(200), nullable=False),
    Column("advice", String(1000), nullable=False, comment="of the newest evidence"),
    Column("resolution", String(WHY_CHARS_MAX), nullable=False),
    Column("follows", Integer, ForeignKey("cases.number"), comment="the case of it before"),
    Column("opened_ns", BigInteger, nullable=False),
    Column("changed_ns", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
Index("cases_by_subject", cases.c.subject, cases.c.number)
Index("cases_by_state", cases.c.state, cases.c.number)

evidence = Table(
    "case_evidence",
    METADATA,
    Column("case", Integer, ForeignKey("cases.number"), nullable=False),
    Column("tail", String(32), nullable=False),
    Column("flight", String(32), nullable=False),
    Column("number", Integer, nullable=False, comment="of the reconciliation of this flight"),
    Column("closure_revision", Integer, nullable=False),
    Column("result", String(64), nullable=False, comment="sha-256 of the reconciliation"),
    Column("shows", Boolean, nullable=False, comment="false: a later result does not show it"),
    Column("text", String(1000), nullable=False),
    Column("figures", String, nullable=False, comment="JSON"),
    Column("t_ground_ns", BigInteger, nullable=False),
    PrimaryKeyConstraint("case", "tail", "flight", "number"),
)
Index("case_evidence_by_flight", evidence.c.tail, evidence.c.flight)

changes = Table(
    "case_changes",
    METADATA,
    Column("serial", Integer, primary_key=True, autoincrement=True),
    Column("case", Integer, ForeignKey("cases.number"), nullable=False),
    Column("t_ns", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False, comment="an Audit, chained by its `previous`"),
    sqlite_autoincrement=True,
)
Index("case_changes_by_case", changes.c.case, changes.c.serial)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """id: `C` and six digits. follows: id of the case before it; empty when it is the first."""

    id: str
    kind: str
    state: State
    owner: str
    tail: str
    subject: str
    title: str
    advice: str
    resolution: str
    follows: str
    opened_ns: int
    changed_ns: int


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One flight. number, closure_revision, result: which reconciliation of it."""

    tail: str
    flight: str
    number: int
    closure_revision: int
    result: str
    shows: bool
    text: str
    figures: dict[str, Any]
    t_ground_ns: int


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what, when, and why. from_state is empty where nothing was before."""

    t_ns: int
    who: str
    what: str
    from_state: str
    to_state: str
    owner: str
    why: str
    sha256: str


class CaseFile(msgspec.Struct, frozen=True, kw_only=True):
    """A case with what belongs to it, oldest first; of very much, the newest."""

    case: Case
    evidence: tuple[Evidence, ...]
    changes: tuple[Change, ...]


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """What a change changed: `what` is the new state, `owner`, `opened` or `evidence`."""

    what: str
    who: str
    from_state: str
    to_state: str
    owner: str
    why: str = ""


def note(db: Connection, number: int, move: Move, now_ns: int) -> None:
    """Append to the chain."""
    last = db.scalar(select(changes.c.body).order_by(changes.c.serial.desc()).limit(1))
    audit = Audit(
        previous=hashlib.sha256(last).digest() if last else b"", kind="case", decision=move.what,
        subject=id_of(number), reasons=[move.why[:WHY_CHARS_MAX]] if move.why else [],
        detail={"who": move.who, "from": move.from_state, "to": move.to_state,
                "owner": move.owner, "t_ns": str(now_ns)},
    )  # fmt: skip
    db.execute(insert(changes).values(case=number, t_ns=now_ns, body=encode(audit)))


def faults_of(db: Connection) -> list[str]:
    """Where the chain is broken, or a case is not as its last change left it; empty when whole."""
    found, last = [], b""
    left: dict[int, tuple[str, str, str]] = {}
    for row in db.execute(select(changes).order_by(changes.c.serial)):
        where = f"change {row.serial} of {id_of(row.case)}"
        try:
            audit = decode(Audit, row.body, where)
            why = left[row.case][2] if row.case in left else ""
            if audit.decision in DONE:
                why = audit.reasons[0] if audit.reasons else ""
            left[row.case] = audit.detail["to"], audit.detail["owner"], why
            t_ns = audit.detail["t_ns"]
        except (Rejected, KeyError):
            found.append(f"{where} cannot be read")
        else:
            if audit.previous != last:
                found.append(f"{where} does not follow the one before it")
            if audit.subject != id_of(row.case):
                found.append(f"{where} is of {audit.subject}")
            if t_ns != str(row.t_ns):
                found.append(f"{where} bears another time")
        last = hashlib.sha256(row.body).digest()
    c = cases.c
    for row in db.execute(select(c.number, c.state, c.owner, c.resolution)):
        if left.get(row.number) != (row.state, row.owner, row.resolution):
            found.append(f"{id_of(row.number)} is not as its last change left it")
    return found


def id_of(number: int) -> str:
    return f"C{number:06d}"


def case_of(row: Row[Any]) -> Case:
    values = dict(row._mapping)
    follows = values.pop("follows")
    return Case(id=id_of(values.pop("number")), follows=id_of(follows) if follows else "", **values)


def evidence_of(row: Row[Any]) -> Evidence:
    values = dict(row._mapping)
    values.pop("case")
    return Evidence(**{**values, "figures": msgspec.json.decode(values["figures"])})


def change_of(row: Row[Any]) -> Change:
    audit = decode(Audit, row.body, "case change")
    said = audit.detail
    return Change(
        t_ns=row.t_ns, who=said["who"], what=audit.decision, from_state=said["from"],
        to_state=said["to"], owner=said["owner"], why=audit.reasons[0] if audit.reasons else "",
        sha256=hashlib.sha256(row.body).hexdigest(),
    )  # fmt: skip
