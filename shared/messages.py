"""Payloads and control messages that cross the link, and nothing else.

Control messages (hello, ack, notice) are MessagePack arrays; payloads of records are maps, so
that a person can read them. Times are ns of event time unless the name says otherwise.
Always holds: `decode` bounds size before decoding and raises Rejected, never anything else.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

from shared.bounds import Count, Int62, Octet
from shared.errors import Rejected

CONTROL_BYTES_MAX = 64 * 1024
MANIFEST_BYTES_MAX = 512 * 1024
RANGES_MAX = 64


class StreamPosition(msgspec.Struct, frozen=True, array_like=True):
    """What an outbox holds of one stream: seq in [first_held, next_seq)."""

    first_held: Count
    next_seq: Count


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """First message of every connection."""

    v: Octet
    nonce: bytes
    boot: Count
    epoch: str
    streams: dict[str, StreamPosition]


class Coverage(msgspec.Struct, frozen=True, array_like=True):
    """Every seq below `up_to`, and at most 64 ranges [low, high) above it, lowest first."""

    up_to: Count
    ranges: list[tuple[Count, Count]] = []


class Ack(msgspec.Struct, frozen=True, array_like=True):
    """What the ground holds of one epoch. Travels as `identity.Signed` of domain `ack`.

    nonce: of the hello it answers, empty otherwise. ledger: identity of the ground's ledger.
    """

    v: Octet
    tail: str
    epoch: str
    ledger: str
    nonce: bytes
    received: dict[str, Coverage]
    safe: dict[str, Coverage]
    t_ground_ns: Int62


class Notice(msgspec.Struct, frozen=True, array_like=True):
    """The ground wants the tail to look at a bundle. Advice only: TUF decides what it is."""

    v: Octet
    kind: Literal["offer"]
    target: str
    by: str = ""


class PartStream(msgspec.Struct, frozen=True):
    """Records of one stream that belong to a period: seq in [low, high) of an epoch."""

    epoch: str
    stream: str
    low: Count
    high: Count


class GroupCount(msgspec.Struct, frozen=True):
    """Readings recorded of one group in a period, over all its parts."""

    group: str
    readings: Count
    t_first_ns: Int62
    t_last_ns: Int62


class Outage(msgspec.Struct, frozen=True):
    """Readings of one group that the recorder did not get.

    start_ns: event time of the last one recorded before; end_ns: of the first one after.
    missing: how many, by the bus counter; -1 when the counter cannot tell. Of cause `shed`, which
    is a decision of the governor, the times are just before the first that was left out and just
    after the last; the others of that time are recorded.
    """

    group: str
    start_ns: Int62
    end_ns: Int62
    missing: Int62
    cause: Literal["recorder_down", "bus_gap", "shed"]


class Oooi(msgspec.Struct, frozen=True):
    """Out, off, on, in; event time, ns; null when it has not happened or was not seen."""

    out_ns: Int62 | None = None
    off_ns: Int62 | None = None
    on_ns: Int62 | None = None
    in_ns: Int62 | None = None


class Manifest(msgspec.Struct, frozen=True):
    """What the aircraft says it recorded in one period. Travels signed, domain `manifest`."""

    v: Octet
    operator: str
    tail: str
    flight: str
    kind: Literal["flight", "ground"]
    leg: Count
    opened_ns: Int62
    closed_ns: Int62
    oooi: Oooi
    parts: list[PartStream]
    groups: list[GroupCount]
    outages: list[Outage]
    boots: list[Count]
    set_sha256: bytes
    bundles: list[str]
    esns: list[str]


class Gap(msgspec.Struct, frozen=True):
    """What a closure misses: records never received (seq), or readings never recorded (time)."""

    kind: Literal["records", "outage"]
    name: str
    """Stream of the records, or group of the readings."""
    epoch: str = ""
    low: Count = 0
    high: Count = 0
    start_ns: int = 0
    end_ns: int = 0
    missing: Int62 = 0
    cause: str = ""


class Closure(msgspec.Struct, frozen=True):
    """What the ground says it holds of one period. Travels and rests signed, domain `closure`.

    state: `complete` when no gap at all is known; `gaps` names every one, outages included.
    """

    v: Octet
    operator: str
    tail: str
    flight: str
    kind: Literal["flight", "ground"]
    revision: Count
    state: Literal["open", "complete", "gaps", "abandoned"]
    records: Count
    records_missing: Count
    gaps: list[Gap]
    manifest_sha256: bytes
    t_ground_ns: Int62


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one alert instance. `trigger` is (group, bus counter) of its reading."""

    v: Octet = 1
    id: str
    name: str
    fault_code: str
    change: Literal["onset", "clear", "suppressed"]
    severity: str
    ata: str = ""
    onset_ns: Int62
    clear_ns: Int62 | None = None
    signal: str = ""
    unit: str = ""
    value: float
    threshold: float
    occurrences: Count = 1
    suppressed: Count = 0
    esn: str = ""
    bundle: str = ""
    phase: str = ""
    trigger: tuple[str, Count] | None = None


