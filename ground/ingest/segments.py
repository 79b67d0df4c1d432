"""Segments: append-only files that hold sealed records as they came.

In: sealed bytes. Out: the `Place` of each, durable once `append` returned, and the bytes again.
Frame: length u32, CRC-32 u32 of the bytes, bytes. A file begins with `TTSEG1` and two zeros.
Always holds: a place is never written twice once the ledger names it; whatever a crash left
beyond the last place in the ledger is cut at start.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from shared.envelope import ENVELOPE_BYTES_MAX
from shared.errors import Corrupt
from shared.files import sync_folder

MAGIC = b"TTSEG1\0\0"
_FRAME = struct.Struct("<II")
EXCESS_BYTES_MAX = 1 << 28  # more than a batch can hold: 4096 records would, of half this size
OPEN_FILES_MAX = 32


class Place(NamedTuple):
    """Where sealed bytes rest: file number, offset of the frame, length of the bytes."""

    segment: int
    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + _FRAME.size + self.length


class Disk(Protocol):
    """What a segment needs of a file system; a test makes it fail."""

    def write(self, handle: int, data: bytes, offset: int) -> None: ...
    def sync(self, handle: int) -> None: ...


class OsDisk:
    """The machine's own."""

    def write(self, handle: int, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            done = os.pwrite(handle, view, offset)
            view, offset = view[done:], offset + done

    def sync(self, handle: int) -> None:
        os.fdatasync(handle)


class Segments:
    """The writer. One per folder; the caller holds the lock."""

    def __init__(self, folder: Path, bytes_max: int, disk: Disk | None = None) -> None:
        self._folder, self._bytes_max, self._disk = folder, bytes_max, disk or OsDisk()
        folder.mkdir(parents=True, exist_ok=True)
        self._segment, self._end, self._handle = 0, 0, -1

    @property
    def position(self) -> tuple[int, int]:
        """(segment, end) after the last append."""
        return self._segment, self._end

    def recover(self, segment: int, end: int) -> int:
        """Cut everything beyond (segment, end), the last the ledger knows; bytes cut.

        Corrupt when the ledger names bytes that are not there, or so many are beyond it that
        no crash explains them: then the ledger is an old copy, and cutting would lose records.
        """
        self.close()
        later = [path for path in self._files() if _number(path) > segment]
        current = _path(self._folder, segment)
        size = current.stat().st_size if current.exists() else 0
        if size < end:
            raise Corrupt(f"{size} bytes, the ledger knows {end}", str(current),
                          "restore the segments, or ledger.db of the same age")  # fmt: skip
        excess = size - end + sum(path.stat().st_size for path in later)
        if excess > EXCESS_BYTES_MAX or len(later) > 1:
            raise Corrupt(f"{excess} bytes beyond the last record of the ledger",
                          str(self._folder), "restore the newest ledger.db")  # fmt: skip
        for path in later:
            path.unlink()
        if size > end:
            os.truncate(current, end)
        sync_folder(self._folder)
        self._segment, self._end = segment, end
        return excess

    def append(self, items: Sequence[bytes]) -> list[Place]:
        """Write all at the end and sync; OSError leaves the end where it was."""
        self._open()
        places, parts, offset = [], [], self._end
        for data in items:
            places.append(Place(self._segment, offset, len(data)))
            parts += [_FRAME.pack(len(data), zlib.crc32(data)), data]
            offset += _FRAME.size + len(data)
        self._disk.write(self._handle, b"".join(parts), self._end)
        self._disk.sync(self._handle)
        self._end = offset
        return places

    def rewind(self, segment: int, end: int) -> None:
        """Forget what was appended since: its transaction failed. The next append overwrites."""
        if segment != self._segment:
            self.close()
            self._segment = segment
        self._end = end

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _open(self) -> None:
        full = self._end >= self._bytes_max
        if self._handle >= 0 and not full:
            return
        self.close()
        if full or self._segment == 0:
            self._segment, self._end = self._segment + 1, 0
        path = _path(self._folder, self._segment)
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if self._end == 0:
            self._disk.write(self._handle, MAGIC, 0)
            self._disk.sync(self._handle)
            sync_folder(self._folder)
            self._end = len(MAGIC)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.seg"))


class SegmentReader:
    """Reads places of committed records; keeps at most OPEN_FILES_MAX files open.

    Threads may share it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handles: OrderedDict[int, int] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, place: Place) -> bytes:
        """The sealed bytes; Corrupt when they are not what was written."""
        where = f"segment {place.segment} at {place.offset}"
        if not 0 <= place.length <= ENVELOPE_BYTES_MAX:
            raise Corrupt("length out of bounds", where, "verify ledger.db")
        try:
            with self._lock:
                frame = os.pread(
                    self._handle(place.segment), _FRAME.size + place.length, place.offset
                )
        except OSError as error:
            raise Corrupt(str(error), where, "restore the segment") from None
        data = frame[_FRAME.size :]
        if len(data) != place.length or _FRAME.unpack_from(frame) != (len(data), zlib.crc32(data)):
            raise Corrupt("bytes differ from what was written", where, "restore the segment")
        return data

    def close(self) -> None:
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

    def _handle(self, segment: int) -> int:
        if segment in self._handles:
            self._handles.move_to_end(segment)
            return self._handles[segment]
        if len(self._handles) >= OPEN_FILES_MAX:
            os.close(self._handles.popitem(last=False)[1])
        self._handles[segment] = os.open(_path(self._folder, segment), os.O_RDONLY)
        return self._handles[segment]


def _path(folder: Path, segment: int) -> Path:
    return folder / f"{segment:08d}.seg"


def _number(path: Path) -> int:
    return int(path.stem)
