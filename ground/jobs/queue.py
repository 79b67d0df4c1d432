"""The work queue: names of jobs on a JetStream stream, shared by all workers.

In: ids of jobs that are due. Out: one at a time, to one worker; again to another when the first
says nothing for the ack wait. Always holds: it is transport only. A message holds no more than
the id of a row; at most one of a job is in the stream; the stream may vanish at any time and is
made again when it is next used, and filled from the table.
"""

from __future__ import annotations

import asyncio
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from shared.errors import Unreachable

STREAM, CONSUMER = "JOBS", "worker"
MESSAGES_MAX = 10_000
"""What does not fit waits in the table."""
BYTES_MAX = 16 << 20
CALL_S = 2.0
_FULL = frozenset({10023, 10077, 10122})
_OTHER_CONFIG = 10058
_FAULTS = (nats.errors.Error, OSError, TimeoutError)


def subjects(operator: str) -> str:
    return f"ground.v1.{operator}.jobs.>"


def worker_rights(operator: str) -> list[str]:
    """What a worker publishes to make the stream, fill it and take from it."""
    api = "$JS.API"
    return [
        f"ground.v1.{operator}.jobs.*.*", f"{api}.STREAM.CREATE.{STREAM}",
        f"{api}.STREAM.UPDATE.{STREAM}", f"{api}.STREAM.PURGE.{STREAM}",
        f"{api}.CONSUMER.CREATE.{STREAM}.>", f"{api}.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}",
        f"$JS.ACK.{STREAM}.{CONSUMER}.>",
    ]  # fmt: skip


class Taken:
    """A message that this worker has to answer."""

    def __init__(self, message: Msg, job: str) -> None:
        self._message, self.job = message, job

    async def done(self) -> None:
        """It leaves the queue."""
        await _quietly(self._message.ack())

    async def go_on(self) -> None:
        """Still worked on: the ack wait begins anew."""
        await _quietly(self._message.in_progress())

    async def later(self, seconds: float) -> None:
        """Bring it again, to anybody."""
        await _quietly(self._message.nak(delay=max(0.1, seconds)))


class JobQueue:
    """One worker's end of it."""

    def __init__(self, client: Client, operator: str, ack_wait_s: float, deliver_max: int) -> None:
        self._js = client.jetstream(timeout=CALL_S)
        self._operator, self._ack_wait_s, self._deliver_max = operator, ack_wait_s, deliver_max
        self._pull: Any = None
        self._former: Any = None
        self._making = asyncio.Lock()

    async def put(self, kind: str, job: str) -> bool:
        """True when it is new there, False when it waits there already or there is no room."""
        await self._ready()
        try:
            await self._js.publish(self._subject(kind, job), job.encode(), stream=STREAM)
        except nats.js.errors.APIError as error:
            if error.err_code in _FULL:
                return False
            raise self._lost(error) from None
        except _FAULTS as error:
            raise self._lost(error) from None
        return True

    async def take(self, wait_s: float) -> Taken | None:
        """The next message; None when there was none for `wait_s`."""
        await self._ready()
        try:
            (message,) = await self._pull.fetch(1, timeout=wait_s)
        except (nats.errors.TimeoutError, TimeoutError):
            return None
        except _FAULTS as error:
            raise self._lost(error) from None
        return Taken(message, message.data[:64].decode(errors="replace"))

    async def forget(self, kind: str, job: str) -> None:
        """Remove what there is of a job, delivered or not, so that it can be put again."""
        await self._ready()
        try:
            await self._js.purge_stream(STREAM, subject=self._subject(kind, job))
        except _FAULTS as error:
            raise self._lost(error) from None

    async def _ready(self) -> None:
        """Stream and consumer, made when they are not there."""
        async with self._making:
            if self._pull is None:
                await self._make()

    async def _make(self) -> None:
        config = StreamConfig(
            name=STREAM, subjects=[subjects(self._operator)], storage=StorageType.FILE,
            retention=RetentionPolicy.WORK_QUEUE, discard=DiscardPolicy.NEW,
            discard_new_per_subject=True, max_msgs_per_subject=1, max_msgs=MESSAGES_MAX,
            max_bytes=BYTES_MAX, num_replicas=1,
        )  # fmt: skip
        try:
            try:
                await self._js.add_stream(config)
            except nats.js.errors.APIError as error:
                if error.err_code != _OTHER_CONFIG:
                    raise
                await self._js.update_stream(config)
            consumer = ConsumerConfig(
                name=CONSUMER, durable_name=CONSUMER, ack_policy=AckPolicy.EXPLICIT,
                ack_wait=self._ack_wait_s, max_deliver=self._deliver_max,
            )  # fmt: skip
            await self._js.add_consumer(STREAM, consumer)
            if self._former is not None:
                await _quietly(self._former.unsubscribe())
                self._former = None
            self._pull = await self._js.pull_subscribe_bind(CONSUMER, STREAM)
        except _FAULTS as error:
            raise self._lost(error) from None

    def _lost(self, error: Exception) -> Unreachable:
        """Stream and consumer are looked for again before the next use."""
        self._former, self._pull = self._pull or self._former, None
        return Unreachable(f"no queue: {error or type(error).__name__}", f"stream {STREAM}")

    def _subject(self, kind: str, job: str) -> str:
        return f"ground.v1.{self._operator}.jobs.{kind}.{job}"


async def _quietly(sending: Any) -> None:
    """An answer that is lost costs a redelivery, and the table knows better."""
    try:
        await sending
    except _FAULTS:
        return
