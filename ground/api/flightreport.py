"""`/v1/flights/{flight}/report.html` and `report.pdf`: the printable report of one flight.

In: requests. Out: a file that needs no network. Always holds: both say the same; it is made anew at
each request from what the ground holds now; one is made at a time, so that who asks for many does not
keep everybody else waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from ground.api.flights import FlightName
from ground.api.problems import RESPONSES, NotFound
from ground.flightreport.contents import Sources, contents
from ground.flightreport.gather import Stores, gather
from shared.errors import Unreachable

WAITING_MAX = 16  # of about a second each (assumption: nobody waits longer)
T = TypeVar("T")


class OneByOne:
    """Does one thing at a time in a thread; Unreachable when too many wait."""

    def __init__(self) -> None:
        self._turn, self._waiting = asyncio.Semaphore(1), 0

    async def do(self, act: Callable[[], T]) -> T:
        if self._waiting >= WAITING_MAX:
            raise Unreachable(f"{self._waiting} reports wait already", "report", "ask again later")
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(act)
        finally:
            self._waiting -= 1


def flightreport_router(stores: Stores) -> APIRouter:
    """Routes of reports."""
    router = APIRouter(prefix="/v1/flights", tags=["flights"], responses=RESPONSES)

    presses = OneByOne()

    def known(flight: str) -> Sources:
        if stores.records.flight(flight) is None:
            raise NotFound(f"no flight {flight}")
        return gather(stores, flight)

    @router.get("/{flight}/report.html", response_class=HTMLResponse)
    async def html(flight: FlightName) -> HTMLResponse:
        """The report as a page."""
        from ground.paper.page import page

        return HTMLResponse(await presses.do(lambda: page(contents(known(flight)))))

    @router.get("/{flight}/report.pdf", response_class=Response,
                responses={200: {"content": {"application/pdf": {}}}})  # fmt: skip
    async def pdf(flight: FlightName) -> Response:
        """The report on A4."""
        from ground.paper.pdf import pdf

        def made() -> bytes:
            sources = known(flight)
            return pdf(contents(sources), sources.made_ns)

        name = f'inline; filename="{flight}.pdf"'
        return Response(await presses.do(made), media_type="application/pdf",
                        headers={"Content-Disposition": name})  # fmt: skip

    return router
