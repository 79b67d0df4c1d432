"""`/v1/flights/{flight}/report.html` and `report.pdf`: the printable report of one flight.

In: requests. Out: a file that needs no network. Always holds: both say the same; it is made anew at
each request from what the ground holds now.
"""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from ground.api.flights import FlightName
from ground.api.problems import RESPONSES, NotFound
from ground.flightreport.contents import Sources, contents
from ground.flightreport.gather import Stores, gather


def flightreport_router(stores: Stores) -> APIRouter:
    """Routes of reports."""
    router = APIRouter(prefix="/v1/flights", tags=["flights"], responses=RESPONSES)

    def known(flight: str) -> Sources:
        if stores.records.flight(flight) is None:
            raise NotFound(f"no flight {flight}")
        return gather(stores, flight)

    @router.get("/{flight}/report.html", response_class=HTMLResponse)
    def html(flight: FlightName) -> HTMLResponse:
        """The report as a page."""
        from ground.paper.page import page

        return HTMLResponse(page(contents(known(flight))))

    @router.get("/{flight}/report.pdf", response_class=Response,
                responses={200: {"content": {"application/pdf": {}}}})  # fmt: skip
    def pdf(flight: FlightName) -> Response:
        """The report on A4."""
        from ground.paper.pdf import pdf

        sources = known(flight)
        name = f'inline; filename="{flight}.pdf"'
        return Response(pdf(contents(sources), sources.made_ns), media_type="application/pdf",
                        headers={"Content-Disposition": name})  # fmt: skip

    return router
