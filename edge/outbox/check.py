"""Whether records are what was appended: the judge of `verify`.

In: records one by one, what the streams should hold. Out: `Verdict`: counts, and each fault by
name. Always holds: pure; a fault is counted even where it is no longer named (FAULTS_NAMED_MAX).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shared.envelope import Envelope, open_envelope
from shared.errors import Rejected
from shared.messages import Audit, Drop, decode
from shared.sync.ranges import RangeSet

FAULTS_NAMED_MAX = 100
DROP_BYTES_MAX = 1 << 20
Name = tuple[str, str]
"""(epoch, stream)."""


@dataclass(slots=True)
class Verdict:
    """counts: what was looked at. faults: by check, in the order of finding."""

    counts: dict[str, int] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    unnamed: int = 0

    @property
    def ok(self) -> bool:
        return not any(self.faults.values())

    def count(self, check: str, number: int = 1) -> None:
        self.counts[check] = self.counts.get(check, 0) + number
        self.faults.setdefault(check, [])

    def fault(self, check: str, text: str) -> None:
        named = self.faults.setdefault(check, [])
        self.counts.setdefault(check, 0)
        if len(named) < FAULTS_NAMED_MAX:
            named.append(text)
        else:
            self.unnamed += 1


@dataclass(frozen=True, slots=True)
class Stream:
    """What a stream should hold: below next_seq all but what is safe or was dropped."""

    next_seq: int
    safe: RangeSet


class Judge:
    """Takes records in the order of stream and seq, then says what is missing."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self._held: dict[Name, RangeSet] = {}
        self._dropped: dict[Name, RangeSet] = {}
        self._audit: dict[str, list[tuple[int, bytes, bytes]]] = {}

    def take(self, epoch: str, stream: str, seq: int, data: bytes | None, why: str = "") -> (
        Envelope | None
    ):  # fmt: skip
        """One record; its envelope when it is good. why: when there are no bytes of it."""
        self.verdict.count("records")
        self._held.setdefault((epoch, stream), RangeSet()).add(seq)
        name = f"{epoch} {stream} {seq}"
        if data is None:
            self.verdict.fault("records", f"{name}: {why}")
            return None
        try:
            envelope = open_envelope(data, name)
            if envelope.identity[1:] != (epoch, stream, seq):
                raise Rejected("the bytes of another record")
            self._note(envelope)
        except Rejected as error:
            self.verdict.fault("records", f"{name}: {error.what}")
            return None
        return envelope

    def _note(self, envelope: Envelope) -> None:
        if envelope.cls == "drop":
            drop = decode(Drop, envelope.payload, "drop record", DROP_BYTES_MAX)
            name = (drop.epoch or envelope.epoch, drop.stream)
            self._dropped.setdefault(name, RangeSet()).add_range(drop.low, drop.high)
            self.verdict.count("dropped, by name", drop.high - drop.low)
        elif envelope.cls == "audit":
            audit = decode(Audit, envelope.payload, "audit record", DROP_BYTES_MAX)
            digest = hashlib.sha256(envelope.payload).digest()
            self._audit.setdefault(envelope.epoch, []).append(
                (envelope.seq, audit.previous, digest)
            )

    def check_numbering(self, streams: Mapping[Name, Stream]) -> None:
        """Each stream is held, safe or dropped by name, without a gap."""
        for name in self._held:
            if name not in streams:
                self.verdict.fault("numbering", f"{' '.join(name)}: nobody knows this stream")
        for name, stream in streams.items():
            self.verdict.count("numbering")
            held = self._held.get(name, RangeSet())
            known = held.union(stream.safe).union(self._dropped.get(name, RangeSet()))
            for low, high in known.missing(0, stream.next_seq):
                self.verdict.fault("numbering", f"{' '.join(name)}: [{low}, {high}) is missing")
            if any(low >= stream.next_seq or high > stream.next_seq for low, high in held):
                self.verdict.fault("numbering", f"{' '.join(name)}: beyond {stream.next_seq}")

    def check_audit(
        self, epochs: Sequence[str], streams: Mapping[Name, Stream], end: bytes | None
    ) -> None:
        """Each decision names the one before. epochs: newest first; end: hash of the last one.

        A chain begins anew, with an empty name, where the store's own keys were lost.
        """
        last, last_name = b"", ""  # of the decision just before, where it is held
        for epoch in reversed([*epochs]):
            chain = self._audit.get(epoch, [])
            before = -1
            for seq, previous, digest in chain:
                self.verdict.count("audit chain")
                follows = previous == last or (before < 0 and not previous)
                if seq == before + 1 and last and not follows:
                    self.verdict.fault("audit chain", f"{epoch} {seq} does not follow {last_name}")
                before, last, last_name = seq, digest, f"{epoch} {seq}"
            made = streams.get((epoch, "audit"))
            if made is not None and made.next_seq != before + 1:
                last = b""  # its end is not held here, so nothing can be said of what follows
        if end and last and end != last:
            self.verdict.fault("audit chain", f"it ends at {last_name}, not where the store says")


def named(faults: Mapping[str, Iterable[str]]) -> list[str]:
    """One line a fault."""
    return [f"{check}: {text}" for check, texts in faults.items() for text in texts]
