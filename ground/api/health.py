"""`/healthz`, `/readyz` and `/metrics`.

In: requests, and what ingest answers on the broker. Out: whether this process lives, whether the
whole ground takes records, and counters as Prometheus text. Always holds: ready only when the
broker answers, ingest takes records and the ledger can be read; a wait is at most 1 s.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import msgspec
import nats
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from nats.aio.client import Client
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from ground.api import models
from ground.ingest import schema
from ground.ingest.receive import Health
from ground.jobs.table import Jobs
from ground.lake.records import Records
from shared.errors import TailTwinError

WAIT_S = 1.0
CACHE_S = 0.2


class Pulse:
    """Asks ingest how it is; at most once in CACHE_S, however many ask us."""

    def __init__(self, operator: str, client: Callable[[], Client | None]) -> None:
        self._subject, self._client = f"ground.v1.{operator}.ingest", client
        self._lock = asyncio.Lock()
        self._answer: tuple[Health | None, str] = (None, "not asked yet")
        self._at_s = -1e9

    async def feel(self) -> tuple[Health | None, str]:
        """Its health, or why there is none."""
        async with self._lock:
            if time.monotonic() - self._at_s > CACHE_S:
                self._answer = await self._ask()
                self._at_s = time.monotonic()
            return self._answer

    async def _ask(self) -> tuple[Health | None, str]:
        client = self._client()
        if client is None or not client.is_connected:
            return None, "broker: not connected"
        try:
            reply = await client.request(self._subject, b"", timeout=WAIT_S)
            return msgspec.json.decode(reply.data, type=Health), ""
        except (nats.errors.Error, TimeoutError, msgspec.DecodeError) as error:
            return None, f"ingest: {str(error) or type(error).__name__}"


def health_router(
    pulse: Pulse, records: Records, requests: Counter[tuple[str, int]], jobs: Jobs
) -> APIRouter:
    """Routes for supervisors and monitors."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """This process lives."""
        return {"status": "ok"}

    @router.get("/readyz", responses={503: {"model": models.Ready}}, response_model=models.Ready)
    async def readyz() -> Response:
        """The ground takes records."""
        health, why = await pulse.feel()
        checks = {"ingest": why or "ok", "ledger": await asyncio.to_thread(_ledger, records),
                  "control": await asyncio.to_thread(_control, jobs)}  # fmt: skip
        if health is not None:
            checks |= {f"alarm {name}": text for name, text in health.alarms.items()}
        ok = health is not None and health.ok
        ok = ok and checks["ledger"] == checks["control"] == "ok"
        body = models.Ready(status="ok" if ok else "not ready", checks=checks)
        return JSONResponse(body.model_dump(), 200 if ok else 503)

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        """Prometheus text."""
        health, _ = await pulse.feel()
        lines = [f"tailtwin_ingest_up {int(health is not None)}"]
        if health is not None:
            lines.append(f"tailtwin_ingest_ok {int(health.ok)}")
            lines += [f'tailtwin_ingest_alarm{{alarm="{name}"}} 1' for name in health.alarms]
            lines += [f"tailtwin_ingest_{name}_total {n}"
                      for name, n in sorted(health.counters.items())]  # fmt: skip
        lines += [f'tailtwin_api_requests_total{{method="{method}",status="{status}"}} {n}'
                  for (method, status), n in sorted(requests.items())]  # fmt: skip
        lines += await asyncio.to_thread(_closure_lines, records)
        lines += [f'tailtwin_jobs{{kind="{kind}",state="{state}"}} {n}'
                  for kind, state, n in await asyncio.to_thread(jobs.counts)]  # fmt: skip
        return "\n".join(lines) + "\n"

    return router


def _ledger(records: Records) -> str:
    try:
        with records.engine.begin() as db:
            db.execute(select(schema.meta)).all()
    except DBAPIError as error:
        return str(error.orig)
    return "ok"


def _control(jobs: Jobs) -> str:
    try:
        jobs.counts()
    except DBAPIError as error:
        return str(error.orig)
    except TailTwinError as error:
        return str(error)
    return "ok"


def _closure_lines(records: Records) -> list[str]:
    table = schema.closures
    query = select(table.c.state, func.count()).group_by(table.c.state)
    with records.engine.begin() as db:
        return [f'tailtwin_closure_revisions{{state="{state}"}} {n}'
                for state, n in db.execute(query)]  # fmt: skip
