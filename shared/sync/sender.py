"""Aircraft half of the protocol: what to send next, and what an ack means.

In: a store of sealed records, connections, acks, monotonic time. Out: the next message to
publish, and what to make of each ack. Always holds: nothing but hellos goes out before the
ground answered this connection's nonce, and only acks that carry it count, so that none from
before can be replayed, and none that a newer one overtook; what an ack says is cut to what was
made, and safe to received; a record that an ack called received is not sent again unless a later
hello's answer takes that back (the ground lost it and still can have it); in flight are at most
16 kB or 2 s at the link's cap, alerts have 16 kB of their own on top and wait for nobody; nothing is deleted here.

A record over the window waits for another link, and the rest of its stream with it: going on
behind it would leave holes, and beyond RANGES_MAX of them acks no longer reach what was sent.

Epochs. A store may still hold records of epochs before its current one. Each epoch held gets
its own hello, all under the connection's one nonce, the current epoch's last, so that the last
hello names the epoch that lives; each is answered by its own ack, and records of an epoch wait
for that epoch's answer. When the ground knows more of the current
epoch than the store does (GROUND_AHEAD: the store is an old copy), the caller starts a new one.
The old one is then *diverged*: the ground may hold other bytes under identities we gave again,
so what it says of that epoch counts only for records sent on this connection, at least
PROOF_NS ago. They arrive as duplicates or as forks, and the ground tells somebody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import msgspec

from shared.envelope import SEQ_MAX
from shared.errors import Rejected
from shared.messages import RANGES_MAX, Ack, Coverage, Hello, StreamPosition, encode
from shared.sync.ranges import RangeSet
from shared.topics import CLASSES

VERSION = 1
WINDOW_BYTES_MIN = 16 * 1024  # DESIGN.md: in flight at most 16 kB …
WINDOW_S = 2.0  # … or 2 s at the link's cap, whichever is more
ALERT_WINDOW_BYTES = 16 * 1024
BURST_S = 0.25  # assumption: one pace of the ground's acks
BURST_BYTES_MIN = 2 * 1024
RECORDS_IN_FLIGHT_MAX = 4096
RESEND_NS = 10_000_000_000  # assumption: 2 s of window, 250 ms of ack pace, a slow satellite hop
HELLO_RETRY_NS = 5_000_000_000  # assumption: the ground restarts within seconds
PROOF_NS = 5_000_000_000
NEVER_NS = 1 << 63
WAIT_NS_MAX = 1_000_000_000
SEGMENT_BYTES = 1448  # payload of a TCP segment on an Ethernet path
HEADER_BYTES = 40  # TCP and IPv4, of each segment after the first (which framing_bytes counts)
PAGE = 64  # records looked up at a time in each class

Key = tuple[str, str]
"""(epoch, stream)."""


@dataclass(frozen=True, slots=True)
class Held:
    """A record that waits in the store: its identity, its class, the size of its sealed bytes."""

    epoch: str
    stream: str
    seq: int
    cls: str
    size: int


class Store(Protocol):
    """What the sender needs of an outbox."""

    @property
    def epoch(self) -> str:
        """The current epoch."""
        ...

    @property
    def boot(self) -> int: ...

    def positions(self) -> Mapping[str, Mapping[str, StreamPosition]]:
        """By epoch, then stream: the current epoch first, then every one with records held."""
        ...

    def is_diverged(self, epoch: str) -> bool: ...

    def pending(
        self, cls: str, epochs: Collection[str], cursors: Mapping[Key, int], limit: int
    ) -> list[Held]:
        """Records of a class that are not received, oldest first, from each stream's cursor on."""
        ...

    def read(self, held: Held) -> bytes | None:
        """Its sealed bytes; None when it was evicted or received meanwhile."""
        ...

    def apply_ack(self, ack: Ack, *, answer: bool) -> object:
        """Take over what is received and safe; an answer replaces what was believed before."""
        ...


class AckOutcome(Enum):
    """What an ack was."""

    ACCEPTED = "accepted"
    WRONG_TAIL = "wrong tail"
    WRONG_EPOCH = "wrong epoch"
    STALE_NONCE = "stale nonce"
    OUT_OF_ORDER = "out of order"
    OTHER_LEDGER = "other ledger"
    GROUND_AHEAD = "ground ahead"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one link may carry. framing_bytes: of each message, for pace and count."""

    cap_bytes_s: float
    classes: tuple[str, ...] = CLASSES
    framing_bytes: int = 0

    @property
    def window_bytes(self) -> int:
        return max(WINDOW_BYTES_MIN, int(WINDOW_S * self.cap_bytes_s))

    @property
    def burst_bytes(self) -> float:
        return max(BURST_BYTES_MIN, BURST_S * self.cap_bytes_s)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish on `leaf`. held: the record it is; None for a hello."""

    leaf: str
    data: bytes
    held: Held | None


