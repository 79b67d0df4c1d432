"""Gather: what a report of one flight is made from, out of the ground's stores.

In: the read side of ledger, control and reconciliations. Out: `Sources`. Read-only.
Always holds: a part that is not there, or cannot be read, is null and said; the report still comes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from ground.flightreport.contents import CaseLine, Sources
from ground.lake.records import Records
from ground.reconcile.result import Reconciliation
from ground.reconcile.store import Reconciliations
from ground.twins.control import Control
from shared.clock import Clock
from shared.errors import Rejected, TailTwinError


@dataclass(frozen=True, slots=True)
class Stores:
    """cases: of a tail and flight."""

    records: Records
    control: Control
    results: Reconciliations
    cases: Callable[[str, str], tuple[CaseLine, ...]]
    clock: Clock


def gather(stores: Stores, flight: str) -> Sources:
    """Rejected when there is no such flight."""
    records = stores.records
    row = records.flight(flight)
    if row is None:
        raise Rejected("no such flight", flight, "list them with `tailtwin-ground flights`")
    manifest = records.manifest(row.tail, flight)
    result, why = _result(stores.results, row.tail, flight)
    if result is None and row.kind == "ground":
        why = why or "It is a ground period: nothing flew."
    twin = next((one for one in stores.control.twins() if one.tail == row.tail), None)
    return Sources(
        tail=row.tail, flight=flight, made_ns=stores.clock.wall_ns(), twin=twin,
        manifest=manifest[0] if manifest else None, closure=records.closure(row.tail, flight),
        reconciliation=result, why_none=why, cases=stores.cases(row.tail, flight),
        versions=_versions(),
    )  # fmt: skip


def _result(results: Reconciliations, tail: str, flight: str) -> tuple[Reconciliation | None, str]:
    stored = results.newest(tail, flight)
    if stored is None:
        return None, ""
    try:
        return results.read(stored), ""
    except TailTwinError as error:
        return None, f"Its result cannot be read: {error.what}. {error.remedy}".strip()


def _versions() -> dict[str, str]:
    try:
        return {"TailTwin": version("tailtwin")}
    except PackageNotFoundError:
        return {}
