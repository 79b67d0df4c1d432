"""The job that reconciles a flight: lake in, result out, cases from it.

`reconcile_flight` runs in the child process of a job and only reads; `conclude` runs in the
worker, in the transaction that ends the job: result and cases are written with it, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from ground.jobs.handlers import Context, Progress
from ground.jobs.job import Job
from ground.reconcile.cases import take
from ground.reconcile.result import decode_result
from ground.reconcile.store import add
from shared.errors import Rejected

if TYPE_CHECKING:
    from ground.reconcile.result import Reconciliation

ENGINE_TYPE = "hbtf_cfm56"  # the only one there is


def reconcile_flight(
    context: Context, payload: dict[str, Any], progress: Progress
) -> Reconciliation:
    """payload: tail, flight, revision. Rejected when there is no such closed flight, or when its
    closure is not of that revision any more: then another job is of the newer one."""
    raise Rejected("not wired yet", str(payload["flight"]))


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
