"""Where a ground keeps what a what-if names: flights, baselines, engine types.

In: the folders of a ground. Out: `Sources`. Read-only.
"""

from __future__ import annotations

from ground.calibrate.baselines import Baselines
from ground.config import Paths
from ground.database import open_reader
from ground.ingest.segments import SegmentReader
from ground.lake.records import Records
from ground.models.baseline import Baseline
from ground.models.turbofan.engine import load_engine_type
from ground.reconcile.flight import FlightInputs, read_flight
from ground.whatif.run import Sources
from shared.errors import Rejected


def sources_of(paths: Paths) -> Sources:
    """Of the ground whose folder that is; nothing is opened before it is asked for."""

    def flight(name: str) -> FlightInputs:
        records = Records(open_reader(paths.ledger), SegmentReader(paths.segments))
        row = records.flight(name)
        if row is None:
            raise Rejected("no such flight", name, "list them with `tailtwin-ground flights`")
        return read_flight(records, paths.flights, row.tail, name)

    def baseline(esn: str, at_ns: int) -> Baseline | None:
        if not paths.control.exists():
            return None
        return Baselines.open(paths.control).of_esn(esn, at_ns)

    return Sources(load_engine_type, flight, baseline)
