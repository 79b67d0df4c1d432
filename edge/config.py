"""Settings of the edge: one profile file, parsed once and strictly.

In: a TOML file and the identity folder. Out: frozen slices, one for each part.
Always holds: an unknown key, a missing one or a value out of range ends the start with an
error that names file, key and remedy. Nothing reads the environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from edge.acquire.sources import SourceConfig
from edge.update.gate import GateRule
from shared.errors import ConfigError
from shared.identity import Signer
from shared.profile import ComputeProfile
from shared.settings import load_settings_file
from shared.signals import SignalSet, load_signal_set
from shared.topics import check_identifier
from signing.verify import BUNDLE_BYTES_MAX, AttestationPolicy

SOURCES_MAX = 16  # buses of one computer; assumption
UPDATE_SOURCES_MAX = 8
SOURCE_SCHEMES = ("https", "http", "nats", "file")


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class AirLink(_Strict, frozen=True, kw_only=True):
    """MQTT in the air. bytes_per_s_max: what the link is paid for; 0 is no cap."""

    host: str
    port: int
    bytes_per_s_max: int


class StandLink(_Strict, frozen=True, kw_only=True):
    """NATS at the stand."""

    host: str
    port: int
    bytes_per_s_max: int = 0


class Update(_Strict, frozen=True, kw_only=True):
    """Where signed bundles come from. sources: tried in order, as `open_source` takes them.
    acceptance: `technician`: a set waits for `tailtwin-edge accept`."""

    sources: tuple[str, ...]
    acceptance: Literal["none", "technician"] = "none"
    look_s: float = 86_400.0
    deadline_s: float = 120.0
    step_s: float = 60.0
    bundle_bytes_max: int = 8 << 20
    attestation: AttestationPolicy = AttestationPolicy()


class Recording(_Strict, frozen=True, kw_only=True):
    """journal_s: readings not yet in a block are durable after this, flight seconds."""

    journal_s: float = 1.0
    outbox_bytes_max: int = 512 << 20
    snapshot_pre_s: float = 30.0
    snapshot_post_s: float = 30.0


class Seal(_Strict, frozen=True, kw_only=True):
    """What the outbox is encrypted under at rest; docs/adr/0009."""

    kind: Literal["file", "tpm", "none"] = "file"
    tpm_tcti: str = "device:/dev/tpmrm0"


class Pace(_Strict, frozen=True, kw_only=True):
    """tick_s: acquisition tick, wall. flight_rate: of the flight clock; not 1 on a bench only."""

    tick_s: float = 0.010
    messages_per_tick_max: int = 4096
    flight_rate: float = 1.0
    model_deadline_s: float = 0.5
    state_period_s: float = 60.0
    kpi_step_s: float = 5.0
    kpi_window_s: float = 60.0


class Profile(_Strict, frozen=True, kw_only=True):
    """One computer aboard and how it is wired. `bench` allows what only a bench may do."""

    name: str
    signal_set: str
    source: tuple[SourceConfig, ...]
    air: AirLink
    compute: ComputeProfile
    bench: bool = False
    stand: StandLink | None = None
    update: Update | None = None
    gate: GateRule = GateRule()
    recording: Recording = Recording()
    seal: Seal = Seal()
    pace: Pace = Pace()
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class Engine(_Strict, frozen=True, kw_only=True):
    """One installed engine."""

    position: int
    esn: str
    part_number: str


class Tail(_Strict, frozen=True, kw_only=True):
    """Who this aircraft is, as identity/tail.toml says."""

    operator: str
    tail: str
    type: str
    registration: str = ""
    engines: tuple[Engine, ...] = ()


class Enrolment(_Strict, frozen=True, kw_only=True):
    """What the ground gave this tail: link credentials and the ground's public key (hex)."""

    user: str
    password: str
    ground_pub: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the daemon starts from."""

    profile: Profile
    signals: SignalSet
    tail: Tail
    enrolment: Enrolment
    device: Signer
    state_dir: Path
    folder: Path = Path()
    """Of the profile: what its paths are relative to."""

    @property
    def esn_by_position(self) -> dict[int, str]:
        return {engine.position: engine.esn for engine in self.tail.engines}


def load_profile(path: Path) -> tuple[Profile, SignalSet]:
    """The profile and the signal set it names (relative to the profile's folder)."""
    profile = load_settings_file(Profile, path, "see docs/configuration.md")
    pace = profile.pace
    if pace.flight_rate != 1.0 and not profile.bench:
        raise ConfigError(
            "only a bench may scale the flight clock", f"{path}: pace.flight_rate", "set it to 1.0"
        )
    for key, ok in {
        "source": 1 <= len(profile.source) <= SOURCES_MAX,
        "pace.flight_rate": 0.1 <= pace.flight_rate <= 200,
        "pace.tick_s": 0.001 <= pace.tick_s <= 0.1,
        "pace.messages_per_tick_max": 1 <= pace.messages_per_tick_max <= 32_768,
        "recording.journal_s": 0.1 <= profile.recording.journal_s <= 1.0,
        "recording.outbox_bytes_max": profile.recording.outbox_bytes_max >= 1 << 20,
        "recording.snapshot_pre_s": 0 <= profile.recording.snapshot_pre_s <= 120,
        "recording.snapshot_post_s": 0 <= profile.recording.snapshot_post_s <= 120,
        "air.bytes_per_s_max": profile.air.bytes_per_s_max >= 0,
        "pace.kpi_step_s": 0 < pace.kpi_step_s <= pace.kpi_window_s,
        **_update_bounds(profile.update),
    }.items():
        if not ok:
            raise ConfigError("out of range", f"{path}: {key}", "see docs/configuration.md")
    return profile, load_signal_set(path.parent / profile.signal_set)


def _update_bounds(update: Update | None) -> dict[str, bool]:
    if update is None:
        return {}
    return {
        "update.sources": 1 <= len(update.sources) <= UPDATE_SOURCES_MAX
        and all(text.partition("://")[0] in SOURCE_SCHEMES for text in update.sources),
        "update.deadline_s": 1 <= update.deadline_s <= 3600,
        "update.look_s": update.look_s == 0 or 3600 <= update.look_s <= 2_592_000,
        "update.step_s": 0 < update.step_s <= update.deadline_s,
        "update.bundle_bytes_max": 1 <= update.bundle_bytes_max <= BUNDLE_BYTES_MAX,
    }


def load_settings(profile_path: Path, state_dir: Path) -> Settings:
    """Profile and identity; ConfigError when either is not usable."""
    profile, signals = load_profile(profile_path)
    identity = state_dir / "identity"
    tail = load_tail(identity / "tail.toml")
    enrolment = load_settings_file(
        Enrolment, identity / "enrolment.toml", "enrol the tail at the ground"
    )
    if len(enrolment.ground_pub) != 64:
        raise ConfigError("not a 32-byte key in hex", f"{identity}/enrolment.toml: ground_pub",
                          "copy the enrolment that the ground wrote")  # fmt: skip
    device = Signer.load(identity / "device.key")
    return Settings(profile, signals, tail, enrolment, device, state_dir, profile_path.parent)


def load_tail(path: Path) -> Tail:
    """identity/tail.toml, checked."""
    tail = load_settings_file(Tail, path, "see tail.toml in docs/configuration.md")
    check_identifier(tail.operator, f"{path}: operator")
    check_identifier(tail.tail, f"{path}: tail")
    for engine in tail.engines:
        check_identifier(engine.esn, f"{path}: engines.esn")
    return tail
