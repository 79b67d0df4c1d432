"""The job that reconciles a flight: lake in, result out, cases from it.

`reconcile_flight` runs in the child process of a job and only reads; `conclude` runs in the
worker, in the transaction that ends the job: result and cases are written with it, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from ground.calibrate.baselines import Baselines
from ground.config import Paths
from ground.database import open_reader
from ground.ingest.segments import SegmentReader
from ground.jobs.handlers import Context, Progress
from ground.jobs.job import Job
from ground.lake.records import Records
from ground.reconcile.evidence import take
from ground.reconcile.flight import FlightInputs, read_flight
from ground.reconcile.result import decode_result
from ground.reconcile.store import add
from shared.errors import Rejected

if TYPE_CHECKING:
    from ground.models.baseline import Baseline
    from ground.reconcile.result import Reconciliation

ENGINE_TYPE = "hbtf_cfm56"  # the only one there is


def reconcile_flight(
    context: Context, payload: dict[str, Any], progress: Progress
) -> Reconciliation:
    """payload: tail, flight, revision. Rejected when there is no such closed flight, or when its
    closure is not of that revision any more: then another job is of the newer one."""
    from ground.models.turbofan.engine import load_engine_type
    from ground.reconcile.reconcile import reconcile

    tail, flight, revision = payload["tail"], payload["flight"], payload["revision"]
    paths = context.paths
    records = Records(open_reader(paths.ledger), SegmentReader(paths.segments))
    _need(records, tail, flight, revision)
    progress(0.05, "reading records")
    inputs = read_flight(records, paths.flights, tail, flight)
    baselines = _baselines(paths, inputs, _began_ns(records, inputs))
    progress(0.2, "reconciling")
    result = reconcile(inputs, load_engine_type(ENGINE_TYPE), baselines)
    _need(records, tail, flight, revision)  # still: the file may have been replaced meanwhile
    return result


def _need(records: Records, tail: str, flight: str, revision: int) -> None:
    closure = records.closure(tail, flight)
    if closure is None:
        raise Rejected("no such closed flight", flight, "list them with `tailtwin-ground flights`")
    if closure.kind != "flight":
        raise Rejected("a ground period: nothing flew", flight, "name a flight")
    if closure.revision != revision:
        raise Rejected(
            f"its closure is of revision {closure.revision} now, not {revision}", flight,
            "another job is of that one",
        )  # fmt: skip


def _began_ns(records: Records, inputs: FlightInputs) -> int:
    """Event time at which it began; of an abandoned flight, the first that anything said."""
    found = records.manifest(inputs.tail, inputs.flight)
    if found is not None:
        return found[0].opened_ns
    told = [one.t_ns for one in inputs.phases] + [one.t_ns for one in inputs.esns]
    return min(told, default=0)


def _baselines(paths: Paths, inputs: FlightInputs, at_ns: int) -> dict[str, Baseline]:
    """By ESN, of all that anything aboard named; those in force at `at_ns`."""
    store = Baselines.open(paths.control)
    found = {esn: store.of_esn(esn, at_ns) for esn in {one.esn for one in inputs.esns}}
    return {esn: one for esn, one in found.items() if one is not None}


def conclude(db: Connection, job: Job, body: bytes, sha256: str, now_ns: int) -> None:
    """Keep the result, open or extend cases. Rejected: it is of another flight, or none."""
    result = decode_result(body, job.key)
    asked = (job.payload["tail"], job.payload["flight"], job.payload["revision"])
    if (result.tail, result.flight, result.closure_revision) != asked:
        raise Rejected(
            f"it is of {result.flight} revision {result.closure_revision}", job.key,
            "this is a fault of ours",
        )  # fmt: skip
    stored = add(db, result, sha256, len(body), job.id, now_ns)
    take(db, stored, result, now_ns)
