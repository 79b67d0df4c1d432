"""Carried: an export of an outbox that came by hand instead of by a link.

In: a file that `tailtwin-edge export` wrote, the keys of the enrolled tails, the ledger. Out:
what became of its records. Always holds: nothing is taken unless the whole file is as the tail's
own key signed it; what is checked and what is taken are one copy in the state folder, since a
medium may answer otherwise the second time; records then go the way of those of a link, so what
is here already counts once. No ack goes out: the aircraft learns it from the answer to its next
hello.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from ground.ingest.closing import Closing
from ground.ingest.intake import Arrival, examine
from ground.ingest.ledger import Ledger
from shared.envelope import open_envelope
from shared.errors import ConfigError, Corrupt, Rejected, Unreachable
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
EXPORT_BYTES_MAX = 4 << 30  # assumption: aboard are at most 1 GB (DESIGN.md, budgets)
SPARE_BYTES = 64 << 20  # left free beside the copy and what the ledger makes of it
PIECE_BYTES = 1 << 20


@dataclass(slots=True)
class Carried:
    """counts: `records_new`, `records_duplicate`, `records_fork`, `refused_…`, `journal_entries`."""

    manifest: ExportManifest
    counts: Counter[str] = field(default_factory=Counter)
    closures: list[Closure] = field(default_factory=list)


def take_export(
    path: Path, folder: Path, operator: str, keys: Mapping[str, bytes], ledger: Ledger,
    closing: Closing,
) -> Carried:  # fmt: skip
    """Commit the records of `path`; Rejected or Corrupt when it is not to be trusted.

    folder: where the copy lies meanwhile; Unreachable when it has no room for it.
    """
    with copied(path, folder) as file:
        carried = Carried(trusted(file, str(path), operator, keys))
        for batch in _batches(file, carried.counts):
            _commit(batch, str(path), operator, keys, ledger, carried)
    while ledger.waiting() and ledger.reindex().done:
        pass
    closing.pending = True
    while closing.pending:
        written = closing.close_due()
        carried.closures += written
        if not written:
            break
    return carried


def _commit(
    batch: list[bytes], where: str, operator: str, keys: Mapping[str, bytes], ledger: Ledger,
    carried: Carried,
) -> None:  # fmt: skip
    arrivals = []
    for body in batch:
        envelope = open_envelope(body, where)
        found = examine(
            subject(envelope.operator, envelope.tail, envelope.cls), body, operator, keys
        )
        if isinstance(found, Arrival) and envelope.tail == carried.manifest.tail:
            arrivals.append(found)
        else:
            carried.counts[f"refused_{getattr(found, 'reason', 'tail')}"] += 1
    committed = ledger.commit(arrivals)
    for _, verdict in committed.verdicts:
        carried.counts[f"records_{verdict.value}"] += 1
    carried.counts["refused_bound"] += len(committed.refused)


@contextmanager
def copied(path: Path, folder: Path) -> Iterator[BinaryIO]:
    """A copy of `path` that nobody else can change, gone afterwards whatever happens."""
    try:
        source = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would be waited for
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", str(path), "check the path") from None
    about = os.fstat(source)
    if not stat.S_ISREG(about.st_mode):
        os.close(source)
        raise ConfigError("cannot read: it is no file", str(path), "check the path")
    with os.fdopen(source, "rb", buffering=0) as original:
        if about.st_size > EXPORT_BYTES_MAX:
            raise Rejected(f"{about.st_size} bytes, over the cap of {EXPORT_BYTES_MAX}", str(path))
        with _room_for(about.st_size, path, folder) as copy:
            _copy(original, copy, about.st_size, path, folder)
            yield copy


def _room_for(size: int, path: Path, folder: Path) -> BinaryIO:
    """A file without a name."""
    needed = 2 * size + SPARE_BYTES  # the copy, and the records once more
    try:
        disk = os.statvfs(folder)
        if disk.f_bavail * disk.f_frsize >= needed:
            return cast(BinaryIO, TemporaryFile(dir=folder))
    except OSError as error:
        raise Unreachable(
            f"cannot copy {path}: {error.strerror}", str(folder), "check disk and permissions"
        ) from None
    raise Unreachable(
        f"no room for {needed >> 20} MB to copy {path}", str(folder), "free disk space"
    )


def _copy(original: BinaryIO, copy: BinaryIO, size: int, path: Path, folder: Path) -> None:
    left = size  # what is appended meanwhile is not part of it
    while left:
        try:
            piece = original.read(min(left, PIECE_BYTES))
        except OSError as error:
            raise ConfigError(
                f"cannot read: {error.strerror}", str(path), "take another medium"
            ) from None
        if not piece:
            return
        try:
            copy.write(piece)
            copy.flush()
        except OSError as error:
            raise Unreachable(
                f"cannot copy {path}: {error.strerror}", str(folder), "free disk space"
            ) from None
        left -= len(piece)


def trusted(file: BinaryIO, where: str, operator: str, keys: Mapping[str, bytes]) -> ExportManifest:
    """The manifest, once every byte before it is what its tail signed. where: for errors."""
    faults: list[Fault] = []
    body = b""
    reader = Reader(file)
    for part in reader:
        if isinstance(part, Fault):
            faults.append(part)
            if len(faults) == FAULTS_NAMED:  # a file may be full of them
                break
        elif part.kind == MANIFEST:
            body = part.body
    if faults or not body:
        named = "; ".join(str(fault) for fault in faults) or "it has no manifest"
        raise Corrupt(named, where, "copy it again, or export it again")
    claimed, _ = open_manifest(body, None, where)
    if claimed.operator != operator:
        raise Rejected(f"an export of operator {claimed.operator[:40]!r}", where,
                       f"this ground is of {operator}")  # fmt: skip
    if claimed.tail not in keys:
        raise Rejected(f"tail {claimed.tail[:40]!r} is not enrolled here", where, "enrol it")
    manifest, _ = open_manifest(body, keys[claimed.tail], where)
    if (manifest.bytes_before, manifest.sha256) != (reader.bytes_before, reader.sha256):
        raise Corrupt("the bytes before the manifest are others", where, "export it again")
    return manifest


def _batches(file: BinaryIO, counts: Counter[str]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for part in Reader(file):
        if not isinstance(part, Frame):
            continue
        counts["journal_entries"] += part.kind == JOURNAL
        if part.kind != RECORD:
            continue
        batch.append(part.body)
        size += len(part.body)
        if len(batch) >= BATCH_RECORDS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
