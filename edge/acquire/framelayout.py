"""Where the signals of a group are in ARINC 717 subframes, and rows made of them.

In: numbered subframes. Out: readings of one group.
Always holds: every sample of a good subframe is in exactly one row; a layout in which two samples of
a signal would share a row, or a row would have none, is refused before anything is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from edge.acquire.arinc429 import decimal
from edge.acquire.reading import Readings
from shared.errors import ConfigError
from shared.signals import STATUS_ABSENT, STATUS_FAILURE, STATUS_NORMAL, Group
from shared.wiring import Arinc717

FRAMES: Final = 16  # of a superframe, ARINC 717
CYCLE_S: Final = 4 * FRAMES
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FrameCounter:
    """Where a frame says its number in the superframe, 0 to 15, once a frame."""

    word: int
    subframe: int = 1
    lsb: int = 1
    msb: int = 4


class SuperframePlace:
    """Which frame of its superframe a subframe is in, by the newest frame counter before it."""

    def __init__(self, counter: FrameCounter) -> None:
        self._counter = counter
        self._ahead: int | None = None  # of frame counter against frames since the first, mod 16

    def of(self, numbers: Ints, words: Ints) -> Ints:
        """0 to 15 for each subframe; -1 while no counter was seen."""
        place, turns = self._counter, numbers // 4
        field = (words[:, place.word - 1] >> (place.lsb - 1)) & (
            (1 << place.msb - place.lsb + 1) - 1
        )
        says = np.flatnonzero(numbers % 4 == place.subframe - 1)
        said = (field[says] - turns[says]) % FRAMES
        if self._ahead is None:
            if not len(says):
                return np.full(len(numbers), -1, np.int64)
            self._ahead = int(said[0])
        newest = np.searchsorted(says, np.arange(len(numbers)), "right")
        found: Ints = (turns + np.concatenate(([self._ahead], said))[newest]) % FRAMES
        if len(says):
            self._ahead = int(said[-1])
        return found


class GroupLayout:
    """One group. Raises ConfigError when its rate does not fit where its signals are."""

    def __init__(self, index: int, group: Group, words_per_s: int, has_frames: bool) -> None:
        self.index, self._group, self._width = index, group, words_per_s
        rate = group.rate_hz
        self._per_s = max(1, round(rate))
        self._period_s = max(1, round(1 / rate))
        self._refuse(abs(rate - self._per_s / self._period_s) > 1e-3 * rate or CYCLE_S % self._period_s,
                     f"rate_hz {rate:g}", "a whole number, or one over 1, 2, 4 … 64")  # fmt: skip
        places = np.cumsum(~group.is_f64) - 1
        self._fields = [
            (position, int(places[position]), signal, signal.arinc717)
            for position, signal in enumerate(group.signal)
            if signal.arinc717 is not None
        ]
        self._check(has_frames)
        self._held = (
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
            np.zeros((0, words_per_s), np.int64),
        )

    def _refuse(self, wrong: object, what: str, remedy: str) -> None:
        if wrong:
            raise ConfigError(what, f"group {self._group.name!r}", remedy)

    def _check(self, has_frames: bool) -> None:
        """Put every sample of a superframe into its row."""
        seconds = np.arange(CYCLE_S)
        filled = np.zeros(CYCLE_S * self._per_s // self._period_s, bool)
        for _, _, signal, wire in self._fields:
            last = max(*wire.words, *(part.word for part in wire.low), 0)
            self._refuse(last > self._width, f"{signal.name}: no word {last}",
                         f"words 2 to {self._width}")  # fmt: skip
            self._refuse(wire.frame and not has_frames, f"{signal.name}: frame without a counter",
                         "say where the frame counter is, in the source")  # fmt: skip
            here = seconds[self._holds(wire, seconds, seconds // 4)]
            rows = np.concatenate([self._row(here, word) for word in wire.words])
            self._refuse(len(np.unique(rows)) < len(rows), f"{signal.name}: two samples in a row",
                         "raise rate_hz")  # fmt: skip
            filled[rows] = True
        self._refuse(
            not filled.all(), "rows without any sample", "lower rate_hz, or split the group"
        )

    def _holds(self, wire: Arinc717, numbers: Ints, frames: Ints) -> npt.NDArray[np.bool_]:
        held = np.isin(numbers % 4, np.array(wire.subframes) - 1)
        return held & (frames == wire.frame - 1) if wire.frame else held

    def _row(self, numbers: Ints, word: int) -> Ints:
        """The row of a word of these subframes."""
        row: Ints = (
            numbers * self._per_s + (word - 1) * self._per_s // self._width
        ) // self._period_s
        return row

    def rows(
        self, numbers: Ints, frames: Ints, words: Ints, start_ns: int, flush: bool
    ) -> Readings | None:
        """Rows that these subframes complete; a row of several seconds waits for its last one."""
        if len(self._held[0]):
            numbers, frames, words = (
                np.concatenate(pair)
                for pair in zip(self._held, (numbers, frames, words), strict=True)
            )
        ready = len(numbers)
        if ready and not flush and self._period_s > 1:
            ready = int(
                np.searchsorted(numbers, (numbers[-1] + 1) // self._period_s * self._period_s)
            )
        self._held = numbers[ready:], frames[ready:], words[ready:]
        if not ready:
            return None
        return self._read(numbers[:ready], frames[:ready], words[:ready], start_ns)

    def _read(self, numbers: Ints, frames: Ints, words: Ints, start_ns: int) -> Readings | None:
        group = self._group
        index = self._touched(numbers)
        n = len(index)
        raw = np.zeros((n, int((~group.is_f64).sum())), np.int64)
        status = np.full((n, len(group.signal)), STATUS_ABSENT, np.uint8)
        for position, place, _, wire in self._fields:
            here = self._holds(wire, numbers, frames)
            for word in wire.words:
                row = np.searchsorted(index, self._row(numbers[here], word))
                raw[row, place], status[row, position] = _value(words[here], word - 1, wire)
        spoken = (status != STATUS_ABSENT).any(axis=1)
        if not spoken.any():
            return None
        counter = index[spoken]
        t_ns = start_ns + np.rint(counter * (1e9 * self._period_s / self._per_s)).astype(np.int64)
        f64 = np.zeros((len(counter), int(group.is_f64.sum())))
        return Readings(group, counter, t_ns, raw[spoken], f64, status[spoken])

    def _touched(self, numbers: Ints) -> Ints:
        """The rows that these subframes touch, in order."""
        if self._period_s > 1:
            return np.unique(numbers // self._period_s)
        return (numbers[:, None] * self._per_s + np.arange(self._per_s)).ravel()


def _value(words: Ints, at: int, wire: Arinc717) -> tuple[Ints, npt.NDArray[np.uint8]]:
    """words: [n, words of a subframe]; at: the word, or that of the highest bits, from 0."""
    bits = wire.msb - wire.lsb + 1
    raw = _bits(words[:, at], wire.lsb, wire.msb)
    for part in wire.low:
        bits += part.msb - part.lsb + 1
        raw = raw << (part.msb - part.lsb + 1) | _bits(words[:, part.word - 1], part.lsb, part.msb)
    status = np.full(len(raw), STATUS_NORMAL, np.uint8)
    if wire.kind == "bcd":
        raw, bad = decimal(raw)
        status[bad] = STATUS_FAILURE
    elif wire.signed:
        raw = (raw ^ (1 << bits - 1)) - (1 << bits - 1)
    return raw, status


def _bits(words: Ints, lsb: int, msb: int) -> Ints:
    found: Ints = (words >> (lsb - 1)) & ((1 << (msb - lsb + 1)) - 1)
    return found
