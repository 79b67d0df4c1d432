"""An offer: tell a tail of a bundle until it answers.

In: a tail and a target. Out: the tail's own decision, from its audit trail in the ledger.
Always holds: a notice is advice and may be lost with the link, so it is repeated until the tail
has recorded what it decided, or the wait is over; then the operator is told that nobody knows.
"""

from __future__ import annotations

import asyncio

from sqlalchemy import Engine, and_, select

from ground.broker import connect
from ground.config import Paths, load_config
from ground.database import open_reader
from ground.ingest import schema
from ground.twins.control import Control
from shared.clock import Clock
from shared.envelope import PAYLOAD_BYTES_MAX
from shared.errors import Expired, Rejected
from shared.messages import Audit, Notice, decode, encode
from shared.topics import subject

TARGET_CHARS_MAX = 200
REPEAT_S, LOOK_S = 2.0, 0.25
RECENT_NS = 60_000_000_000  # a tail tells the same refusal of the same target once a minute
AUDITS_MAX = 64


async def offer(paths: Paths, tail: str, target: str, wait_s: float, clock: Clock) -> Audit | None:
    """Notify `tail`, and return its newest decision; None when `wait_s` is 0.

    Expired when it has not answered after `wait_s`: it may be out of reach.
    """
    config = load_config(paths)
    control = Control.open(paths.control)
    if tail not in control.device_keys():
        raise Rejected("not enrolled", f"--tail {tail}", "enrol it first")
    if not 1 <= len(target) <= TARGET_CHARS_MAX or not target.isprintable():
        raise Rejected("not a target name", f"--target {target[:40]}", "as in the repository")
    since_ns = clock.wall_ns() - RECENT_NS
    ledger = open_reader(paths.ledger)
    client = await connect(config, "api", control.password("api"), patient=False)
    message = encode(Notice(1, "offer", target, "operator"))
    try:
        for look in range(max(1, round(wait_s / LOOK_S))):
            if look % round(REPEAT_S / LOOK_S) == 0:
                await client.publish(subject(config.operator, tail, "notice"), message)
                await client.flush(5)
            if not wait_s:
                return None
            await asyncio.sleep(LOOK_S)
            answer = _answer(ledger, tail, target, since_ns)
            if answer is not None:
                return answer
    finally:
        await client.close()
        ledger.dispose()
    raise Expired(
        f"no answer from {tail} within {wait_s:g} s", target,
        "it may be out of reach: offer it again, or look at its updates later",
    )  # fmt: skip


def _answer(ledger: Engine, tail: str, target: str, since_ns: int) -> Audit | None:
    a, r = schema.audits, schema.records
    same = and_(*(a.c[name] == r.c[name] for name in ("tail", "epoch", "stream", "seq")))
    query = (
        select(a.c.payload)
        .join(r, same)
        .where(a.c.tail == tail, a.c.kind == "update", r.c.t_ground_ns >= since_ns)
        .order_by(r.c.t_ground_ns.desc(), a.c.seq.desc())
        .limit(AUDITS_MAX)
    )
    with ledger.begin() as db:
        payloads = db.execute(query).scalars().all()
    audits = (decode(Audit, payload, "audit", PAYLOAD_BYTES_MAX) for payload in payloads)
    return next((audit for audit in audits if audit.subject == target), None)
