"""Tables of `ledger.db`. Only ingest writes them; api and worker read.

Always holds: the primary key of `records` is the identity of a record, so that nothing is ever
counted twice, whoever inserts it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    text,
)

METADATA = MetaData()
VERSION = 1


def _identity() -> list[Column[str] | Column[int]]:
    return [
        Column("tail", String(32), nullable=False),
        Column("epoch", String(32), nullable=False),
        Column("stream", String(32), nullable=False),
        Column("seq", BigInteger, nullable=False),
    ]


def _key(*names: str) -> PrimaryKeyConstraint:
    return PrimaryKeyConstraint(*names)


_IDENTITY = ("tail", "epoch", "stream", "seq")

meta = Table(
    "meta",
    METADATA,
    Column("key", String(32), primary_key=True),
    Column("value", String(64), nullable=False),
)

records = Table(
    "records",
    METADATA,
    *_identity(),
    Column("cls", String(16), nullable=False),
    Column("flight", String(32), nullable=False),
    Column("t_event_ns", BigInteger, nullable=False),
    Column("t_quality", Integer, nullable=False),
    Column("schema", String(64), nullable=False),
    Column("codec", String(16), nullable=False),
    Column("sha256", LargeBinary(32), nullable=False, comment="of the payload"),
    Column("sealed_sha256", LargeBinary(32), nullable=False, comment="of the whole envelope"),
    Column("segment", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("length", Integer, nullable=False),
    Column("t_ground_ns", BigInteger, nullable=False),
    Column("mark", String(8), nullable=False, comment="'', fork, no_set or corrupt"),
    _key(*_IDENTITY),
    sqlite_with_rowid=False,
)
Index("records_by_flight", records.c.tail, records.c.flight, records.c.cls)
Index(
    "records_marked",
    *(records.c[name] for name in _IDENTITY),
    sqlite_where=text("mark != ''"),
    postgresql_where=text("mark != ''"),
)

forks = Table(
    "forks",
    METADATA,
    *_identity(),
    Column("sealed_sha256", LargeBinary(32), nullable=False),
    Column("segment", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("length", Integer, nullable=False),
    Column("t_ground_ns", BigInteger, nullable=False),
    _key(*_IDENTITY, "sealed_sha256"),
)

coverage = Table(
    "coverage",
    METADATA,
    Column("tail", String(32), nullable=False),
    Column("epoch", String(32), nullable=False),
    Column("stream", String(32), nullable=False),
    Column("held", LargeBinary, nullable=False, comment="MessagePack, [[low, high), …]"),
    _key("tail", "epoch", "stream"),
)

drops = Table(
    "drops",
    METADATA,
    Column("tail", String(32), nullable=False),
    Column("epoch", String(32), nullable=False),
    Column("stream", String(32), nullable=False),
    Column("low", BigInteger, nullable=False),
    Column("high", BigInteger, nullable=False),
    Column("reason", String(64), nullable=False),
    _key("tail", "epoch", "stream", "low", "high"),
)

thinned = Table(
    "thinned",
    METADATA,
    *_identity(),
    Column("by_epoch", String(32), nullable=False, comment="of the block that stands for it"),
    Column("by_stream", String(32), nullable=False),
    Column("by_seq", BigInteger, nullable=False),
    Column("keep_every", Integer, nullable=False, comment="that block keeps 1 of so many readings"),
    _key(*_IDENTITY, "by_epoch", "by_stream", "by_seq"),
)

blocks = Table(
    "blocks",
    METADATA,
    *_identity(),
    Column("flight", String(32), nullable=False),
    Column("grp", String(32), nullable=False),
    Column("set_sha256", LargeBinary(32), nullable=False),
    Column("t0_ns", BigInteger, nullable=False),
    Column("t1_ns", BigInteger, nullable=False),
    Column("n", Integer, nullable=False),
    Column("summary", LargeBinary, nullable=False, comment="float64 (signals, 4): min max sum n"),
    _key(*_IDENTITY),
    sqlite_with_rowid=False,
)
Index("blocks_by_time", blocks.c.tail, blocks.c.grp, blocks.c.t0_ns)
Index("blocks_by_flight", blocks.c.tail, blocks.c.flight)

last_values = Table(
    "last_values",
    METADATA,
    Column("tail", String(32), nullable=False),
    Column("grp", String(32), nullable=False),
    Column("set_sha256", LargeBinary(32), nullable=False),
    Column("t_ns", BigInteger, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("f64", LargeBinary, nullable=False),
    Column("quality", LargeBinary, nullable=False),
    _key("tail", "grp"),
)

signal_sets = Table(
    "signal_sets",
    METADATA,
    Column("sha256", LargeBinary(32), primary_key=True),
    Column("name", String(32), nullable=False),
    Column("version", Integer, nullable=False),
    Column("text", LargeBinary, nullable=False),
)

alerts = Table(
    "alerts",
    METADATA,
    *_identity(),
    Column("id", String(64), nullable=False),
    Column("flight", String(32), nullable=False),
    Column("t_event_ns", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    _key(*_IDENTITY),
)
Index("alerts_by_time", alerts.c.tail, alerts.c.t_event_ns)

audits = Table(
    "audits",
    METADATA,
    *_identity(),
    Column("kind", String(32), nullable=False),
    Column("t_event_ns", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    _key(*_IDENTITY),
)
Index("audits_by_kind", audits.c.tail, audits.c.kind, audits.c.t_event_ns)

versions = Table(
    "versions",
    METADATA,
    *_identity(),
    Column("key_id", String(16), nullable=False, comment="of the device enrolled when it came"),
    Column("counter", BigInteger, nullable=False),
    Column("flight", String(32), nullable=False),
    Column("t_event_ns", BigInteger, nullable=False),
    Column("t_ground_ns", BigInteger, nullable=False),
    Column("reason", String(16), nullable=False, comment="'', or why it does not count"),
    Column("detail", String(200), nullable=False),
    Column("payload", LargeBinary, nullable=False, comment="signed, as it came"),
    _key(*_IDENTITY),
)
Index("versions_by_counter", versions.c.tail, versions.c.key_id, versions.c.counter)

states = Table(
    "states",
    METADATA,
    Column("tail", String(32), primary_key=True),
    Column("epoch", String(32), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("t_event_ns", BigInteger, nullable=False),
    Column("t_ground_ns", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

flights = Table(
    "flights",
    METADATA,
    Column("tail", String(32), nullable=False),
    Column("flight", String(32), nullable=False),
    Column("epoch", String(32), nullable=False, comment="the newest it has a record of"),
    Column("t_first_ns", BigInteger, nullable=False),
    Column("t_last_ns", BigInteger, nullable=False),
    Column("t_ground_ns", BigInteger, nullable=False, comment="when its last record came"),
    Column("records", BigInteger, nullable=False),
    Column("abandoned", Boolean, nullable=False),
    Column("dirty", Boolean, nullable=False, comment="to be compared again"),
    _key("tail", "flight"),
)
Index("flights_by_id", flights.c.flight)
Index("flights_dirty", flights.c.dirty, sqlite_where=text("dirty"))

manifests = Table(
    "manifests",
    METADATA,
    *_identity(),
    Column("flight", String(32), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("opened_ns", BigInteger, nullable=False),
    Column("closed_ns", BigInteger, nullable=False),
    Column("t_ground_ns", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False, comment="the verified body"),
    Column("signed", LargeBinary, nullable=False, comment="as it came"),
    _key(*_IDENTITY),
)
Index("manifests_by_flight", manifests.c.tail, manifests.c.flight, manifests.c.closed_ns)

closures = Table(
    "closures",
    METADATA,
    Column("tail", String(32), nullable=False),
    Column("flight", String(32), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("records_missing", BigInteger, nullable=False),
    Column("t_ground_ns", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("signed", LargeBinary, nullable=False),
    _key("tail", "flight", "revision"),
)

tails = Table(
    "tails",
    METADATA,
    Column("tail", String(32), primary_key=True),
    Column("epoch", String(32), nullable=False, comment="of its last hello"),
    Column("boot", BigInteger, nullable=False),
    Column("t_hello_ns", BigInteger, nullable=False),
)

epochs = Table(
    "epochs",
    METADATA,
    Column("tail", String(32), nullable=False),
    Column("epoch", String(32), nullable=False),
    Column("serial", Integer, nullable=False, comment="in the order of their first hellos"),
    Column("nonce", LargeBinary, nullable=False, comment="of its last hello; acks carry it"),
    _key("tail", "epoch"),
)

parts = Table(
    "parts",
    METADATA,
    Column("tail", String(32), nullable=False),
    Column("epoch", String(32), nullable=False),
    Column("stream", String(32), nullable=False),
    Column("low", BigInteger, nullable=False),
    Column("high", BigInteger, nullable=False),
    Column("flight", String(32), nullable=False, comment="a manifest of it names [low, high)"),
    _key("tail", "epoch", "stream", "low", "high", "flight"),
)

tail_sets = Table(
    "tail_sets",
    METADATA,
    Column("tail", String(32), nullable=False),
    Column("sha256", LargeBinary(32), nullable=False, comment="of a signal set it sent"),
    Column("t_ground_ns", BigInteger, nullable=False),
    _key("tail", "sha256"),
)
