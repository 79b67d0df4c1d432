"""Between two flights: the ground explains the first one, and what it learned is signed.

In: a rig whose aircraft stands, its ground up. Out: notes, and the bundle that the ground
calibrated, attested and published by the calibration desk, as CALIBRATED.
Always holds: the bench only calls the commands that a person would; it signs what the request
says, and hands the ground no truth of the plant.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import Any

from hil.groundapi import GroundApi
from hil.processes import program, run_once
from hil.rig import Rig
from hil.scenario import CALIBRATED
from shared.errors import Unreachable

RECONCILE_S = 120.0  # wall; a demo flight takes a few seconds on an idle machine
POLL_S = 0.5
ENDED = re.compile(r" is (failed|dead)\b")  # what the ground says of a job that it will not do


async def turn_around(rig: Rig, api: GroundApi, note: Callable[[str], None]) -> None:
    """Wait for every flight to be reconciled, calibrate, sign."""
    again = rig.scenario.again
    assert again is not None
    for period in (await api.twin("flights", limit=1000))["items"]:
        if period["kind"] == "flight" and period["state"] != "open":
            for engine in (await reconciliation(api, period["flight"]))["engines"]:
                said = engine["verdict"]["text"]
                note(f"{period['flight']}, engine {engine['position']}: {said}")
    if again.calibrate:
        await _calibrate(rig, again.calibrate, note)


async def reconciliation(
    api: GroundApi, flight: str, timeout_s: float = RECONCILE_S
) -> dict[str, Any]:
    """What the ground made of a flight; Unreachable when it is not there in time."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            answer = await api.flight(flight, "reconciliation")
            found: dict[str, Any] = answer["reconciliation"]
            return found
        except Unreachable as error:
            if time.monotonic() > deadline_s or ENDED.search(error.what):
                raise
        await asyncio.sleep(POLL_S)


async def _calibrate(rig: Rig, model: str, note: Callable[[str], None]) -> None:
    """The ground reduces its full-fidelity model and asks for a signature; it gets one for numbers."""
    request = rig.folder / "request"
    note(f"the ground calibrates {model}")
    await run_once(
        program("tailtwin-ground"), "calibrate", "--state", str(rig.ground_state), "--tail",
        rig.scenario.tail.tail, "--model", model, "--tuf-repo", str(rig.repository), "--out",
        str(request), log=rig.log,
    )  # fmt: skip
    await rig.signers.attest_request(request)
    await rig.signers.publish_calibration(request)
    named = json.loads((request / "request.json").read_bytes())["bundle"]
    rig.note_published(CALIBRATED, request / named, rig.scenario.tail.tail)
    note(f"attested, published at the calibration desk: {named}")
