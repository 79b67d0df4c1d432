"""Cases: what a reconciliation found, until a person is done with it.

In: suspects of results, and what people do. Out: cases with evidence, an owner and an audit trail.
Always holds: of one subject at most one case is active, and findings of further flights are its
evidence; a subject that comes again after its case was closed or rejected has a new case that
names the old one; a state changes only along MOVES; every change is one record of a chain of
hashes, in the transaction of the change itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal, get_args

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
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
    update,
)

from ground.database import transaction
from ground.reconcile.result import Reconciliation
from ground.reconcile.store import Stored
from ground.reconcile.suspects import Figures, Suspect, suspects_of
from ground.twins.control import METADATA
from shared.errors import Rejected
from shared.messages import Audit, decode, encode

WHERE = "control.db"
LISTED_MAX = 1000
WHO_CHARS_MAX, WHY_CHARS_MAX = 64, 1000
RECONCILER = "reconcile"
State = Literal["open", "acknowledged", "in_work", "closed", "rejected"]
STATES: tuple[State, ...] = get_args(State)
ACTIVE: tuple[State, ...] = ("open", "acknowledged", "in_work")
MOVES: dict[State, tuple[State, ...]] = {
    "open": ("acknowledged", "in_work", "rejected"),
    "acknowledged": ("in_work", "closed", "rejected"),
    "in_work": ("acknowledged", "closed", "rejected"),
    "closed": (),
    "rejected": (),
}

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
    """A case with all that belongs to it, oldest first."""

    case: Case
    evidence: tuple[Evidence, ...]
    changes: tuple[Change, ...]


class Conflict(Rejected):
    """It is right in itself, but not in the state that the case is in."""


class Cases:
    """For people. writer, reader: of `control.db`."""

    def __init__(self, writer: Engine, reader: Engine) -> None:
        self._writer, self._reader = writer, reader
        METADATA.create_all(writer)

    def listed(self, states: Iterable[str] = (), tail: str = "", limit: int = 100) -> list[Case]:
        """Newest first."""
        query = select(cases).order_by(cases.c.number.desc()).limit(min(limit, LISTED_MAX))
        if chosen := list(states):
            query = query.where(cases.c.state.in_(chosen))
        if tail:
            query = query.where(cases.c.tail == tail)
        with transaction(self._reader, WHERE) as db:
            return [_case(row) for row in db.execute(query)]

    def file(self, identity: str) -> CaseFile | None:
        number = _number(identity)
        with transaction(self._reader, WHERE) as db:
            row = db.execute(select(cases).where(cases.c.number == number)).first()
            if row is None:
                return None
            found = db.execute(
                select(evidence).where(evidence.c.case == number)
                .order_by(evidence.c.t_ground_ns, evidence.c.number).limit(LISTED_MAX)
            ).all()  # fmt: skip
            said = db.execute(
                select(changes).where(changes.c.case == number)
                .order_by(changes.c.serial).limit(LISTED_MAX)
            ).all()  # fmt: skip
        return CaseFile(
            case=_case(row),
            evidence=tuple(map(_evidence, found)),
            changes=tuple(map(_change, said)),
        )

    def move(
        self, identity: str, by: str, now_ns: int, *, to: State | None = None,
        owner: str | None = None, why: str = "", expected: str = "",
    ) -> Case:  # fmt: skip
        """Change state, owner or both. `closed` takes `why` as the resolution, `rejected` as the
        reason. Conflict when the case is not in state `expected`, or cannot go there from its own.
        """
        _check(by, why, to, owner)
        with transaction(self._writer, WHERE) as db:
            number = _number(identity)
            row = db.execute(select(cases).where(cases.c.number == number)).first()
            if row is None:
                raise Rejected("no such case", identity[:40], "see `tailtwin-ground cases`")
            if expected and row.state != expected:
                raise Conflict(f"it is {row.state}, not {expected}", identity, "look at it again")
            if to is not None and to != row.state and to not in MOVES[row.state]:
                ways = ", ".join(MOVES[row.state]) or "nowhere: its subject will open a new case"
                raise Conflict(
                    f"it cannot go from {row.state} to {to}", identity, f"it can go to {ways}"
                )
            if row.state not in ACTIVE:
                raise Conflict(f"it is {row.state}", identity, "only an active case changes")
            values: dict[str, Any] = {"changed_ns": now_ns}
            values |= {} if to is None else {"state": to}
            values |= {} if owner is None else {"owner": owner}
            values |= {"resolution": why} if to in ("closed", "rejected") else {}
            db.execute(update(cases).where(cases.c.number == number).values(**values))
            what = "owner" if to is None or to == row.state else to
            _note(db, number, what, by, now_ns, row.state, to or row.state,
                  row.owner if owner is None else owner, why)  # fmt: skip
            return _case(db.execute(select(cases).where(cases.c.number == number)).one())

    def faults(self) -> list[str]:
        """Where the chain of changes is broken; empty when it is whole."""
        found, last = [], b""
        with transaction(self._reader, WHERE) as db:
            for row in db.execute(select(changes).order_by(changes.c.serial)):
                if decode(Audit, row.body, "case change").previous != last:
                    found.append(f"change {row.serial} of {_id(row.case)} does not follow the one "
                                 "before it")  # fmt: skip
                last = hashlib.sha256(row.body).digest()
        return found


def take(db: Connection, stored: Stored, result: Reconciliation, now_ns: int) -> None:
    """Open or extend the cases of a result; a case that rests on an older result of the same
    flight is told when this one does not show it any more."""
    touched = {_take(db, stored, suspect, now_ns) for suspect in suspects_of(result)}
    older = (
        select(evidence.c.case).distinct()
        .join(cases, cases.c.number == evidence.c.case)
        .where(evidence.c.tail == stored.tail, evidence.c.flight == stored.flight,
               evidence.c.number < stored.number, cases.c.state.in_(ACTIVE))
    )  # fmt: skip
    for number in set(db.scalars(older)) - touched:
        text = f"result {stored.number} of {stored.flight} does not show it any more"
        if _add_evidence(db, number, stored, text, {}, now_ns, shows=False):
            state, owner = _state_owner(db, number)
            _note(db, number, "evidence", RECONCILER, now_ns, state, state, owner, text)


def _take(db: Connection, stored: Stored, suspect: Suspect, now_ns: int) -> int:
    """Number of the case that the suspect belongs to."""
    known = db.execute(
        select(cases.c.number, cases.c.state).where(cases.c.subject.in_(suspect.subjects))
        .order_by(cases.c.state.in_(ACTIVE).desc(), cases.c.number.desc()).limit(1)
    ).first()  # fmt: skip
    if known is not None and (known.state in ACTIVE or _rests_on(db, known.number, stored)):
        number, follows = int(known.number), None
    else:
        follows = known.number if known is not None else None
        number = _open(db, stored, suspect, follows, now_ns)
    if not _add_evidence(db, number, stored, suspect.text, suspect.figures, now_ns, shows=True):
        return number
    if known is not None and number == known.number:
        db.execute(update(cases).where(cases.c.number == number)
                   .values(changed_ns=now_ns, advice=suspect.advice[:1000]))  # fmt: skip
        state, owner = _state_owner(db, number)
        why = f"{stored.flight}: {suspect.text}"
        _note(db, number, "evidence", RECONCILER, now_ns, state, state, owner, why)
    return number


def _open(
    db: Connection, stored: Stored, suspect: Suspect, follows: int | None, now_ns: int
) -> int:
    row = {
        "kind": suspect.kind, "state": "open", "owner": "", "tail": stored.tail,
        "subject": suspect.subject[:100], "title": suspect.title[:200],
        "advice": suspect.advice[:1000], "resolution": "", "follows": follows,
        "opened_ns": now_ns, "changed_ns": now_ns,
    }  # fmt: skip
    key = db.execute(insert(cases).values(**row)).inserted_primary_key
    assert key is not None
    number: int = key[0]
    again = f"; it comes again after {_id(follows)}" if follows else ""
    why = f"{stored.flight}: {suspect.text}{again}"
    _note(db, number, "opened", RECONCILER, now_ns, "", "open", "", why)
    return number


def _rests_on(db: Connection, number: int, stored: Stored) -> bool:
    """Whether this flight is evidence of the case already: then it tells nothing new."""
    query = select(evidence.c.case).where(
        evidence.c.case == number, evidence.c.tail == stored.tail,
        evidence.c.flight == stored.flight,
    )  # fmt: skip
    return db.execute(query).first() is not None


def _add_evidence(
    db: Connection, number: int, stored: Stored, text: str, figures: Figures, now_ns: int, *,
    shows: bool,
) -> bool:  # fmt: skip
    """False when this result is evidence of the case already."""
    same = (evidence.c.case == number, evidence.c.tail == stored.tail,
            evidence.c.flight == stored.flight, evidence.c.number == stored.number)  # fmt: skip
    if db.execute(select(evidence.c.case).where(*same)).first():
        return False
    db.execute(
        insert(evidence).values(
            case=number,
            tail=stored.tail,
            flight=stored.flight,
            number=stored.number,
            closure_revision=stored.closure_revision,
            result=stored.result,
            shows=shows,
            text=text[:1000],
            figures=msgspec.json.encode(figures).decode(),
            t_ground_ns=now_ns,
        )
    )
    return True


def _state_owner(db: Connection, number: int) -> tuple[str, str]:
    row = db.execute(select(cases.c.state, cases.c.owner).where(cases.c.number == number)).one()
    return row.state, row.owner


def _note(
    db: Connection, number: int, what: str, who: str, now_ns: int, from_state: str, to_state: str,
    owner: str, why: str,
) -> None:  # fmt: skip
    last = db.scalar(select(changes.c.body).order_by(changes.c.serial.desc()).limit(1))
    audit = Audit(
        previous=hashlib.sha256(last).digest() if last else b"", kind="case", decision=what,
        subject=_id(number), reasons=[why[:WHY_CHARS_MAX]] if why else [],
        detail={"who": who, "from": from_state, "to": to_state, "owner": owner,
                "t_ns": str(now_ns)},
    )  # fmt: skip
    db.execute(insert(changes).values(case=number, t_ns=now_ns, body=encode(audit)))


def _check(by: str, why: str, to: str | None, owner: str | None) -> None:
    for name, text, least in (("by", by, 1), ("owner", owner or "", 0)):
        if not least <= len(text) <= WHO_CHARS_MAX or (text and not text.isprintable()):
            raise Rejected("not a name", name, f"{least} to {WHO_CHARS_MAX} printable characters")
    if len(why) > WHY_CHARS_MAX or (why and not why.isprintable()):
        raise Rejected("not a line of text", "why", f"at most {WHY_CHARS_MAX} printable characters")
    if to is None and owner is None:
        raise Rejected("nothing to change", "case", "name a state or an owner")
    if to is not None and to not in STATES:
        raise Rejected(f"{str(to)[:40]!r} is no state", "state", ", ".join(STATES))
    if to == "open":
        raise Rejected("a case is opened by a finding", "state", ", ".join(STATES[1:]))
    if to in ("closed", "rejected") and not why.strip():
        raise Rejected(f"{to} without a reason", "why", "say what was done, or why it is no case")


def _id(number: int) -> str:
    return f"C{number:06d}"


def _number(identity: str) -> int:
    digits = identity[1:]
    if identity[:1] != "C" or not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        raise Rejected(f"{identity[:40]!r} is no case", "case", "C and six digits, as C000001")
    return int(digits)


def _case(row: Row[Any]) -> Case:
    values = dict(row._mapping)
    follows = values.pop("follows")
    return Case(id=_id(values.pop("number")), follows=_id(follows) if follows else "", **values)


def _evidence(row: Row[Any]) -> Evidence:
    values = dict(row._mapping)
    values.pop("case")
    return Evidence(**{**values, "figures": msgspec.json.decode(values["figures"])})


def _change(row: Row[Any]) -> Change:
    audit = decode(Audit, row.body, "case change")
    said = audit.detail
    return Change(
        t_ns=row.t_ns, who=said["who"], what=audit.decision, from_state=said["from"],
        to_state=said["to"], owner=said["owner"], why=audit.reasons[0] if audit.reasons else "",
        sha256=hashlib.sha256(row.body).hexdigest(),
    )  # fmt: skip
