"""What the API answers, as types; OpenAPI is made from them.

Times are RFC 3339 in UTC with nanoseconds. Null means not known, never zero.
"""

from __future__ import annotations

from pydantic import BaseModel, Field


class Engine(BaseModel):
    position: int
    esn: str
    part_number: str


class Link(BaseModel):
    """From the last hello."""

    epoch: str
    boot: int
    t_hello: str


class Runs(BaseModel):
    """From the newest version report that counts. muted: bundles that do not predict; t: event
    time, null before the aircraft had one."""

    set_id: str
    bundles: list[str]
    probation: bool
    muted: list[str]
    t: str | None


class TwinItem(BaseModel):
    """runs: what its enrolled device says; null before it said so."""

    tail: str
    operator: str
    type: str
    registration: str
    device_key_id: str
    t_enrolled: str
    engines: list[Engine]
    link: Link | None
    runs: Runs | None


class Twins(BaseModel):
    items: list[TwinItem]


class SignalItem(BaseModel):
    name: str
    group: str
    unit: str
    encoding: str
    rate_hz: float
    ata: str
    description: str
    enum: dict[str, int]


class Signals(BaseModel):
    items: list[SignalItem]


class Value(BaseModel):
    """Last known reading of a signal; value is null where quality is bad or no_data."""

    t: str
    value: float | None
    unit: str
    quality: str


class Aboard(BaseModel):
    """The newest state record."""

    phase: str
    confidence: str
    gate_open: bool
    gate_reasons: list[str]
    link: str
    slot: str
    bundles: list[str]
    alerts: list[str]
    worker: str
    boot: int
    outbox_records: int
    outbox_bytes: int
    oldest_unsafe: str | None
    esns: list[str]
    shed: list[str] = []
    """What the governor aboard has given up to stay in its budget, in its order."""


class TwinState(BaseModel):
    """t: event time of the state record; t_ground: when it came here."""

    tail: str
    t: str | None
    t_ground: str | None
    aboard: Aboard | None
    values: dict[str, Value]


class SeriesItem(BaseModel):
    """mode `raw`: t, value, quality. mode `buckets`: t (start of bucket), min, max, mean, n."""

    signal: str
    unit: str
    mode: str
    t: list[str]
    value: list[float | None] | None = None
    quality: list[str] | None = None
    min: list[float] | None = None
    max: list[float] | None = None
    mean: list[float] | None = None
    n: list[int] | None = None


class TelemetryAnswer(BaseModel):
    tail: str
    start: str
    end: str
    points: int
    series: list[SeriesItem]


class SnapshotAnswer(BaseModel):
    """Readings around one alert. unreadable: parts that are damaged or whose set is not here."""

    flight: str
    alert: str
    series: list[SeriesItem]
    unreadable: int


class AlertItem(BaseModel):
    """One alert instance: its onset and what became of it. value and threshold are null where
    the signal is confidential."""

    id: str
    name: str
    fault_code: str
    severity: str
    ata: str
    esn: str
    standing: bool
    onset: str
    clear: str | None
    signal: str
    unit: str
    value: float | None
    threshold: float | None
    occurrences: int
    suppressed: int
    bundle: str
    phase: str
    flight: str
    t_event: str
    t_ground: str
    trigger_group: str | None
    trigger_counter: int | None


class Alerts(BaseModel):
    items: list[AlertItem]


class FlightItem(BaseModel):
    """state: open until the first closure, then complete, gaps or abandoned."""

    flight: str
    tail: str
    kind: str
    state: str
    revision: int
    records: int
    records_missing: int
    opened: str
    closed: str | None
    t_last: str
    t_ground: str
    file: str | None = None
    """Parquet file below lake/flights; null until it is written."""
    file_revision: int | None = None
    samples: int | None = None


class Flights(BaseModel):
    items: list[FlightItem]


class OooiItem(BaseModel):
    out: str | None
    off: str | None
    on: str | None
    in_: str | None = Field(serialization_alias="in")


class Part(BaseModel):
    """Records seq in [low, high) of one stream of one epoch."""

    epoch: str
    stream: str
    low: int
    high: int


