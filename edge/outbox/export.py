"""Writes an export: what an outbox holds, as one file on whatever is mounted there.

In: an opened copy, what to take of it, a path, the device's key. Out: the file, complete and read
back, or not there. Always holds: written aside, synced, renamed, folder synced, read back from the
disk; room is asked for before the first byte; a record that the copy cannot give is named in the
manifest and does not end the export.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.outbox.copy import Found, StoreCopy
from edge.outbox.streams import Stream
from shared import export
from shared.envelope import open_envelope
from shared.errors import Corrupt, Rejected, Unreachable
from shared.export import ExportHeader, ExportManifest, ExportStream, JournalEntry, Writer
from shared.files import need_room, open_new, sync_folder
from shared.identity import Signer
from shared.messages import encode

UNREADABLE_MAX = 1000  # named in the manifest; more are counted by `verify` on the store itself
RANGES_MAX = 1000  # of what is safe of a stream, lowest first; a store has a handful
SPARE_BYTES = 2 << 20
READ_BYTES = 1 << 20
ALWAYS = ("drop", "manifest")  # of any selection: what is missing cannot be told without them
Progress = Callable[[int, int], None]
"""Told records done, and records in all."""


@dataclass(frozen=True, slots=True)
class Selection:
    """since_ns: event time; records without one are taken. flight: of this period."""

    since_ns: int | None = None
    flight: str = ""
    unsafe_only: bool = False

    @property
    def is_all(self) -> bool:
        return self == Selection()

    def __str__(self) -> str:
        words = []
        if self.since_ns is not None:
            words.append(f"since {self.since_ns} ns")
        if self.flight:
            words.append(f"of {self.flight}")
        if self.unsafe_only:
            words.append("not yet safe on the ground")
        return ", ".join(words)

    def takes(self, found: Found, stream: Stream) -> bool:
        """Whether a record is asked for. Signal sets and drop records come along in any case."""
        if self.is_all or found.held.cls in ALWAYS or found.held.stream == "signal-set":
            return True
        if self.unsafe_only and found.held.seq in stream.safe:
            return False
        if self.since_ns is not None and 0 < found.t_event_ns < self.since_ns:
            return False
        return not self.flight or (
            found.sealed is not None and open_envelope(found.sealed).flight == self.flight
        )


def write_export(
    copy: StoreCopy, out: Path, selection: Selection, signer: Signer | None, now_ns: int,
    progress: Progress = lambda _done, _all: None,
) -> ExportManifest:  # fmt: skip
    """Write `out`; what its manifest says. Unreachable when the medium cannot take it."""
    aside = out.with_name(f".{out.name}.part")
    try:
        _check_room(copy, out.parent)
        # flight data; a stick without modes ignores it
        with os.fdopen(open_new(aside, 0o600), "wb") as file:
            writer = Writer(file)
            manifest = _fill(writer, copy, selection, now_ns, progress)
            manifest = writer.finish(manifest, signer)
            file.flush()
            os.fsync(file.fileno())
        _read_back(aside, manifest)
        aside.replace(out)
        sync_folder(out.parent)
    except OSError as error:
        raise Unreachable(f"cannot write: {error.strerror}", str(out), "check the medium") from None
    finally:
        aside.unlink(missing_ok=True)
    return manifest


def _check_room(copy: StoreCopy, folder: Path) -> None:
    need = copy.path.stat().st_size + SPARE_BYTES
    need_room(folder, need, "needed at most",
              "make room, or take less with --since, --flight or --unsafe-only")  # fmt: skip


def _fill(
    writer: Writer, copy: StoreCopy, selection: Selection, now_ns: int, progress: Progress
) -> ExportManifest:
    words = str(selection)
    header = ExportHeader(export.VERSION, copy.operator, copy.tail, now_ns, words)
    writer.put(export.HEADER, encode(header))
    unreadable: list[tuple[str, str, int, str]] = []
    books = {name: _Books(stream) for name, stream in copy.streams.all.items()}
    for found in _counted(copy, progress):
        held = found.held
        book = books[held.epoch, held.stream]
        if found.sealed is None:
            unreadable.append((held.epoch, held.stream, held.seq, found.fault))
        elif _selected(selection, found, book.stream, unreadable):
            writer.put(export.RECORD, found.sealed)
            book.add(found.sealed)
    entries = 0
    for group, data in copy.journal():
        if data is not None:
            writer.put(export.JOURNAL, encode(JournalEntry(group, data)))
            entries += 1
    return ExportManifest(
        export.VERSION, copy.operator, copy.tail, now_ns, words, copy.streams.epochs, copy.boot,
        [book.said() for book in books.values()], entries, copy.audit_end,
        unreadable[:UNREADABLE_MAX], 0, b"",
    )  # fmt: skip


def _selected(
    selection: Selection, found: Found, stream: Stream, unreadable: list[tuple[str, str, int, str]]
) -> bool:
    try:
        return selection.takes(found, stream)
    except Rejected as error:  # plain bytes that the disk has changed
        held = found.held
        unreadable.append((held.epoch, held.stream, held.seq, error.what))
        return False


def _counted(copy: StoreCopy, progress: Progress) -> Iterator[Found]:
    count = copy.record_count
    for done, found in enumerate(copy.records()):
        progress(done, count)
        yield found
    progress(count, count)


class _Books:
    """What was written of one stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self._sha256 = stream, hashlib.sha256()
        self._records = self._bytes = 0

    def add(self, sealed: bytes) -> None:
        self._sha256.update(sealed)
        self._records += 1
        self._bytes += len(sealed)

    def said(self) -> ExportStream:
        stream = self.stream
        return ExportStream(
            stream.epoch, stream.name, stream.cls, stream.next_seq, list(stream.safe)[:RANGES_MAX],
            self._records, self._bytes, self._sha256.digest(),
        )  # fmt: skip


def _read_back(path: Path, manifest: ExportManifest) -> None:
    """From the medium, not from memory; Corrupt when it is not what was written."""
    sha256, left = hashlib.sha256(), manifest.bytes_before
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while left and (piece := file.read(min(left, READ_BYTES))):
            sha256.update(piece)
            left -= len(piece)
    if left or sha256.digest() != manifest.sha256:
        raise Corrupt("the medium gave back other bytes", str(path), "take another stick")
