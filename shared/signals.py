"""The signal set: the ICD of an airframe, as data.

In: a TOML text. Out: a frozen `SignalSet` of groups of signals, its hash, and for each group
the numpy dtype of one bench bus reading.
Always holds: an unknown key, a missing one or a value out of its range is refused by name;
the hash depends on the meaning of the set only, not on comments or layout of the file.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from shared.bounds import Count, Int32, Octet
from shared.errors import ConfigError
from shared.phases import Phase
from shared.topics import check_identifier
from shared.wiring import Arinc429, Arinc717, OpcUa, check_arinc429, check_arinc717

Encoding = Literal["int", "f64", "enum", "text"]
READING_MAGIC = 0x5254  # "TR", little endian
READING_VERSION = 1
GROUP_COUNT_MAX = 64
SIGNAL_COUNT_MAX = 256  # of one group
SET_BYTES_MAX = 1 << 20

# Status byte of one signal in a bench reading (the SSM of ARINC 429, mapped).
STATUS_NORMAL, STATUS_NO_DATA, STATUS_FAILURE, STATUS_TEST = 0, 1, 2, 3
STATUS_PARITY, STATUS_ABSENT = 4, 5  # a word of wrong parity; no word in this row

# The roles that phase, flight and gate understand; a set binds those it has to its signals.
ROLES = (
    "altitude_ft", "airspeed_kt", "ground_speed_kt", "vertical_speed_fpm", "radio_height_ft",
    "wow_left", "wow_right", "on_ground",
    "parking_brake", "external_power", "apu_power", "battery_only",
    "n1_1", "n1_2", "n1_3", "n1_4", "n2_1", "n2_2", "n2_3", "n2_4",
    "fuel_cutoff_1", "fuel_cutoff_2", "fuel_cutoff_3", "fuel_cutoff_4",
    "oil_pressure_1", "oil_pressure_2", "oil_pressure_3", "oil_pressure_4",
    "eec_power_1", "eec_power_2", "eec_power_3", "eec_power_4",
    "utc_s",
)  # fmt: skip


class Signal(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """One named, typed observable. Engineering value = scale * raw + offset, in `unit` (UCUM)."""

    name: str
    unit: str
    encoding: Encoding = "int"
    scale: float = 1.0
    offset: float = 0.0
    range: tuple[float, float] | None = None
    """Plausible engineering values; outside is quality `bad(range)`."""
    rate_max: float | None = None
    """Largest plausible change, unit/s; beyond it is `suspect(rate)`."""
    enum: dict[str, Int32] = {}
    age_max_s: float | None = None
    """Older than this is stale; at least two periods, at most 3 s. Default: the larger of two
    periods and 0.4 s, at most 3 s (assumption)."""
    latency_s: float = 0.0
    true_is: Literal["high", "low"] | None = None
    """Sense of a discrete: which raw value (1 or 0) means air, set or on."""
    ata: str = ""
    lru: str = ""
    bus: str = ""
    label: str = ""
    sdi: str = ""
    arinc429: Arinc429 | None = None
    arinc717: Arinc717 | None = None
    opcua: OpcUa | None = None
    source_priority: Octet = 1
    redundant_of: str = ""
    """Name of the first of its family, which measures the same in the same unit."""
    disagree_max: float | None = None
    """Largest plausible difference within its family, in `unit`; the largest declared counts."""
    stuck_s: float | None = None
    """A value that has not changed for longer is `suspect(stuck)`; for what never rests."""
    spike_min: float | None = None
    """Judge spikes (Hampel, 7 samples); smaller than this, in `unit`, is none."""
    calibration: tuple[tuple[float, float], ...] = ()
    criticality: Literal["info", "monitor", "gate"] = "info"
    confidentiality: Literal["engineering", "fdm"] = "engineering"
    description: str = ""


class Group(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    kw_only=True,
    dict=True,
):
    """Signals that travel together at one rate."""

    name: str
    rate_hz: float
    signal: tuple[Signal, ...]
    block_s: float = 20.0
    """Length of a sealed block of this group, s (10 to 30)."""

    @property
    def period_ns(self) -> int:
        return round(1e9 / self.rate_hz)

    @cached_property
    def is_f64(self) -> npt.NDArray[np.bool_]:
        """One flag a signal: its raw value is a float64."""
        return np.array([s.encoding == "f64" for s in self.signal])

    @cached_property
    def dtype(self) -> np.dtype[np.void]:
        """One bench reading of this group, packed, little endian.

        `i` holds the int and enum signals in order, `f` the f64 ones, `status` all.
        """
        n_f64 = int(self.is_f64.sum())
        n_int = len(self.signal) - n_f64
        return np.dtype(
            [
                ("magic", "<u2"), ("version", "u1"), ("group", "u1"), ("set_hash", "<u8"),
                ("counter", "<u4"), ("t_ns", "<i8"),
                ("i", "<i4", (n_int,)), ("f", "<f8", (n_f64,)),
                ("status", "u1", (len(self.signal),)),
            ]
        )  # fmt: skip

    def age_max_ns(self, signal: Signal) -> int:
        """Age beyond which `signal` is stale, ns of the flight clock."""
        if signal.age_max_s is not None:
            return round(signal.age_max_s * 1e9)
        return min(3_000_000_000, max(2 * self.period_ns, 400_000_000))


class Crossing(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """A condition on one signal: above or below a value, in its unit."""

    signal: str
    above: float | None = None
    below: float | None = None

    def holds(self, value: float) -> bool:
        """False for a NaN."""
        return value > self.above if self.above is not None else value < (self.below or 0.0)


class AirData(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Signals that theta and delta are made of: Cel, [ft_i], 1."""

    tat: str
    altitude: str
    mach: str


