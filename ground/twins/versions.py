"""Versions: what every tail runs, by its own signed word.

In: version reports of the ledger, and the key of the device that each tail enrolled. Out: the
report that counts, and those that came and do not.
Always holds: what ingest judged is not judged again by age or clock; a report of a device that is
no longer enrolled says nothing about the tail.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, and_, func, select

from ground.ingest import schema
from ground.twins.control import Twin
from shared.identity import key_id
from shared.messages import VersionReport
from shared.version import read_version

REFUSED_MAX = 20


@dataclass(frozen=True, slots=True)
class Known:
    """The newest report that counts. t_ground_ns: when it came."""

    report: VersionReport
    key_id: str
    t_ground_ns: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A report that came and does not count."""

    reason: str
    detail: str
    t_ground_ns: int


class Versions:
    """Read-only, over the ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(self, twin: Twin) -> Known | None:
        """What this tail runs; None before its enrolled device said so."""
        return self.fleet([twin]).get(twin.tail)

    def fleet(self, twins: Iterable[Twin]) -> dict[str, Known]:
        """The same of many, by tail."""
        v = schema.versions
        newest = (
            select(v.c.tail, v.c.key_id, func.max(v.c.counter).label("counter"))
            .where(v.c.reason == "")
            .group_by(v.c.tail, v.c.key_id)
            .subquery()
        )
        query = select(v.c.tail, v.c.key_id, v.c.payload, v.c.t_ground_ns).join(
            newest,
            and_(v.c.tail == newest.c.tail, v.c.key_id == newest.c.key_id,
                 v.c.counter == newest.c.counter, v.c.reason == ""),
        )  # fmt: skip
        wanted = {twin.tail: key_id(twin.device_pub) for twin in twins}
        if len(wanted) == 1:
            query = query.where(v.c.tail == next(iter(wanted)))
        with self._engine.begin() as db:
            rows = db.execute(query).all()
        return {row.tail: _known(row) for row in rows if wanted.get(row.tail) == row.key_id}

    def refused(self, tail: str, limit: int = REFUSED_MAX) -> list[Refused]:
        """Reports that do not count, newest first."""
        v = schema.versions.c
        query = (
            select(v.reason, v.detail, v.t_ground_ns)
            .where(v.tail == tail, v.reason != "")
            .order_by(v.t_ground_ns.desc(), v.epoch, v.seq.desc())
            .limit(limit)
        )
        with self._engine.begin() as db:
            return [Refused(row.reason, row.detail, row.t_ground_ns) for row in db.execute(query)]


def _known(row: Any) -> Known:
    return Known(read_version(row.payload, f"version report of {row.tail}"), row.key_id,
                 row.t_ground_ns)  # fmt: skip
