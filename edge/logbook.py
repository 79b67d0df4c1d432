"""The logbook: how the daemon's parts get their records into the outbox.

In: payloads, decisions, and acts on the store. Out: records of the open period.
Always holds: a record that the disk refuses is kept in memory, bounded, and tried again in
order; recording goes on whatever the store refuses; a damaged store is told to `die` once, for
only a restart can move it aside.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from edge.outbox.store import Outbox, RecordRef
from shared.envelope import TIME_BUS, TIME_NONE
from shared.errors import Corrupt, Rejected, Unreachable
from shared.log import event

UNSTORED_MAX = 1024  # records that a full disk refused; the oldest that is no alert goes first


class Now(msgspec.Struct, frozen=True):
    """What every record says of its moment: period, event time, phase."""

    period: str
    t_event_ns: int
    phase: str


class Logbook:
    """Appends on behalf of everybody. now: asked at each record."""

    def __init__(
        self, outbox: Outbox, now: Callable[[], Now], die: Callable[[Corrupt], None]
    ) -> None:
        self._outbox, self._now, self._die = outbox, now, die
        self._unstored: deque[tuple[str, bytes, str, Now]] = deque()

    def emit(self, cls: str, payload: bytes, schema: str) -> RecordRef | None:
        """Append a record of the open period; None when it waits for the disk."""
        record = cls, payload, schema, self._now()
        try:
            return self._append(*record)
        except Unreachable:
            self._wait(record)
        except Rejected as error:
            event("record.refused", cls=cls, why=error.what, level=logging.ERROR)
        except Corrupt as error:
            self._die(error)
        return None

    def emit_all(
        self, cls: str, payloads: Sequence[bytes], schema: str, key: str, value: bytes
    ) -> list[RecordRef | None]:
        """Records, and what is kept under `key` with them, in one commit; one by one when the
        store refuses that."""
        now = self._now()
        try:
            with self._outbox.transaction():
                refs = [self._append(cls, payload, schema, now) for payload in payloads]
                self._outbox.put(key, value)
                return list(refs)
        except (Unreachable, Rejected, Corrupt):
            stored = [self.emit(cls, payload, schema) for payload in payloads]
            self.keep_on(self._outbox.put, key, value)
            return stored

    def retry(self) -> None:
        """Store what waits, oldest first, as far as the disk takes it."""
        while self._unstored:
            try:
                self._append(*self._unstored[0])
            except Unreachable:
                return
            except Rejected as error:
                event("record.refused", cls=self._unstored[0][0], why=error.what,
                      level=logging.ERROR)  # fmt: skip
            except Corrupt as error:
                self._die(error)
                return
            self._unstored.popleft()

    def _wait(self, record: tuple[str, bytes, str, Now]) -> None:
        """For the disk. Alerts are the last that a full memory gives up."""
        self._unstored.append(record)
        if len(self._unstored) > UNSTORED_MAX:
            at = next((i for i, (cls, *_) in enumerate(self._unstored) if cls != "alert"), 0)
            event("record.lost", cls=self._unstored[at][0], why="the disk takes none, memory is full",
                  level=logging.ERROR)  # fmt: skip
            del self._unstored[at]

    def audit(
        self, kind: str, decision: str, *, subject: str = "",
        reasons: list[str] | None = None, detail: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        """One decision, into the log and the hash-chained audit stream."""
        event(f"audit.{kind}", decision=decision, subject=subject, reasons=reasons or [])
        now = self._now()
        self.keep_on(
            lambda: self._outbox.audit(
                kind, decision, flight=now.period, t_event_ns=now.t_event_ns,
                t_quality=_quality(now), subject=subject, phase=now.phase,
                reasons=reasons or [], detail=detail,
            )
        )  # fmt: skip

    def keep_on(self, act: Callable[..., object], *args: object) -> None:
        """Do something that may need the store; what it refuses for now is only logged."""
        try:
            act(*args)
        except (Unreachable, Rejected) as error:
            event("store.refused", act=getattr(act, "__name__", ""), why=error.what,
                  level=logging.ERROR)  # fmt: skip
        except Corrupt as error:
            self._die(error)

    def _append(self, cls: str, payload: bytes, schema: str, now: Now) -> RecordRef:
        return self._outbox.append(
            cls, payload, schema=schema, flight=now.period, t_event_ns=now.t_event_ns,
            t_quality=_quality(now),
        )  # fmt: skip


def _quality(now: Now) -> int:
    return TIME_BUS if now.t_event_ns else TIME_NONE
