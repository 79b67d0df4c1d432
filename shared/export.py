"""An export: all that an outbox holds, or a selection, as one file that can be carried.

In: sealed records and journal entries, and at the end what they should be. Out: the same frames
again, and a fault for every stretch that is not what was written.
Layout: frames, each `TTXF`, length of the body (u32), kind (u8), body, CRC-32 of kind and body.
The first is a header, the last the manifest: `identity.Signed` of domain `export` where the writer
had a device key, else plain. Always holds: a reader takes at most FRAME_BYTES_MAX at once and
finds the next whole frame after a damaged one; it gives nothing that is behind a manifest, since
nobody signed it.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import msgspec

from shared.bounds import Count, Int62, Octet
from shared.envelope import Envelope
from shared.errors import Rejected
from shared.identity import Signed, Signer, verify
from shared.messages import decode, encode

VERSION = 1
SUFFIX = ".ttx"
HEADER, RECORD, JOURNAL, MANIFEST = 1, 2, 3, 9
KINDS = (HEADER, RECORD, JOURNAL, MANIFEST)
FRAME_BYTES_MAX = (1 << 20) + 4096  # the largest journal entry; records are smaller
MANIFEST_BYTES_MAX = 512 * 1024
MARK = b"TTXF"
_HEAD = struct.Struct("<4sIB")
_CRC = struct.Struct("<I")
_SCAN_BYTES = 1 << 16


class ExportHeader(msgspec.Struct, frozen=True):
    """selection: what was asked for, in words; empty when it is everything."""

    v: Octet
    operator: str
    tail: str
    t_made_ns: Int62
    selection: str = ""


class ExportStream(msgspec.Struct, frozen=True):
    """One stream of the file. sha256: of its sealed records, one after the other.

    next_seq, safe: of the outbox at that moment; what is neither here nor safe was dropped.
    """

    epoch: str
    stream: str
    cls: str
    next_seq: Count
    safe: list[tuple[Count, Count]]
    records: Count
    bytes_sealed: Count
    sha256: bytes


class ExportManifest(msgspec.Struct, frozen=True):
    """What the file should be. sha256: of all bytes before the manifest's frame.

    epochs: newest first. unreadable: records that the outbox could not give, and why.
    """

    v: Octet
    operator: str
    tail: str
    t_made_ns: Int62
    selection: str
    epochs: list[str]
    boot: Count
    streams: list[ExportStream]
    journal_entries: Count
    audit_end: bytes
    unreadable: list[tuple[str, str, Count, str]]
    bytes_before: Count
    sha256: bytes


class JournalEntry(msgspec.Struct, frozen=True, array_like=True):
    """Readings that were in no block yet, as the recorder keeps them."""

    group: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame. offset: where it begins."""

    offset: int
    kind: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """A stretch that is no frame. name: of the record that it was, where that can be told."""

    offset: int
    what: str
    name: str = ""

    def __str__(self) -> str:
        return f"byte {self.offset}: {self.what}" + (f", {self.name}" if self.name else "")


class Writer:
    """Writes frames and keeps the books of the manifest."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._sha256 = file, hashlib.sha256()
        self.bytes = 0

    def put(self, kind: int, body: bytes) -> None:
        assert len(body) <= FRAME_BYTES_MAX
        crc = zlib.crc32(body, zlib.crc32(bytes([kind])))
        data = b"".join((_HEAD.pack(MARK, len(body), kind), body, _CRC.pack(crc)))
        self._file.write(data)
        self._sha256.update(data)
        self.bytes += len(data)

    def finish(self, manifest: ExportManifest, signer: Signer | None) -> ExportManifest:
        """The manifest, with size and hash of all before it; signed where there is a key."""
        manifest = msgspec.structs.replace(
            manifest, bytes_before=self.bytes, sha256=self._sha256.digest()
        )
        body = encode(manifest)
        self.put(MANIFEST, signer.sign("export", body) if signer else encode(Signed(body, "", b"")))
        return manifest


class Reader:
    """Frames and faults of a file, in order; afterwards its size and hash before the manifest."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._sha256 = file, hashlib.sha256()
        self.bytes_before, self.sha256 = 0, b""

    def __iter__(self) -> Iterator[Frame | Fault]:
        at, skipping = 0, False
        while True:
            self._file.seek(at)
            head = self._file.read(_HEAD.size)
            if not head:
                return
            found = self._frame(at, head)
            if isinstance(found, Frame):
                skipping = False
                if found.kind == MANIFEST:
                    self.bytes_before, self.sha256 = at, self._sha256.copy().digest()
                size = _HEAD.size + len(found.body) + _CRC.size
                yield found
                if found.kind == MANIFEST:
                    self._file.seek(at + size)
                    if self._file.read(1):
                        yield Fault(at + size, "bytes behind the manifest")
                    return
            else:
                if not skipping:
                    yield found
                skipping = True
                size = self._to_next_mark(at)
            self._take(at, size)
            at += size

    def _frame(self, at: int, head: bytes) -> Frame | Fault:
        if len(head) < _HEAD.size:
            return Fault(at, "the file ends inside a frame")
        mark, length, kind = _HEAD.unpack(head)
        if mark != MARK:
            return Fault(at, "no frame begins here")
        if length > FRAME_BYTES_MAX or kind not in KINDS:
            return Fault(at, f"a frame of kind {kind} with {length} bytes")
        body = self._file.read(length)
        crc = self._file.read(_CRC.size)
        if len(body) < length or len(crc) < _CRC.size:
            return Fault(at, "the file ends inside a frame", _name(kind, body))
        if zlib.crc32(body, zlib.crc32(bytes([kind]))) != _CRC.unpack(crc)[0]:
            return Fault(at, "CRC-32 differs", _name(kind, body))
        return Frame(at, kind, body)

    def _take(self, at: int, size: int) -> None:
        """Into the hash, in pieces."""
        self._file.seek(at)
        while size:
            piece = self._file.read(min(size, _SCAN_BYTES))
            if not piece:
                return
            self._sha256.update(piece)
            size -= len(piece)

    def _to_next_mark(self, at: int) -> int:
        """Bytes from `at` to the next mark behind it, or to the end of the file."""
        start, kept = at + 1, b""
        self._file.seek(start)
        while piece := self._file.read(_SCAN_BYTES):
            window = kept + piece
            found = window.find(MARK)
            if found >= 0:
                return start - len(kept) + found - at
            start += len(piece)
            kept = window[-len(MARK) + 1 :]
        return start - at


def _name(kind: int, body: bytes) -> str:
    """Which record these damaged bytes were, by what still reads."""
    if kind != RECORD:
        return {HEADER: "header", JOURNAL: "journal entry", MANIFEST: "manifest"}.get(kind, "")
    try:
        e = msgspec.msgpack.decode(body, type=Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "a record"
    return f"record {e.epoch[:32]} {e.stream[:32]} {e.seq}"


def open_manifest(body: bytes, public: bytes | None, where: str) -> tuple[ExportManifest, str]:
    """The manifest, and the id of the key that signed it (empty: nobody did).

    public: the device key it must be signed with; Rejected when it is not. None: not checked.
    """
    signed = decode(Signed, body, where, MANIFEST_BYTES_MAX + 1024)
    if public is not None:
        verify("export", body, public, where)
    manifest = decode(ExportManifest, signed.body, where, MANIFEST_BYTES_MAX)
    if manifest.v != VERSION:
        raise Rejected(f"export version {manifest.v}; this program reads {VERSION}", where)
    return manifest, signed.key_id
