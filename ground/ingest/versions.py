"""Version reports as they arrive: which one counts, and which are refused as state.

In: arrivals that are version reports, in a transaction. Out: a row for each, whatever it is, and
those that somebody should be told of.
Always holds: a report counts only when the device that its tail enrolled signed it for that tail
and its counter is beyond every one that counted; order of arrival decides, no clock does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, func, insert, select

from ground.ingest import schema
from shared.envelope import Envelope
from shared.errors import Rejected
from shared.identity import key_id
from shared.version import VERSION_SCHEMA, check_version

FOREIGN, REPLAYED, LATE = "foreign", "replayed", "late"
TOLD = {FOREIGN, REPLAYED}
"""A late one comes after a newer one, as after a lost link: known, but nobody's fault."""
DETAIL_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class Claim:
    """What a version report is before the others are looked at. key_id: of the enrolled device.
    problem: why its signature, tail or form does not stand, or empty."""

    key_id: str
    counter: int
    problem: str = ""


class Refused(NamedTuple):
    """A report that is kept and does not count."""

    tail: str
    reason: str
    detail: str


def claim_of(envelope: Envelope, keys: Mapping[str, bytes]) -> Claim | None:
    """None when the record is no version report."""
    if envelope.cls != "report" or envelope.schema != VERSION_SCHEMA:
        return None
    public = keys[envelope.tail]
    where = f"{envelope.tail}/{envelope.stream}/{envelope.seq}"
    try:
        report = check_version(
            envelope.payload, public, envelope.operator, envelope.tail, None, where
        )
    except Rejected as error:
        return Claim(key_id(public), 0, error.what[:DETAIL_CHARS_MAX])
    return Claim(key_id(public), report.counter)


def keep(db: Connection, claims: Sequence[tuple[Envelope, Claim]], now_ns: int) -> list[Refused]:
    """Write a row for each; those that do not count."""
    refused = []
    for envelope, claim in claims:
        reason, detail = _judge(db, envelope.tail, claim)
        row = {
            "tail": envelope.tail, "epoch": envelope.epoch, "stream": envelope.stream,
            "seq": envelope.seq, "key_id": claim.key_id, "counter": claim.counter,
            "flight": envelope.flight, "t_event_ns": envelope.t_event_ns, "t_ground_ns": now_ns,
            "reason": reason, "detail": detail, "payload": envelope.payload,
        }  # fmt: skip
        db.execute(insert(schema.versions).values(row))
        if reason:
            refused.append(Refused(envelope.tail, reason, detail))
    return refused


def _judge(db: Connection, tail: str, claim: Claim) -> tuple[str, str]:
    """(reason, detail) against what came before; both empty when it counts."""
    if claim.problem:
        return FOREIGN, claim.problem
    v = schema.versions.c
    of_device = (v.tail == tail, v.key_id == claim.key_id, v.reason != FOREIGN)
    if db.scalar(select(v.seq).where(*of_device, v.counter == claim.counter).limit(1)) is not None:
        return REPLAYED, f"report {claim.counter} came before, in another record"
    newest = db.scalar(select(func.max(v.counter)).where(*of_device, v.reason == ""))
    if newest is not None and claim.counter < newest:
        return LATE, f"report {claim.counter} comes after {newest}"
    return "", ""
