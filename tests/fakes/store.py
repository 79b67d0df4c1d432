"""An outbox in memory: what the sender needs, and enough to make records and forget safe ones."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping

from shared.envelope import seal
from shared.messages import Ack, StreamPosition
from shared.sync.ranges import RangeSet
from shared.sync.sender import Held, Key


class MemoryStore:
    """Same contract as edge.outbox.store.Outbox; `copy` makes the old copy of a store."""

    def __init__(self, tail: str = "n1", epoch: str = "e0") -> None:
        self.tail, self.epoch, self.boot = tail, epoch, 1
        self.records: dict[tuple[str, str, int], tuple[str, int, bytes]] = {}
        self.next: dict[Key, int] = {}
        self.received: dict[Key, RangeSet] = {}
        self.safe: dict[Key, RangeSet] = {}
        self.diverged: set[str] = set()
        self.born = 0

    def copy(self) -> MemoryStore:
        return copy.deepcopy(self)

    def append(self, cls: str, payload: bytes, stream: str | None = None) -> tuple[str, str, int]:
        key = (self.epoch, stream or cls)
        seq = self.next.get(key, 0)
        _, data = seal(
            operator="op", tail=self.tail, epoch=self.epoch, stream=key[1], seq=seq, cls=cls,
            flight="f1", t_event_ns=0, t_quality=0, schema="test/1", codec="", payload=payload,
        )  # fmt: skip
        self.next[key] = seq + 1
        self.born += 1
        self.records[(*key, seq)] = (cls, self.born, data)
        return (*key, seq)

    def new_epoch(self, epoch: str) -> None:
        self.diverged.add(self.epoch)
        self.epoch = epoch

    def forget_safe(self) -> list[tuple[str, str, int]]:
        """Evict every safe record."""
        gone = [
            key for key in self.records if key[2] in self.safe.get((key[0], key[1]), RangeSet())
        ]
        for key in gone:
            del self.records[key]
        return gone

    # -- the sender's side

    def positions(self) -> Mapping[str, Mapping[str, StreamPosition]]:
        epochs = [self.epoch, *sorted({epoch for epoch, _, _ in self.records} - {self.epoch})]
        return {
            epoch: {
                stream: StreamPosition(
                    min([q for e, s, q in self.records if (e, s) == (epoch, stream)] or [high]),
                    high,
                )
                for (owner, stream), high in self.next.items()
                if owner == epoch
            }
            for epoch in epochs
        }

    def is_diverged(self, epoch: str) -> bool:
        return epoch in self.diverged

    def pending(
        self, cls: str, epochs: Collection[str], cursors: Mapping[Key, int], limit: int
    ) -> list[Held]:
        waiting = [
            (born, Held(epoch, stream, seq, cls, len(data)))
            for (epoch, stream, seq), (its, born, data) in self.records.items()
            if its == cls
            and epoch in epochs
            and seq >= cursors.get((epoch, stream), 0)
            and seq not in self.received.get((epoch, stream), RangeSet())
        ]
        return [held for _, held in sorted(waiting, key=lambda pair: pair[0])][:limit]

    def read(self, held: Held) -> bytes | None:
        if held.seq in self.received.get((held.epoch, held.stream), RangeSet()):
            return None
        found = self.records.get((held.epoch, held.stream, held.seq))
        return found[2] if found else None

    def apply_ack(self, ack: Ack, *, answer: bool) -> None:
        if answer:
            for key in [*self.received, *self.safe]:
                if key[0] == ack.epoch:
                    self.received.pop(key, None)
                    self.safe.pop(key, None)
        for sets, coverages in ((self.received, ack.received), (self.safe, ack.safe)):
            for stream, coverage in coverages.items():
                key = (ack.epoch, stream)
                sets[key] = sets.get(key, RangeSet()).union(RangeSet.from_coverage(coverage))