@dataclass(slots=True)
class _Flight:
    held: Held
    size: int
    resend_ns: int


class Bucket:
    """Tokens in bytes at `rate` a second up to `burst`; may go into debt for alerts."""

    def __init__(self, rate: float, burst: float, now_ns: int) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at_ns = burst, now_ns

    def wait_ns(self, size: int, now_ns: int) -> int:
        """How long until `size` bytes may go; 0 when they may now."""
        self._fill(now_ns)
        short = min(size, self._burst) - self._tokens
        return 0 if short <= 0 else int(short / self._rate * 1e9) + 1

    def spend(self, size: int, now_ns: int) -> None:
        self._fill(now_ns)
        self._tokens -= size

    def _fill(self, now_ns: int) -> None:
        self._tokens = min(self._burst, self._tokens + (now_ns - self._at_ns) * 1e-9 * self._rate)
        self._at_ns = now_ns


class Sender:
    """One connection after the other over one store."""

    def __init__(self, store: Store, tail: str) -> None:
        self._store, self._tail = store, tail
        self.bytes_sent = 0
        """Of all connections, framing included."""
        self.records_sent = 0
        self._connected = False

    def on_connect(self, nonce: bytes, limits: Limits, now_ns: int) -> None:
        """A new connection, or a new epoch on this one: everything not received waits again.

        nonce: 16 random bytes never used before. `take` gives the hellos first.
        """
        self._nonce, self._limits = nonce, limits
        self._bucket = Bucket(limits.cap_bytes_s, limits.burst_bytes, now_ns)
        self._connected = True
        self._ledger: str | None = None
        self._answered: set[str] = set()
        self._heard: dict[str, tuple[int, Mapping[str, Coverage]]] = {}
        """By epoch: ground time of the newest ack taken, and what it called received."""
        self._hellos = self._make_hellos()
        self._hello_queue: deque[str] = deque()
        self._hello_due_ns = now_ns
        self._flights: dict[Key, dict[int, _Flight]] = {}
        self._order: deque[_Flight] = deque()
        self._bytes = self._alert_bytes = self._count = 0
        self._cursors: dict[Key, int] = {}
        self._queues: dict[str, deque[Held]] = {cls: deque() for cls in CLASSES}
        self._sent_ns: dict[Key, dict[int, int]] = {}
        self._too_big: dict[Key, int] = {}
        self._blocked_ns = 0
        self._owed_ns: int | None = now_ns

    def on_disconnect(self) -> None:
        """Nothing is in flight any more."""
        self._connected = False

    @property
    def answered(self) -> bool:
        """The ground answered the hello of the current epoch on this connection."""
        return self._connected and self._store.epoch in self._answered

    @property
    def in_flight_bytes(self) -> int:
        return self._bytes + self._alert_bytes if self._connected else 0

    @property
    def too_big(self) -> int:
        """Streams that wait on this connection, since its window is too small for a record."""
        return len(self._too_big) if self._connected else 0

    def silent_ns(self, now_ns: int) -> int:
        """How long the ground has owed us an ack, be it for a hello or for what is in flight."""
        if not self._connected or self._owed_ns is None:
            return 0
        return now_ns - self._owed_ns

    # -- what goes out

    def take(self, now_ns: int) -> Outgoing | None:
        """The next message to publish now; None when nothing may go (ask again, `wait_ns`)."""
        if not self._connected:
            return None
        self._blocked_ns = 0
        hello = self._take_hello(now_ns)
        if hello is not None or not self.answered:
            return hello
        self._expire(now_ns)
        for cls in CLASSES:
            if cls not in self._limits.classes:
                continue
            for held in self._waiting(cls):
                if not self._may_go(held, now_ns):
                    return None
                self._queues[cls].popleft()
                data = self._store.read(held)
                if data is not None:
                    return self._launch(held, data, now_ns)
        if self._count == 0:
            self._owed_ns = None  # what was in flight is gone from the store
        return None

    def wait_ns(self, now_ns: int) -> int:
        """Ask `take` again after this long, or when an ack or a new record comes; at most 1 s."""
        if not self._connected:
            return WAIT_NS_MAX
        due = [now_ns + WAIT_NS_MAX, self._hello_due_ns]
        if self._blocked_ns:
            due.append(self._blocked_ns)
        if self._order:
            due.append(self._order[0].resend_ns)
        return max(0, min(due) - now_ns)

    def _make_hellos(self) -> dict[str, bytes]:
        return {
            epoch: encode(Hello(VERSION, self._nonce, self._store.boot, epoch, dict(streams)))
            for epoch, streams in self._store.positions().items()
        }

    def _take_hello(self, now_ns: int) -> Outgoing | None:
        """The next hello of a round: older epochs without an answer, then the current one."""
        if not self._hello_queue and self._hello_due_ns <= now_ns:
            older = [e for e in reversed(self._hellos) if e not in self._answered]
            current = self._store.epoch
            self._hello_queue.extend([*(e for e in older if e != current), current])
            self._hello_due_ns = now_ns + HELLO_RETRY_NS
        if len(self._answered) == len(self._hellos):
            self._hello_queue.clear()
            self._hello_due_ns = NEVER_NS
        if not self._hello_queue:
            return None
        data = self._hellos[self._hello_queue.popleft()]
        self._count_out(len(data), now_ns)
        return Outgoing("hello", data, None)

    def _waiting(self, cls: str) -> Iterator[Held]:
        """Heads of the class's queue, one after the other while the caller pops them."""
        queue = self._queues[cls]
        while True:
            if not queue:
                page = self._store.pending(cls, self._answered, self._cursors, PAGE)
                for held in page:
                    self._cursors[held.epoch, held.stream] = held.seq + 1
                queue.extend(page)
            if not queue:
                return
            if self._waits_for_another_link(queue[0]):
                queue.popleft()
                continue
            yield queue[0]

    def _waits_for_another_link(self, held: Held) -> bool:
        """It is over the window, or comes behind one of its stream that is."""
        key = (held.epoch, held.stream)
        if held.cls == "alert":
            return False
        if self._size(held) > self._limits.window_bytes:
            self._too_big[key] = min(held.seq, self._too_big.get(key, held.seq))
            self._cursors[key] = SEQ_MAX + 1
        return held.seq >= self._too_big.get(key, SEQ_MAX + 1)

    def _size(self, held: Held) -> int:
        return self._on_wire(held.size)

    def _on_wire(self, length: int) -> int:
        return length + self._limits.framing_bytes + length // SEGMENT_BYTES * HEADER_BYTES

    def _may_go(self, held: Held, now_ns: int) -> bool:
        size = self._size(held)
        if held.cls == "alert":  # its own window, and debt instead of waiting for the pace
            return self._alert_bytes == 0 or self._alert_bytes + size <= ALERT_WINDOW_BYTES
        if self._bytes + size > self._limits.window_bytes or self._count >= RECORDS_IN_FLIGHT_MAX:
            return False
        wait_ns = self._bucket.wait_ns(size, now_ns)
        if wait_ns:
            self._blocked_ns = now_ns + wait_ns
        return wait_ns == 0

    def _launch(self, held: Held, data: bytes, now_ns: int) -> Outgoing:
        size = self._count_out(len(data), now_ns)
        if self._owed_ns is None:
            self._owed_ns = now_ns
        flight = _Flight(held, size, now_ns + RESEND_NS)
        key = (held.epoch, held.stream)
        self._flights.setdefault(key, {})[held.seq] = flight
        self._order.append(flight)
        self._account(held, size)
        if self._store.is_diverged(held.epoch):
            self._sent_ns.setdefault(key, {}).setdefault(held.seq, now_ns)
        self.records_sent += 1
        return Outgoing(held.cls, data, held)

    def _count_out(self, length: int, now_ns: int) -> int:
        size = self._on_wire(length)
        self._bucket.spend(size, now_ns)
        self.bytes_sent += size
        return size

    def _account(self, held: Held, size: int) -> None:
        if held.cls == "alert":
            self._alert_bytes += size
        else:
            self._bytes += size
        self._count += 1 if size > 0 else -1

    def _land(self, flight: _Flight) -> None:
        """It is no longer in flight. Its place in `_order` goes when it comes up."""
        held = flight.held
        del self._flights[held.epoch, held.stream][held.seq]
        self._account(held, -flight.size)
        flight.resend_ns = 0

    def _expire(self, now_ns: int) -> None:
        """What the ground did not confirm in time waits again, before what was never sent."""
        again: list[Held] = []
        while self._order and self._order[0].resend_ns <= now_ns:
            flight = self._order.popleft()
            if flight.resend_ns:
                self._land(flight)
                again.append(flight.held)
        for held in reversed(again):
            self._queues[held.cls].appendleft(held)

    # -- what comes in

    def on_ack(self, ack: Ack, now_ns: int) -> AckOutcome:
        """Check an ack whose signature was verified, and take it over into the store.

        Rejected when it is of another version or its coverage is out of bounds. After
        GROUND_AHEAD the caller has the store start a new epoch and connects again.
        """
        if ack.v != VERSION:
            raise Rejected(f"ack version {ack.v}; this program reads {VERSION}", "ack")
        if ack.tail != self._tail:
            return AckOutcome.WRONG_TAIL
        if not self._connected or ack.nonce != self._nonce:
            return AckOutcome.STALE_NONCE
        if ack.epoch not in self._hellos:
            return AckOutcome.WRONG_EPOCH
        answer = ack.epoch not in self._answered
        before_ns, before = self._heard.get(ack.epoch, (ack.t_ground_ns, {}))
        if ack.t_ground_ns < before_ns:
            return AckOutcome.OUT_OF_ORDER
        if self._ledger not in (None, ack.ledger):
            return AckOutcome.OTHER_LEDGER
        received, safe = (
            {s: RangeSet.from_coverage(c, f"ack {s}") for s, c in part.items()}
            for part in (ack.received, ack.safe)
        )
        made, heard = self._made(ack.epoch), (ack.t_ground_ns, ack.received)
        if ack.epoch == self._store.epoch and any(
            ranges.end > made.get(stream, RangeSet()).end
            for part in (received, safe)
            for stream, ranges in part.items()
        ):
            return AckOutcome.GROUND_AHEAD
        if _takes_back(before, ack.received):
            return AckOutcome.OTHER_LEDGER
        if self._store.is_diverged(ack.epoch):
            made = self._proved(ack.epoch, now_ns)
        received, safe = _cut(received, made), _cut(_cut(safe, received), made)
        ack = msgspec.structs.replace(
            ack,
            received={s: ranges.to_coverage() for s, ranges in received.items()},
            safe={s: ranges.to_coverage() for s, ranges in safe.items()},
        )
        self._store.apply_ack(ack, answer=answer and not self._store.is_diverged(ack.epoch))
        self._ledger = ack.ledger
        self._heard[ack.epoch] = heard
        self._answered.add(ack.epoch)
        self._confirm(ack.epoch, received)
        self._owed_ns = now_ns if self._count else None
        return AckOutcome.ACCEPTED

    def _made(self, epoch: str) -> dict[str, RangeSet]:
        """By stream, every record that was ever made in an epoch."""
        streams = self._store.positions().get(epoch, {})
        return {stream: RangeSet([(0, at.next_seq)]) for stream, at in streams.items()}

    def _proved(self, epoch: str, now_ns: int) -> dict[str, RangeSet]:
        """By stream, what an ack of a diverged epoch can answer: what we sent here."""
        return {
            stream: RangeSet(
                (seq, seq + 1) for seq, at_ns in times.items() if at_ns + PROOF_NS <= now_ns
            )
            for (sent, stream), times in self._sent_ns.items()
            if sent == epoch
        }

    def _confirm(self, epoch: str, received: Mapping[str, RangeSet]) -> None:
        for stream, ranges in received.items():
            flights = self._flights.get((epoch, stream), {})
            for flight in [f for seq, f in flights.items() if seq in ranges]:
                self._land(flight)
        while self._order and not self._order[0].resend_ns:
            self._order.popleft()


def _takes_back(before: Mapping[str, Coverage], now: Mapping[str, Coverage]) -> bool:
    """A later ack lacks what an earlier one had: the ground restored an older ledger, and only a
    new hello's answer may say what it still has. Beyond RANGES_MAX ranges nothing is said."""
    for stream, had in before.items():
        has = now.get(stream, Coverage(0))
        whole = RangeSet.from_coverage(has)
        end = whole.end if len(has.ranges) == RANGES_MAX else SEQ_MAX + 1
        if any(whole.missing(low, min(high, end)) for low, high in RangeSet.from_coverage(had)):
            return True
    return False


def _cut(told: Mapping[str, RangeSet], to: Mapping[str, RangeSet]) -> dict[str, RangeSet]:
    """What was told, as far as it is in `to`."""
    return {s: ranges.intersection(to[s]) for s, ranges in told.items() if s in to}
