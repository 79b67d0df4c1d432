"""The api process: routes put together, and the server that runs them.

In: a state folder and perhaps a TUF repository. Out: HTTP on the port of the settings.
Always holds: `ledger.db` is opened query-only, `control.db` is written for cases and jobs only;
static files come from the folders that a repository publishes, without following links; no body
of a request is longer than BODY_BYTES_MAX in memory.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi_offline import FastAPIOffline
from nats.aio.client import Client
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ground.api.cases import cases_router
from ground.api.flightreport import flightreport_router
from ground.api.flights import flights_router
from ground.api.fresh import Shortcut
from ground.api.health import Pulse, health_router
from ground.api.jobs import jobs_router
from ground.api.problems import install, problem
from ground.api.reconciliations import reconciliations_router
from ground.api.twins import STATE_PATH, fresh_states, twins_router
from ground.api.whatif import whatif_router
from ground.broker import connect
from ground.config import GroundConfig, HttpConfig, Paths
from ground.database import open_reader, open_writer
from ground.flightreport.stores import made_of
from ground.ingest.segments import SegmentReader
from ground.jobs.blobs import Blobs
from ground.jobs.table import Jobs
from ground.lake.query import Telemetry
from ground.lake.records import Records
from ground.reconcile.cases import Cases
from ground.reconcile.store import Reconciliations
from ground.rollout.serve import SERVED, UpdateResponder
from ground.twins.control import Control
from shared.clock import SystemClock
from shared.errors import ConfigError
from shared.log import event

STOP_S = 5
RESPONDER_WAIT_S = 1.0
CONNECTIONS_MAX = 1024
BODY_BYTES_MAX = 64 * 1024  # ten times the longest change of a case
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def make_app(paths: Paths, config: GroundConfig, tuf_repo: Path | None) -> FastAPI:
    """The application; it connects to the broker when it starts and waits for it meanwhile."""
    control = Control.open(paths.control)
    records = Records(open_reader(paths.ledger), SegmentReader(paths.segments))
    telemetry = Telemetry(records)
    client: list[Client] = []

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async def join() -> None:
            password = control.password("api")
            client.append(await connect(config, "api", password, patient=True))
            if tuf_repo is not None:
                await _serve_updates(client[0], config.operator, tuf_repo)

        joining = asyncio.create_task(join())
        event("serving", url=config.http_url)
        yield
        joining.cancel()
        for one in client:
            await one.close()

    app = FastAPIOffline(  # the page's scripts come from here, not from the internet
        title="TailTwin ground", version="1", lifespan=lifespan,
        summary="Twins, their telemetry, alerts and flights",
        description="Errors are RFC 9457 problems. Times are RFC 3339 in UTC with nanoseconds.",
    )  # fmt: skip
    requests: Counter[tuple[str, int]] = Counter()
    install(app)

    states = fresh_states(control, records)
    app.add_middleware(_Bound)
    app.add_middleware(Shortcut, STATE_PATH, states)
    app.add_middleware(_Count, requests)  # around the shortcut: it counts all
    pulse = Pulse(config.operator, lambda: client[0] if client else None)
    app.include_router(twins_router(control, records, telemetry, states))
    app.include_router(flights_router(records, control.engine, telemetry))
    writer, reader, blobs = (
        open_writer(paths.control),
        open_reader(paths.control),
        Blobs(paths.blobs),
    )
    jobs, clock = Jobs(writer, reader), SystemClock()
    app.include_router(health_router(pulse, records, requests, jobs))
    app.include_router(jobs_router(jobs))
    app.include_router(cases_router(Cases(writer, reader), clock))
    results = Reconciliations(reader, blobs)
    app.include_router(reconciliations_router(records, results, jobs))
    app.include_router(whatif_router(jobs, blobs, clock))
    app.include_router(flightreport_router(made_of(records, control, results, clock)))
    if tuf_repo is not None:
        for part in SERVED:
            folder = part.rstrip("/")
            app.mount(f"/tuf/{folder}", _Published(directory=tuf_repo / folder, check_dir=False))
    return app


async def _serve_updates(client: Client, operator: str, repo: Path) -> None:
    """Answer for ever; whatever ends it is recorded, and it begins again."""
    while True:
        try:
            await UpdateResponder(client, operator, repo).run()
        except Exception as error:
            event("updates_not_served", level=logging.ERROR, error=repr(error))
            await asyncio.sleep(RESPONDER_WAIT_S)


class _Published(StaticFiles):
    """A folder that is not there yet has no files, which is 404 and no fault of ours."""

    async def check_config(self) -> None:
        pass


class _Bound:
    """Ends a request with 413 while its body comes, as soon as that is too long, and with 403 when
    it would change something and a browser says that another site made it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > BODY_BYTES_MAX:
                raise HTTPException(413, f"a body over the cap of {BODY_BYTES_MAX} bytes")
            return message

        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS:
            site = dict(scope["headers"]).get(b"sec-fetch-site", b"none")
            if site not in (b"none", b"same-origin"):
                answer = problem(Request(scope), 403, "a page of another site asks for a change")
                await answer(scope, receive, send)
                return
        await self._app(scope, bounded if scope["type"] == "http" else receive, send)


class _Count:
    """Counts answers by method and status; plain ASGI, so that nothing is buffered."""

    def __init__(self, app: ASGIApp, requests: Counter[tuple[str, int]]) -> None:
        self._app, self._requests = app, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                method = scope["method"] if scope["method"] in METHODS else "other"
                self._requests[method, message["status"]] += 1
            await send(message)

        await self._app(scope, receive, counted)


def serve(paths: Paths, config: GroundConfig, tuf_repo: Path | None) -> None:
    """Run until SIGTERM."""
    _check_tls(config.http)
    app = make_app(paths, config, tuf_repo)
    settings = uvicorn.Config(
        app, host=config.host, port=config.http.port, log_config=None, access_log=False,
        timeout_graceful_shutdown=STOP_S, limit_concurrency=CONNECTIONS_MAX, server_header=False,
        ssl_certfile=config.http.tls_cert or None, ssl_keyfile=config.http.tls_key or None,
    )  # fmt: skip
    uvicorn.Server(settings).run()


def _check_tls(http: HttpConfig) -> None:
    """ConfigError when uvicorn would fail on certificate or key."""
    if not http.tls_cert:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(http.tls_cert, http.tls_key, password="")  # else it asks a person
    except OSError as error:  # an SSLError is one
        raise ConfigError(
            f"not usable: {error.strerror or error}", f"{http.tls_cert}, {http.tls_key}",
            "PEM files: the certificate with its chain, and its key, not encrypted",
        ) from None  # fmt: skip
