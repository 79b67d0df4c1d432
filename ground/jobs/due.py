"""Which flights are due to be reconciled.

In: closures of the ledger, flight files and jobs of `control.db`. Out: jobs of kind `reconcile`.
Always holds: one job for each closed revision of a flight whose file is written, made from these
tables alone, so that the queue can be lost; a ground period has none. A job that waits for a
revision that was replaced meanwhile is failed, and says so.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Engine, and_, exists, select, update

from ground.database import transaction
from ground.ingest import schema
from ground.jobs.table import WHERE, Jobs, jobs
from ground.reconcile.store import reconciliations
from ground.twins.control import flight_files
from shared.clock import Clock

KIND = "reconcile"
CLOSED = ("complete", "gaps", "abandoned")
LOOKED_AT_MAX = 64


class Flight(NamedTuple):
    """A flight and a revision of its closure."""

    tail: str
    flight: str
    revision: int

    @property
    def key(self) -> str:
        return f"{self.prefix}{self.revision}"

    @property
    def prefix(self) -> str:
        """Of the keys of all its revisions."""
        return f"{self.tail}/{self.flight}/"

    @property
    def payload(self) -> dict[str, str | int]:
        return {"tail": self.tail, "flight": self.flight, "revision": self.revision}


class DueFlights:
    """ledger: read-only."""

    def __init__(self, ledger: Engine, table: Jobs, clock: Clock) -> None:
        self._ledger, self._jobs, self._clock = ledger, table, clock
        self._none_due: set[Flight] = set()
        """Revisions that are no closed flight; they stay that."""

    def queue(self) -> list[Flight]:
        """Make the jobs that are due; the flights they are of."""
        found = self._without_job()
        queued = []
        for one in found:
            if not self._is_closed_flight(one):
                self._none_due.add(one)
                continue
            now_ns = self._clock.wall_ns()
            with transaction(self._jobs.engine, WHERE) as db:
                known = select(jobs.c.id).where(jobs.c.kind == KIND, jobs.c.key == one.key)
                if db.execute(known).first():
                    continue  # another worker was first
                db.execute(
                    update(jobs)
                    .where(jobs.c.kind == KIND, jobs.c.state == "queued",
                           jobs.c.key.startswith(one.prefix, autoescape=True))
                    .values(state="failed", ended_ns=now_ns,
                            error=f"its closure was revised: revision {one.revision} is next")
                )  # fmt: skip
                self._jobs.add_in(db, KIND, one.key, one.payload, now_ns)
            queued.append(one)
        return queued

    def _without_job(self) -> list[Flight]:
        """Written files of which there is neither job nor result."""
        f, r = flight_files.c, reconciliations.c
        key = f.tail + "/" + f.flight + "/" + f.revision.concat("")
        of_job = exists().where(jobs.c.kind == KIND, jobs.c.key == key)
        of_result = exists().where(
            and_(r.tail == f.tail, r.flight == f.flight, r.closure_revision == f.revision)
        )
        query = (
            select(f.tail, f.flight, f.revision)
            .where(f.problem == "", ~f.flight.contains("-G"), ~of_job, ~of_result)
            .order_by(f.t_ground_ns)
        )
        with transaction(self._jobs.reader, WHERE) as db:
            found = (Flight(*row) for row in db.execute(query))
            return [one for one in found if one not in self._none_due][:LOOKED_AT_MAX]

    def _is_closed_flight(self, one: Flight) -> bool:
        c = schema.closures.c
        query = select(c.kind, c.state).where(
            c.tail == one.tail, c.flight == one.flight, c.revision == one.revision
        )
        with transaction(self._ledger, "ledger.db") as db:
            row = db.execute(query).first()
        return row is not None and row.kind == "flight" and row.state in CLOSED
