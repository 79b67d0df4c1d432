"""A recording in a CSV file as a source.

In: a CSV file, plain or gzip, and a signal set. Out: readings, in the file's order.
Always holds: the file is read in chunks of bounded size, never whole; its end is no lost bus: the
source stays open and `has_ended`; opened again, it goes on where it was.
"""

from __future__ import annotations

import gzip
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np

from edge.acquire.csvtable import SECONDS, CsvTable, Rows, TimeColumn
from edge.acquire.pace import Pace
from edge.acquire.reading import Readings
from edge.acquire.waiting import Waiting
from shared.errors import Rejected, Unreachable
from shared.signals import SignalSet

CHUNK_BYTES: Final = 1 << 17  # read at once: about 1,000 rows of 20 columns
LINE_BYTES_MAX: Final = 1 << 16
_TORN: Final = (EOFError, gzip.BadGzipFile, zlib.error)


class CsvSource:
    """Implements edge.acquire.source.Source over a file.

    names: column of the file -> signal; None binds columns named like signals.
    now_ns: a flight clock to keep pace with from the first row on; None is as fast as it is read.
    """

    def __init__(
        self,
        path: Path,
        signals: SignalSet,
        time: TimeColumn = SECONDS,
        names: Mapping[str, str] | None = None,
        now_ns: Callable[[], int] | None = None,
    ) -> None:
        self._path, self._set, self._time, self._names = path, signals, time, names
        self._pace = Pace(now_ns)
        self.name = f"csv://{path}"
        self.refused: Counter[str] = Counter()
        self.problems: deque[str] = deque()
        """The newest refusals, with their row."""
        self.has_ended = False
        self._file: BinaryIO | None = None
        self._at = 0  # bytes of the file, unpacked, that were read
        self._table: CsvTable | None = None
        self._rest = b""
        self._is_skipping = False
        self._ahead: deque[Rows] = deque()  # parsed, not all of the first is due
        self._taken = 0  # rows of the first of `_ahead`
        self._waiting = Waiting()

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def open(self, timeout_s: float) -> None:
        """Open the file and bind its header, or go on where it was closed.

        Unreachable when it cannot be read, Rejected when it is no CSV that fits the signal set.
        """
        where = str(self._path)
        try:
            with self._path.open("rb") as plain:
                is_gzip = plain.read(2) == b"\x1f\x8b"
            self._file = _unpacked(self._path) if is_gzip else self._path.open("rb")
            self._file.seek(self._at)
            if self._table is None:
                line = self._file.readline(LINE_BYTES_MAX + 1)
                if len(line) > LINE_BYTES_MAX:
                    raise Rejected("the header is too long", where, "is it a CSV file?")
                self._table = CsvTable(line, self._set, self._time, self._names, where)
                self._table.refused, self.problems = self.refused, self._table.problems
                self._at = len(line)
        except Rejected:
            self.close()
            raise
        except (OSError, *_TORN) as error:
            self.close()
            raise Unreachable(f"cannot read it: {error}", where, "check the path") from None

    def drain(self, messages_max: int) -> int:
        """Take rows that are due, at most `messages_max`."""
        taken = 0
        while taken < messages_max and (rows := self._next()) is not None:
            most = min(messages_max - taken, self._pace.window)
            due = self._pace.due(rows.t_ns[self._taken : self._taken + most])
            if due == 0:
                break
            self._take(due)
            taken += due
        return taken

    def pull(self, only: frozenset[int] | None = None) -> list[Readings]:
        return self._waiting.pull(only)

    def slices(self, slice_s: float, rows_max: int = 4096) -> Iterator[list[Readings]]:
        """The rest of the file as fast as it is read, in steps of less than `slice_s` of its own
        time and at most `rows_max` rows: what each brought, one batch a group. A step ends where
        time goes back, so the steps are in the order of the file and each is in order of time."""
        slice_ns = round(slice_s * 1e9)
        while (rows := self._next()) is not None:
            t_ns = rows.t_ns[self._taken : self._taken + rows_max]
            ends = np.flatnonzero(
                (t_ns - t_ns[0] >= slice_ns) | (np.diff(t_ns, prepend=t_ns[0]) < 0)
            )
            self._take(int(ends[0]) if len(ends) else len(t_ns))
            if batches := self.pull():
                yield batches

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _next(self) -> Rows | None:
        """The rows that come next, parsed."""
        while not self._ahead and not self.has_ended and self._file is not None:
            self._read_chunk()
        return self._ahead[0] if self._ahead else None

    def _take(self, count: int) -> None:
        rows, first = self._ahead[0], self._taken
        self._taken += count
        for at, readings in rows.batches:
            a, b = np.searchsorted(at, (first, self._taken))
            if a < b:
                index = self._set.group_index[readings.group.name]
                self._waiting.push(index, readings.rows(int(a), int(b)))
        if self._taken == len(rows.t_ns):
            self._ahead.popleft()
            self._taken = 0

    def _read_chunk(self) -> None:
        assert self._file is not None and self._table is not None
        data = b""
        try:
            data = self._file.read(CHUNK_BYTES)
        except _TORN:
            self._table.refuse("torn", "the gzip file ends early or is damaged")
        except OSError:
            self.close()
            return
        self._at += len(data)
        self.has_ended = not data
        text = self._rest + data
        if self._is_skipping and (end := text.find(b"\n")) >= 0:
            text, self._is_skipping = text[end + 1 :], False
            self._table.skip_row()
        cut = len(text) if self.has_ended else text.rfind(b"\n") + 1
        text, self._rest = text[:cut], text[cut:]
        if self._is_skipping or len(self._rest) > LINE_BYTES_MAX:
            if not self._is_skipping:
                self._table.refuse("row", "too long")
            text, self._rest, self._is_skipping = text if not self._is_skipping else b"", b"", True
        rows = self._table.parse(text) if text else None
        if rows is not None:
            self._ahead.append(rows)


def _unpacked(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.GzipFile(path, "rb"))
