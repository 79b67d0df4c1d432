"""Carried: an export of an outbox that came by hand instead of by a link.

In: a file that `tailtwin-edge export` wrote, the keys of the enrolled tails, the ledger. Out:
what became of its records. Always holds: nothing is taken unless the whole file is as the tail's
own key signed it; its records then go the way of those of a link, so what is here already counts
once. No ack goes out: the aircraft learns it from the answer to its next hello.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ground.ingest.closing import Closing
from ground.ingest.intake import Arrival, examine
from ground.ingest.ledger import Ledger
from shared.envelope import open_envelope
from shared.errors import ConfigError, Corrupt, Rejected
from shared.export import (
    JOURNAL,
    MANIFEST,
    RECORD,
    ExportManifest,
    Fault,
    Frame,
    Reader,
    open_manifest,
)
from shared.messages import Closure
from shared.topics import subject

BATCH_RECORDS = 256
BATCH_BYTES = 16 << 20
FAULTS_NAMED = 5
HASH_BYTES = 32


@dataclass(slots=True)
class Carried:
    """counts: `records_new`, `records_duplicate`, `records_fork`, `refused_…`, `journal_entries`."""

    manifest: ExportManifest
    counts: Counter[str] = field(default_factory=Counter)
    closures: list[Closure] = field(default_factory=list)


def take_export(
    path: Path, operator: str, keys: Mapping[str, bytes], ledger: Ledger, closing: Closing
) -> Carried:
    """Commit the records of `path`; Rejected or Corrupt when it is not to be trusted."""
    manifest, hashes = trusted(path, operator, keys)
    carried = Carried(manifest)
    for batch in _batches(path, hashes, carried.counts):
        arrivals = []
        for body in batch:
            envelope = open_envelope(body, str(path))
            found = examine(
                subject(envelope.operator, envelope.tail, envelope.cls), body, operator, keys
            )
            if isinstance(found, Arrival) and envelope.tail == manifest.tail:
                arrivals.append(found)
            else:
                carried.counts[f"refused_{getattr(found, 'reason', 'tail')}"] += 1
        committed = ledger.commit(arrivals)
        for _, verdict in committed.verdicts:
            carried.counts[f"records_{verdict.value}"] += 1
        carried.counts["refused_bound"] += len(committed.refused)
    while ledger.waiting() and ledger.reindex().done:
        pass
    closing.pending = True
    while closing.pending:
        written = closing.close_due()
        carried.closures += written
        if not written:
            break
    return carried


def trusted(
    path: Path, operator: str, keys: Mapping[str, bytes]
) -> tuple[ExportManifest, bytearray]:
    """The manifest, once every byte before it is what its tail signed, and the sha-256 of each
    record, one after the other: the records are read a second time, from a medium not ours."""
    faults: list[Fault] = []
    body, hashes = b"", bytearray()
    try:
        with path.open("rb") as file:
            reader = Reader(file)
            for part in reader:
                if isinstance(part, Fault):
                    faults.append(part)
                    if len(faults) == FAULTS_NAMED:  # a file may be full of them
                        break
                elif part.kind == MANIFEST:
                    body = part.body
                elif part.kind == RECORD:
                    hashes += hashlib.sha256(part.body).digest()
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", str(path), "check the path") from None
    if faults or not body:
        named = "; ".join(str(fault) for fault in faults) or "it has no manifest"
        raise Corrupt(named, str(path), "copy it again, or export it again")
    claimed, _ = open_manifest(body, None, str(path))
    if claimed.operator != operator:
        raise Rejected(f"an export of operator {claimed.operator[:40]!r}", str(path),
                       f"this ground is of {operator}")  # fmt: skip
    if claimed.tail not in keys:
        raise Rejected(f"tail {claimed.tail[:40]!r} is not enrolled here", str(path), "enrol it")
    manifest, _ = open_manifest(body, keys[claimed.tail], str(path))
    if (manifest.bytes_before, manifest.sha256) != (reader.bytes_before, reader.sha256):
        raise Corrupt("the bytes before the manifest are others", str(path), "export it again")
    return manifest, hashes


def _batches(path: Path, hashes: bytearray, counts: Counter[str]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = at = 0
    with path.open("rb") as file:
        for part in Reader(file):
            if not isinstance(part, Frame):
                continue
            counts["journal_entries"] += part.kind == JOURNAL
            if part.kind != RECORD:
                continue
            at += HASH_BYTES
            if hashlib.sha256(part.body).digest() != hashes[at - HASH_BYTES : at]:
                raise Corrupt("it changed while it was read", str(path), "take another medium")
            batch.append(part.body)
            size += len(part.body)
            if len(batch) >= BATCH_RECORDS or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
    if at != len(hashes):
        raise Corrupt("it changed while it was read", str(path), "take another medium")
    if batch:
        yield batch
