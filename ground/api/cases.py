"""`/v1/cases`: what reconciliation found, and what people do about it.

In: requests, and changes as JSON. Out: cases with evidence and audit trail. Always holds: a change
is checked to its last key before it is made; one that the state of the case does not allow is 409.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi import Path as PathParam
from pydantic import BaseModel, ConfigDict, Field

from ground.api.problems import MEDIA_TYPE, RESPONSES, NotFound, Problem, problem
from ground.api.times import iso
from ground.api.twins import Limit
from ground.reconcile.casefile import ACTIVE, Case, CaseFile
from ground.reconcile.cases import Cases, Conflict
from shared.clock import Clock

CaseName = Annotated[str, PathParam(pattern=r"^C[0-9]{6,9}$")]
Line = Annotated[str, Field(max_length=1000)]
Name = Annotated[str, Field(max_length=64)]


class CaseItem(BaseModel):
    """kind: `maintenance` (an engine or its sensors) or `capa` (a model of ours). state: `open`,
    `acknowledged`, `in_work`, `closed` or `rejected`. follows: the case of it before."""

    id: str
    kind: str
    state: str
    owner: str
    tail: str
    subject: str
    title: str
    advice: str
    resolution: str
    follows: str | None
    opened: str
    changed: str


class CaseItems(BaseModel):
    items: list[CaseItem]


class EvidenceItem(BaseModel):
    """shows: false where a later result of that flight does not show it any more."""

    tail: str
    flight: str
    number: int
    closure_revision: int
    result: str
    shows: bool
    text: str
    figures: dict[str, Any]
    t: str


class ChangeItem(BaseModel):
    """sha256: of the audit record; the next one names it."""

    t: str
    who: str
    what: str
    from_state: str | None
    to_state: str
    owner: str
    why: str
    sha256: str


class CaseAnswer(CaseItem):
    evidence: list[EvidenceItem]
    changes: list[ChangeItem]


class CaseChange(BaseModel):
    """At least a state or an owner. why: the resolution of `closed`, the reason of `rejected`.
    expected: refuse the change when the case is in another state by now."""

    model_config = ConfigDict(extra="forbid", strict=True)

    by: Name = Field(min_length=1)
    state: Literal["acknowledged", "in_work", "closed", "rejected"] | None = None
    owner: Name | None = None
    why: Line = ""
    expected: str = Field("", max_length=16)


_RESPONSES = RESPONSES | {
    409: {"model": Problem, "content": {MEDIA_TYPE: {}}, "description": "Not in its state"}
}


def cases_router(cases: Cases, clock: Clock) -> APIRouter:
    """Routes of cases."""
    router = APIRouter(prefix="/v1/cases", tags=["cases"], responses=_RESPONSES)

    @router.get("")
    def listed(
        state: Annotated[
            str, Query(pattern="^(active|all|open|acknowledged|in_work|closed|rejected)$")
        ] = "active",
        tail: Annotated[str, Query(pattern="^[A-Za-z0-9_-]{0,32}$")] = "", limit: Limit = 100,
    ) -> CaseItems:  # fmt: skip
        """Newest first; of one state, of all, or those that are not done with."""
        states = ACTIVE if state == "active" else () if state == "all" else (state,)
        return CaseItems(items=[_item(one) for one in cases.listed(states, tail, limit)])

    @router.get("/{case}")
    def one(case: CaseName) -> CaseAnswer:
        """A case, its evidence and every change of it."""
        return _answer(_known(cases, case))

    @router.patch("/{case}", response_model=CaseAnswer)
    def change(request: Request, case: CaseName, body: CaseChange) -> Any:
        """Move a case on, give it an owner, or both."""
        _known(cases, case)
        try:
            cases.move(
                case, body.by, clock.wall_ns(), to=body.state, owner=body.owner, why=body.why,
                expected=body.expected,
            )  # fmt: skip
        except Conflict as error:
            return problem(request, 409, f"{case}: {error.what}", error.remedy)
        return _answer(_known(cases, case))

    return router


def _known(cases: Cases, case: str) -> CaseFile:
    found = cases.file(case)
    if found is None:
        raise NotFound(f"no case {case}")
    return found


def _item(case: Case) -> CaseItem:
    return CaseItem(**_fields(case))


def _fields(case: Case) -> dict[str, Any]:
    values = msgspec.structs.asdict(case)
    opened, changed = values.pop("opened_ns"), values.pop("changed_ns")
    follows = values.pop("follows") or None
    return {**values, "follows": follows, "opened": iso(opened), "changed": iso(changed)}


def _answer(file: CaseFile) -> CaseAnswer:
    evidence = [
        EvidenceItem(t=iso(one.t_ground_ns), **_without(one, "t_ground_ns"))
        for one in file.evidence
    ]
    changes = [
        ChangeItem(t=iso(one.t_ns), **{**_without(one, "t_ns"), "from_state": one.from_state or None})
        for one in file.changes
    ]  # fmt: skip
    return CaseAnswer(**_fields(file.case), evidence=evidence, changes=changes)


def _without(struct: msgspec.Struct, *names: str) -> dict[str, Any]:
    return {k: v for k, v in msgspec.structs.asdict(struct).items() if k not in names}
