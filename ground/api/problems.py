"""Problems: every error of the API as RFC 9457 has it.

In: an exception of a handler. Out: `application/problem+json` with status, title, detail, and a
remedy where there is one. Always holds: no trace and no path of this machine leaves.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

from shared.errors import Corrupt, Rejected, TailTwinError, Unreachable
from shared.log import event

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    remedy: str = ""


class NotFound(HTTPException):
    """There is no such thing."""

    def __init__(self, detail: str) -> None:
        super().__init__(404, detail)


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {MEDIA_TYPE: {}}, "description": text}
    for status, text in ((400, "A parameter is wrong"), (404, "No such thing"))
}


def install(app: FastAPI) -> None:
    """Turn every error of `app` into a problem."""
    app.add_exception_handler(StarletteHTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(TailTwinError, _on_typed)
    app.add_exception_handler(Exception, _on_bug)


def problem(request: Request, status: int, detail: str, remedy: str = "") -> JSONResponse:
    body = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail[:1000],
        instance=request.url.path[:500], remedy=remedy,
    )  # fmt: skip
    return JSONResponse(body.model_dump(), status, media_type=MEDIA_TYPE)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    answer = problem(request, error.status_code, str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


async def _on_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    parts = [f"{'.'.join(str(p) for p in e['loc'][1:])}: {e['msg']}" for e in error.errors()]
    return problem(request, 400, "; ".join(parts), "see /docs")


async def _on_typed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TailTwinError)
    if isinstance(error, Unreachable):
        return problem(request, 503, error.what, error.remedy)
    if isinstance(error, Corrupt):
        event("stored_bytes_corrupt", level=logging.ERROR, what=error.what, where=error.where)
        return problem(request, 500, "stored bytes are damaged", "the log of the ground says where")
    status = 400 if isinstance(error, Rejected) else 500
    where = f"{error.where}: " if error.where else ""
    return problem(request, status, where + error.what, error.remedy)


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    event("api_bug", level=logging.ERROR, path=request.url.path, error=repr(error))
    return problem(request, 500, "this is a bug of the ground; its log has the rest")
