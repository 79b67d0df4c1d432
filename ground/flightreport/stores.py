"""The stores of one ground, opened for reports.

In: the folders of a ground, or parts that are open already. Out: `Stores`, read-only.
"""

from __future__ import annotations

from sqlalchemy import Engine, inspect, select

from ground.config import Paths
from ground.database import open_reader
from ground.flightreport.contents import CaseLine
from ground.flightreport.gather import Stores
from ground.ingest.segments import SegmentReader
from ground.jobs.blobs import Blobs
from ground.lake.records import Records
from ground.reconcile.casefile import cases, evidence
from ground.reconcile.store import Reconciliations, reconciliations
from ground.twins.control import Control
from shared.clock import Clock, SystemClock
from shared.errors import ConfigError

CASES_MAX = 100


def stores_of(paths: Paths) -> Stores:
    """Of the ground whose folder that is."""
    control = Control.open(paths.control)
    if not inspect(control.engine).has_table(reconciliations.name):
        raise ConfigError("this ground has never reconciled a flight", str(paths.control),
                          "run `tailtwin-ground worker` or `up` once")  # fmt: skip
    records = Records(open_reader(paths.ledger), SegmentReader(paths.segments))
    results = Reconciliations(control.engine, Blobs(paths.blobs))
    return made_of(records, control, results, SystemClock())


def made_of(records: Records, control: Control, results: Reconciliations, clock: Clock) -> Stores:
    """Of parts that are open already."""
    return Stores(records, control, results, lambda tail, flight: _cases(control.engine, tail, flight),
                  clock)  # fmt: skip


def _cases(control: Engine, tail: str, flight: str) -> tuple[CaseLine, ...]:
    """Cases that this flight is evidence of, newest first."""
    query = (
        select(cases).join(evidence, evidence.c.case == cases.c.number).distinct()
        .where(evidence.c.tail == tail, evidence.c.flight == flight)
        .order_by(cases.c.number.desc()).limit(CASES_MAX)
    )  # fmt: skip
    with control.begin() as db:
        return tuple(
            CaseLine(f"C{row.number:06d}", row.kind, row.state.replace("_", " "), row.title,
                     row.owner, row.opened_ns)
            for row in db.execute(query)
        )  # fmt: skip
