"""`/v1/flights` and `/v1/twins/{tail}/flights`: periods, their manifests and closures.

In: requests. Out: what the ledger holds of a period, read-only. Always holds: a manifest and a
closure come with the signed bytes they rest on, so that a reader need not trust this API.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from fastapi import Path as PathParam
from sqlalchemy import Engine, select

from ground.api import models
from ground.api.problems import RESPONSES, NotFound
from ground.api.times import iso, iso_or_none
from ground.api.twins import Limit, TailName, series_item
from ground.ingest.index import signed_key_id
from ground.lake.query import Telemetry
from ground.lake.records import FlightRow, Records
from ground.lake.snapshots import snapshot_of
from ground.twins.control import flight_files
from shared.envelope import PAYLOAD_BYTES_MAX
from shared.messages import Gap, Kpi, KpiSeries, Manifest, Report, decode

FlightName = Annotated[str, PathParam(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
AlertName = Annotated[str, PathParam(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]
KPIS_MAX = 10_000


def flights_router(records: Records, control: Engine, telemetry: Telemetry) -> APIRouter:
    """Routes of periods."""
    router = APIRouter(prefix="/v1", tags=["flights"], responses=RESPONSES)

    def known(flight: str) -> FlightRow:
        row = records.flight(flight)
        if row is None:
            raise NotFound(f"no flight {flight}")
        return row

    @router.get("/twins/{tail}/flights")
    def of_tail(tail: TailName, limit: Limit = 100) -> models.Flights:
        """Flights and ground periods of a tail, newest first."""
        rows = records.flights(tail, limit)
        return models.Flights(items=[_flight(row, control) for row in rows])

    @router.get("/flights/{flight}")
    def one(flight: FlightName) -> models.FlightItem:
        """One period."""
        return _flight(known(flight), control)

    @router.get("/flights/{flight}/manifest")
    def manifest(flight: FlightName) -> models.ManifestAnswer:
        """What the aircraft says it recorded."""
        found = records.manifest(known(flight).tail, flight)
        if found is None:
            raise NotFound(f"{flight} has no manifest yet")
        return _manifest(*found)

    @router.get("/flights/{flight}/closure")
    def closure(flight: FlightName) -> models.ClosureAnswer:
        """What the ground says it holds, newest revision."""
        row = known(flight)
        found = records.signed_closure(row.tail, flight)
        if found is None:
            return models.ClosureAnswer(
                flight=flight, tail=row.tail, kind=row.kind, state="open", revision=0,
                records=row.records, records_missing=0, gaps=[], manifest_sha256=None,
                t_ground=None, key_id=None, signed=None,
            )  # fmt: skip
        body, signed = found
        return models.ClosureAnswer(
            flight=flight, tail=body.tail, kind=body.kind, state=body.state,
            revision=body.revision, records=body.records, records_missing=body.records_missing,
            gaps=[_gap(gap) for gap in body.gaps],
            manifest_sha256=body.manifest_sha256.hex() or None, t_ground=iso(body.t_ground_ns),
            key_id=signed_key_id(signed), signed=base64.b64encode(signed).decode(),
        )  # fmt: skip

    @router.get("/flights/{flight}/kpi")
    def kpi(
        flight: FlightName, limit: Annotated[int, Query(ge=1, le=KPIS_MAX)] = 1000
    ) -> models.Kpis:
        """Model outputs beside what was measured, by time."""
        tail = known(flight).tail
        hidden = {n for n, (s, _) in telemetry.signals(tail).items() if s.confidentiality == "fdm"}
        return models.Kpis(items=[
            _kpi(decode(Kpi, envelope.payload, "kpi", PAYLOAD_BYTES_MAX), hidden)
            for envelope in records.of_flight(tail, flight, "kpi", limit)
        ])  # fmt: skip

    @router.get("/flights/{flight}/reports")
    def reports(flight: FlightName, limit: Limit = 100) -> models.Reports:
        """Reports by rule of the signal set, without confidential signals."""
        tail = known(flight).tail
        shown = telemetry.open_signals(tail)
        return models.Reports(items=[
            _report(decode(Report, envelope.payload, "report", PAYLOAD_BYTES_MAX), shown)
            for envelope in records.of_flight(tail, flight, "report", limit)
            if envelope.schema == "report/1"
        ])  # fmt: skip

    @router.get("/flights/{flight}/snapshots/{alert}")
    def snapshot(flight: FlightName, alert: AlertName) -> models.SnapshotAnswer:
        """Readings before and after one alert of the flight, by its id."""
        tail = known(flight).tail
        series, unreadable = snapshot_of(records, tail, flight, alert, telemetry.open_signals(tail))
        if not series and not unreadable:
            raise NotFound(f"no snapshot of {alert} in {flight}")
        return models.SnapshotAnswer(
            flight=flight,
            alert=alert,
            series=[series_item(one) for one in series],
            unreadable=unreadable,
        )

    return router


def _flight(row: FlightRow, control: Engine) -> models.FlightItem:
    table = flight_files
    query = select(table).where(table.c.tail == row.tail, table.c.flight == row.flight)
    with control.begin() as db:
        file = db.execute(query.where(table.c.problem == "")).first()
    return models.FlightItem(
        flight=row.flight, tail=row.tail, kind=row.kind, state=row.state, revision=row.revision,
        records=row.records, records_missing=row.records_missing, opened=iso(row.opened_ns),
        closed=iso_or_none(row.closed_ns), t_last=iso(row.t_last_ns),
        t_ground=iso(row.t_ground_ns), file=file.path if file else None,
        file_revision=file.revision if file else None, samples=file.samples if file else None,
    )  # fmt: skip


def _manifest(manifest: Manifest, body: bytes, signed: bytes) -> models.ManifestAnswer:
    oooi = manifest.oooi
    return models.ManifestAnswer(
        flight=manifest.flight, tail=manifest.tail, operator=manifest.operator,
        kind=manifest.kind, leg=manifest.leg, opened=iso(manifest.opened_ns),
        closed=iso(manifest.closed_ns),
        oooi=models.OooiItem(out=iso_or_none(oooi.out_ns), off=iso_or_none(oooi.off_ns),
                             on=iso_or_none(oooi.on_ns), in_=iso_or_none(oooi.in_ns)),
        parts=[models.Part(**msgspec.structs.asdict(part)) for part in manifest.parts],
        groups=[models.GroupItem(group=g.group, readings=g.readings, t_first=iso(g.t_first_ns),
                                 t_last=iso(g.t_last_ns)) for g in manifest.groups],
        outages=[models.OutageItem(group=o.group, start=iso(o.start_ns), end=iso(o.end_ns),
                                   missing=o.missing, cause=o.cause) for o in manifest.outages],
        boots=manifest.boots, set_sha256=manifest.set_sha256.hex(), bundles=manifest.bundles,
        esns=manifest.esns, sha256=hashlib.sha256(body).hexdigest(),
        key_id=signed_key_id(signed), signed=base64.b64encode(signed).decode(),
    )  # fmt: skip


def _gap(gap: Gap) -> models.GapItem:
    if gap.kind == "records":
        return models.GapItem(kind=gap.kind, name=gap.name, cause=gap.cause, missing=gap.missing,
                              epoch=gap.epoch, low=gap.low, high=gap.high)  # fmt: skip
    return models.GapItem(kind=gap.kind, name=gap.name, cause=gap.cause, missing=gap.missing,
                          start=iso(gap.start_ns), end=iso(gap.end_ns))  # fmt: skip


def _kpi(kpi: Kpi, hidden: set[str]) -> models.KpiItem:
    return models.KpiItem(
        bundle=kpi.bundle, t0=iso(kpi.t0_ns), step_s=kpi.step_s,
        series=[_kpi_series(one) for one in kpi.series if one.name not in hidden],
    )  # fmt: skip


def _kpi_series(series: KpiSeries) -> models.KpiSeriesItem:
    measured, predicted = (
        [None if v is None else v * series.lsb for v in values]
        for values in (series.measured, series.predicted)
    )
    return models.KpiSeriesItem(
        name=series.name, esn=series.esn, unit=series.unit, measured=measured,
        predicted=predicted,
    )  # fmt: skip


def _report(report: Report, shown: set[str]) -> models.ReportItem:
    return models.ReportItem(
        name=report.name, phase=report.phase, start=iso(report.start_ns), end=iso(report.end_ns),
        values={
            name: models.ReportValue(min=v[0], mean=v[1], max=v[2], n=v[3])
            for name, v in report.values.items() if name in shown
        },
        outcome=report.outcome, subject=report.subject,
        margins={n: v for n, v in report.margins.items() if n in shown},
        corrected={n: v for n, v in report.corrected.items() if n in shown},
    )  # fmt: skip