class Drop(msgspec.Struct, frozen=True):
    """Records that retention evicted before the ground had them, and their payload hashes.

    epoch: of the records, when it is not the one the drop record itself is in; else empty. sha256:
    empty where several drop records were folded into one before the ground had them.
    """

    v: Octet
    stream: str
    low: Count
    high: Count
    sha256: list[bytes]
    reason: str
    epoch: str = ""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Where the aircraft is and what runs aboard; sent on change and once a minute."""

    v: Octet = 1
    phase: str
    confidence: str
    gate_open: bool
    gate_reasons: list[str]
    link: str
    slot: str
    bundles: list[str]
    alerts: list[str]
    """Instances that stand, by name and ESN."""
    worker: str
    boot: Count
    outbox_records: Count
    outbox_bytes: Count
    oldest_unsafe_ns: Int62 | None
    esns: list[str]
    shed: list[str] = []
    """What the governor has switched off, in its order: `models`, `bulk_2`, `bulk_5`, `kpis`."""
    muted: list[str] = []
    """Bundles that failed their probation, by name: they do not predict."""
    set_id: str = ""
    is_on_probation: bool = False


class KpiSeries(msgspec.Struct, frozen=True, kw_only=True):
    """Means of one model output over steps of `step_s`, beside what was measured.

    Integers in units of `lsb`; null where the model gave no prediction.
    """

    name: str
    esn: str
    unit: str
    lsb: float
    measured: list[Int62 | None]
    predicted: list[Int62 | None]


class Kpi(msgspec.Struct, frozen=True, kw_only=True):
    """Model outputs of one window."""

    v: Octet = 1
    bundle: str
    t0_ns: Int62
    step_s: float
    series: list[KpiSeries]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A report by rule of the signal set: per signal (min, mean, max, n) over its window."""

    v: Octet = 1
    name: str
    phase: str
    start_ns: Int62
    end_ns: Int62
    values: dict[str, tuple[float, float, float, Count]]
    outcome: Literal["complete", "aborted", "timed_out"] = "complete"
    margins: dict[str, float] = {}
    """Limit minus greatest value, in the signal's unit."""
    corrected: dict[str, float] = {}
    """Means corrected by theta and delta: speeds and flows in their unit, temperatures in K."""
    subject: str = ""
    """The alert it is about, by id; of an exceedance."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The readings of one group before and after an alert. block: as in shared.block."""

    v: Octet = 1
    alert: str
    group: str
    part: Count
    """Parts of one alert and group come in order of time, from 0."""
    block: bytes


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """One decision. `previous` is the sha-256 of the payload of the audit record before it."""

    v: Octet = 1
    previous: bytes
    kind: str
    """`update`, `gate`, `boot`, `period`, `worker`, `link`, …"""
    decision: str
    subject: str = ""
    phase: str = ""
    reasons: list[str] = []
    detail: dict[str, str] = {}


class VersionBundle(msgspec.Struct, frozen=True, kw_only=True):
    """One bundle of the live set. muted: why it does not predict, or empty."""

    name: str
    release: Count
    sha256: str
    probation: bool = False
    muted: str = ""


class VersionEngine(msgspec.Struct, frozen=True, kw_only=True):
    """What this computer was told is installed."""

    position: Count
    esn: str
    part_number: str = ""


class VersionRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """An update that was refused, failed or taken back. t_ns: wall clock of the aircraft."""

    t_ns: Int62
    bundle: str
    step: str
    decision: str
    codes: list[str]
    set_id: str = ""


class VersionReport(msgspec.Struct, frozen=True, kw_only=True):
    """What runs aboard, as this computer sees it. Travels as `SignedVersion`.

    counter: only grows over the life of the device key, whatever happens to the outbox, so that a
    report that is shown again is known. t_ns: wall clock; t_event_ns, t_quality: as in an envelope.
    """

    v: Octet = 1
    operator: str
    tail: str
    boot: Count
    counter: Count
    t_ns: Int62
    t_event_ns: Int62
    t_quality: Octet
    why: str
    """What it was made for: `boot`, `update`, `flight`."""
    slot: str
    """Empty: no set was ever installed."""
    set_id: str
    bundles: list[VersionBundle]
    probation: bool
    last_good: str
    """Id of the newest set that passed its probation."""
    left: list[str]
    """Ids of sets that failed or were taken back, oldest first."""
    floors: dict[str, Count]
    """Per name, the release that nothing may fall behind."""
    tuf: dict[str, dict[str, Count]]
    """Trusted metadata versions: repository (`image`, `director`), then role."""
    engines: list[VersionEngine]
    refusals: list[VersionRefusal]
    """The last ones, oldest first."""


class SignedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A `VersionReport`, encoded, under the device key: it can be checked apart from the link.

    signature: Ed25519 over `tailtwin-version-v1\\0` + report. See `shared.version`.
    """

    report: bytes
    signature: bytes


T = TypeVar("T")


def encode(message: msgspec.Struct) -> bytes:
    """MessagePack of a message."""
    return msgspec.msgpack.encode(message)


def decode(kind: type[T], data: bytes, where: str, bytes_max: int = CONTROL_BYTES_MAX) -> T:
    """A message of `kind`; Rejected when the bytes are not one or are over the cap."""
    if len(data) > bytes_max:
        raise Rejected(f"{len(data)} bytes, over the cap of {bytes_max}", where)
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(f"not a {kind.__name__.lower()}: {error}", where) from None
