"""The settings and the folders of one ground.

In: `ground.toml` of a state folder. Out: a frozen `GroundConfig`, and `Paths` below the folder.
Always holds: an unknown key, a missing one or a value out of its range is refused by file and
key; nothing below `__main__` reads the environment.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from shared.errors import ConfigError
from shared.settings import load_settings_file
from shared.topics import IDENTIFIER

SEGMENT_BYTES_MAX = 64 << 20


class NatsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where nats-server listens."""

    port: int
    mqtt_port: int


class HttpConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the api listens; with both of the others by HTTPS, else by HTTP."""

    port: int
    tls_cert: str = ""
    tls_key: str = ""


class IngestConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds of a batch and of the disk."""

    batch_records_max: int = 256
    batch_wait_ms: int = 50
    segment_bytes_max: int = SEGMENT_BYTES_MAX
    disk_free_bytes_min: int = 256 << 20
    """Below this much free disk nothing is committed or acknowledged (assumption: room for the
    write-ahead log, a flight file and a person who needs to work)."""
    settle_ms: int = 2000
    """A flight that still misses records is closed when this long passed without a new one."""


class WorkerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many workers there are, and how they try jobs."""

    count: int = 1
    ack_wait_s: float = 30.0
    """A job whose worker is silent for so long is another's."""
    attempts_max: int = 4
    retry_wait_s: float = 10.0
    """Before the second try of a job; four times as long before each further one."""


class GroundConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One ground: its operator, its ports, its bounds."""

    operator: str
    host: str = "127.0.0.1"
    nats: NatsConfig
    http: HttpConfig
    ingest: IngestConfig = IngestConfig()
    worker: WorkerConfig = WorkerConfig()

    @property
    def nats_url(self) -> str:
        return f"nats://{self.host}:{self.nats.port}"

    @property
    def http_url(self) -> str:
        return f"http{'s' if self.http.tls_cert else ''}://{self.host}:{self.http.port}"


class Paths:
    """Every path below a state folder."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.config = state / "ground.toml"
        self.key = state / "identity" / "ground.key"
        self.control = state / "control.db"
        self.ledger = state / "ledger.db"
        self.segments = state / "lake" / "segments"
        self.flights = state / "lake" / "flights"
        self.blobs = state / "blobs"
        self.nats_config = state / "nats" / "nats.conf"
        self.nats_store = state / "nats" / "jetstream"
        self.run = state / "run"
        self.logs = state / "logs"

    def pid(self, name: str) -> Path:
        """Where the process `name` writes its id."""
        return self.run / f"{name}.pid"


def load_config(paths: Paths) -> GroundConfig:
    """The settings of a state folder; ConfigError names file, key and remedy."""
    where = str(paths.config)
    config = load_settings_file(
        GroundConfig, paths.config, "see docs/configuration.md",
        missing="make them with `tailtwin-ground init`",
    )  # fmt: skip
    check_config(config, where)
    return config


def check_config(config: GroundConfig, where: str) -> None:
    """Refuse values out of their range, by key."""

    def need(ok: bool, what: str, key: str, remedy: str) -> None:
        if not ok:
            raise ConfigError(what, f"{where}: {key}", remedy)

    need_identifier(config.operator, f"{where}: operator")
    ports = {
        "nats.port": config.nats.port,
        "nats.mqtt_port": config.nats.mqtt_port,
        "http.port": config.http.port,
    }
    for key, port in ports.items():
        need(1 <= port <= 65535, f"{port} is not a port", key, "1 to 65535, a free one")
    need(len(set(ports.values())) == 3, "two listeners on one port", "nats, http", "three ports")
    need(bool(config.http.tls_cert) == bool(config.http.tls_key), "one without the other",
         "http.tls_cert, http.tls_key", "both, or neither")  # fmt: skip
    need(config.host != "", "empty", "host", "an address of this machine, such as 127.0.0.1")
    ingest = config.ingest
    for key, value, low, high in (
        ("batch_records_max", ingest.batch_records_max, 1, 4096),
        ("batch_wait_ms", ingest.batch_wait_ms, 1, 1000),
        ("segment_bytes_max", ingest.segment_bytes_max, 1 << 16, 1 << 32),
        ("disk_free_bytes_min", ingest.disk_free_bytes_min, 0, 1 << 40),
        ("settle_ms", ingest.settle_ms, 0, 600_000),
    ):
        need(low <= value <= high, f"{value} out of range", f"ingest.{key}", f"{low} to {high}")
    worker = config.worker
    for name, figure, least, most in (
        ("count", worker.count, 1, 64),
        ("ack_wait_s", worker.ack_wait_s, 1.0, 600.0),
        ("attempts_max", worker.attempts_max, 1, 20),
        ("retry_wait_s", worker.retry_wait_s, 0.1, 3600.0),
    ):
        need(least <= figure <= most, f"{figure} out of range", f"worker.{name}",
             f"{least} to {most}")  # fmt: skip


def need_identifier(text: str, where: str) -> None:
    """ConfigError when a name in a file is no identifier."""
    if not IDENTIFIER.match(text):
        raise ConfigError(
            f"{text[:40]!r} is not an identifier", where, "use 1 to 32 of A-Z a-z 0-9 _ -"
        )


def write_config(paths: Paths, config: GroundConfig) -> None:
    """Write `ground.toml`; ConfigError when there is one already."""
    check_config(config, str(paths.config))
    text = (
        "# Settings of this ground. Every key: docs/configuration.md\n"
        f'operator = "{config.operator}"\nhost = "{config.host}"\n\n'
        f"[nats]\nport = {config.nats.port}\nmqtt_port = {config.nats.mqtt_port}\n\n"
        f"[http]\nport = {config.http.port}\n"
    )
    try:
        with paths.config.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(
            "this folder is a ground already", str(paths.config), "use it, or another folder"
        ) from None
