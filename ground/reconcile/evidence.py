"""Evidence: what a new result means for the cases there are.

In: a stored result and its suspects. Out: cases opened, extended, or told that a flight does not
show them any more. Always holds: of one subject at most one case is active, and findings of further
flights are its evidence; a subject that comes again after its case was closed or rejected has a new
case that names the old one, unless the flight was evidence of that one already.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, insert, select, update

from ground.reconcile.casefile import ACTIVE, Move, cases, evidence, id_of, note
from ground.reconcile.result import Reconciliation
from ground.reconcile.store import Stored
from ground.reconcile.suspects import Figures, Suspect, suspects_of

RECONCILER = "reconcile"


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
            _note_evidence(db, number, text, now_ns)


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
        _note_evidence(db, number, f"{stored.flight}: {suspect.text}", now_ns)
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
    again = f"; it comes again after {id_of(follows)}" if follows else ""
    why = f"{stored.flight}: {suspect.text}{again}"
    move = Move(what="opened", who=RECONCILER, from_state="", to_state="open", owner="", why=why)
    note(db, number, move, now_ns)
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


def _note_evidence(db: Connection, number: int, why: str, now_ns: int) -> None:
    row = db.execute(select(cases.c.state, cases.c.owner).where(cases.c.number == number)).one()
    move = Move(what="evidence", who=RECONCILER, from_state=row.state, to_state=row.state,
                owner=row.owner, why=why)  # fmt: skip
    note(db, number, move, now_ns)
