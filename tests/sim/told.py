"""What an outbox acknowledged, and whether an outbox still has it.

In: each call that returned. Out: `Told`, frozen at that moment; complaints about a store that was
opened again. Always holds: a complaint names a promise of edge.outbox.store that is broken, so a
store may hold the call that was under way, whole or not at all, and nothing else beyond.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from edge.outbox.store import Outbox
from shared.envelope import open_envelope
from shared.errors import Rejected
from shared.messages import Audit, Drop, decode
from shared.sync.ranges import RangeSet

Key = tuple[str, str, int]
"""(epoch, stream, seq) of a record."""


@dataclass(frozen=True, slots=True)
class Told:
    """records: how many of the workload's list were acknowledged. safe: what the ground has."""

    records: int = 0
    epochs: int = 0
    journal: tuple[tuple[str, bytes], ...] = ()
    kept: Mapping[str, bytes] = field(default_factory=dict)
    safe: Mapping[tuple[str, str], tuple[tuple[int, int], ...]] = field(default_factory=dict)


@dataclass(slots=True)
class History:
    """All that a workload ever wrote, in order; `Told` counts into it."""

    records: list[tuple[Key, bytes]] = field(default_factory=list)
    """Key and sha-256 of the sealed bytes."""
    epochs: list[str] = field(default_factory=list)


def complaints(outbox: Outbox, history: History, told: Told, coming: Told) -> list[str]:
    """Which promises `outbox` breaks. coming: what the call under way would have told."""
    if outbox.opened.quarantined is not None:
        return [f"corrupt: {outbox.opened.reason}"]
    if told.epochs and outbox.opened.created:
        return ["lost: the whole store"]
    held, said = _held(outbox)
    said += _numbering(outbox, held, coming) + _chained(outbox, held)
    said += _promised(held, outbox, history, told, coming)
    said += _whole_call(held, outbox, history, told, coming)
    return said


@dataclass(slots=True)
class _Held:
    sealed: dict[Key, bytes] = field(default_factory=dict)
    dropped: dict[tuple[str, str], RangeSet] = field(default_factory=dict)
    audit: list[tuple[Key, bytes]] = field(default_factory=list)


def _held(outbox: Outbox) -> tuple[_Held, list[str]]:
    """Every record, opened; and what is wrong with any."""
    held, said = _Held(), []
    for ref in outbox.records():
        data = outbox.sealed(ref)
        key = (ref.epoch, ref.stream, ref.seq)
        try:
            if data is None:
                raise Rejected("a row without its bytes")
            envelope = open_envelope(data)
            if (envelope.epoch, envelope.stream, envelope.seq) != key:
                raise Rejected("another record's bytes")
            if envelope.cls == "drop":
                drop = decode(Drop, envelope.payload, "drop", 1 << 20)
                stream = (drop.epoch or envelope.epoch, drop.stream)
                held.dropped.setdefault(stream, RangeSet()).add_range(drop.low, drop.high)
            elif envelope.cls == "audit":
                held.audit.append((key, envelope.payload))
        except Rejected as error:
            said.append(f"corrupt: {key}: {error.what}")
            continue
        held.sealed[key] = hashlib.sha256(data).digest()
    return held, said


def _numbering(outbox: Outbox, held: _Held, coming: Told) -> list[str]:
    """Below next_seq each seq is held, dropped by name, or was safe."""
    known = {stream: RangeSet(ranges) for stream, ranges in held.dropped.items()}
    for epoch, stream, seq in held.sealed:
        known.setdefault((epoch, stream), RangeSet()).add(seq)
    said = []
    for epoch, streams in outbox.positions().items():
        for name, position in streams.items():
            safe = RangeSet(coming.safe.get((epoch, name), ()))
            there = known.get((epoch, name), RangeSet()).union(safe)
            for low, high in there.missing(0, position.next_seq):
                said.append(f"gap: {epoch} {name} [{low}, {high}) of {position.next_seq}")
            if there.missing(0, 1 << 40)[-1][0] > position.next_seq:
                said.append(f"gap: {epoch} {name} goes on beyond {position.next_seq}")
    return said


def _chained(outbox: Outbox, held: _Held) -> list[str]:
    """Each audit record names the one before it, the last one is named by the store."""
    ages = {epoch: -age for age, epoch in enumerate(outbox.positions())}
    chain = sorted(held.audit, key=lambda one: (ages[one[0][0]], one[0][2]))
    said = []
    for (before, payload), (after, following) in pairwise(chain):
        neighbours = before[:2] == after[:2] and before[2] + 1 == after[2]
        previous = decode(Audit, following, "audit").previous
        if neighbours and previous != hashlib.sha256(payload).digest():
            said.append(f"audit: {after} does not follow {before}")
    if chain and outbox.get("audit.previous") != hashlib.sha256(chain[-1][1]).digest():
        said.append("audit: its end is not the last record")
    return said


def _promised(held: _Held, outbox: Outbox, history: History, told: Told, coming: Told) -> list[str]:
    said = []
    for (epoch, stream, seq), sha256 in history.records[: told.records]:
        found = held.sealed.get((epoch, stream, seq))
        if found is None:
            safe = RangeSet(coming.safe.get((epoch, stream), ()))
            if seq not in safe and seq not in held.dropped.get((epoch, stream), RangeSet()):
                said.append(f"lost: {epoch} {stream} {seq}")
        elif found != sha256:
            said.append(f"changed: {epoch} {stream} {seq}")
    for key, value in told.kept.items():
        if outbox.get(key) not in (value, coming.kept.get(key)):
            said.append(f"lost: value of {key}")
    journal = tuple(outbox.journal_entries())
    if journal not in (told.journal, coming.journal):
        said.append(f"lost: journal of {len(told.journal)} entries has {len(journal)}")
    if told.epochs and outbox.epoch not in history.epochs[told.epochs - 1 : coming.epochs]:
        said.append(f"lost: epoch {history.epochs[told.epochs - 1]}")
    return said


def _whole_call(
    held: _Held, outbox: Outbox, history: History, told: Told, coming: Told
) -> list[str]:
    """Of the call under way all or nothing; no record from nowhere."""
    new = dict(history.records[told.records : coming.records])
    known = dict(history.records[: told.records])
    said = [f"from nowhere: {key}" for key in held.sealed if key not in known and key not in new]
    there = [key for key in new if key in held.sealed]
    gone = [key for key in new if key not in held.sealed
            and key[2] not in held.dropped.get(key[:2], RangeSet())]  # fmt: skip
    journal = tuple(outbox.journal_entries())
    if there and (gone or journal != coming.journal):
        said.append(f"half: {there} without {gone}, journal of {len(journal)}")
    return said
