"""`/v1/jobs`: what workers do, did, and gave up. Read-only."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Path as PathParam
from pydantic import BaseModel

from ground.api.problems import RESPONSES, NotFound
from ground.api.times import iso, iso_or_none
from ground.api.twins import Limit
from ground.jobs.job import Job
from ground.jobs.table import Jobs

JobName = Annotated[str, PathParam(pattern=r"^[0-9a-f]{16}$")]


class JobItem(BaseModel):
    """state: `queued`, `running`, `done`, `failed` (its input was refused) or `dead` (its tries
    are used up). progress: 0 to 1. result: sha-256 of it."""

    id: str
    kind: str
    key: str
    state: str
    attempts: int
    progress: float
    text: str
    error: str
    payload: dict[str, Any]
    result: str | None
    worker: str
    created: str
    due: str
    started: str | None
    ended: str | None


class JobItems(BaseModel):
    items: list[JobItem]


def jobs_router(jobs: Jobs) -> APIRouter:
    """Routes of jobs."""
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=RESPONSES)

    @router.get("")
    def listed(
        state: Annotated[str, Query(pattern="^(queued|running|done|failed|dead)?$")] = "",
        kind: Annotated[str, Query(pattern="^[a-z_]{0,16}$")] = "", limit: Limit = 100,
    ) -> JobItems:  # fmt: skip
        """Newest first."""
        return JobItems(items=[item_of(job) for job in jobs.listed(state, kind, limit)])

    @router.get("/{job}")
    def one(job: JobName) -> JobItem:
        """One job, and why it failed where it did."""
        found = jobs.get(job)
        if found is None:
            raise NotFound(f"no job {job}")
        return item_of(found)

    return router


def item_of(job: Job) -> JobItem:
    return JobItem(
        id=job.id, kind=job.kind, key=job.key, state=job.state, attempts=job.attempts,
        progress=job.progress, text=job.text, error=job.error, payload=job.payload,
        result=job.result or None, worker=job.worker, created=iso(job.created_ns),
        due=iso(job.due_ns), started=iso_or_none(job.started_ns), ended=iso_or_none(job.ended_ns),
    )  # fmt: skip
