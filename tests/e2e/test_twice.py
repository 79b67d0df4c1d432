"""End to end: a tail flies twice, and the ground makes its model in between.

The demo shows the same on two whole flights with a worn engine; here the hop shows that the loop
turns: closed, reconciled as a job, calibrated, signed, offered, taken at the stand, flown.
"""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from hil.bench import Bench
from hil.scenario import CALIBRATED, Again, Event, Expect
from hil.view import View
from shared.phases import Phase
from tests.e2e.runs import failed, hop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def test_what_the_ground_calibrated_after_one_flight_flies_in_the_next(tmp_path: Path) -> None:
    """Invariants 5, 7, 8 on the whole, and the loop of docs/architecture.md."""
    offer = Event(phase=Phase.PARKED, after_s=30, action="offer", bundle=CALIBRATED)
    again = Again(seed=6, parked_s=300.0, calibrate="egt_rom", event=(offer,))
    scenario = msgspec.structs.replace(
        hop(), again=again, parked_s=60.0, expect=Expect(flights=2, activated=(CALIBRATED,))
    )
    bench = Bench(scenario, tmp_path, View("test", Console(file=io.StringIO())))
    report = asyncio.run(bench.run())
    assert failed(report) == []
    flights = [f for f in report["flights"] if f["kind"] == "flight"]
    said = [f["reconciliation"] for f in flights]
    # a hop has no minute of stable climb or cruise: the ground says so, and invents nothing
    assert {v["kind"] for one in said for v in one["engines"].values()} == {"not_enough_data"}
    request = json.loads((tmp_path / "request" / "request.json").read_bytes())
    assert request["flights"] == [f"{flights[0]['flight_id']}#1"]
    flown = {(e["esn"], e["rows"]): e for e in request["model_error"] if e["output"] == "egt"}
    for esn in ("894101", "894102"):  # of minutes that took no part in the calibration
        assert flown[esn, "held_out"]["after_rms"] < 0.2 * flown[esn, "held_out"]["before_rms"]
