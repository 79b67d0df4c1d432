"""`/v1/flights/{flight}/reconciliation`: what really happened in a flight, and how sure that is.

In: requests. Out: stored results, byte for byte. Always holds: while there is none, a 404 says what
it waits for, with the job that is of it, so that a client can wait without guessing.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from ground.api.flights import FlightName
from ground.api.jobs import JobItem, item_of
from ground.api.problems import MEDIA_TYPE, RESPONSES, NotFound, Problem
from ground.api.times import iso
from ground.jobs.due import KIND, Flight
from ground.jobs.table import Jobs
from ground.lake.records import FlightRow, Records
from ground.reconcile.request import why_none
from ground.reconcile.store import Reconciliations, Stored


class NotYet(Problem):
    """A problem, and the job that is of it; null when there is none."""

    job: JobItem | None = None


class VerdictLine(BaseModel):
    position: int
    esn: str
    kind: str
    text: str


class RevisionItem(BaseModel):
    """number: of this flight's results, from 1. result: sha-256 of the JSON."""

    flight: str
    tail: str
    number: int
    closure_revision: int
    closure_state: str
    inputs_sha256: str
    result: str
    bytes: int
    job: str
    made: str
    verdicts: list[VerdictLine]


class RevisionItems(BaseModel):
    items: list[RevisionItem]


class ReconciliationAnswer(RevisionItem):
    """reconciliation: the result itself, as docs/reconciliation.md has it."""

    reconciliation: dict[str, Any]


_RESPONSES = RESPONSES | {
    404: {"model": NotYet, "content": {MEDIA_TYPE: {}}, "description": "No such flight, or not yet"}
}


def reconciliations_router(records: Records, results: Reconciliations, jobs: Jobs) -> APIRouter:
    """Routes of results."""
    router = APIRouter(prefix="/v1/flights", tags=["reconciliation"], responses=_RESPONSES)

    def known(flight: str) -> FlightRow:
        row = records.flight(flight)
        if row is None:
            raise NotFound(f"no flight {flight}")
        return row

    @router.get("/{flight}/reconciliation", response_model=ReconciliationAnswer)
    def newest(
        request: Request, flight: FlightName,
        revision: Annotated[int | None, Query(ge=1, le=1 << 31)] = None,
    ) -> Response:  # fmt: skip
        """The newest result, or that of one revision of the closure."""
        row = known(flight)
        stored = results.newest(row.tail, flight, revision)
        if stored is None:
            return _not_yet(request, jobs, row, revision)
        body = msgspec.to_builtins(_item(stored).model_dump())
        body["reconciliation"] = msgspec.Raw(results.body(stored))
        return Response(msgspec.json.encode(body), media_type="application/json")

    @router.get("/{flight}/reconciliation/revisions")
    def revisions(flight: FlightName) -> RevisionItems:
        """Every result there is, newest first."""
        row = known(flight)
        return RevisionItems(items=[_item(one) for one in results.all(row.tail, flight)])

    return router


def _not_yet(request: Request, jobs: Jobs, row: FlightRow, revision: int | None) -> JSONResponse:
    wanted = row.revision if revision is None else revision
    job = jobs.newest(KIND, Flight(row.tail, row.flight, wanted).key)
    if job is not None:
        why = f"job {job.id} is {job.state}" + (f": {job.error}" if job.error else "")
        remedy = f"see /v1/jobs/{job.id}"
    elif revision is not None and revision != row.revision:
        why, remedy = f"nothing is of revision {revision}", "see its /reconciliation/revisions"
    else:
        why = why_none(jobs, row) or "its job is not made yet"
        remedy = "ask again" if row.kind == "flight" else "ask for a flight"
    body = NotYet(
        title="Not Found", status=404, detail=f"{row.flight} is not reconciled: {why}"[:1000],
        instance=request.url.path[:500], remedy=remedy, job=item_of(job) if job else None,
    )  # fmt: skip
    return JSONResponse(body.model_dump(), 404, media_type=MEDIA_TYPE)


def _item(stored: Stored) -> RevisionItem:
    return RevisionItem(
        flight=stored.flight, tail=stored.tail, number=stored.number,
        closure_revision=stored.closure_revision, closure_state=stored.closure_state,
        inputs_sha256=stored.inputs_sha256, result=stored.result, bytes=stored.bytes,
        job=stored.job, made=iso(stored.t_ground_ns),
        verdicts=[VerdictLine(**msgspec.structs.asdict(line)) for line in stored.verdicts],
    )  # fmt: skip
