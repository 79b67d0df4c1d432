"""FastAPI as it is, with nothing of ours behind it: what the ground's api is measured against.

`python -m bench.side.bare_api PORT BODY.json`. Routes: `/small` answers a dict of one entry, `/model` the
body as a response model the way the ground answers a state, `/bytes` the body as ready bytes. Server
and settings are those of ground/api/server.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Response

from ground.api import models


def make(body: bytes) -> FastAPI:
    app = FastAPI()
    state = models.TwinState.model_validate_json(body)

    @app.get("/small")
    async def small() -> dict[str, bool]:
        return {"ok": True}

    @app.get("/model")
    async def model() -> models.TwinState:
        return state

    @app.get("/bytes")
    async def ready() -> Response:
        return Response(body, media_type="application/json")

    return app


def main() -> int:
    settings = uvicorn.Config(
        make(Path(sys.argv[2]).read_bytes()), host="127.0.0.1", port=int(sys.argv[1]),
        log_config=None, access_log=False, server_header=False,
    )  # fmt: skip
    uvicorn.Server(settings).run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
