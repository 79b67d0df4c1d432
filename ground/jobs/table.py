"""The table of jobs, in `control.db`: what counts, whatever the queue says.

In: jobs to do, and what became of them. Out: who may run which.
Always holds: of one kind and key at most one job is queued or running; a job is run by the worker
that holds its lease, and a lease is renewed and a result taken only from the try that holds it;
what a result leads to is committed with it, once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    Row,
    String,
    Table,
    and_,
    delete,
    func,
    insert,
    select,
    text,
    update,
)

from ground.config import Paths
from ground.database import open_reader, open_writer, transaction
from ground.jobs.handlers import KINDS, Kind
from ground.jobs.job import ENDED, ERROR_CHARS_MAX, TEXT_CHARS_MAX, Job, Policy
from ground.twins.control import METADATA
from shared.errors import Rejected

WHERE = "control.db"
KEY_CHARS_MAX = 200
PAYLOAD_BYTES_MAX = 1 << 20
LISTED_MAX = 1000
FORGOTTEN_MAX = 1000  # in one transaction: a statement names them all
Conclusion = Callable[[Connection, Job], None]

jobs = Table(
    "jobs",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("key", String(KEY_CHARS_MAX), nullable=False, comment="what it is about"),
    Column("state", String(8), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("progress", Float, nullable=False),
    Column("text", String(TEXT_CHARS_MAX), nullable=False, comment="of the progress"),
    Column("error", String(ERROR_CHARS_MAX), nullable=False, comment="of the last try that failed"),
    Column("payload", String, nullable=False, comment="JSON"),
    Column("result", String(64), nullable=False, comment="sha-256 of a blob"),
    Column("worker", String(80), nullable=False, comment="that runs it, or ran it last"),
    Column("created_ns", BigInteger, nullable=False),
    Column("due_ns", BigInteger, nullable=False, comment="not before"),
    Column("lease_ns", BigInteger, nullable=False, comment="its worker spoke last, and the lease"),
    Column("started_ns", BigInteger),
    Column("ended_ns", BigInteger),
)
_ACTIVE = text("state in ('queued', 'running')")
Index("jobs_one_active", jobs.c.kind, jobs.c.key, unique=True, sqlite_where=_ACTIVE)
Index("jobs_by_key", jobs.c.kind, jobs.c.key, jobs.c.created_ns)
Index("jobs_by_state", jobs.c.state, jobs.c.due_ns)


class Jobs:
    """Safe to use from several threads and processes."""

    def __init__(
        self, writer: Engine, reader: Engine, policy: Policy = Policy(),  # noqa: B008  # frozen
        kinds: Mapping[str, Kind] = KINDS,
    ) -> None:  # fmt: skip
        self.engine, self.reader, self.policy, self._kinds = writer, reader, policy, kinds
        METADATA.create_all(writer)

    @staticmethod
    def open(
        paths: Paths, policy: Policy = Policy(), kinds: Mapping[str, Kind] = KINDS,  # noqa: B008
    ) -> Jobs:  # fmt: skip
        return Jobs(open_writer(paths.control), open_reader(paths.control), policy, kinds)

    def add(self, kind: str, key: str, payload: Mapping[str, Any], now_ns: int) -> Job:
        """A new job, or the one of this kind and key that is queued or runs already."""
        with transaction(self.engine, WHERE) as db:
            return self.add_in(db, kind, key, payload, now_ns)

    def add_in(
        self, db: Connection, kind: str, key: str, payload: Mapping[str, Any], now_ns: int
    ) -> Job:
        """The same inside a transaction. Rejected when too many wait."""
        active = db.execute(
            select(jobs).where(jobs.c.kind == kind, jobs.c.key == key, _ACTIVE)
        ).first()
        if active is not None:
            return _job(active)
        body = _payload(kind, key, payload)
        waiting = db.scalar(
            select(func.count()).where(jobs.c.kind == kind, jobs.c.state == "queued")
        )
        most = self._kinds[kind].waiting_max
        if (waiting or 0) >= most:
            raise Rejected(f"{waiting} jobs wait, the bound is {most}", kind, "try again later")
        job = {
            "id": secrets.token_hex(8), "kind": kind, "key": key, "state": "queued",
            "attempts": 0, "progress": 0.0, "text": "", "error": "", "payload": body,
            "result": "", "worker": "", "created_ns": now_ns, "due_ns": now_ns, "lease_ns": 0,
            "started_ns": None, "ended_ns": None,
        }  # fmt: skip
        db.execute(insert(jobs).values(**job))
        return _job(db.execute(select(jobs).where(jobs.c.id == job["id"])).one())

    def get(self, identity: str) -> Job | None:
        with transaction(self.reader, WHERE) as db:
            row = db.execute(select(jobs).where(jobs.c.id == identity)).first()
        return _job(row) if row else None

    def newest(self, kind: str, prefix: str) -> Job | None:
        """Of all keys that begin with `prefix`, the newest job."""
        query = (
            select(jobs).where(jobs.c.kind == kind, jobs.c.key.startswith(prefix, autoescape=True))
            .order_by(jobs.c.created_ns.desc(), text("rowid desc")).limit(1)
        )  # fmt: skip
        with transaction(self.reader, WHERE) as db:
            row = db.execute(query).first()
        return _job(row) if row else None

    def listed(self, state: str = "", kind: str = "", limit: int = 100) -> list[Job]:
        """Newest first."""
        query = select(jobs).order_by(jobs.c.created_ns.desc(), text("rowid desc"))
        if state:
            query = query.where(jobs.c.state == state)
        if kind:
            query = query.where(jobs.c.kind == kind)
        with transaction(self.reader, WHERE) as db:
            return [_job(row) for row in db.execute(query.limit(min(limit, LISTED_MAX)))]

    def due(self, now_ns: int, limit: int) -> list[tuple[str, str]]:
        """(kind, id) of queued jobs whose time has come, the longest waiting first."""
        query = (
            select(jobs.c.kind, jobs.c.id)
            .where(jobs.c.state == "queued", jobs.c.due_ns <= now_ns)
            .order_by(jobs.c.due_ns)
            .limit(limit)
        )
        with transaction(self.reader, WHERE) as db:
            return [(row.kind, row.id) for row in db.execute(query)]

    def claim(self, identity: str, worker: str, now_ns: int) -> Job | Literal["over", "later"]:
        """The job, now run by `worker`; `later`: another has it, but may die; `over`: nothing to
        do, or not yet, and then it is put into the queue once it is due.

        A job whose worker went silent counts that try; with the last of them it is dead.
        """
        with transaction(self.engine, WHERE) as db:
            row = db.execute(select(jobs).where(jobs.c.id == identity)).first()
            if row is None or row.state in ENDED:
                return "over"
            if row.state == "queued" and row.due_ns > now_ns:
                return "over"
            if row.state == "running" and row.lease_ns > now_ns:
                return "later"
            if row.state == "running" and row.attempts >= self.policy.attempts_max:
                _set(db, identity, state="dead", ended_ns=now_ns, error=_silent(row))
                return "over"
            _set(
                db, identity, state="running", worker=worker[:80], attempts=row.attempts + 1,
                lease_ns=now_ns + self.policy.lease_ns, started_ns=now_ns, progress=0.0, text="",
                error=_silent(row) if row.state == "running" else row.error,
            )  # fmt: skip
            return _job(db.execute(select(jobs).where(jobs.c.id == identity)).one())

    def renew(self, job: Job, now_ns: int, progress: float, said: str) -> bool:
        """Keep the lease; False when this try does not hold it any more."""
        return self._of_try(
            job, lease_ns=now_ns + self.policy.lease_ns, progress=min(1.0, max(0.0, progress)),
            text=said[:TEXT_CHARS_MAX],
        )  # fmt: skip

    def finish(
        self, job: Job, result: str, now_ns: int, conclude: Conclusion = lambda _db, _job: None
    ) -> bool:
        """Done, with all that `conclude` writes; False (and nothing) when it is another's now."""
        values = {"state": "done", "result": result, "progress": 1.0, "error": "",
                  "ended_ns": now_ns}  # fmt: skip
        with transaction(self.engine, WHERE) as db:
            if not db.execute(update(jobs).where(_held(job)).values(**values)).rowcount:
                return False
            conclude(db, job)
        return True

    def fail(self, job: Job, error: str, now_ns: int, *, again: bool) -> bool:
        """This try failed. again: it may go better next time, unless it was the last."""
        error = error[:ERROR_CHARS_MAX]
        if not again:
            return self._of_try(job, state="failed", error=error, ended_ns=now_ns)
        if job.attempts >= self.policy.attempts_max:
            return self._of_try(job, state="dead", error=error, ended_ns=now_ns)
        due_ns = now_ns + self.policy.wait_ns(job.attempts)
        return self._of_try(job, state="queued", error=error, due_ns=due_ns)

    def give_back(self, job: Job, now_ns: int) -> bool:
        """This worker stops; the try does not count."""
        return self._of_try(job, state="queued", attempts=job.attempts - 1, due_ns=now_ns,
                            progress=0.0, text="")  # fmt: skip

    def reap(self, now_ns: int) -> list[Job]:
        """Jobs whose worker has been silent for twice the lease and that nobody took over (the
        queue lost them): queued again, or dead after the last try."""
        late_ns = now_ns - self.policy.lease_ns
        query = select(jobs).where(jobs.c.state == "running", jobs.c.lease_ns < late_ns)
        with transaction(self.reader, WHERE) as db:
            if not db.execute(query.limit(1)).first():
                return []  # without the lock of a writer, twice a second
        with transaction(self.engine, WHERE) as db:
            rows = db.execute(query).all()
            for row in rows:
                last = row.attempts >= self.policy.attempts_max
                ended = {"state": "dead", "ended_ns": now_ns} if last else {"state": "queued"}
                _set(db, row.id, due_ns=now_ns, error=_silent(row), **ended)
        return [_job(row) for row in rows]

    def retry(self, identity: str, now_ns: int) -> Job:
        """Queue a job that is over once more, with all its tries. Rejected when it is not over."""
        with transaction(self.engine, WHERE) as db:
            row = db.execute(select(jobs).where(jobs.c.id == identity)).first()
            if row is None:
                raise Rejected("no such job", identity[:40], "see `tailtwin-ground jobs`")
            if row.state not in ("failed", "dead"):
                raise Rejected(f"it is {row.state}", identity, "only failed and dead ones are")
            same = and_(jobs.c.kind == row.kind, jobs.c.key == row.key, _ACTIVE)
            active = db.scalar(select(jobs.c.id).where(same))
            if active:
                raise Rejected(f"job {active} does it already", identity, "wait for that one")
            _set(db, identity, state="queued", attempts=0, due_ns=now_ns, ended_ns=None,
                 progress=0.0, text="")  # fmt: skip
            return _job(db.execute(select(jobs).where(jobs.c.id == identity)).one())

    def forget(self, kind: str, before_ns: int, kept_max: int = 0) -> list[str]:
        """Remove jobs that ended before that, and beyond the newest `kept_max` (0: all are kept),
        the oldest first and FORGOTTEN_MAX at most; the results that no other job names any more."""
        ended = and_(jobs.c.kind == kind, jobs.c.state.in_(ENDED))
        with transaction(self.reader, WHERE) as db:
            if kept_max:
                beyond = (
                    select(jobs.c.ended_ns).where(ended).order_by(jobs.c.ended_ns.desc())
                    .offset(kept_max).limit(1)
                )  # fmt: skip
                newest_ns = db.scalar(beyond)
                before_ns = before_ns if newest_ns is None else max(before_ns, newest_ns + 1)
            old = (
                select(jobs.c.id).where(ended, jobs.c.ended_ns < before_ns)
                .order_by(jobs.c.ended_ns).limit(FORGOTTEN_MAX)
            )  # fmt: skip
            names = list(db.scalars(old))
        if not names:
            return []
        with transaction(self.engine, WHERE) as db:
            gone = and_(jobs.c.id.in_(names), jobs.c.state.in_(ENDED))
            results = set(db.scalars(select(jobs.c.result).where(gone, jobs.c.result != "")))
            db.execute(delete(jobs).where(gone))
            kept = set(db.scalars(select(jobs.c.result).where(jobs.c.result.in_(results))))
        return sorted(results - kept)

    def counts(self) -> list[tuple[str, str, int]]:
        """(kind, state, jobs)."""
        query = select(jobs.c.kind, jobs.c.state, func.count()).group_by(jobs.c.kind, jobs.c.state)
        with transaction(self.reader, WHERE) as db:
            return [(row[0], row[1], row[2]) for row in db.execute(query)]

    def _of_try(self, job: Job, **values: object) -> bool:
        with transaction(self.engine, WHERE) as db:
            done = db.execute(update(jobs).where(_held(job)).values(**values))
            return bool(done.rowcount)


