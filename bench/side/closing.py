"""From the last byte of a long flight to its closure, its file and its reconciliation.

In: a site with the flight's records but the last of them. Out: seconds after the last byte.
Always holds: the clock starts when the last record is flushed to the broker; what did not come within
WAIT_S is null.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx

from bench.side.longflight import FLIGHT, LongFlight
from bench.side.site import Site

WAIT_S = 180.0
LATE_S = 60
"""What an aircraft with a link in flight still has to send at the stand (assumption)."""


async def close_long_flight(site: Site, long: LongFlight) -> dict[str, Any]:
    """Send all of it; the last minute and the manifest after everything else is acknowledged."""
    started_s = time.monotonic()
    records = long.records()
    sealed_s = time.monotonic() - started_s
    last_ns = records[-1][0] - LATE_S * 10**9
    early = [message for t_ns, message in records if t_ns <= last_ns]
    late = [message for t_ns, message in records if t_ns > last_ns]
    manifest = long.manifest()
    await site.start()
    started_s = time.monotonic()
    await site.send(early)
    await site.wait_acked()
    taken_s = time.monotonic() - started_s
    await site.send([*late, manifest])
    at_s = time.monotonic()
    found = await _follow(site, at_s)
    size = sum(len(data) for _, (_, data) in records)
    return {
        "hours": round(long.flight.duration_s / 3600 + 0.005, 2), "samples": long.samples,
        "records": len(records) + 1, "megabytes": round(size / 1e6, 1),
        "sealing_here_s": round(sealed_s, 1),
        "records_taken_per_s": round(len(early) / taken_s),
        "megabytes_taken_per_s": round(size * len(early) / len(records) / 1e6 / taken_s, 2),
        "sent_after_the_rest": len(late) + 1, "after_last_byte_s": found,
    }  # fmt: skip


async def _follow(site: Site, at_s: float) -> dict[str, float | str | None]:
    """Seconds from at_s until each is there."""
    found: dict[str, float | str | None] = {"closure": None, "flight_file": None,
                                            "reconciliation": None, "state": None}  # fmt: skip
    url = f"http://127.0.0.1:{site.http_port}/v1/flights/{FLIGHT}"
    async with httpx.AsyncClient(timeout=10.0) as http:
        while time.monotonic() - at_s < WAIT_S and None in (
            found["closure"], found["flight_file"], found["reconciliation"]
        ):  # fmt: skip
            flight = (await http.get(url)).json()
            now_s = round(time.monotonic() - at_s, 2)
            if flight.get("state") not in (None, "open"):
                found["state"] = flight["state"]
                found["closure"] = found["closure"] or now_s
            if flight.get("file_revision") is not None:
                found["flight_file"] = found["flight_file"] or now_s
                said = await http.get(f"{url}/reconciliation")
                if said.status_code == 200:
                    found["reconciliation"] = round(time.monotonic() - at_s, 2)
            await asyncio.sleep(0.1)
    return found