class ReportRule(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """A report as data: least, mean, greatest and count of `signals` over a window."""

    name: str
    signals: tuple[str, ...]
    window: Literal["phase", "stable", "crossing", "exceedance"] = "phase"
    """`phase`: as long as `phase` lasts. `stable`: the steadiest `hold_s` of each `every_s` of
    it. `crossing`: from `start` to `end`. `exceedance`: while one of `exceedances` stands."""
    phase: str = ""
    min_s: float = 10.0
    """A phase shorter than this gives no report."""
    stable: dict[str, float] = {}
    """Signal to the largest spread of its means over 1 s, in its unit, that is steady."""
    hold_s: float = 60.0
    every_s: float = 1800.0
    start: Crossing | None = None
    end: Crossing | None = None
    max_s: float = 300.0
    """A `crossing` or `exceedance` longer than this is reported as timed out."""
    exceedances: tuple[str, ...] = ()
    limits: dict[str, float] = {}
    """Signal to its limit: the report says the margin that its greatest value left."""
    corrected: dict[str, Literal["speed", "temperature", "flow"]] = {}
    """Signals whose means are also given corrected to the standard day at sea level."""
    air: AirData | None = None


class Exceedance(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """An alert on one signal as data; hysteresis in its unit, persistence in flight seconds."""

    name: str
    fault_code: str
    signal: str
    onset: float
    clear: float
    persistence_s: float = 2.0
    clear_persistence_s: float = 5.0
    severity: Literal["advisory", "caution", "warning"] = "advisory"
    direction: Literal["high", "low"] = "high"
    phases: tuple[str, ...] = ()
    """Phases in which it may arise; empty means all."""
    rate_per_hour_max: Count = 60
    latched: bool = False
    """Once it arose it stands until the period ends, however the signal goes on."""


class _File(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    name: str
    version: Count
    airframe: str
    group: tuple[Group, ...]
    description: str = ""
    roles: dict[str, str] = {}
    report: tuple[ReportRule, ...] = ()
    exceedance: tuple[Exceedance, ...] = ()


class SignalSet:
    """A checked signal set. Look up by name; groups and signals keep the order of the file."""

    def __init__(self, file: _File, text: bytes) -> None:
        self.name, self.version, self.airframe = file.name, file.version, file.airframe
        self.groups: tuple[Group, ...] = file.group
        self.roles: dict[str, str] = dict(file.roles)
        self.reports, self.exceedances = file.report, file.exceedance
        self.text = text
        # defaults are left out, so that a key the format gains later changes no set's hash
        canonical = msgspec.json.encode(file, order="deterministic")
        self.sha256 = hashlib.sha256(canonical).digest()
        self.bus_hash = int.from_bytes(self.sha256[:8], "little")
        """The `set_hash` that readings carry: the first 8 bytes of the hash."""
        self.group_index: dict[str, int] = {g.name: i for i, g in enumerate(self.groups)}
        self.position: dict[str, tuple[Group, int]] = {
            s.name: (g, i) for g in self.groups for i, s in enumerate(g.signal)
        }

    def group(self, name: str) -> Group:
        """The group of that name; KeyError if there is none."""
        return self.groups[self.group_index[name]]

    def signal(self, name: str) -> Signal:
        """The signal of that name; KeyError if there is none."""
        group, index = self.position[name]
        return group.signal[index]

    @cached_property
    def families(self) -> dict[str, tuple[str, ...]]:
        """By signal that has redundant ones: all of its family, by `source_priority`."""
        found: dict[str, list[Signal]] = {}
        for group in self.groups:
            for signal in group.signal:
                if first := signal.redundant_of:
                    found.setdefault(first, [self.signal(first)]).append(signal)
        ordered = [sorted(f, key=lambda s: s.source_priority) for f in found.values()]
        return {s.name: tuple(x.name for x in family) for family in ordered for s in family}

    @property
    def signal_count(self) -> int:
        return len(self.position)


def load_signal_set(path: Path) -> SignalSet:
    """Read and check a signal set; ConfigError names file, key and remedy."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the signal set: {error.strerror}", str(path), "check the path"
        ) from None
    return parse_signal_set(text, str(path))


def parse_signal_set(text: bytes, where: str) -> SignalSet:
    """The same from bytes, as they travel in a `signal-set/1` record."""
    if len(text) > SET_BYTES_MAX:
        raise ConfigError(f"larger than {SET_BYTES_MAX} bytes", where, "split the airframe")
    try:
        file = msgspec.convert(tomllib.loads(text.decode()), _File)
    except (ValueError, OverflowError, RecursionError, msgspec.ValidationError) as error:
        raise ConfigError(str(error)[:300], where, "see docs/signal-set.md") from None
    _check(file, where)
    return SignalSet(file, text)


def pack_signal_set(signals: SignalSet) -> bytes:
    """Payload of a `signal-set/1` record with codec `zstd`: small enough for every link."""
    return zstandard.ZstdCompressor(level=19).compress(signals.text)


def unpack_signal_set(payload: bytes, codec: str, where: str) -> SignalSet:
    """The set of a `signal-set/1` record, plain or `zstd`; ConfigError when it is none."""
    if codec == "zstd":
        try:
            if not 0 < zstandard.frame_content_size(payload) <= SET_BYTES_MAX:
                raise ConfigError(f"no size, or over {SET_BYTES_MAX} bytes", where)
            payload = zstandard.ZstdDecompressor().decompress(payload)
        except zstandard.ZstdError as error:
            raise ConfigError(f"not zstd: {error}", where) from None
    elif codec:
        raise ConfigError(f"unknown codec {codec[:16]!r}", where, "plain or zstd")
    return parse_signal_set(payload, where)


def _check(file: _File, where: str) -> None:
    def need(ok: bool, what: str, key: str, remedy: str) -> None:
        if not ok:
            raise ConfigError(what, f"{where}: {key}", remedy)

    need(0 < len(file.group) <= GROUP_COUNT_MAX, "no group, or too many", "group", "1 to 64")
    check_identifier(file.name, f"{where}: name")
    seen_groups: set[str] = set()
    seen: set[str] = set()
    for group in file.group:
        key = f"group {group.name!r}"
        check_identifier(group.name, f"{where}: {key}")
        need(len(group.name) <= 24, "group name is too long", key, "24 characters at most")
        need(group.name not in seen_groups, "group named twice", key, "rename one")
        seen_groups.add(group.name)
        need(0.01 <= group.rate_hz <= 1000, "rate_hz out of range", key, "0.01 to 1000")
        need(1 <= group.block_s <= 60, "block_s out of range", key, "10 to 30, at most 60")
        need(0 < len(group.signal) <= SIGNAL_COUNT_MAX, "no signal, or too many", key, "1 to 256")
        for signal in group.signal:
            key = f"signal {signal.name!r}"
            check_identifier(signal.name, f"{where}: {key}")
            need(signal.name not in seen, "signal named twice", key, "rename one")
            seen.add(signal.name)
            need(signal.encoding != "text", "text signals are not carried yet", key, "use enum")
            need(signal.scale > 0, "scale must be above 0", key, "the LSB in the unit")
            if signal.range is not None:
                need(signal.range[0] < signal.range[1], "range is empty", key, "[low, high]")
            if signal.age_max_s is not None:
                low = 2 / group.rate_hz
                need(low <= signal.age_max_s <= max(3.0, low), "age_max_s out of range", key,
                     "at least two periods, at most 3 s")  # fmt: skip
            for name in ("rate_max", "disagree_max", "stuck_s", "spike_min"):
                limit = getattr(signal, name)
                need(limit is None or limit > 0, f"{name} must be above 0", key, "leave it out")
            need(signal.encoding != "enum" or bool(signal.enum), "enum without names", key,
                 'enum = { off = 0, on = 1 }')  # fmt: skip
            if signal.arinc429 is not None:
                check_arinc429(
                    signal.arinc429, signal.encoding, signal.label, signal.sdi, key, need
                )
            if signal.arinc717 is not None:
                check_arinc717(signal.arinc717, signal.encoding, key, need)
    _check_redundancy(file, need)
    known = {signal.name: signal for group in file.group for signal in group.signal}
    for role, name in file.roles.items():
        need(role in ROLES, "unknown role", f"roles.{role}", "one of " + ", ".join(ROLES))
        need(name in seen, f"no signal {name!r}", f"roles.{role}", "name a signal of this set")
        need(known[name].stuck_s is None, "stuck_s on a signal that rests at the stand, where the "
             "gate reads it", f"roles.{role}", "leave stuck_s out")  # fmt: skip
    _check_proofs(file, need)
    for report in file.report:
        _check_report(report, seen, {rule.name for rule in file.exceedance}, need)
    for rule in file.exceedance:
        key = f"exceedance {rule.name!r}"
        check_identifier(rule.name, f"{where}: {key}")
        need(rule.signal in seen, f"no signal {rule.signal!r}", key, "name a signal of this set")
        span = known[rule.signal].range
        need(span is None or span[0] < rule.onset < span[1], "onset outside the signal's range, "
             "where samples are bad", key, "give the range of the sensor")  # fmt: skip
        ordered = rule.clear < rule.onset if rule.direction == "high" else rule.clear > rule.onset
        need(ordered, "no hysteresis between onset and clear", key, "clear inside onset")
        wrong = [phase for phase in rule.phases if phase not in set(Phase)]
        need(not wrong, f"no phase {', '.join(wrong)}", f"{key}: phases",
             "one of " + ", ".join(Phase))  # fmt: skip


def _check_proofs(file: _File, need: Callable[[bool, str, str, str], None]) -> None:
    """Two roles are two proofs: neither one signal nor one family may give both. Else a single
    squat switch would be two gears that agree, and one engine's speed that of all."""
    first = {s.name: s.redundant_of or s.name for g in file.group for s in g.signal}
    given: dict[str, str] = {}
    for role, name in file.roles.items():
        other = given.setdefault(first[name], role)
        need(other == role, f"{name!r} is {other} already", f"roles.{role}",
             "leave the role out, or name another sensor; of one gear switch bind on_ground")  # fmt: skip


def _check_redundancy(file: _File, need: Callable[[bool, str, str, str], None]) -> None:
    """A redundant signal names the first of its family, which is not redundant itself."""
    known = {signal.name: signal for group in file.group for signal in group.signal}
    for signal in known.values():
        if signal.redundant_of:
            key = f"signal {signal.name!r}"
            first = known.get(signal.redundant_of)
            need(first is not None, f"no signal {signal.redundant_of!r}", f"{key}: redundant_of",
                 "name a signal of this set")  # fmt: skip
            assert first is not None
            need(first is not signal and not first.redundant_of,
                 f"{first.name!r} is redundant itself", f"{key}: redundant_of",
                 "name the first of the family")  # fmt: skip
            need(first.unit == signal.unit, f"{signal.unit!r} against {first.unit!r}",
                 f"{key}: redundant_of", "give both in one unit")  # fmt: skip


def _check_report(
    rule: ReportRule, signals: set[str], exceedances: set[str],
    need: Callable[[bool, str, str, str], None],
) -> None:  # fmt: skip
    """Every key that the rule's window needs is there, and names what exists."""
    key = f"report {rule.name!r}"
    named = [*rule.signals, *rule.stable, *rule.limits, *rule.corrected]
    named += [x.signal for x in (rule.start, rule.end) if x is not None]
    named += [rule.air.tat, rule.air.altitude, rule.air.mach] if rule.air is not None else []
    for name in named:
        need(name in signals, f"no signal {name!r}", key, "name a signal of this set")
    for part in ("limits", "corrected"):
        for name in getattr(rule, part):
            need(name in rule.signals, f"{name!r} is not reported", f"{key}: {part}",
                 "add it to signals")  # fmt: skip
    need(0 < len(rule.signals) <= SIGNAL_COUNT_MAX, "no signal, or too many", key, "1 to 256")
    need(not rule.corrected or rule.air is not None, "correcting needs air data", key,
         'air = { tat = "…", altitude = "…", mach = "…" }')  # fmt: skip
    if rule.window in ("phase", "stable"):
        need(rule.phase in set(Phase), f"no phase {rule.phase!r}", key,
             "one of " + ", ".join(Phase))  # fmt: skip
    if rule.window == "stable":
        need(bool(rule.stable), "nothing says what is stable", f"{key}: stable",
             "{ SIGNAL = largest spread }")  # fmt: skip
        need(10 <= rule.hold_s <= 600, "hold_s out of range", key, "10 to 600")
        need(rule.every_s >= rule.hold_s, "every_s below hold_s", key, "raise every_s")
    if rule.window == "crossing":
        for name, crossing in (("start", rule.start), ("end", rule.end)):
            ok = crossing is not None and (crossing.above is None) != (crossing.below is None)
            need(ok, "needs a signal, and above or below", f"{key}: {name}",
                 '{ signal = "ENG1_N2", above = 5.0 }')  # fmt: skip
    if rule.window == "exceedance":
        for name in rule.exceedances:
            need(name in exceedances, f"no exceedance {name!r}", key, "name one of this set")
        need(bool(rule.exceedances), "no exceedances", key, "name at least one")
    need(0 < rule.max_s <= 7200, "max_s out of range", key, "up to 7200")