class GroupItem(BaseModel):
    group: str
    readings: int
    t_first: str
    t_last: str


class OutageItem(BaseModel):
    """missing: readings the bus counter says are missing; -1 where it cannot tell."""

    group: str
    start: str
    end: str
    missing: int
    cause: str


class ManifestAnswer(BaseModel):
    """signed: the signed manifest as it came, base64."""

    flight: str
    tail: str
    operator: str
    kind: str
    leg: int
    opened: str
    closed: str
    oooi: OooiItem
    parts: list[Part]
    groups: list[GroupItem]
    outages: list[OutageItem]
    boots: list[int]
    set_sha256: str
    bundles: list[str]
    esns: list[str]
    sha256: str
    key_id: str
    signed: str


class GapItem(BaseModel):
    """kind `records`: epoch, low, high. kind `outage`: start, end; name is the group."""

    kind: str
    name: str
    cause: str
    missing: int
    epoch: str | None = None
    low: int | None = None
    high: int | None = None
    start: str | None = None
    end: str | None = None


class ClosureAnswer(BaseModel):
    """signed: the signed closure, base64; null while the period is open."""

    flight: str
    tail: str
    kind: str
    state: str
    revision: int
    records: int
    records_missing: int
    gaps: list[GapItem]
    manifest_sha256: str | None
    t_ground: str | None
    key_id: str | None
    signed: str | None


class KpiSeriesItem(BaseModel):
    """measured, predicted: in `unit`; null where there was none."""

    name: str
    esn: str
    unit: str
    measured: list[float | None]
    predicted: list[float | None]


class KpiItem(BaseModel):
    """Means of model outputs over steps of step_s from t0."""

    bundle: str
    t0: str
    step_s: float
    series: list[KpiSeriesItem]


class Kpis(BaseModel):
    items: list[KpiItem]


class ReportValue(BaseModel):
    min: float
    mean: float
    max: float
    n: int


class ReportItem(BaseModel):
    """margins: limit minus greatest value. corrected: means at standard day, temperatures in K.
    subject: of an exceedance the alert's id."""

    name: str
    phase: str
    start: str
    end: str
    values: dict[str, ReportValue]
    outcome: str
    subject: str
    margins: dict[str, float]
    corrected: dict[str, float]


class Reports(BaseModel):
    items: list[ReportItem]


class VersionBundleItem(BaseModel):
    """muted: why it does not predict, or empty."""

    name: str
    release: int
    sha256: str
    probation: bool
    muted: str


class VersionRefusalItem(BaseModel):
    """An update that was refused, failed or taken back, by the aircraft's own word."""

    t: str
    bundle: str
    step: str
    decision: str
    codes: list[str]
    set_id: str


class VersionItem(BaseModel):
    """A version report whose signature, tail and counter stand. t: event time, null before the
    aircraft had one; t_aboard: its wall clock; t_ground: when it came; counter: grows over the life
    of the device key."""

    t: str | None
    t_aboard: str
    t_ground: str
    key_id: str
    counter: int
    boot: int
    why: str
    slot: str
    set_id: str
    bundles: list[VersionBundleItem]
    probation: bool
    last_good: str
    left: list[str]
    floors: dict[str, int]
    tuf: dict[str, dict[str, int]]
    engines: list[Engine]
    refusals: list[VersionRefusalItem]


class VersionRefused(BaseModel):
    """A version report that came and does not count: foreign, replayed or late."""

    t_ground: str
    reason: str
    detail: str


class TwinVersion(BaseModel):
    """runs: null before the enrolled device said what it runs. refused: newest first."""

    tail: str
    runs: VersionItem | None
    refused: list[VersionRefused]


class UpdateItem(BaseModel):
    """chained: this record names the hash of the audit record before it; null when that one
    is not here."""

    t: str
    decision: str
    subject: str
    phase: str
    reasons: list[str]
    detail: dict[str, str]
    epoch: str
    seq: int
    chained: bool | None


class Updates(BaseModel):
    items: list[UpdateItem]


class Ready(BaseModel):
    status: str
    checks: dict[str, str]
