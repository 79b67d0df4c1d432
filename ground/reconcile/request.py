"""A request to reconcile a flight, by a person.

In: the name of a flight. Out: its job. Always holds: Rejected says why a flight has none: unknown,
a ground period, not closed, its file not written.
"""

from __future__ import annotations

from sqlalchemy import select

from ground.config import Paths
from ground.database import open_reader, transaction
from ground.ingest.segments import SegmentReader
from ground.jobs.due import CLOSED, KIND, Flight
from ground.jobs.job import Job
from ground.jobs.table import WHERE, Jobs
from ground.lake.records import FlightRow, Records
from ground.twins.control import flight_files
from shared.clock import SystemClock
from shared.errors import Rejected
from shared.topics import check_identifier


def request(paths: Paths, jobs: Jobs, flight: str) -> Job:
    """The job that is queued or runs, else a new one, whatever was done before."""
    check_identifier(flight, "FLIGHT")
    row = Records(open_reader(paths.ledger), SegmentReader(paths.segments)).flight(flight)
    if row is None:
        raise Rejected("no such flight", flight, "list them with `tailtwin-ground flights`")
    why = why_none(jobs, row)
    if why:
        raise Rejected(why, flight)
    due = Flight(row.tail, flight, row.revision)
    return jobs.add(KIND, due.key, due.payload, SystemClock().wall_ns())


def why_none(jobs: Jobs, row: FlightRow) -> str:
    """Why a period has no job of its newest revision and can have none yet; empty when it can."""
    if row.kind != "flight":
        return "a ground period: nothing flew"
    if row.state not in CLOSED:
        return "it is not closed yet"
    f = flight_files.c
    query = select(f.revision, f.problem).where(f.tail == row.tail, f.flight == row.flight)
    with transaction(jobs.reader, WHERE) as db:
        file = db.execute(query).first()
    if file is not None and file.problem and file.revision == row.revision:
        return f"its flight file cannot be written: {file.problem}"
    if file is None or file.revision < row.revision:
        return f"its flight file of revision {row.revision} is not written yet"
    return ""
