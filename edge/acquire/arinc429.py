"""ARINC 429 words as readings.

In: words with their channel and time, in bus order. Out: readings of the groups that a channel
feeds. Always holds: pure but for what waits; a word of a label that the set names is in exactly one
row of each group that has it; others are counted. A batch of words is one numpy operation a step.
Method: ARINC 429 part 1: bit 1, the label's most significant, is sent first and is bit 0 here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edge.acquire.binning import RowBinner
from edge.acquire.reading import T_NS_MAX, Readings
from shared.errors import ConfigError
from shared.signals import (
    STATUS_ABSENT,
    STATUS_FAILURE,
    STATUS_NO_DATA,
    STATUS_NORMAL,
    STATUS_PARITY,
    STATUS_TEST,
    Group,
    Signal,
    SignalSet,
)
from shared.wiring import SSM, Arinc429

WORD: Final = np.dtype(
    [("t_ns", "<i8"), ("word", "<u4"), ("channel", "u1"), ("flags", "u1"), ("spare", "<u2")]
)
"""One word of a datagram and of a file, 16 bytes. flags: FLAG_BAD."""
FLAG_BAD: Final = 1  # the card found wrong parity or coding
SILENT_PERIODS: Final = 2  # a row that waits goes out when nothing came for so long
_REVERSED: Final = np.array([int(f"{k:08b}"[::-1], 2) for k in range(256)], np.int64)
_STATUS: Final = {
    "normal": STATUS_NORMAL, "plus": STATUS_NORMAL, "minus": STATUS_NORMAL,
    "no_data": STATUS_NO_DATA, "failure": STATUS_FAILURE, "test": STATUS_TEST,
}  # fmt: skip
_NIBBLES: Final = np.arange(0, 32, 4)
_TENS: Final = 10 ** np.arange(8)
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.void]


def label_of(words: Ints) -> Ints:
    """Labels, as octal text is read: the low byte with its bits turned round."""
    labels: Ints = _REVERSED[words & 0xFF]
    return labels


def parity_is_odd(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """Whether each word has an odd number of ones, as a good one has."""
    odd: npt.NDArray[np.bool_] = np.bitwise_count(words) & 1 == 1
    return odd


class WordDecoder:
    """channels: number of a channel -> `bus` of the signals that it carries.

    has_parity: False where the card has put something else into bit 32.
    Raises ConfigError when no signal of the set comes from these channels.
    """

    def __init__(
        self, signals: SignalSet, channels: Mapping[int, str], where: str, has_parity: bool = True
    ) -> None:
        self.refused: Counter[str] = Counter()
        self._has_parity = has_parity
        self._new: list[Words] = []
        self._dense = np.full(256, len(channels), np.int64)
        self._dense[list(channels)] = np.arange(len(channels))
        buses = list(channels.values())
        made = [_GroupWords(i, g, buses) for i, g in enumerate(signals.groups)]
        self._groups = [group for group in made if group.slots]
        if not self._groups:
            raise ConfigError(
                "no signal of the set comes from these channels", where,
                "give signals `bus`, `label` and `arinc429`, and name the bus of each channel",
            )  # fmt: skip
        self._known = np.any([group.slot_of >= 0 for group in self._groups], axis=0)

    @property
    def pending(self) -> int:
        """Words that wait for their row."""
        return sum(map(len, self._new)) + sum(group.pending for group in self._groups)

    @property
    def feeds(self) -> frozenset[int]:
        """Indices of the groups that it makes rows of."""
        return frozenset(group.index for group in self._groups)

    def push(self, words: Words) -> None:
        """Words in bus order, dtype WORD. They wait, undecoded, until somebody pulls."""
        self._new.append(words)

    def pull(self, only: frozenset[int] | None, now_ns: int, flush: bool = False) -> list[Readings]:
        """Rows that are due at monotonic `now_ns`, of the groups `only`; with `flush` all rows."""
        due = [group for group in self._groups if only is None or group.index in only]
        if due and self._new:
            self._sort(np.concatenate(self._new) if len(self._new) > 1 else self._new[0], now_ns)
            self._new = []
        batches = [group.pull(now_ns, flush) for group in due]
        return [batch for batch in batches if batch is not None]

    def _sort(self, words: Words, now_ns: int) -> None:
        """Give each group its words."""
        timed = (words["t_ns"] >= 0) & (words["t_ns"] <= T_NS_MAX)
        if not timed.all():
            self.refused["time"] += int((~timed).sum())
            words = words[timed]
        word = words["word"].astype(np.int64)
        key = (self._dense[words["channel"]] << 10) | (label_of(word) << 2) | ((word >> 8) & 3)
        known = self._known[key]
        if not known.all():
            self.refused["label not in the set"] += int((~known).sum())
        good = (words["flags"] & FLAG_BAD) == 0
        if self._has_parity:
            good &= parity_is_odd(words["word"])
        # the verdict on parity rides in bit 32, which has served its purpose
        judged = (word & 0x7FFFFFFF) | (~good).astype(np.int64) << 31
        for group in self._groups:
            group.push(words["t_ns"], key, judged, now_ns)

    def miss(self) -> None:
        """The bus lost words; which ones nobody knows, so every group lacks at least one row."""
        for group in self._groups:
            group.binner.miss(1)


class _GroupWords:
    """The words of one group. A slot is one word: channel, label and SDI."""

    def __init__(self, index: int, group: Group, buses: list[str]) -> None:
        self.index, self._group = index, group
        self.slots: dict[tuple[str, str, str], int] = {}
        self.slot_of = np.full((len(buses) + 1) << 10, -1, np.int64)
        positions, slots, wires = [], [], []
        for position, signal in enumerate(group.signal):
            if signal.arinc429 is not None and signal.bus in buses:
                positions.append(position)
                slots.append(self._slot(signal, buses.index(signal.bus)))
                wires.append(signal.arinc429)
        self._positions, self._slots = np.array(positions, np.int64), np.array(slots, np.int64)
        self._places = np.cumsum(~group.is_f64)[self._positions] - 1
        self._decode = FieldDecoder(wires)
        self.binner = RowBinner(group.period_ns, max(1, len(self.slots)))
        self._heard_ns = 0
        self._new: list[tuple[Ints, Ints, Ints]] = []

    def _slot(self, signal: Signal, channel: int) -> int:
        name = (signal.bus, signal.label, signal.sdi)
        if name not in self.slots:
            slot = self.slots[name] = len(self.slots)
            base = channel << 10 | int(signal.label, 8) << 2
            for sdi in [int(signal.sdi, 2)] if signal.sdi else range(4):
                if self.slot_of[base | sdi] >= 0:
                    raise ConfigError(
                        f"label {signal.label} of {signal.bus} with and without an SDI",
                        f"group {self._group.name!r}", "give every signal of the label its SDI",
                    )  # fmt: skip
                self.slot_of[base | sdi] = slot
        return self.slots[name]

    @property
    def pending(self) -> int:
        return self.binner.pending + sum(len(t_ns) for t_ns, _, _ in self._new)

    def push(self, t_ns: Ints, key: Ints, word: Ints, now_ns: int) -> None:
        slot = self.slot_of[key]
        mine = slot >= 0
        if mine.any():
            self._heard_ns = now_ns
            self._new.append((t_ns[mine], slot[mine], word[mine]))

    def pull(self, now_ns: int, flush: bool) -> Readings | None:
        """Rows that can go out; what waits goes too when the bus has been silent."""
        silent_ns = now_ns - self._heard_ns
        flush = flush or silent_ns > SILENT_PERIODS * self._group.period_ns
        if not self._new and not (flush and self.binner.pending):
            return None
        none = np.zeros(0, np.int64)
        parts = self._new or [(none, none, none)]
        t_ns, slot, word = (np.concatenate(x) for x in zip(*parts, strict=True))
        self._new = []
        rows = self.binner.take(t_ns, slot, word, flush)
        if rows is None:
            return None
        group = self._group
        n, f64s = len(rows.t_ns), int(group.is_f64.sum())
        raw = np.zeros((n, len(group.signal) - f64s), np.int64)
        status = np.full((n, len(group.signal)), STATUS_ABSENT, np.uint8)
        index = rows.index[:, self._slots]
        value, state = self._decode(rows.values[index])
        raw[:, self._places] = np.where(index >= 0, value, 0)
        status[:, self._positions] = np.where(index >= 0, state, STATUS_ABSENT)
        return Readings(group, rows.counter, rows.t_ns, raw, np.zeros((n, f64s)), status)


class FieldDecoder:
    """Raw integers and status of words, a column of `wires` each, all columns at once."""

    def __init__(self, wires: Sequence[Arinc429]) -> None:
        def each(of: Callable[[Arinc429], object], dtype: npt.DTypeLike = np.int64) -> Any:
            return np.array([of(wire) for wire in wires], dtype)

        self._shift = each(lambda w: w.lsb - 1)
        self._mask = each(lambda w: (1 << (w.msb - w.lsb + 1)) - 1)
        is_signed = each(lambda w: w.kind == "bnr" if w.signed is None else w.signed, bool)
        self._top = np.where(is_signed, (self._mask + 1) >> 1, 0)
        states = [wire.ssm or SSM[wire.kind] for wire in wires]
        self._status = np.array([[_STATUS[x] for x in four] for four in states], np.uint8)
        self._sign = np.array([[-1 if x == "minus" else 1 for x in four] for four in states])
        self._decimal = [k for k, wire in enumerate(wires) if wire.kind == "bcd"]
        self._columns = np.arange(len(wires))

    def __call__(self, words: Ints) -> tuple[Ints, npt.NDArray[np.uint8]]:
        """words: [n, wires], bit 32 set in a bad one. Raw and status, [n, wires]."""
        ssm = (words >> 29) & 3
        raw: Ints = (((words >> self._shift) & self._mask) ^ self._top) - self._top
        status = self._status[self._columns, ssm]
        for k in self._decimal:
            value, bad = decimal(raw[:, k])
            raw[:, k] = value * self._sign[k][ssm[:, k]]
            status[bad & (status[:, k] == STATUS_NORMAL), k] = STATUS_FAILURE
        status[words >> 31 != 0] = STATUS_PARITY
        return raw, status


def decimal(values: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """BCD, digits of four bits; and which hold a digit above 9."""
    digits = (values[:, None] >> _NIBBLES) & 15
    found: Ints = digits @ _TENS
    return found, np.logical_or.reduce(digits > 9, axis=1)
