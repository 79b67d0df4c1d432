"""Ground half of the protocol: what the ground holds of one epoch of one tail.

In: hellos, identities and hashes of records that arrive, and what was committed. Out: whether
a record is new, and acks. Always holds: an ack names only what `commit` or `cover` was told,
and the caller tells it only after its own commit is durable; `safe` is a subset of `received`.

A record is classified against what is committed. Two copies in one uncommitted batch are both
NEW: the primary key of the ledger decides there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from shared.errors import Rejected
from shared.messages import Ack, Hello
from shared.sync.ranges import Range, RangeSet

ACK_VERSION = 1
ACK_PERIOD_NS = 250_000_000  # DESIGN.md: acks at most every 250 ms
ACK_RECORDS = 256  # or 256 records
STREAMS_MAX = 256  # assumption: 8 classes and at most some hundred groups
GAPS_MAX = 65_536  # assumption: bounds what one tail may cost the ground, about 5 MB a stream

Lookup = Callable[[str, int], bytes | None]
"""sha-256 of the payload the ledger holds under (stream, seq); None when it holds none."""


class Verdict(Enum):
    """What a record is to the ground."""

    NEW = "new"
    DUPLICATE = "duplicate"
    FORK = "fork"


NEW, DUPLICATE, FORK = Verdict.NEW, Verdict.DUPLICATE, Verdict.FORK


@dataclass(frozen=True, slots=True)
class HelloOutcome:
    """What a hello tells the ground.

    ahead: streams of which the ground knows more than the aircraft: its store is an old copy,
    and it will start a new epoch. gone: (stream, low, high) that the ground misses and the
    aircraft no longer holds; only a drop record can still explain them.
    """

    ahead: tuple[str, ...]
    gone: tuple[tuple[str, int, int], ...]


class Receiver:
    """What is received and safe of one (tail, epoch)."""

    def __init__(
        self,
        tail: str,
        epoch: str,
        received: Mapping[str, RangeSet] | None = None,
        safe: Mapping[str, RangeSet] | None = None,
    ) -> None:
        """received, safe: as the ledger has them; `safe` is cut to what is received."""
        self.tail, self.epoch = tail, epoch
        self.received: dict[str, RangeSet] = dict(received or {})
        self.safe: dict[str, RangeSet] = {
            stream: ranges.intersection(self.received[stream])
            for stream, ranges in (safe or {}).items()
            if stream in self.received
        }
        self._news = 0
        self._acked_ns: int | None = None

    def on_hello(self, hello: Hello) -> HelloOutcome:
        """What the aircraft holds against what the ground holds. Answer it with `ack(nonce)`.

        Rejected when it is of another epoch or names too many streams.
        """
        if hello.epoch != self.epoch:
            raise Rejected(f"hello of epoch {hello.epoch[:40]!r}", f"{self.tail}/{self.epoch}")
        if len(hello.streams) > STREAMS_MAX:
            raise Rejected(f"{len(hello.streams)} streams, over the cap of {STREAMS_MAX}", "hello")
        ahead = [
            stream
            for stream, ranges in self.received.items()
            if ranges.end > (hello.streams[stream].next_seq if stream in hello.streams else 0)
        ]
        gone: list[tuple[str, int, int]] = []
        for stream, position in hello.streams.items():
            ranges = self.received.get(stream, RangeSet())
            gone += [(stream, low, high) for low, high in ranges.missing(0, position.first_held)]
        return HelloOutcome(tuple(sorted(ahead)), tuple(gone))

    def classify(self, stream: str, seq: int, sha256: bytes, lookup: Lookup) -> Verdict:
        """NEW: store it. DUPLICATE: ack it again. FORK: same identity, other bytes: keep both.

        A record that only a drop record covers is NEW: what was given up has come after all.
        Rejected when taking it would break a bound (streams, gaps) of this epoch.
        """
        ranges = self.received.get(stream)
        if ranges is None:
            if len(self.received) >= STREAMS_MAX:
                raise Rejected(f"more than {STREAMS_MAX} streams", f"{self.tail}/{self.epoch}")
            return Verdict.NEW
        if seq not in ranges:
            if ranges.range_count >= GAPS_MAX and not ranges.touches(seq):
                raise Rejected(
                    f"more than {GAPS_MAX} gaps in {stream}",
                    f"{self.tail}/{self.epoch}",
                    "the aircraft has to send the records between them first",
                )
            return Verdict.NEW
        held = lookup(stream, seq)
        if held is None:
            return Verdict.NEW
        self._news += 1  # it was sent again, so an ack was lost
        return Verdict.DUPLICATE if held == sha256 else Verdict.FORK

    def commit(self, records: Iterable[tuple[str, int]]) -> None:
        """(stream, seq) of records that are durable now; telling it twice changes nothing."""
        for stream, seq in records:
            self.received.setdefault(stream, RangeSet()).add(seq)
            self._news += 1

    def cover(self, stream: str, low: int, high: int) -> None:
        """A durable drop record names [low, high): nobody need send it any more."""
        self.received.setdefault(stream, RangeSet()).add_range(low, high)
        self._news += 1

    def mark_safe(self, stream: str, low: int, high: int) -> None:
        """What is received of [low, high) rests in the backup or replica too."""
        ranges = self.received.get(stream)
        for a, b in ranges.within(low, high) if ranges else ():
            self.safe.setdefault(stream, RangeSet()).add_range(a, b)
        self._news += 1

    def mark_all_safe(self) -> None:
        """All that is received is safe: where no backup is configured, or it just finished."""
        if self.safe != self.received:
            self.safe = {stream: ranges.copy() for stream, ranges in self.received.items()}
            self._news += 1

    def missing(self, stream: str, low: int, high: int) -> list[Range]:
        """What is not received of [low, high)."""
        return self.received.get(stream, RangeSet()).missing(low, high)

    def ack_due(self, now_ns: int) -> bool:
        """True when there is news and the last ack is 250 ms or 256 records ago.

        now_ns: any monotonic clock, the same as in `acked`. The answer to a hello never waits.
        """
        if self._news == 0:
            return False
        if self._acked_ns is None or self._news >= ACK_RECORDS:
            return True
        return now_ns - self._acked_ns >= ACK_PERIOD_NS

    def acked(self, now_ns: int) -> None:
        """An ack was published."""
        self._news = 0
        self._acked_ns = now_ns

    def ack(self, nonce: bytes, ledger: str, t_ground_ns: int) -> Ack:
        """All that is held, cumulative. nonce: of the last hello of this epoch; the aircraft
        takes no ack without it."""
        return Ack(
            ACK_VERSION,
            self.tail,
            self.epoch,
            ledger,
            nonce,
            {stream: ranges.to_coverage() for stream, ranges in self.received.items()},
            {stream: ranges.to_coverage() for stream, ranges in self.safe.items()},
            t_ground_ns,
        )
