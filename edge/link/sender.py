"""The link runner: keeps one link up and moves records over it.

In: the outbox, the phase, the links. Out: records on a link; acks into the outbox; notices to a
callback. Always holds: what to send, and what an ack means, is decided by shared.sync.sender;
an ack counts only when the ground's key signed it; nothing is deleted here; a link that breaks,
stays silent or is no longer the best one costs a reconnect and nothing else; a broker that sends
more than MESSAGES_PER_S is left alone for a while, and a ground that is ahead gets EPOCHS_MAX new
epochs a day.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from edge.allowance import Allowance
from edge.config import Settings
from edge.link.base import Endpoint, Link, Session
from edge.link.mqtt import MqttLink
from edge.link.nats import NatsLink
from edge.link.policy import BACKOFF_MAX_S, Backoff, Name, limits, order
from edge.outbox.store import Outbox, RecordRef
from shared.clock import Clock
from shared.errors import Rejected, Unreachable
from shared.identity import verify
from shared.messages import CONTROL_BYTES_MAX, Ack, Notice, decode
from shared.phases import Phase
from shared.sync.sender import AckOutcome, Limits, Sender

SILENT_NS = 15_000_000_000  # a resend (10 s) was not confirmed either: try another connection
PHASE_LOOK_S = 0.5
PROBE_S = 10.0  # how often the stand link is tried while parked on the air link
BURST_RECORDS = 8  # then other tasks get a turn
NONCE_BYTES = 16
# Acks come at most every 250 ms or 256 records of an epoch. Verifying one takes 0.15 ms (2 cores),
# so this bounds what anybody at the broker may cost at 2 % of a core.
MESSAGES_PER_S, MESSAGES_BURST = 100, 200
EPOCHS_MAX, DAY_NS = 4, 86_400_000_000_000  # assumption: one restore a day is a bad day already
EPOCHS_KEY = "link.epochs"
CLOCK_SET_NS = 1_767_225_600_000_000_000  # 2026-01-01: a wall clock before it was never set


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """How the link is. bytes_up: since start, framing estimated; times are wall clock."""

    link: Literal["none", "air", "stand"] = "none"
    bytes_up: int = 0
    bytes_down: int = 0
    records_up: int = 0
    in_flight_bytes: int = 0
    too_big: int = 0
    """Streams that wait for a link with a larger window."""
    connections: int = 0
    connected_since_ns: int | None = None
    last_ack_ns: int | None = None
    refused: int = 0
    """Messages from below that were not what they should be, or of no use."""
    why: str = ""
    """Of the last failure."""


class LinkRunner:
    """One task; `run` never returns, and raises only for our own bugs or a corrupt outbox."""

    def __init__(
        self, settings: Settings, outbox: Outbox, clock: Clock, *, phase: Callable[[], Phase],
        on_notice: Callable[[Notice], None], on_handed: Callable[[RecordRef, int], None],
        on_epoch: Callable[[str], None] = lambda why: None,
        links: Mapping[Name, tuple[Link, Limits]] | None = None,
        random: Callable[[int], bytes] = os.urandom, beat: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """on_handed: (alert, monotonic ns) when the socket took an alert. on_epoch: why a new
        epoch has just begun. links: instead of those the profile names. beat: called at least once
        in any wait that the links allow.
        """
        self._beat = beat
        self._outbox, self._clock, self._random = outbox, clock, random
        self._phase, self._on_notice, self._on_handed = phase, on_notice, on_handed
        self._on_epoch = on_epoch
        self._ground = bytes.fromhex(settings.enrolment.ground_pub)
        self._links = links_of(settings, random) if links is None else links
        self._sender = Sender(outbox, settings.tail.tail)
        self._backoff = Backoff(random)
        self._limits = Limits(1.0)
        self._incoming = Allowance(MESSAGES_BURST, 1_000_000_000 // MESSAGES_PER_S)
        self._hold_s = 0.0
        self._wake = asyncio.Event()
        self._status = LinkStatus()
        self._ground_time: tuple[int, int] | None = None  # its wall time, our monotonic time

    def kick(self) -> None:
        """Something was appended that should leave at once."""
        self._wake.set()

    @property
    def status(self) -> LinkStatus:
        return replace(
            self._status,
            bytes_up=self._sender.bytes_sent,
            records_up=self._sender.records_sent,
            in_flight_bytes=self._sender.in_flight_bytes,
            too_big=self._sender.too_big,
        )

    def ground_time_ns(self) -> int | None:
        """Wall time as the ground last signed it under a nonce of ours, carried on; else None."""
        if self._ground_time is None:
            return None
        wall_ns, mono_ns = self._ground_time
        return wall_ns + self._clock.mono_ns() - mono_ns

    async def run(self) -> None:
        """Connect, carry, and after each end wait a little longer before the next try."""
        while True:
            for name in order(self._phase(), self._links):
                if await self._try(name):
                    break
            delay_s, self._hold_s = max(self._backoff.next_s(), self._hold_s), 0.0
            await self._pause(delay_s)

    async def _try(self, name: Name) -> bool:
        """One connection from hello to its end; False when the ground never answered on it."""
        link, self._limits = self._links[name]
        answered = False
        try:
            async with link.connect() as session:
                self._begin(name)
                try:
                    await self._carry(name, session)
                finally:
                    answered = self._sender.answered
        except Unreachable as error:
            self._status = replace(self._status, why=f"{name}: {error}"[:300])
        finally:
            self._sender.on_disconnect()
            self._status = replace(self._status, link="none", connected_since_ns=None)
        return answered

    def _begin(self, name: Name) -> None:
        self._status = replace(
            self._status, link=name, connections=self._status.connections + 1,
            connected_since_ns=self._clock.wall_ns(),
        )  # fmt: skip
        self._greet()

    def _greet(self) -> None:
        nonce = self._random(NONCE_BYTES)
        self._sender.on_connect(nonce, self._limits, self._clock.mono_ns())
        self._wake.set()

    async def _carry(self, name: Name, session: Session) -> None:
        """Write, read and watch until one of them ends."""
        work: tuple[Awaitable[None], ...] = (
            self._write(session), self._read(session), self._watch(name),
        )  # fmt: skip
        tasks = [asyncio.ensure_future(part) for part in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _write(self, session: Session) -> None:
        while True:
            self._beat()
            self._wake.clear()
            now_ns = self._clock.mono_ns()
            if self._sender.silent_ns(now_ns) > SILENT_NS:
                raise Unreachable("the ground does not answer", "ack", "is ingest running?")
            if await self._burst(session):
                await session.flush()
            wait_s = self._sender.wait_ns(self._clock.mono_ns()) * 1e-9
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _burst(self, session: Session) -> int:
        """Publish all that may go now; how many messages."""
        count = 0
        while (out := self._sender.take(self._clock.mono_ns())) is not None:
            await session.publish(out.leaf, out.data)
            self._beat()
            if out.held is not None and out.leaf == "alert":
                held = out.held
                ref = RecordRef(held.epoch, held.stream, held.seq, len(out.data))
                self._on_handed(ref, self._clock.mono_ns())
            count += 1
            if count % BURST_RECORDS == 0:
                await asyncio.sleep(0)
        return count

    async def _read(self, session: Session) -> None:
        async for leaf, data in session.messages():
            self._status = replace(self._status, bytes_down=self._status.bytes_down + len(data))
            if not self._incoming.take(self._clock.mono_ns()):
                self._hold_s = BACKOFF_MAX_S
                what = f"more than {MESSAGES_PER_S} messages a second"
                raise Unreachable(what, "broker", "see who publishes below this tail")
            try:
                if leaf == "ack":
                    self._take_ack(data)
                elif leaf == "notice":
                    self._on_notice(decode(Notice, data, "notice", CONTROL_BYTES_MAX))
            except Rejected as error:
                self._refuse(str(error))

    def _take_ack(self, data: bytes) -> None:
        """Verify, then let the sender judge; Rejected when it is not the ground's."""
        ack = decode(Ack, verify("ack", data, self._ground, "ack"), "ack", CONTROL_BYTES_MAX)
        now_ns, answered = self._clock.mono_ns(), self._sender.answered
        outcome = self._sender.on_ack(ack, now_ns)
        if outcome is AckOutcome.ACCEPTED:
            if self._sender.answered and not answered:
                self._ground_time = (ack.t_ground_ns, now_ns)
                self._backoff.reset()
            self._status = replace(self._status, last_ack_ns=self._clock.wall_ns())
            self._wake.set()
        elif outcome is AckOutcome.GROUND_AHEAD:
            self._begin_epoch(ack)
            self._greet()
        elif outcome is AckOutcome.OTHER_LEDGER:
            raise Unreachable("the ground has another ledger than at the hello", "ack")
        else:
            self._refuse(outcome.value)

    def _begin_epoch(self, ack: Ack) -> None:
        """The store is an old copy; Unreachable when that was so too often to be true."""
        wall_ns = self._clock.wall_ns()
        now_ns = ack.t_ground_ns if wall_ns < CLOCK_SET_NS else wall_ns
        kept = self._outbox.get(EPOCHS_KEY) or msgspec.msgpack.encode([])
        begun = msgspec.msgpack.decode(kept, type=list[int])
        begun = [at_ns for at_ns in begun if abs(now_ns - at_ns) < DAY_NS]
        if len(begun) >= EPOCHS_MAX:
            what = f"the ground is ahead again, after {EPOCHS_MAX} new epochs within a day"
            raise Unreachable(what, "ack", "see whether the ground's ledger is the right one")
        before = self._outbox.epoch
        with self._outbox.transaction():
            self._outbox.new_epoch()
            self._outbox.put(EPOCHS_KEY, msgspec.msgpack.encode([*begun, now_ns]))
        self._on_epoch(f"the ground knows more of {before} than this store")

    def _refuse(self, why: str) -> None:
        self._status = replace(self._status, refused=self._status.refused + 1, why=why[:300])

    async def _watch(self, name: Name) -> None:
        """Return when another link is to be used instead of this one."""
        since_s = 0.0
        while True:
            await asyncio.sleep(PHASE_LOOK_S)
            since_s += PHASE_LOOK_S
            names = order(self._phase(), self._links)
            if name not in names:
                return
            if name == names[0] or since_s < PROBE_S:
                continue
            since_s = 0.0
            try:
                async with self._links[names[0]][0].connect():
                    return
            except Unreachable:
                pass  # the one in use is good enough

    async def _pause(self, delay_s: float) -> None:
        """Wait, but not through a change of what to try."""
        names = order(self._phase(), self._links)
        while delay_s > 0 and order(self._phase(), self._links) == names:
            self._beat()
            await asyncio.sleep(min(delay_s, PHASE_LOOK_S))
            delay_s -= PHASE_LOOK_S


def links_of(settings: Settings, random: Callable[[int], bytes]) -> dict[Name, tuple[Link, Limits]]:
    """The links a profile names."""
    tail, enrolment = settings.tail, settings.enrolment
    made: dict[Name, tuple[Link, Limits]] = {}
    wired: tuple[tuple[Name, type[MqttLink] | type[NatsLink]], ...] = (
        ("air", MqttLink), ("stand", NatsLink),
    )  # fmt: skip
    for name, kind in wired:
        at = settings.profile.air if name == "air" else settings.profile.stand
        if at is None:
            continue
        link = kind(
            Endpoint(
                at.host, at.port, enrolment.user, enrolment.password, tail.operator, tail.tail
            ),
            random,
        )
        made[name] = (link, limits(name, at.bytes_per_s_max, link.framing_bytes))
    return made
