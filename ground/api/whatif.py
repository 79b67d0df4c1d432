"""`/v1/what-if`: ask what would have been, fetch the answer, look at it.

In: requests. Out: a job at once (202), later its answer as JSON and as a page.
Always holds: a request is checked to its last value before there is a job, and refused by name;
the body is bounded while it is read; the same request while one is queued or runs is the same job.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi import Path as PathParam
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from ground.api.problems import RESPONSES, NotFound
from ground.api.times import iso, iso_or_none
from ground.jobs.blobs import Blobs
from ground.jobs.job import Job
from ground.jobs.table import Jobs
from ground.whatif.answer import Answer
from ground.whatif.request import REQUEST_BYTES_MAX, Asked, parse_request
from shared.clock import Clock
from shared.errors import Rejected

KIND = "what_if"
JobName = Annotated[str, PathParam(pattern=r"^[0-9a-f]{16}$")]


class WhatIfJob(BaseModel):
    """state: `queued`, `running`, `done`, `failed` (refused) or `dead` (given up)."""

    id: str
    state: Literal["queued", "running", "done", "failed", "dead"]
    progress: float
    text: str
    error: str
    request_sha256: str
    created: str
    ended: str | None
    href: str
    plot: str
    answer: dict[str, Any] | None = None


def whatif_router(jobs: Jobs, blobs: Blobs, clock: Clock) -> APIRouter:
    """Routes of what-if."""
    router = APIRouter(prefix="/v1/what-if", tags=["what-if"], responses=RESPONSES)

    def known(name: str) -> Job:
        job = jobs.get(name)
        if job is None or job.kind != KIND:
            raise NotFound(f"no what-if {name}")
        return job

    @router.post("", status_code=202, openapi_extra={"requestBody": _body_schema()})
    async def ask(request: Request, response: Response) -> WhatIfJob:
        """A flight or a steady point with changes. The answer is fetched from `href`."""
        body = await _bounded(request)
        checked = parse_request(body)
        payload = msgspec.json.decode(body)
        job = await asyncio.to_thread(jobs.add, KIND, checked.sha256, payload, clock.wall_ns())
        response.headers["Location"] = f"/v1/what-if/{job.id}"
        return _item(job)

    @router.get("/{name}")
    def one(name: JobName) -> WhatIfJob:
        """The job, and its answer once it is done."""
        job = known(name)
        answer = msgspec.json.decode(blobs.get(job.result)) if job.state == "done" else None
        return _item(job, answer)

    @router.get("/{name}/plot", response_class=HTMLResponse)
    def plot(name: JobName) -> HTMLResponse:
        """The answer as a page with its curves; it needs no network."""
        from ground.paper.page import page
        from ground.whatif.paper import document

        job = known(name)
        if job.state != "done":
            raise NotFound(
                f"what-if {name} is {job.state}" + (f": {job.error}" if job.error else "")
            )
        answer = msgspec.json.decode(blobs.get(job.result), type=Answer)
        return HTMLResponse(page(document(answer)))

    return router


async def _bounded(request: Request) -> bytes:
    """The body; Rejected as soon as it is too long."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > REQUEST_BYTES_MAX:
            raise Rejected(f"over the cap of {REQUEST_BYTES_MAX} bytes", "what-if", "ask for less")
    return body


def _item(job: Job, answer: dict[str, Any] | None = None) -> WhatIfJob:
    href = f"/v1/what-if/{job.id}"
    return WhatIfJob(
        id=job.id, state=job.state, progress=job.progress, text=job.text, error=job.error,
        request_sha256=job.key, created=iso(job.created_ns), ended=iso_or_none(job.ended_ns),
        href=href, plot=f"{href}/plot", answer=answer,
    )  # fmt: skip


def _body_schema() -> dict[str, Any]:
    schema = msgspec.json.schema(Asked, ref_template="#/components/schemas/{name}")
    inline = schema.get("$defs", {}).get("Asked", schema)
    return {"required": True, "content": {"application/json": {"schema": inline, "examples": {
        "point": {"value": {"point": {"n1": "90 %", "mach": 0.78, "altitude": "35000 [ft_i]"},
                            "set": {"isa_dev": "+15 K", "hpc_eff": "-2 %"}}},
        "flight": {"value": {"flight": "B737-28001-3f9a1c-F00001", "set": {"ambient": "50 Cel"}}},
    }}}}  # fmt: skip
