"""Subframes of a recorded ARINC 717 stream, found by their sync words.

In: bytes of a recording, in chunks. Out: subframes of 12-bit words, each with its number since the
first, one a second.
Always holds: memory is bounded by a chunk; a subframe counts as good when its own sync word is
right and one of the two after it stands where it should, so that no bit was lost in between; others
are skipped and counted, and the numbers go on; after a loss, four sync words in order find the
stream again, at any bit of a packed recording.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np
import numpy.typing as npt

SYNC: Final = (0x247, 0x5B8, 0xA47, 0xDB8)  # ARINC 717, 5.3: subframes 1 to 4
WORDS_PER_S: Final = (64, 128, 256, 512, 1024)
SEARCH_SUBFRAMES: Final = 8  # looked through at once while sync is lost
_NUMBER: Final = np.full(4096, -9, np.int64)
_NUMBER[list(SYNC)] = range(4)
Ints = npt.NDArray[np.int64]


class FrameSync:
    """One stream. A unit is a bit of a packed recording, a byte of an unpacked one."""

    def __init__(self, words_per_s: int, is_packed: bool, refused: Counter[str]) -> None:
        self._width, self._is_packed, self._refused = words_per_s, is_packed, refused
        self._word = 12 if is_packed else 2  # units of a word
        self._length = words_per_s * self._word  # units of a subframe
        self._bytes: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._at = 0  # unit of `_bytes` at which the next subframe, or a search for it, begins
        self._is_locked = False
        self._next: int | None = None  # number of the subframe that is expected at `_expected`
        self._expected = 0

    def push(self, data: bytes, is_last: bool = False) -> tuple[Ints, Ints]:
        """Numbers [n] and words [n, words a second] of the good subframes that this completes.
        Number modulo 4 is 0 in subframe 1."""
        self._bytes = np.concatenate((self._bytes, np.frombuffer(data, np.uint8)))
        found: list[tuple[Ints, Ints]] = []
        while self._is_locked or self._search():
            numbers, starts = self._follow(is_last)
            if len(numbers):
                found.append(
                    (numbers, self._words(starts[:, None] + np.arange(self._width) * self._word))
                )
            if self._is_locked:
                break
        self._trim()
        if not found:
            return np.zeros(0, np.int64), np.zeros((0, self._width), np.int64)
        return np.concatenate([n for n, _ in found]), np.concatenate([w for _, w in found])

    @property
    def _units(self) -> int:
        return len(self._bytes) * (8 if self._is_packed else 1)

    def _words(self, at: Ints) -> Ints:
        """The words that begin at these units."""
        data = self._bytes
        if not self._is_packed:
            two: Ints = (data[at] | data[at + 1].astype(np.int64) << 8) & 0xFFF
            return two
        first = at >> 3
        three = data[first] | data[first + 1].astype(np.int64) << 8
        last = np.minimum(first + 2, len(data) - 1)  # of a word that ends in the second byte
        three |= data[last].astype(np.int64) << 16
        words: Ints = (three >> (at & 7)) & 0xFFF
        return words

    def _search(self) -> bool:
        """Lock on to the first place with four sync words in order; False when there is none yet."""
        length = self._length
        last = self._units - 3 * length - self._word
        while self._at <= last:
            count = min(last + 1 - self._at, SEARCH_SUBFRAMES * length)
            at = self._at + np.arange(count)
            number = _NUMBER[self._words(at)]
            for ahead in (1, 2, 3):
                maybe = np.flatnonzero(number >= 0)
                right = (
                    _NUMBER[self._words(at[maybe] + ahead * length)] == (number[maybe] + ahead) % 4
                )
                number[maybe[~right]] = -9
            hits = np.flatnonzero(number >= 0)
            if len(hits):
                self._lock(int(at[hits[0]]), int(number[hits[0]]))
                return True
            self._at += count
        return False

    def _lock(self, at: int, number: int) -> None:
        """Sync at unit `at`, which is subframe number + 1 of a frame."""
        if self._next is None:
            self._next = number
        else:
            passed = (at - self._expected) / self._length
            turns = round((self._next + passed - number) / 4)
            found = number + 4 * turns
            while found < self._next:
                found += 4
            self._count_bad(found - self._next)
            self._next = found
        self._at, self._is_locked = at, True

    def _follow(self, is_last: bool) -> tuple[Ints, Ints]:
        """Numbers and starts of the good subframes from here to where sync is lost or data ends."""
        assert self._next is not None
        whole = (self._units - self._at) // self._length
        syncs = max(0, (self._units - self._at - self._word) // self._length + 1)
        starts = self._at + np.arange(syncs) * self._length
        numbers = self._next + np.arange(syncs)
        right = _NUMBER[self._words(starts)] == numbers % 4
        judged = whole if is_last else min(whole, syncs - 2)
        if judged <= 0:
            return numbers[:0], starts[:0]
        # the end of the recording counts as a sync word where one should stand; a byte has 8 bits
        over = (self._units - self._at) % self._length
        ends_right = is_last and over < (8 if self._is_packed else 1)
        after = np.concatenate((right, [ends_right, False]))
        good = right[:judged] & (after[1 : judged + 1] | after[2 : judged + 2])
        lost = np.flatnonzero(~right[:judged] & ~after[1 : judged + 1])
        end = int(lost[0]) if len(lost) else judged
        self._count_bad(end - int(good[:end].sum()))
        self._next += end
        self._at += end * self._length
        if len(lost):
            self._refused["lost sync"] += 1
            self._is_locked = False
            self._expected = self._at
            # the slip may have been anywhere since the last right sync word
            self._at = max(0, self._at - self._length) + 1
        return numbers[:end][good[:end]], starts[:end][good[:end]]

    def _count_bad(self, subframes: int) -> None:
        if subframes:
            self._refused["subframe"] += subframes

    def _trim(self) -> None:
        """Forget what is behind."""
        passed = self._at >> 3 if self._is_packed else self._at
        passed = min(passed, len(self._bytes))
        units = passed * 8 if self._is_packed else passed
        self._bytes = self._bytes[passed:]
        self._at -= units
        self._expected -= units
