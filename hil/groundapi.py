"""What the bench asks the ground's API, as any other client would.

In: the API's address and a tail. Out: JSON, with times as event time in ns.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import httpx

from shared.errors import Unreachable

SAID_CHARS_MAX = 1000  # of a refusal; a problem of ours is shorter
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)\Z")


def to_ns(text: str) -> int:
    """RFC 3339 in UTC, nanoseconds allowed, as ns since 1970."""
    match = _TIME.match(text)
    if match is None:
        raise ValueError(f"not an RFC 3339 time in UTC: {text!r}")
    second = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    return int(second.timestamp()) * 1_000_000_000 + int((match[2] or "").ljust(9, "0"))


def to_text(t_ns: int) -> str:
    """ns since 1970 as RFC 3339 in UTC, with milliseconds."""
    return (
        datetime.fromtimestamp(t_ns / 1e9, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


class GroundApi:
    """One tail's view of the fleet API."""

    def __init__(self, url: str, tail: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=30.0)
        self._tail = tail

    async def close(self) -> None:
        await self._client.aclose()

    async def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """One answer; Unreachable when the ground does not give it."""
        try:
            answer = await self._client.get(path, params=query)
        except httpx.HTTPError as error:
            raise Unreachable(str(error), path, "read the ground's log") from None
        if answer.is_error:
            said = f"{answer.status_code}: {answer.text[:SAID_CHARS_MAX]}"
            raise Unreachable(said, path, "read the ground's log")
        found: dict[str, Any] = answer.json()
        return found

    async def twin(self, leaf: str, **query: str | int) -> dict[str, Any]:
        return await self.get(f"/v1/twins/{self._tail}/{leaf}", **query)

    async def flight(self, flight: str, leaf: str, **query: str | int) -> dict[str, Any]:
        return await self.get(f"/v1/flights/{flight}/{leaf}", **query)

    async def duplicates(self) -> int:
        """Records that came again and were not counted twice, since ingest last started."""
        try:
            answer = await self._client.get("/metrics")
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise Unreachable(str(error), "/metrics", "read the ground's log") from None
        found = re.search(r"^tailtwin_ingest_records_duplicate_total (\d+)$", answer.text, re.M)
        return int(found[1]) if found else 0

    async def is_settled(self) -> bool:
        """Every period has a closure of which the lake holds the current flight file.

        The period that a stopped aircraft left open holds nothing but its own opening, and
        never has a manifest.
        """
        try:
            items = (await self.twin("flights"))["items"]
        except Unreachable:
            return False
        closed = [item for item in items if item["state"] != "open"]
        still_open = [item for item in items if item["state"] == "open" and item["closed"]]
        return (
            bool(closed)
            and not still_open
            and all(item["file_revision"] == item["revision"] for item in closed)
        )
