"""Control: who is enrolled, with which keys and link credentials.

In: tails to enrol. Out: their device keys, and users of the broker.
Always holds: a tail has one device key at a time, and changing it is said out loud; passwords
are random, 256 bits, and rest only in files of mode 0600 (`control.db`, `nats.conf`).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    delete,
    insert,
    select,
    update,
)

from ground.config import need_identifier
from ground.database import open_reader, open_writer
from shared.errors import ConfigError
from shared.identity import key_id
from shared.settings import parse_settings

METADATA = MetaData()
SERVICES = ("ingest", "api", "worker")
TAIL_FILE_BYTES_MAX = 64 * 1024
ENGINES_MAX = 8

twins = Table(
    "twins",
    METADATA,
    Column("tail", String(32), primary_key=True),
    Column("operator", String(32), nullable=False),
    Column("type", String(64), nullable=False),
    Column("registration", String(16), nullable=False),
    Column("device_pub", LargeBinary(32), nullable=False),
    Column("t_enrolled_ns", BigInteger, nullable=False),
)

engines = Table(
    "engines",
    METADATA,
    Column("tail", String(32), ForeignKey("twins.tail"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("esn", String(32), nullable=False),
    Column("part_number", String(64), nullable=False),
    PrimaryKeyConstraint("tail", "position"),
)

users = Table(
    "users",
    METADATA,
    Column("user", String(32), primary_key=True),
    Column("role", String(16), nullable=False, comment="device or the name of a service"),
    Column("password", String(64), nullable=False),
)

flight_files = Table(
    "flight_files",
    METADATA,
    Column("tail", String(32), nullable=False),
    Column("flight", String(32), nullable=False),
    Column("revision", Integer, nullable=False, comment="of the closure it was written for"),
    Column("path", String(200), nullable=False),
    Column("samples", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("t_ground_ns", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("problem", String(400), nullable=False),
    PrimaryKeyConstraint("tail", "flight"),
)


class FittedEngine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One engine where it hangs, by its serial number."""

    position: int
    esn: str
    part_number: str


class TailFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `tail.toml` says of an aircraft."""

    operator: str
    tail: str
    type: str
    registration: str
    engines: list[FittedEngine] = []


@dataclass(frozen=True, slots=True)
class Twin:
    """An enrolled tail."""

    tail: str
    operator: str
    type: str
    registration: str
    device_pub: bytes
    t_enrolled_ns: int
    engines: tuple[FittedEngine, ...]


@dataclass(frozen=True, slots=True)
class User:
    """A user of the broker. role: `device` or the name of a service."""

    user: str
    role: str
    password: str


def load_tail_file(path: Path) -> TailFile:
    """Read and check `tail.toml`; ConfigError names file, key and remedy."""
    where = str(path)
    try:
        text = path.read_bytes()
        if len(text) > TAIL_FILE_BYTES_MAX:
            raise ConfigError(f"larger than {TAIL_FILE_BYTES_MAX} bytes", where, "is it the file?")
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", where, "check the path") from None
    tail = parse_settings(TailFile, text, where, "see docs/configuration.md")
    need_identifier(tail.operator, f"{where}: operator")
    need_identifier(tail.tail, f"{where}: tail")
    if tail.tail in SERVICES:
        raise ConfigError(f"{tail.tail!r} is a service", f"{where}: tail", "name the aircraft")
    if not 1 <= len(tail.type) <= 64 or not 1 <= len(tail.registration) <= 16:
        raise ConfigError("empty or too long", f"{where}: type, registration", "at most 64 and 16")
    if len(tail.engines) > ENGINES_MAX:
        raise ConfigError("too many", f"{where}: engines", f"at most {ENGINES_MAX}")
    for engine in tail.engines:
        need_identifier(engine.esn, f"{where}: engines.esn")
    if len({engine.position for engine in tail.engines}) != len(tail.engines):
        raise ConfigError("two engines at one position", f"{where}: engines", "number them 1, 2, …")
    return tail


class Control:
    """`control.db`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @staticmethod
    def open(path: Path, *, write: bool = False) -> Control:
        engine = open_writer(path) if write else open_reader(path)
        if write:
            METADATA.create_all(engine)
            path.chmod(0o600)
        return Control(engine)

    def add_services(self) -> None:
        """Users of our own processes; those that exist keep their password."""
        with self.engine.begin() as db:
            known = set(db.scalars(select(users.c.user)))
            for name in SERVICES:
                if name not in known:
                    db.execute(insert(users).values(user=name, role=name, password=_password()))

    def enrol(
        self, tail: TailFile, device_pub: bytes, now_ns: int, *, replace_key: bool = False
    ) -> User:
        """Store a twin, its engines and new link credentials, which it returns."""
        row = {
            "operator": tail.operator, "type": tail.type, "registration": tail.registration,
            "device_pub": device_pub, "t_enrolled_ns": now_ns,
        }  # fmt: skip
        user = User(tail.tail, "device", _password())
        with self.engine.begin() as db:
            known = db.scalar(select(twins.c.device_pub).where(twins.c.tail == tail.tail))
            if known is not None and known != device_pub and not replace_key:
                raise ConfigError(
                    f"already enrolled with key {key_id(known)}, not {key_id(device_pub)}",
                    tail.tail, "if its computer was changed, say --replace-key",
                )  # fmt: skip
            if known is None:
                db.execute(insert(twins).values(tail=tail.tail, **row))
            else:
                db.execute(update(twins).where(twins.c.tail == tail.tail).values(**row))
            db.execute(delete(engines).where(engines.c.tail == tail.tail))
            for engine in tail.engines:
                values = {"tail": tail.tail, **msgspec.structs.asdict(engine)}
                db.execute(insert(engines).values(**values))
            db.execute(delete(users).where(users.c.user == tail.tail))
            db.execute(insert(users).values(user=user.user, role=user.role, password=user.password))
        return user

    def twins(self) -> list[Twin]:
        """Every enrolled tail, by name."""
        with self.engine.begin() as db:
            hung: dict[str, list[FittedEngine]] = {}
            for row in db.execute(select(engines).order_by(engines.c.position)):
                hung.setdefault(row.tail, []).append(
                    FittedEngine(row.position, row.esn, row.part_number)
                )
            return [
                Twin(row.tail, row.operator, row.type, row.registration, row.device_pub,
                     row.t_enrolled_ns, tuple(hung.get(row.tail, ())))
                for row in db.execute(select(twins).order_by(twins.c.tail))
            ]  # fmt: skip

    def device_keys(self) -> dict[str, bytes]:
        """Device key of every enrolled tail."""
        with self.engine.begin() as db:
            return {row.tail: row.device_pub for row in db.execute(select(twins))}

    def users(self) -> list[User]:
        with self.engine.begin() as db:
            rows = db.execute(select(users).order_by(users.c.role, users.c.user))
            return [User(row.user, row.role, row.password) for row in rows]

    def password(self, service: str) -> str:
        """Password of one of our own processes."""
        for user in self.users():
            if user.user == service and user.role == service:
                return user.password
        raise ConfigError(f"no user {service!r}", "control.db", "run `tailtwin-ground init`")


def _password() -> str:
    return secrets.token_hex(32)
