"""Cases: what a reconciliation found, until a person is done with it.

In: what people do. Out: cases with evidence, an owner and an audit trail. Always holds: a state
changes only along MOVES, by somebody who is named; the record of a change is in its transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Engine, select, update

from ground.database import transaction
from ground.reconcile.casefile import (
    ACTIVE,
    STATES,
    WHO_CHARS_MAX,
    WHY_CHARS_MAX,
    Case,
    CaseFile,
    Move,
    State,
    case_of,
    cases,
    change_of,
    changes,
    evidence,
    evidence_of,
    faults_of,
    note,
)
from ground.twins.control import METADATA
from shared.errors import Rejected

WHERE = "control.db"
LISTED_MAX = 1000
MOVES: dict[State, tuple[State, ...]] = {
    "open": ("acknowledged", "in_work", "rejected"),
    "acknowledged": ("in_work", "closed", "rejected"),
    "in_work": ("acknowledged", "closed", "rejected"),
    "closed": (),
    "rejected": (),
}


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
            return [case_of(row) for row in db.execute(query)]

    def file(self, identity: str) -> CaseFile | None:
        number = _number(identity)
        with transaction(self._reader, WHERE) as db:
            row = db.execute(select(cases).where(cases.c.number == number)).first()
            if row is None:
                return None
            found = db.execute(
                select(evidence).where(evidence.c.case == number)
                .order_by(evidence.c.t_ground_ns.desc(), evidence.c.number.desc())
                .limit(LISTED_MAX)
            ).all()  # fmt: skip
            said = db.execute(
                select(changes).where(changes.c.case == number)
                .order_by(changes.c.serial.desc()).limit(LISTED_MAX)
            ).all()  # fmt: skip
        return CaseFile(
            case=case_of(row),
            evidence=tuple(map(evidence_of, reversed(found))),
            changes=tuple(map(change_of, reversed(said))),
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
            if to in (None, row.state) and owner in (None, row.owner) and not why:
                raise Conflict("it is that already", identity, "nothing to change")
            values: dict[str, Any] = {"changed_ns": now_ns}
            values |= {} if to is None else {"state": to}
            values |= {} if owner is None else {"owner": owner}
            values |= {"resolution": why} if to in ("closed", "rejected") else {}
            db.execute(update(cases).where(cases.c.number == number).values(**values))
            what = "owner" if to is None or to == row.state else to
            moved = Move(what=what, who=by, from_state=row.state, to_state=to or row.state,
                         owner=row.owner if owner is None else owner, why=why)  # fmt: skip
            note(db, number, moved, now_ns)
            return case_of(db.execute(select(cases).where(cases.c.number == number)).one())

    def faults(self) -> list[str]:
        """Where the chain of changes is broken; empty when it is whole."""
        with transaction(self._reader, WHERE) as db:
            return faults_of(db)


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


def _number(identity: str) -> int:
    digits = identity[1:]
    if identity[:1] != "C" or not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        raise Rejected(f"{identity[:40]!r} is no case", "case", "C and six digits, as C000001")
    return int(digits)
