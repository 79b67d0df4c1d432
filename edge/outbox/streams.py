"""What the outbox knows of each stream without asking the disk.

In: rows at open, appends, acks, evictions. Out: positions, depths, what is pending. Always
holds: it equals what is committed or about to be; after a rollback the streams that the
transaction touched are as they were before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import apsw
import msgspec

from shared.errors import Corrupt
from shared.messages import StreamPosition
from shared.sync.ranges import Range, RangeSet
from shared.topics import CLASSES

SEQ_BITS = 40  # a thousand records a second for 34 years
EPOCHS_MAX = 16  # assumption: an epoch more means a store restored or a ledger at odds
SEQ_MASK = (1 << SEQ_BITS) - 1


@dataclass(slots=True)
class Stream:
    """One stream of one epoch. held: its records in the store."""

    id: int
    epoch: str
    name: str
    cls: str
    next_seq: int
    received: RangeSet = field(default_factory=RangeSet)
    safe: RangeSet = field(default_factory=RangeSet)
    held: RangeSet = field(default_factory=RangeSet)
    locked: RangeSet = field(default_factory=RangeSet)
    """Held, but sealed with a key that this process does not have."""

    def record_id(self, seq: int) -> int:
        return self.id << SEQ_BITS | seq

    @property
    def position(self) -> StreamPosition:
        return StreamPosition(self.first(self.held, RangeSet()), self.next_seq)

    def first(self, among: RangeSet, without: RangeSet) -> int:
        """The lowest of `among` that is not in `without`; next_seq when there is none."""
        for low, high in among:
            for gap, _ in without.missing(low, high):
                return gap
        return self.next_seq

    def unsafe(self) -> RangeSet:
        """Held, neither safe nor locked: what the ground has still to get."""
        return RangeSet(
            open_part
            for low, high in self.held
            for part in self.safe.missing(low, high)
            for open_part in self.locked.missing(*part)
        )

    def dropped(self) -> RangeSet:
        """Made, and neither held nor safe: each is named by a drop record."""
        return RangeSet(self.held.union(self.safe).missing(0, self.next_seq))

    def learn(self, received: RangeSet, safe: RangeSet, answer: bool) -> tuple[int, int] | None:
        """Take over what the ground says; how many held records are newly received and safe.

        answer: it replaces what was believed, else it adds. None when nothing changed. Both are
        cut to what was made: a record that comes later is not safe because somebody said so.
        """
        made = RangeSet([(0, self.next_seq)])
        received, safe = received.intersection(made), safe.intersection(made)
        received = received.union(safe)
        if not answer:
            received, safe = received.union(self.received), safe.union(self.safe)
        if (received, safe) == (self.received, self.safe):
            return None
        gained = [
            self.held.intersection(now).size - self.held.intersection(was).size
            for now, was in ((received, self.received), (safe, self.safe))
        ]
        self.received, self.safe = received, safe
        return max(0, gained[0]), max(0, gained[1])

    def pending(self, cursor: int) -> Iterator[Range]:
        """Held, not received and not locked, from `cursor` on."""
        for low, high in self.received.missing(cursor, self.next_seq):
            for part_low, part_high in self.held.within(low, high):
                yield from self.locked.missing(part_low, part_high)


class Streams:
    """Every stream of every epoch held, by (epoch, name)."""

    def __init__(self, db: apsw.Connection, has_key: Callable[[int], bool]) -> None:
        rows = db.execute("SELECT epoch, diverged FROM epoch ORDER BY n DESC").fetchall()
        self.epochs = [str(epoch) for epoch, _ in rows]
        self.diverged = {str(epoch) for epoch, diverged in rows if diverged}
        self.all: dict[tuple[str, str], Stream] = {}
        by_id: dict[int, Stream] = {}
        for number, epoch, name, cls, next_seq, received, safe in db.execute(
            "SELECT id, epoch, stream, cls, next_seq, received, safe FROM stream"
        ):
            if epoch not in self.epochs or cls not in CLASSES:  # no row that this program wrote
                raise Corrupt(f"a stream of epoch {epoch!r:.40} and class {cls!r:.40}", "outbox")
            stream = Stream(number, epoch, name, cls, next_seq, unpack(received), unpack(safe))
            self.all[epoch, name] = by_id[number] = stream
        for low, high in db.execute(
            "SELECT min(id), max(id) + 1 FROM"
            " (SELECT id, id - row_number() OVER (ORDER BY id) AS island FROM record)"
            " GROUP BY island"
        ):
            if low >> SEQ_BITS not in by_id:
                raise Corrupt("records of an unknown stream", "outbox")
            stream, end = by_id[low >> SEQ_BITS], ((high - 1) & SEQ_MASK) + 1
            if end > stream.next_seq:  # its numbers would be given again
                raise Corrupt(f"{stream.name} holds {end - 1}, next is {stream.next_seq}", "outbox")
            stream.held.add_range(low & SEQ_MASK, end)
        for (data_key,) in db.execute("SELECT DISTINCT data_key FROM record").fetchall():
            if not has_key(int(data_key)):  # type: ignore[arg-type]  # by schema
                for (number,) in db.execute(
                    "SELECT id FROM record WHERE data_key = ?", (data_key,)
                ):
                    by_id[number >> SEQ_BITS].locked.add(number & SEQ_MASK)

        self._db = db
        self.begin()

    def begin(self) -> None:
        """A transaction begins: what `undo` goes back to."""
        self._touched: dict[tuple[str, str], tuple[int, RangeSet, RangeSet, RangeSet]] = {}
        self._made: list[tuple[str, str]] = []
        self._epochs_before = [*self.epochs], {*self.diverged}

    def touch(self, stream: Stream) -> None:
        """Before each change of one."""
        key = (stream.epoch, stream.name)
        if key not in self._touched:  # received and safe are replaced, held is changed
            self._touched[key] = (
                stream.next_seq, stream.held.copy(), stream.received, stream.safe
            )  # fmt: skip

    def make(self, stream: Stream) -> None:
        key = (stream.epoch, stream.name)
        self.all[key] = stream
        self._made.append(key)

    def undo(self) -> bool:
        """The transaction was rolled back; False when the store says otherwise: read it then."""
        for key in self._made:
            del self.all[key]
        for key in self._touched.keys() - {*self._made}:
            stream = self.all[key]
            stream.next_seq, stream.held, stream.received, stream.safe = self._touched[key]
            row = self._db.execute("SELECT next_seq FROM stream WHERE id = ?", (stream.id,)).get
            if row != stream.next_seq:
                return False
        self.epochs, self.diverged = self._epochs_before
        self.begin()
        newest = self._db.execute("SELECT epoch FROM epoch ORDER BY n DESC LIMIT 1").fetchall()
        return [epoch for (epoch,) in newest] == self.epochs[:1]

    @property
    def locked(self) -> int:
        """How many records are held whose key this process does not have."""
        return sum(s.held.intersection(s.locked).size for s in self.all.values() if s.locked)

    def of_epoch(self, epoch: str) -> Iterator[Stream]:
        return (stream for stream in self.all.values() if stream.epoch == epoch)

    def of_class(self, cls: str) -> Iterator[Stream]:
        return (stream for stream in self.all.values() if stream.cls == cls)

    def epochs_held(self) -> list[str]:
        """The current epoch, then the newest older ones with records, EPOCHS_MAX in all: those
        that have something to send before those that are only a cache or locked."""
        holding = {stream.epoch for stream in self.all.values() if stream.held}
        older = [epoch for epoch in self.epochs[1:] if epoch in holding]
        if len(older) >= EPOCHS_MAX:
            owing = {stream.epoch for stream in self.all.values() if stream.unsafe()}
            older.sort(key=lambda epoch: epoch not in owing)  # stable: the newest first
        chosen = {*self.epochs[:1], *older[: EPOCHS_MAX - 1]}
        return [epoch for epoch in self.epochs if epoch in chosen]


def pack(ranges: RangeSet) -> bytes:
    return msgspec.msgpack.encode(list(ranges))


def unpack(data: bytes) -> RangeSet:
    try:
        return RangeSet(msgspec.msgpack.decode(data, type=list[tuple[int, int]]))
    except msgspec.DecodeError as error:
        raise Corrupt(f"ranges of a stream: {error}", "outbox") from None
