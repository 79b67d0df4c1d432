"""A recording of ARINC 717 frames as a source.

In: a file of 12-bit words, packed or in 16 bits each, and when it begins. Out: readings.
Always holds: a row is one period of a group, at start + number of the subframe + place in it; what
a bad subframe held is absent, and shows as a jump of the counters. The file is read in chunks; its
end is no lost bus: the source stays open and `has_ended`; opened again, it goes on where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from edge.acquire.framelayout import FrameCounter, GroupLayout, SuperframePlace
from edge.acquire.framesync import WORDS_PER_S, FrameSync
from edge.acquire.pace import Pace
from edge.acquire.reading import Readings
from edge.acquire.waiting import Waiting
from shared.errors import ConfigError, Unreachable
from shared.signals import SignalSet

CHUNK_BYTES: Final = 1 << 16
S_NS: Final = 1_000_000_000
Ints = npt.NDArray[np.int64]


class FrameFileSource:
    """Implements edge.acquire.source.Source over a file of frames. A message is a subframe.

    start_ns: event time of the first subframe. frame_counter: where the frames of a superframe
    number themselves. now_ns: as in edge.acquire.pace.
    """

    def __init__(
        self, path: Path, signals: SignalSet, words_per_s: int, start_ns: int,
        is_packed: bool = False, frame_counter: FrameCounter | None = None,
        now_ns: Callable[[], int] | None = None,
    ) -> None:  # fmt: skip
        self._path, self._start_ns = path, start_ns
        self.name = f"arinc717://{path}"
        if words_per_s not in WORDS_PER_S:
            raise ConfigError(f"{words_per_s} words/s", self.name, f"one of {WORDS_PER_S}")
        self.refused: Counter[str] = Counter()
        self._sync = FrameSync(words_per_s, is_packed, self.refused)
        self._place = None if frame_counter is None else SuperframePlace(frame_counter)
        self._layouts = [
            GroupLayout(index, group, words_per_s, frame_counter is not None)
            for index, group in enumerate(signals.groups)
            if any(signal.arinc717 is not None for signal in group.signal)
        ]
        if not self._layouts:
            raise ConfigError("no signal of the set is in a frame", self.name,
                              "give signals `arinc717`")  # fmt: skip
        self._pace = Pace(now_ns)
        self.has_ended = False
        self._file: BinaryIO | None = None
        self._at = 0
        self._numbers: Ints = np.zeros(0, np.int64)  # of subframes that are not due yet
        self._words: Ints = np.zeros((0, words_per_s), np.int64)
        self._waiting = Waiting()

    @property
    def is_open(self) -> bool:
        return self._file is not None

    @property
    def feeds(self) -> frozenset[int]:
        """Indices of the groups that it makes rows of."""
        return frozenset(layout.index for layout in self._layouts)

    def open(self, timeout_s: float) -> None:
        try:
            self._file = self._path.open("rb")
            self._file.seek(self._at)
        except OSError as error:
            self.close()
            raise Unreachable(
                f"cannot read it: {error}", str(self._path), "check the path"
            ) from None

    def drain(self, messages_max: int) -> int:
        """Take subframes that are due, at most `messages_max`."""
        taken = 0
        while taken < messages_max and (len(self._numbers) or self._read_chunk()):
            most = min(messages_max - taken, self._pace.window)
            due = self._pace.due(self._start_ns + self._numbers[:most] * S_NS)
            if due == 0:
                break
            self._take(self._numbers[:due], self._words[:due])
            self._numbers, self._words = self._numbers[due:], self._words[due:]
            taken += due
        if self.has_ended and not len(self._numbers):
            self._take(self._numbers, self._words, flush=True)
        return taken

    def pull(self, only: frozenset[int] | None = None) -> list[Readings]:
        return self._waiting.pull(only)

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _take(self, numbers: Ints, words: Ints, flush: bool = False) -> None:
        place = self._place
        frames = np.full(len(numbers), -1) if place is None else place.of(numbers, words)
        for layout in self._layouts:
            readings = layout.rows(numbers, frames, words, self._start_ns, flush)
            if readings is not None:
                self._waiting.push(layout.index, readings)

    def _read_chunk(self) -> bool:
        """More subframes; False at the end of the file."""
        while self._file is not None and not self.has_ended and not len(self._numbers):
            try:
                data = self._file.read(CHUNK_BYTES)
            except OSError:
                self.close()
                break
            self._at += len(data)
            self.has_ended = not data
            self._numbers, self._words = self._sync.push(data, self.has_ended)
        return bool(len(self._numbers))
