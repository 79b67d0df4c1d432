"""A recording of ARINC 429 words as a source.

In: a file of words as docs/sources.md lays it out. Out: readings.
Always holds: the file is read in chunks of bounded size; its end is no lost bus: the source stays
open, `has_ended`, and lets the last rows go; opened again, it goes on where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from edge.acquire.arinc429 import WORD, WordDecoder, Words
from edge.acquire.pace import Pace
from edge.acquire.reading import Readings
from shared.errors import Rejected, Unreachable
from shared.signals import SignalSet

FILE_HEAD: Final = b"T429FILE\x01" + bytes(7)
CHUNK_WORDS: Final = 8192


class WordFileSource:
    """Implements edge.acquire.source.Source over a file of words.

    channels: number of a channel -> `bus` of the signal set. now_ns: as in edge.acquire.pace.
    """

    def __init__(
        self, path: Path, channels: Mapping[int, str], signals: SignalSet,
        has_parity: bool = True, now_ns: Callable[[], int] | None = None,
    ) -> None:  # fmt: skip
        self._path = path
        self.name = f"arinc429://{path}"
        self._decoder = WordDecoder(signals, channels, self.name, has_parity)
        self.refused: Counter[str] = self._decoder.refused
        self._pace = Pace(now_ns)
        self.has_ended = False
        self._file: BinaryIO | None = None
        self._at = 0
        self._ahead: Words = np.zeros(0, WORD)

    @property
    def is_open(self) -> bool:
        return self._file is not None

    @property
    def feeds(self) -> frozenset[int]:
        """Indices of the groups that it makes rows of."""
        return self._decoder.feeds

    def open(self, timeout_s: float) -> None:
        """Unreachable when it cannot be read, Rejected when it is no file of words."""
        where = str(self._path)
        try:
            self._file = self._path.open("rb")
            if not self._at:
                head = self._file.read(len(FILE_HEAD))
                if head != FILE_HEAD:
                    self.close()
                    raise Rejected("not a file of ARINC 429 words", where, "see docs/sources.md")
                self._at = len(head)
            self._file.seek(self._at)
        except OSError as error:
            self.close()
            raise Unreachable(f"cannot read it: {error}", where, "check the path") from None

    def drain(self, messages_max: int) -> int:
        """Take words that are due, at most `messages_max`."""
        taken = 0
        while taken < messages_max and (len(self._ahead) or self._read_chunk()):
            part = self._ahead[: min(messages_max - taken, self._pace.window)]
            due = self._pace.due(part["t_ns"].astype(np.int64))
            if due == 0:
                break
            self._decoder.push(part[:due])
            self._ahead = self._ahead[due:]
            taken += due
        return taken

    def pull(self, only: frozenset[int] | None = None) -> list[Readings]:
        is_over = self.has_ended and not len(self._ahead)
        return self._decoder.pull(only, 0, flush=is_over)

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _read_chunk(self) -> bool:
        if self._file is None or self.has_ended:
            return False
        try:
            data = self._file.read(CHUNK_WORDS * WORD.itemsize)
        except OSError:
            self.close()
            return False
        self._at += len(data)
        self.has_ended = len(data) < CHUNK_WORDS * WORD.itemsize
        whole = len(data) - len(data) % WORD.itemsize
        if whole < len(data):
            self.refused["torn word"] += 1
        self._ahead = np.frombuffer(data[:whole], WORD)
        return bool(len(self._ahead))
