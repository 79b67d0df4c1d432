"""How every ground process opens its SQLite files.

In: a path. Out: a SQLAlchemy engine over pysqlite3.
Always holds: the library is SQLite 3.51.3 or newer (older ones have the WAL-reset bug), WAL
with synchronous=FULL for writers, query-only for readers; transactions are ours, not the
driver's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pysqlite3
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError

from shared.errors import ConfigError, Corrupt, Unreachable

SQLITE_VERSION_MIN = (3, 51, 3)
BUSY_MS = 10_000
WAL_BYTES_KEPT = 16 << 20


def open_writer(path: Path) -> Engine:
    """Engine that may write; makes the file if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = _engine(f"file:{path.absolute()}?mode=rwc")

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=full")
        connection.execute("pragma foreign_keys=on")
        connection.execute(f"pragma journal_size_limit={WAL_BYTES_KEPT}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("begin immediate")

    return engine


def open_reader(path: Path) -> Engine:
    """Engine that can only read; ConfigError when there is no file."""
    if not path.exists():
        raise ConfigError("no such database", str(path), "run `tailtwin-ground init` or ingest")
    # mode=rw, not ro: a reader of a WAL database has to be able to make its shared memory.
    engine = _engine(f"file:{path.absolute()}?mode=rw")

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.execute("pragma query_only=on")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("begin")

    return engine


@contextmanager
def transaction(engine: Engine, where: str) -> Iterator[Connection]:
    """All or nothing; Unreachable when others hold the file for BUSY_MS, or the disk is full,
    Corrupt when it is no database any more."""
    try:
        with engine.begin() as db:
            yield db
    except OperationalError as error:
        if str(error.orig).startswith("no such"):
            raise  # a table or column that this code should have made
        remedy = "try again; if it stays, see what else has the file open, and the free disk"
        raise Unreachable(f"{error.orig}", where, remedy) from None
    except DatabaseError as error:
        if type(error) is not DatabaseError:
            raise  # a constraint, a type: ours
        remedy = "stop the ground, and put back the newest copy of this file"
        raise Corrupt(f"{error.orig}", where, remedy) from None


def _engine(uri: str) -> Engine:
    version = tuple(int(part) for part in pysqlite3.sqlite_version.split("."))
    if version < SQLITE_VERSION_MIN:
        raise ConfigError(
            f"SQLite {pysqlite3.sqlite_version} has the WAL-reset bug", "pysqlite3",
            "install pysqlite3 0.6.1 or newer",
        )  # fmt: skip

    def connect() -> Any:
        return pysqlite3.connect(
            uri, uri=True, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False
        )

    return create_engine("sqlite+pysqlite:///ground", module=pysqlite3, creator=connect)
