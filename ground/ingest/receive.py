"""Receive: from the broker into the ledger, and the acks back.

In: record classes and hellos of every tail of the operator. Out: commits, closures, signed
acks, and an answer on `ground.v1.{operator}.ingest` that says how this process is.
Always holds: an ack leaves only after the commit it speaks of; what does not fit the queue or
the disk is neither kept nor acknowledged, so the aircraft sends it again; a bad message is
counted and logged, never fatal.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from ground.config import GroundConfig
from ground.ingest.closing import Closing
from ground.ingest.hellos import Hellos
from ground.ingest.inbox import RECORDS_MAX, Inbox
from ground.ingest.intake import Arrival, Greeting, Refusal, examine
from ground.ingest.ledger import Committed, Ledger
from ground.ingest.versions import TOLD
from shared.clock import Clock
from shared.errors import Rejected, Unreachable
from shared.identity import Signer
from shared.log import event
from shared.messages import CONTROL_BYTES_MAX, Ack, Coverage, encode
from shared.sync.receiver import Receiver
from shared.topics import CLASSES, subject

QUEUE_GROUP = "ingest"
BATCH_BYTES_MAX = 16 << 20
CLIENT_PENDING_BYTES_MAX = 64 << 20  # nats-py drops beyond it; the aircraft sends again
IDLE_S = 0.1  # how often acks, closures and alarms are looked at when nothing comes
SETTLE_PERIOD_S = 0.1
KEYS_AGE_S = 2.0  # how old the list of enrolled tails may be
REFUSALS_LOGGED_PER_S = 5
SIGNED_BYTES_SPARE = 200


class Health(msgspec.Struct, frozen=True):
    """How ingest is. alarms: by name, what a person should know; ok: records are taken."""

    ok: bool
    ledger: str
    alarms: dict[str, str]
    counters: dict[str, int]


@dataclass(slots=True)
class Alarms:
    """What stands now. `disk` stops acks; the others only tell."""

    standing: dict[str, str] = field(default_factory=dict)

    def set(self, name: str, text: str) -> None:
        if name not in self.standing:
            event("alarm", level=logging.ERROR, alarm=name, detail=text)
        self.standing[name] = text

    def clear(self, name: str) -> None:
        if self.standing.pop(name, None):
            event("alarm_cleared", alarm=name)


class Ingest:
    """One process that takes what the links bring."""

    def __init__(
        self, client: Client, config: GroundConfig, ledger: Ledger, closing: Closing,
        signer: Signer, clock: Clock, keys: Callable[[], Mapping[str, bytes]],
        disk_free: Callable[[], int],
    ) -> None:  # fmt: skip
        self._client, self._config, self._ledger = client, config, ledger
        self._closing, self._signer, self._clock = closing, signer, clock
        self._load_keys, self._disk_free = keys, disk_free
        self._keys: Mapping[str, bytes] = {}
        self._keys_ns = -(1 << 62)
        self._inbox, self._hellos = Inbox(), Hellos()
        self._log_second, self._logged = 0, 0
        self._settled_s = 0.0
        self.counters: Counter[str] = Counter()
        self.alarms = Alarms()

    async def run(self, stop: asyncio.Event) -> None:
        """Take messages until `stop`; a batch that was begun is finished."""
        operator = self._config.operator
        subscriptions = [
            await self._client.subscribe(
                f"aero.v1.{operator}.*.{leaf}", queue=QUEUE_GROUP, cb=self._on_message,
                pending_msgs_limit=RECORDS_MAX,
                pending_bytes_limit=CLIENT_PENDING_BYTES_MAX,
            )
            for leaf in (*CLASSES, "hello")
        ]  # fmt: skip
        subscriptions.append(
            await self._client.subscribe(f"ground.v1.{operator}.ingest", cb=self._on_health)
        )
        await self._client.flush()
        event("receiving", operator=operator, ledger=self._ledger.id)
        while not stop.is_set():
            batch = await self._batch()
            await self._step(batch)
        for subscription in subscriptions:
            await subscription.unsubscribe()

    async def _on_message(self, message: Msg) -> None:
        if not self._inbox.put(message.subject, message.data):
            self.counters["queue_full"] += 1

    async def _on_health(self, message: Msg) -> None:
        if message.reply:
            await message.respond(msgspec.json.encode(self.health()))

    def health(self) -> Health:
        standing = dict(self.alarms.standing)
        return Health("disk" not in standing, self._ledger.id, standing, dict(self.counters))

    async def _batch(self) -> list[tuple[str, bytes]]:
        """What waits, at most batch_records_max; empty after IDLE_S of nothing.

        Under load records gather while the batch before is committed; then nothing waits for
        batch_wait_ms, which only bounds how long a single record may wait for company.
        """
        limits = self._config.ingest
        if not await self._inbox.wait_arrival(IDLE_S):
            return []
        batch: list[tuple[str, bytes]] = []
        size, deadline = 0, time.monotonic() + limits.batch_wait_ms / 1000
        while len(batch) < limits.batch_records_max and size < BATCH_BYTES_MAX:
            message = self._inbox.take()
            if message is None:
                if time.monotonic() >= deadline or _urgent(batch[-1][0]):
                    break
                await asyncio.sleep(0.002)
                continue
            batch.append(message)
            size += len(message[1])
        return batch

    async def _step(self, batch: list[tuple[str, bytes]]) -> None:
        arrivals = self._sort(batch)
        committed = await self._commit(arrivals) if arrivals else None
        for greeting in self._hellos.due(self._clock.mono_ns()):
            try:
                await self._greet(greeting)
            except Exception as error:  # what one hello does to us must not stop the others
                self._bug(greeting.tail, error)
        await self._ack_due()
        if not batch:
            self._watch_disk()
        if "disk" not in self.alarms.standing:
            try:
                await self._settle(committed)
            except Unreachable as error:
                self._disk_alarm(error.what, 0)

    async def _settle(self, committed: Committed | None) -> None:
        """Late index entries and closures, at most every SETTLE_PERIOD_S; the rest waits."""
        self._closing.pending |= bool(committed and committed.flights)
        if time.monotonic() - self._settled_s < SETTLE_PERIOD_S:
            return
        if await asyncio.to_thread(self._ledger.waiting):
            done = await asyncio.to_thread(self._ledger.reindex)
            self.counters["blocks_indexed_late"] += done.done
            self.counters["blocks_damaged"] += len(done.damaged)
            for damaged in done.damaged[:1]:
                self.alarms.set("damaged", f"{damaged}; restore the segments from the backup")
            self._closing.pending = True
        if self._closing.pending:
            await self._close()
        self._settled_s = time.monotonic()

    def _sort(self, batch: list[tuple[str, bytes]]) -> list[Arrival]:
        """What may be stored; hellos go to wait for their answer, the rest is counted."""
        arrivals: list[Arrival] = []
        for name, data in batch:
            self.counters["messages"] += 1
            self.counters["bytes"] += len(data)
            try:
                found = self._examine(name, data)
            except Exception as error:  # what one message does to us must not stop the others
                self._bug(name, error)
                continue
            if isinstance(found, Refusal):
                self._refuse(found)
            elif isinstance(found, Arrival):
                arrivals.append(found)
            elif not self._hellos.add(found):
                self._refuse(Refusal("hello", name, "too many epochs wait for an answer"))
        return arrivals

    def _examine(self, name: str, data: bytes) -> Arrival | Greeting | Refusal:
        found = examine(name, data, self._config.operator, self._enrolled())
        if isinstance(found, Refusal) and found.reason == "tail":
            found = examine(name, data, self._config.operator, self._enrolled(now=True))
        return found

    def _bug(self, where: str, error: Exception) -> None:
        """A fault of ours: the message is neither kept nor acknowledged, the rest goes on."""
        self._refuse(Refusal("bug", where[:100], f"{error!r:.200}"))
        self.alarms.set("bug", f"{where[:100]}: {error!r:.200}; report it with the log")

    def _enrolled(self, *, now: bool = False) -> Mapping[str, bytes]:
        """Keys of the enrolled tails, read again when old; at most every 100 ms."""
        age_ns = self._clock.mono_ns() - self._keys_ns
        if age_ns > (1e8 if now else KEYS_AGE_S * 1e9):
            self._keys, self._keys_ns = self._load_keys(), self._clock.mono_ns()
        return self._keys

    def _refuse(self, refusal: Refusal) -> None:
        self.counters[f"refused_{refusal.reason}"] += 1
        second = self._clock.mono_ns() // 1_000_000_000
        if second != self._log_second:
            self._log_second, self._logged = second, 0
        self._logged += 1
        if self._logged <= REFUSALS_LOGGED_PER_S:
            event("refused", level=logging.WARNING, reason=refusal.reason,
                  subject=refusal.subject, detail=refusal.detail)  # fmt: skip

    async def _commit(self, arrivals: list[Arrival]) -> Committed | None:
        free = self._disk_free()
        if free < self._config.ingest.disk_free_bytes_min:
            self._disk_alarm(f"{free} bytes free", len(arrivals))
            return None
        start = time.perf_counter()
        try:
            committed = await self._commit_or_split(arrivals)
        except Unreachable as error:
            self._disk_alarm(error.what, len(arrivals))
            return None
        self.alarms.clear("disk")
        self.counters["commits"] += 1
        self.counters["commit_us"] += round((time.perf_counter() - start) * 1e6)
        self._note(committed)
        return committed

    async def _commit_or_split(self, arrivals: list[Arrival]) -> Committed:
        """Commit a batch; where one record of it is our downfall, all others."""
        try:
            return await asyncio.to_thread(self._ledger.commit, arrivals)
        except Unreachable:
            raise
        except Exception as error:  # halves find the record in log2(n) steps
            if len(arrivals) == 1:
                self._bug("/".join(map(str, arrivals[0].envelope.identity)), error)
                return Committed()
        middle = len(arrivals) // 2
        committed = await self._commit_or_split(arrivals[:middle])
        committed.extend(await self._commit_or_split(arrivals[middle:]))
        return committed

    def _disk_alarm(self, text: str, records: int) -> None:
        self.counters["not_taken"] += records
        self.alarms.set("disk", f"{text}: nothing is committed or acknowledged until there is room")

    def _watch_disk(self) -> None:
        """Without traffic the alarm clears by itself when there is room again."""
        floor = self._config.ingest.disk_free_bytes_min
        if "disk" in self.alarms.standing and self._disk_free() >= floor:
            self.alarms.clear("disk")

    def _note(self, committed: Committed) -> None:
        for arrival, verdict in committed.verdicts:
            self.counters[f"records_{verdict.value}"] += 1
            if verdict.value == "fork":
                e = arrival.envelope
                self.alarms.set("fork", f"{e.tail} {e.epoch} {e.stream} {e.seq} came with other"
                                " bytes; both are kept, neither is trusted")  # fmt: skip
        for refusal in committed.refused:
            self._refuse(refusal)
        for tail, reason, detail in committed.versions:
            self.counters[f"versions_{reason}"] += 1
            event("version_refused", level=logging.WARNING, tail=tail, reason=reason, detail=detail)
            if reason in TOLD:
                self.alarms.set("version", f"a version report of {tail} does not count ({reason}): "
                                f"{detail}; find out who sends it")  # fmt: skip
        for arrival, problem in committed.problems:
            self.counters["payload_unreadable"] += 1
            e = arrival.envelope
            event("payload_unreadable", level=logging.WARNING, tail=e.tail, stream=e.stream,
                  seq=e.seq, problem=problem)  # fmt: skip

    async def _greet(self, greeting: Greeting) -> None:
        self.counters["hellos"] += 1
        try:
            receiver = self._ledger.receiver(greeting.tail, greeting.hello.epoch)
            outcome = receiver.on_hello(greeting.hello)
        except Rejected as error:
            self._refuse(Refusal("hello", greeting.tail, error.what))
            return
        if outcome.ahead:
            self.alarms.set("ahead", f"{greeting.tail} forgot records of {outcome.ahead} that are "
                            "here; it starts a new epoch")  # fmt: skip
        event("hello", tail=greeting.tail, epoch=greeting.hello.epoch, boot=greeting.hello.boot,
              ahead=list(outcome.ahead), gone=len(outcome.gone))  # fmt: skip
        try:
            await asyncio.to_thread(self._ledger.greet, greeting.tail, greeting.hello)
        except Unreachable as error:
            self._disk_alarm(error.what, 0)
        self._closing.pending = True
        await self._send_ack(receiver, greeting.hello.nonce)

    async def _ack_due(self) -> None:
        now_ns = self._clock.mono_ns()
        for receiver in list(self._ledger.receivers.values()):
            if receiver.ack_due(now_ns):
                nonce = self._ledger.nonces.get((receiver.tail, receiver.epoch), b"")
                await self._send_ack(receiver, nonce)

    async def _send_ack(self, receiver: Receiver, nonce: bytes) -> None:
        receiver.mark_all_safe()  # no replica is configured: what is committed is safe
        ack = receiver.ack(nonce, self._ledger.id, self._clock.wall_ns())
        body = fitted(ack)
        if len(body) > CONTROL_BYTES_MAX - SIGNED_BYTES_SPARE:  # bounds of the receiver forbid it
            receiver.acked(self._clock.mono_ns())
            self._refuse(Refusal("ack", receiver.tail, f"an ack of {len(body)} bytes is not sent"))
            return
        signed = self._signer.sign("ack", body)
        await self._client.publish(subject(self._config.operator, receiver.tail, "ack"), signed)
        receiver.acked(self._clock.mono_ns())
        self.counters["acks"] += 1

    async def _close(self) -> None:
        for closure in await asyncio.to_thread(self._closing.close_due):
            self.counters["closures"] += 1
            event("closure", flight=closure.flight, revision=closure.revision, state=closure.state,
                  records=closure.records, missing=closure.records_missing,
                  gaps=len(closure.gaps))  # fmt: skip
        for flight, problem in list(self._closing.failed.items())[:1]:
            self.alarms.set("closing", f"{flight} cannot be closed: {problem}; report it")


def fitted(ack: Ack) -> bytes:
    """The ack in at most a control message; fewer ranges, lowest first, where it is too long."""
    ranges_max = 64
    while len(body := encode(ack)) > CONTROL_BYTES_MAX - SIGNED_BYTES_SPARE and ranges_max:
        ranges_max //= 2
        received, safe = (
            {name: Coverage(c.up_to, c.ranges[:ranges_max]) for name, c in coverage.items()}
            for coverage in (ack.received, ack.safe)
        )
        ack = msgspec.structs.replace(ack, received=received, safe=safe)
    return body


def _urgent(name: str) -> bool:
    return name.endswith((".hello", ".alert"))
