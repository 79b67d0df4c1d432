"""The books: records, their counters, and what goes when there is no room.

In: payloads, what must go. Out: records, drop records. Always holds: `seq` is contiguous per
(epoch, stream); a record goes only when it is safe or with a drop record beside it; sealed bytes
never change. Nothing here commits: the caller says when a transaction begins and when it was
rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import apsw

from edge.outbox import retention, rows, thinning
from edge.outbox.retention import Candidate
from edge.outbox.sealing import PLAIN, Sealing
from edge.outbox.streams import Stream, Streams, pack
from edge.outbox.values import AckCounts, RecordRef
from shared.block import Block, decode_block, encode_block
from shared.envelope import PAYLOAD_BYTES_MAX, TIME_NONE, Envelope, open_envelope, seal
from shared.errors import Corrupt, Rejected
from shared.log import event
from shared.messages import Ack, Coverage, Drop, decode, encode
from shared.sync.ranges import RangeSet
from shared.topics import check_identifier

EVICT_RECORDS = 64  # in one transaction, so that an append stays about a millisecond
STREAMS_MAX = 200  # of an epoch; the ground takes 256. No thinned stream is begun beyond it
RATES_LEARNED = 8  # streams whose rate is looked up in one call: each decodes a block
FOLD_RECORDS, FOLD_RECORDS_MAX = 128, 1024
"""Drop records folded in one transaction, and in how many to look for neighbours when these few
have too many streams in them."""
FOLD_GAIN = 0.75  # of the records may be left; else more are looked at
ROW_BYTES = (
    170  # assumption: of a small record beside its envelope: measured in a store full of drops
)
NOTHING = pack(RangeSet())
DAMAGED = "damaged on disk"


@dataclass(frozen=True, slots=True)
class Moment:
    """What a record says of its time. flight: id of its period."""

    flight: str = ""
    t_event_ns: int = 0
    t_quality: int = TIME_NONE


class Books:
    """Of one open database."""

    def __init__(
        self, db: apsw.Connection, operator: str, tail: str, sealing: Sealing,
        random: Callable[[int], bytes],
    ) -> None:  # fmt: skip
        self._db, self._operator, self._tail = db, operator, tail
        self._sealing, self._random = sealing, random
        self._rates_hz: dict[str, float] = {}
        self.evicted_unsafe = self.thinned = 0
        self.moment = Moment()
        """Of the last append; drop records carry it."""
        self.load()

    def load(self) -> None:
        self.streams = Streams(self._db, self._sealing.has)
        self._said: dict[int, tuple[Coverage, Coverage]] = {}  # of each stream, by the last ack
        self._thin_from: dict[tuple[str, str], int] = {}  # what is before it does not get smaller
        self._drop_bytes = sum(
            rows.weigh(self._db, stream, stream.held)[0] for stream in self.streams.of_class("drop")
        )
        self._fold_records, self._fold_from = FOLD_RECORDS, 0
        self._born: int = self._db.execute("SELECT coalesce(max(born), 0) FROM record").get

    def begin(self) -> None:
        """A transaction begins."""
        self.streams.begin()
        self._before = (
            self._born, self._drop_bytes, self._fold_records, self._fold_from, self.evicted_unsafe,
            self.thinned,
        )  # fmt: skip

    def undo(self) -> None:
        """It was rolled back. What it did not touch is kept: to read a large store again takes a
        second or so, and a full disk refuses every transaction."""
        (
            self._born, self._drop_bytes, self._fold_records, self._fold_from, self.evicted_unsafe,
            self.thinned,
        ) = self._before  # fmt: skip
        self._said.clear()
        self._thin_from.clear()
        if not self.streams.undo():
            self.load()

    @property
    def epoch(self) -> str:
        return self.streams.epochs[0]

    def begin_epoch(self) -> str:
        epoch = self._random(6).hex()
        self._db.execute("INSERT INTO epoch (epoch) VALUES (?)", (epoch,))
        self.streams.epochs.insert(0, epoch)
        return epoch

    def diverge(self) -> None:
        """The ground knows more of the current epoch than this store."""
        self._db.execute("UPDATE epoch SET diverged = 1 WHERE epoch = ?", (self.epoch,))
        self.streams.diverged.add(self.epoch)

    def append(
        self, cls: str, payload: bytes, name: str, schema: str, codec: str = "", *,
        moment: Moment | None = None, born: int | None = None,
    ) -> RecordRef:  # fmt: skip
        """born: where it stands among the records by age; behind all others by default."""
        stream, at = self._stream(cls, name), moment or self.moment
        seq = stream.next_seq
        envelope, plain = seal(
            operator=self._operator, tail=self._tail, epoch=self.epoch, stream=name, seq=seq,
            cls=cls, flight=at.flight, t_event_ns=at.t_event_ns, t_quality=at.t_quality,
            schema=schema, codec=codec, payload=payload,
        )  # fmt: skip
        if born is None:
            self._born = born = self._born + 1
        key, data = self._sealing.seal(plain, ("record", self.epoch, name, seq))
        rows.insert(self._db, stream.record_id(seq), born, envelope, len(plain), key, data)
        self._db.execute("UPDATE stream SET next_seq = ? WHERE id = ?", (seq + 1, stream.id))
        self.streams.touch(stream)
        stream.next_seq = seq + 1
        stream.held.add(seq)
        if cls == "drop":
            self._drop_bytes += len(plain)
        return RecordRef(self.epoch, name, seq, len(plain))

    def _stream(self, cls: str, name: str) -> Stream:
        stream = self.streams.all.get((self.epoch, name))
        if stream is None:
            check_identifier(name, "stream")
            self._db.execute(
                "INSERT INTO stream (epoch, stream, cls, next_seq, received, safe)"
                " VALUES (?, ?, ?, 0, ?, ?)",
                (self.epoch, name, cls, NOTHING, NOTHING),
            )
            stream = Stream(self._db.last_insert_rowid(), self.epoch, name, cls, 0)
            self.streams.make(stream)
        assert stream.cls == cls, "a stream has one class"
        return stream

    def read(self, stream: Stream, seq: int) -> bytes | None:
        """A record's envelope; None when it is not held or locked, Corrupt when it is damaged."""
        row = rows.sealed(self._db, stream.record_id(seq))
        if row is None:
            return None
        data = self._sealing.open(*row, ("record", stream.epoch, stream.name, seq))
        if data is not None and row[0] == PLAIN:  # nothing else has looked at these bytes
            try:
                envelope = open_envelope(data)
            except Rejected as error:
                raise Corrupt(error.what, f"{stream.name}/{seq}") from None
            if envelope.identity[1:] != (stream.epoch, stream.name, seq):
                raise Corrupt("another record's bytes", f"{stream.name}/{seq}")
        return data

    def learn(self, ack: Ack, answer: bool, keep: bool) -> AckCounts:
        """Take over what the ground has of an epoch. keep: in the store as well."""
        received = safe = 0
        none = Coverage(0)
        for stream in list(self.streams.of_epoch(ack.epoch)):
            said = ack.received.get(stream.name, none), ack.safe.get(stream.name, none)
            if not answer and self._said.get(stream.id) == said:
                continue  # acks name all streams four times a second; few of them have moved
            self._said[stream.id] = said
            told, kept = (RangeSet.from_coverage(coverage) for coverage in said)
            self.streams.touch(stream)
            gained = stream.learn(told, kept, answer)
            if gained is None:
                continue
            received, safe = received + gained[0], safe + gained[1]
            if keep:
                self._db.execute(
                    "UPDATE stream SET received = ?, safe = ? WHERE id = ?",
                    (pack(stream.received), pack(stream.safe), stream.id),
                )
        return AckCounts(received, safe)

    # -- what goes

    def evict(self, bytes_over: int) -> None:
        """Up to EVICT_RECORDS records in the order of `retention`, to free so many bytes."""
        oldest = rows.evictable(self._db, self.streams.all.values(), bytes_over, EVICT_RECORDS)
        self._evict(retention.choose(oldest, bytes_over, EVICT_RECORDS), retention.REASON)

    def evict_safe(self, bytes_over: int) -> None:
        """The same, but only what the ground has."""
        safe = rows.safe(self._db, self.streams.all.values(), EVICT_RECORDS)
        self._evict(retention.choose(safe, bytes_over, EVICT_RECORDS), retention.REASON)

    def drop_damaged(self, stream: Stream, seq: int, why: str) -> None:
        """A record that cannot be read can never be proved: it goes, and is named."""
        event("store.damaged", what=why, where=f"{stream.epoch}/{stream.name}/{seq}")
        self._evict(rows.one(self._db, stream, seq), DAMAGED)

    def _evict(self, gone: list[Candidate], reason: str) -> None:
        self.evicted_unsafe += sum(not candidate.safe for candidate in gone)
        self._drop(gone, reason)

    def _drop(self, gone: list[Candidate], reason: str) -> None:
        self._replace_by(gone, retention.drops(gone, self.epoch, reason))

    def _replace_by(self, gone: Iterable[Candidate], drops: Iterable[Drop]) -> None:
        for candidate in gone:  # before the drop records, which may need their room
            stream = self.streams.all[candidate.epoch, candidate.stream]
            self.streams.touch(stream)
            rows.delete(self._db, stream.record_id(candidate.seq))
            stream.held.remove_range(candidate.seq, candidate.seq + 1)
            if candidate.cls == "drop":
                self._drop_bytes -= candidate.size
        for drop in drops:
            self.append("drop", encode(drop), "drop", "drop/1")

    # -- folding

    def drop_bytes(self) -> int:
        """What drop records take that the ground does not have for good, about."""
        streams = list(self.streams.of_class("drop"))
        held = sum(stream.held.size for stream in streams)
        safe = sum(stream.held.intersection(stream.safe).size for stream in streams)
        return (held - safe) * (self._drop_bytes // held + ROW_BYTES) if held else 0

    def fold(self, bytes_max: int) -> bool:
        """When drop records take more, put few in the place of the oldest ones; whether it did.

        Those with one reason become ranges (`retention.fold`). Where this leaves too many, ranges
        of several reasons are joined as well, so that what is left follows the number of runs that
        were dropped, and not the number of times.
        """
        if (taken := self.drop_bytes()) <= max(bytes_max, self._fold_from):
            return False
        gone = self._foldable(self._fold_records)
        drops = retention.fold(gone, self.epoch)
        if len(drops) > FOLD_GAIN * len(gone):
            if len(gone) == self._fold_records < FOLD_RECORDS_MAX:
                self._fold_records *= 2  # next time: a call is bounded
                return False
            drops = retention.fold(gone, self.epoch, self._dropped)
        if len(drops) >= len(gone):
            self._fold_from = taken + bytes_max // 16  # nothing is gained: not tried at each append
            return False
        self._replace_by((candidate for candidate, _ in gone), drops)
        self._fold_records, self._fold_from = FOLD_RECORDS, 0
        return True

    def _dropped(self, epoch: str, name: str) -> RangeSet:
        stream = self.streams.all.get((epoch, name))
        return stream.dropped() if stream else RangeSet()

    def _foldable(self, count: int) -> list[tuple[Candidate, Drop]]:
        """The oldest drop records, first those that nobody received: the ground asks for none
        that it has."""
        streams = [
            stream
            for epoch in reversed(self.streams.epochs)
            if (stream := self.streams.all.get((epoch, "drop"))) is not None
        ]
        found: list[Candidate] = []
        for stream in streams:
            found += rows.pending(self._db, stream, 0, count - len(found))
        if len(found) < min(count, FOLD_RECORDS):
            found = []
            for stream in streams:
                found += rows.unsafe(self._db, stream, count - len(found))
        gone = []
        for candidate in found:
            drop = self._named(candidate)
            if drop is not None:
                gone.append((candidate, drop))
        return gone

    def _named(self, candidate: Candidate) -> Drop | None:
        stream = self.streams.all[candidate.epoch, candidate.stream]
        try:
            data = self.read(stream, candidate.seq)
            if data is None:
                return None
            drop = decode(Drop, open_envelope(data).payload, "drop record", PAYLOAD_BYTES_MAX)
        except Corrupt as error:
            self.drop_damaged(stream, candidate.seq, error.what)
            return None
        except Rejected:  # of a newer program
            return None
        return drop if drop.v == retention.DROP_VERSION else None

    # -- thinning

    def thin(self, count: int) -> int:
        """Replace `count` blocks by thinner ones; how many were.

        Of the stream whose rate is highest by now among those that have so many, its oldest ones:
        one drop record names them all.
        """
        stream = self._next_to_thin(count)
        if stream is None:
            return 0
        key = (stream.epoch, stream.name)
        gone: list[Candidate] = []
        for candidate in rows.pending(self._db, stream, self._from(stream), count):
            self._thin_from[key] = candidate.seq + 1
            if self._replace(stream, candidate):
                gone.append(candidate)
        self._drop(gone, thinning.reason(thinning.keep_every(stream.name) * thinning.STEP))
        self.thinned += len(gone)
        return len(gone)

    def _next_to_thin(self, count: int) -> Stream | None:
        """A diverged epoch is left alone: the ground may hold other bytes under its names."""
        names = {stream.name for stream in self.streams.of_epoch(self.epoch)}
        best, best_hz, learned = None, 2 * thinning.RATE_MIN_HZ, 0
        for stream in self.streams.of_class("block"):
            into = thinning.next_stream(stream.name)
            if into is None or stream.epoch in self.streams.diverged:
                continue
            if into not in names and len(names) >= STREAMS_MAX:
                continue
            first = rows.pending(self._db, stream, self._from(stream), count)
            if len(first) < count:
                continue
            if stream.name not in self._rates_hz:
                if learned == RATES_LEARNED:
                    continue
                learned += 1
                block = self._block(stream, first[0].seq)
                rate_hz = thinning.rate_hz(block[1]) if block else 0.0
                if not rate_hz:  # damaged, or a single reading: the next one tells
                    self._thin_from[stream.epoch, stream.name] = first[0].seq + 1
                    continue
                self._rates_hz[stream.name] = rate_hz
            if self._rates_hz[stream.name] >= best_hz:
                best, best_hz = stream, self._rates_hz[stream.name] + 1e-6
        return best

    def _replace(self, stream: Stream, candidate: Candidate) -> bool:
        """Whether a thinner block stands for it now; its own row is still there."""
        found = self._block(stream, candidate.seq)
        into = thinning.next_stream(stream.name)
        if found is None or into is None:
            return False
        envelope, block = found
        payload = encode_block(thinning.thin(block, (stream.epoch, stream.name, candidate.seq)))
        if len(payload) >= len(envelope.payload):
            return False
        self.append(
            "block", payload, into, envelope.schema, envelope.codec, born=candidate.born,
            moment=Moment(envelope.flight, envelope.t_event_ns, envelope.t_quality),
        )  # fmt: skip
        return True

    def _block(self, stream: Stream, seq: int) -> tuple[Envelope, Block] | None:
        """None when it is damaged (it is dropped then), or no block that this program reads."""
        try:
            data = self.read(stream, seq)
        except Corrupt as error:
            self.drop_damaged(stream, seq, error.what)
            return None
        try:
            envelope = open_envelope(data) if data is not None else None
            return None if envelope is None else (envelope, decode_block(envelope.payload))
        except (Rejected, Corrupt):
            return None

    def _from(self, stream: Stream) -> int:
        return self._thin_from.get((stream.epoch, stream.name), 0)