def _held(job: Job) -> Any:
    """Of this try: a worker that was thought dead must change nothing any more."""
    return and_(jobs.c.id == job.id, jobs.c.state == "running", jobs.c.attempts == job.attempts,
                jobs.c.worker == job.worker, jobs.c.started_ns == job.started_ns)  # fmt: skip


def _set(db: Connection, identity: str, **values: object) -> None:
    db.execute(update(jobs).where(jobs.c.id == identity).values(**values))


def _silent(row: Row[Any]) -> str:
    return f"its worker {row.worker} went silent in try {row.attempts}: killed, or the machine was"


def _payload(kind: str, key: str, payload: Mapping[str, Any]) -> str:
    if not 1 <= len(key) <= KEY_CHARS_MAX:
        raise Rejected(f"a key of {len(key)} characters", kind, f"1 to {KEY_CHARS_MAX}")
    body = msgspec.json.encode(dict(payload))
    if len(body) > PAYLOAD_BYTES_MAX:
        raise Rejected(f"{len(body)} bytes, over the cap of {PAYLOAD_BYTES_MAX}", kind)
    return body.decode()


def _job(row: Row[Any]) -> Job:
    values = dict(row._mapping)
    values["payload"] = msgspec.json.decode(values["payload"])
    return Job(**values)
