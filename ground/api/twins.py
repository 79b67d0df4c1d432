"""`/v1/twins`: who is enrolled, how they are, what they measured.

In: requests. Out: answers from `control.db`, the index of the ledger and its segments, read-only.
Always holds: signals with confidentiality `fdm` are neither listed nor answered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import numpy as np
from fastapi import APIRouter, HTTPException, Query, Response
from fastapi import Path as PathParam
from sqlalchemy import and_, select

from ground.api import models
from ground.api.fresh import Fresh
from ground.api.problems import RESPONSES, NotFound
from ground.api.times import iso, iso_all, iso_or_none, parse_time
from ground.ingest import schema
from ground.lake.query import POINTS_MAX, Raw, Series, Telemetry
from ground.lake.records import Records
from ground.twins.control import Control, Twin
from ground.twins.versions import Known, Versions
from shared.envelope import PAYLOAD_BYTES_MAX, TIME_NONE
from shared.errors import Rejected
from shared.identity import key_id
from shared.messages import Alert, Audit, State, VersionReport, decode
from shared.quality import describe
from shared.signals import Signal

SIGNALS_MAX = 32
CHANGES_MAX = 10_000
STATE_PATH = re.compile(r"/v1/twins/([A-Za-z0-9_-]{1,32})/state\Z")
STATE_AGE_MAX_S = 0.25  # last values change once a second; asking may be thousands of times faster
QUALITY_NAMES = [describe(byte) for byte in range(256)]

TailName = Annotated[str, PathParam(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
Limit = Annotated[int, Query(ge=1, le=1000)]
TimeText = Annotated[str, Query(max_length=40, description="RFC 3339, or ns since 1970")]


def fresh_states(control: Control, records: Records) -> Fresh:
    """The answers of `/v1/twins/{tail}/state`, by tail."""

    def make(tail: str) -> bytes:
        _enrolled(control, tail)
        return _state(records, tail).model_dump_json().encode()

    return Fresh(make, STATE_AGE_MAX_S)


def twins_router(
    control: Control, records: Records, telemetry: Telemetry, states: Fresh
) -> APIRouter:
    """Routes below /v1/twins."""
    router = APIRouter(prefix="/v1/twins", tags=["twins"], responses=RESPONSES)
    versions = Versions(records.engine)

    def enrolled(tail: str) -> Twin:
        return _enrolled(control, tail)

    @router.get("")
    def twins() -> models.Twins:
        """Every enrolled tail."""
        links, enrolled = _links(records), control.twins()
        known = versions.fleet(enrolled)
        return models.Twins(items=[_twin(twin, links, known) for twin in enrolled])

    @router.get("/{tail}")
    def twin(tail: TailName) -> models.TwinItem:
        """One tail: what it is, its engines, its last hello, what it runs."""
        one = enrolled(tail)
        return _twin(one, _links(records), versions.fleet([one]))

    @router.get("/{tail}/version")
    def version(tail: TailName) -> models.TwinVersion:
        """What runs aboard, by the newest signed report that counts, and reports that do not."""
        known = versions.of(enrolled(tail))
        refused = [models.VersionRefused(t_ground=iso(x.t_ground_ns), reason=x.reason,
                                         detail=x.detail) for x in versions.refused(tail)]  # fmt: skip
        runs = None if known is None else _version(known)
        return models.TwinVersion(tail=tail, runs=runs, refused=refused)

    @router.get("/{tail}/signals")
    def signals(tail: TailName) -> models.Signals:
        """Signals this tail has sent, without confidential ones."""
        enrolled(tail)
        return models.Signals(items=[
            models.SignalItem(name=name, group=group.name, unit=signal.unit,
                              encoding=signal.encoding, rate_hz=group.rate_hz, ata=signal.ata,
                              description=signal.description, enum=signal.enum)
            for name, (signal, group) in telemetry.signals(tail).items()
            if signal.confidentiality != "fdm"
        ])  # fmt: skip

    @router.get("/{tail}/state", response_model=models.TwinState)
    async def state(tail: TailName) -> Response:
        """Where it is, what runs aboard, and the last value of every signal; 0.25 s old at most."""
        return Response(await states.get(tail), media_type="application/json")

    @router.get("/{tail}/telemetry", response_model_exclude_none=True)
    def read(
        tail: TailName,
        signals: Annotated[str, Query(min_length=1, max_length=33 * SIGNALS_MAX,
                                      description="names, comma between")],
        start: TimeText,
        end: TimeText,
        points: Annotated[int, Query(ge=1, le=POINTS_MAX)] = 1000,
    ) -> models.TelemetryAnswer:  # fmt: skip
        """Signals in [start, end): raw samples when at most `points`, else that many buckets."""
        enrolled(tail)
        start_ns, end_ns = parse_time(start, "start"), parse_time(end, "end")
        if end_ns <= start_ns:
            raise Rejected("not after start", "end", "swap them")
        names = signals.split(",")
        if len(names) > SIGNALS_MAX or len(set(names)) != len(names):
            raise Rejected(f"more than {SIGNALS_MAX}, or one twice", "signals", "ask twice")
        known = telemetry.signals(tail)
        for name in names:
            if name in known and known[name][0].confidentiality == "fdm":
                raise HTTPException(403, f"{name} is confidential (flight data monitoring)")
        series = [series_item(telemetry.read(tail, n, start_ns, end_ns, points)) for n in names]
        return models.TelemetryAnswer(
            tail=tail, start=iso(start_ns), end=iso(end_ns), points=points, series=series
        )

    @router.get("/{tail}/alerts")
    def alerts(tail: TailName, standing: bool | None = None, limit: Limit = 100) -> models.Alerts:
        """Alert instances, newest onset first."""
        enrolled(tail)
        items = _alerts(records, tail, telemetry)
        if standing is not None:
            items = [item for item in items if item.standing is standing]
        return models.Alerts(items=items[:limit])

    @router.get("/{tail}/updates")
    def updates(tail: TailName, limit: Limit = 100) -> models.Updates:
        """Decisions of the update client and its gate, newest first."""
        enrolled(tail)
        return models.Updates(items=_audits(records, tail, "update", limit))

    @router.get("/{tail}/gate")
    def gate(tail: TailName, limit: Limit = 100) -> models.Updates:
        """When the update gate opened and shut, and why it shut, newest first."""
        enrolled(tail)
        return models.Updates(items=_audits(records, tail, "gate", limit))

    return router


def _enrolled(control: Control, tail: str) -> Twin:
    for twin in control.twins():
        if twin.tail == tail:
            return twin
    raise NotFound(f"no twin {tail}")


def _links(records: Records) -> dict[str, models.Link]:
    with records.engine.begin() as db:
        return {
            row.tail: models.Link(epoch=row.epoch, boot=row.boot, t_hello=iso(row.t_hello_ns))
            for row in db.execute(select(schema.tails))
        }


def _twin(
    twin: Twin, links: Mapping[str, models.Link], known: Mapping[str, Known]
) -> models.TwinItem:
    runs = known.get(twin.tail)
    return models.TwinItem(
        tail=twin.tail, operator=twin.operator, type=twin.type, registration=twin.registration,
        device_key_id=key_id(twin.device_pub), t_enrolled=iso(twin.t_enrolled_ns),
        engines=[models.Engine(**msgspec.structs.asdict(engine)) for engine in twin.engines],
        link=links.get(twin.tail), runs=None if runs is None else _runs(runs),
    )  # fmt: skip


def _runs(known: Known) -> models.Runs:
    report = known.report
    return models.Runs(
        set_id=report.set_id, bundles=[f"{b.name} {b.release}" for b in report.bundles],
        probation=report.probation, muted=[b.name for b in report.bundles if b.muted],
        t=_event_time(report),
    )  # fmt: skip


def _event_time(report: VersionReport) -> str | None:
    return None if report.t_quality == TIME_NONE else iso(report.t_event_ns)


def _version(known: Known) -> models.VersionItem:
    fields = msgspec.to_builtins(known.report)
    for name in ("v", "operator", "tail", "t_ns", "t_event_ns", "t_quality"):
        del fields[name]
    for refusal in fields["refusals"]:
        refusal["t"] = iso(refusal.pop("t_ns"))
    return models.VersionItem(
        t=_event_time(known.report), t_aboard=iso(known.report.t_ns),
        t_ground=iso(known.t_ground_ns), key_id=known.key_id, **fields,
    )  # fmt: skip


def _state(records: Records, tail: str) -> models.TwinState:
    table = schema.states
    with records.engine.begin() as db:
        row = db.execute(select(table).where(table.c.tail == tail)).first()
    if row is None:
        return models.TwinState(
            tail=tail, t=None, t_ground=None, aboard=None, values=_values(records, tail)
        )
    state = decode(State, row.payload, "state", PAYLOAD_BYTES_MAX)
    fields = msgspec.structs.asdict(state)
    fields["oldest_unsafe"] = iso_or_none(fields.pop("oldest_unsafe_ns"))
    fields.pop("v")
    return models.TwinState(
        tail=tail, t=iso(row.t_event_ns), t_ground=iso(row.t_ground_ns),
        aboard=models.Aboard(**fields), values=_values(records, tail),
    )  # fmt: skip


def _values(records: Records, tail: str) -> dict[str, models.Value]:
    table = schema.last_values
    with records.engine.begin() as db:
        rows = db.execute(select(table).where(table.c.tail == tail)).all()
    sets = records.signal_sets([row.set_sha256 for row in rows])
    values: dict[str, models.Value] = {}
    for row in rows:
        group = sets[row.set_sha256].group(row.grp)
        ints, floats = iter(np.frombuffer(row.raw, "<i8")), iter(np.frombuffer(row.f64, "<f8"))
        for signal, quality in zip(group.signal, row.quality, strict=True):
            raw = float(next(floats)) if signal.encoding == "f64" else int(next(ints))
            if signal.confidentiality != "fdm":
                values[signal.name] = models.Value(
                    t=iso(row.t_ns), value=_value(signal, raw, quality), unit=signal.unit,
                    quality=QUALITY_NAMES[quality],
                )  # fmt: skip
    return values


def _value(signal: Signal, raw: float, quality: int) -> float | None:
    if quality & 3 > 1 or not np.isfinite(raw):
        return None
    return raw if signal.encoding == "f64" else raw * signal.scale + signal.offset


def series_item(series: Series) -> models.SeriesItem:
    data, signal = series.data, series.signal
    if isinstance(data, Raw):
        return models.SeriesItem(
            signal=signal.name, unit=signal.unit, mode="raw", t=iso_all(data.t_ns),
            value=[v if v == v else None for v in data.value.tolist()],  # NaN is not itself
            quality=[QUALITY_NAMES[q] for q in data.quality.tolist()],
        )  # fmt: skip
    return models.SeriesItem(
        signal=signal.name, unit=signal.unit, mode="buckets", t=iso_all(data.t_ns),
        min=data.min.tolist(), max=data.max.tolist(), mean=data.mean.tolist(), n=data.n.tolist(),
    )  # fmt: skip


def _alerts(records: Records, tail: str, telemetry: Telemetry) -> list[models.AlertItem]:
    """Changes folded by instance: the newest change says how it stands."""
    a, r = schema.alerts, schema.records
    same = and_(*(a.c[n] == r.c[n] for n in ("tail", "epoch", "stream", "seq")))
    query = (
        select(a.c.payload, a.c.flight, a.c.t_event_ns, r.c.t_ground_ns)
        .join(r, same)
        .where(a.c.tail == tail)
        .order_by(a.c.t_event_ns.desc(), a.c.epoch, a.c.seq.desc())
        .limit(CHANGES_MAX)
    )
    with records.engine.begin() as db:
        rows = db.execute(query).all()
    newest: dict[str, tuple[Alert, Any]] = {}
    came: dict[str, int] = {}
    for row in rows:
        alert = decode(Alert, row.payload, "alert", PAYLOAD_BYTES_MAX)
        newest.setdefault(alert.id, (alert, row))
        came[alert.id] = min(row.t_ground_ns, came.get(alert.id, row.t_ground_ns))
    shown = telemetry.open_signals(tail) | {""}  # an alert on a model names no signal
    items = [_alert(alert, row, came[alert.id], alert.signal not in shown)
             for alert, row in newest.values()]  # fmt: skip
    return sorted(items, key=lambda item: item.onset, reverse=True)


def _alert(alert: Alert, row: Any, t_ground_ns: int, hidden: bool) -> models.AlertItem:
    group, counter = alert.trigger or (None, None)
    return models.AlertItem(
        id=alert.id, name=alert.name, fault_code=alert.fault_code, severity=alert.severity,
        ata=alert.ata, esn=alert.esn, standing=alert.change != "clear",
        onset=iso(alert.onset_ns), clear=iso_or_none(alert.clear_ns), signal=alert.signal,
        unit=alert.unit, value=None if hidden else alert.value,
        threshold=None if hidden else alert.threshold, occurrences=alert.occurrences,
        suppressed=alert.suppressed, bundle=alert.bundle, phase=alert.phase, flight=row.flight,
        t_event=iso(row.t_event_ns), t_ground=iso(t_ground_ns), trigger_group=group,
        trigger_counter=counter,
    )  # fmt: skip


def _audits(records: Records, tail: str, kind: str, limit: int) -> list[models.UpdateItem]:
    a, r = schema.audits, schema.records
    before = r.alias("before")
    query = (
        select(a, before.c.sha256)
        .outerjoin(before, and_(before.c.tail == a.c.tail, before.c.epoch == a.c.epoch,
                                before.c.stream == a.c.stream, before.c.seq == a.c.seq - 1))
        .where(a.c.tail == tail, a.c.kind == kind)
        .order_by(a.c.t_event_ns.desc(), a.c.epoch, a.c.seq.desc())
        .limit(limit)
    )  # fmt: skip
    items = []
    with records.engine.begin() as db:
        rows = db.execute(query).all()
    for row in rows:
        audit = decode(Audit, row.payload, "audit", PAYLOAD_BYTES_MAX)
        chained = None if row.sha256 is None else row.sha256 == audit.previous
        items.append(models.UpdateItem(
            t=iso(row.t_event_ns), decision=audit.decision, subject=audit.subject,
            phase=audit.phase, reasons=audit.reasons, detail=audit.detail, epoch=row.epoch,
            seq=row.seq, chained=chained,
        ))  # fmt: skip
    return items
