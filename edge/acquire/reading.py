"""Readings: a batch of bus messages of one group, as arrays.

In: payloads from any source. Out: per group a `Readings`, and counts of what was refused.
Always holds: a payload of another length, magic, version, group, signal-set hash or impossible
time is refused and counted by cause; nothing is decoded per message beyond looking at its group byte;
what waits is bounded, and a batch beyond the bound is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.acquire.urgent import Urgent
from shared.signals import READING_MAGIC, READING_VERSION, Group, SignalSet

GROUP_BYTE = 3  # offset of `group` in the reading's header
HEADER_BYTES = 24
PAYLOAD_OVERHEAD_BYTES = 48  # of a `bytes` object and its place in a list
WAITING_BYTES_MAX = 32 << 20  # six slices of 10,000 messages/s of 2.6 kB; an assumption
T_NS_MAX = 4_102_444_800 * 10**9  # 2100-01-01; a time beyond is a flipped bit, not a time


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """n readings of `group`, in bus order. Shapes as in shared.block.Block."""

    group: Group
    counter: npt.NDArray[np.int64]
    t_ns: npt.NDArray[np.int64]
    raw: npt.NDArray[np.int64]
    f64: npt.NDArray[np.float64]
    status: npt.NDArray[np.uint8]

    def rows(self, first: int, last: int) -> Readings:
        """Readings [first, last) of this batch."""
        return self._part(slice(first, last))

    def select(self, keep: npt.NDArray[np.bool_]) -> Readings:
        """The readings whose flag is set."""
        return self._part(keep)

    def _part(self, part: slice | npt.NDArray[np.bool_]) -> Readings:
        return Readings(
            self.group, self.counter[part], self.t_ns[part], self.raw[part], self.f64[part],
            self.status[part],
        )  # fmt: skip


def joined(parts: Sequence[Readings]) -> Readings:
    """Batches of one group as one, copied."""
    return Readings(
        parts[0].group,
        np.concatenate([p.counter for p in parts]), np.concatenate([p.t_ns for p in parts]),
        np.concatenate([p.raw for p in parts]), np.concatenate([p.f64 for p in parts]),
        np.concatenate([p.status for p in parts]),
    )  # fmt: skip


class ReadingDecoder:
    """Turns payloads into `Readings` by the signal set."""

    def __init__(self, signals: SignalSet) -> None:
        self._groups = signals.groups
        self._hash = np.uint64(signals.bus_hash)
        self._heads = [_head(group) for group in self._groups]
        self._kinds = [
            np.uint32(READING_MAGIC | READING_VERSION << 16 | i << 24)
            for i in range(len(self._groups))
        ]
        self._waiting: dict[int, list[bytes]] = {}
        self._waiting_bytes = 0
        self.refused: Counter[str] = Counter()

    def push(self, payloads: list[bytes]) -> None:
        """Take drained payloads; they wait, by group, until they are pulled."""
        size = sum(map(len, payloads)) + PAYLOAD_OVERHEAD_BYTES * len(payloads)
        if self._waiting_bytes + size > WAITING_BYTES_MAX:
            self.refused["flood"] += len(payloads)
            return
        self._waiting_bytes += size
        for payload in payloads:
            index = payload[GROUP_BYTE] if len(payload) >= HEADER_BYTES else -1
            self._waiting.setdefault(index, []).append(payload)

    def pull(self, only: frozenset[int] | None = None) -> list[Readings]:
        """The readings that wait, one batch a group; `only` of these group indices, or of all.

        Of an `Urgent` set, only the groups that ask for it by what their payloads hold.
        """
        if isinstance(only, Urgent):
            due = [index for index in only & self._waiting.keys() if self._asks(index, only)]
        else:
            due = [index for index in self._waiting if only is None or index in only]
        batches = [self._decode_group(index, self._waiting.pop(index)) for index in due]
        return [batch for batch in batches if batch is not None]

    def _asks(self, index: int, urgent: Urgent) -> bool:
        payloads, size = self._waiting[index], self._groups[index].dtype.itemsize
        return any(len(p) != size for p in payloads) or urgent.asks_for(index, payloads)

    def decode(self, payloads: list[bytes]) -> list[Readings]:
        """The readings of a drained batch, one entry a group."""
        self.push(payloads)
        return self.pull()

    def _refuse(self, table: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """What of it are readings of this set; the rest is counted by cause."""
        ours = (table["magic"] == READING_MAGIC) & (table["version"] == READING_VERSION)
        known = ours & (table["set_hash"] == self._hash)
        timed: npt.NDArray[np.bool_] = known & (table["t_ns"] >= 0) & (table["t_ns"] <= T_NS_MAX)
        self.refused["magic or version"] += int((~ours).sum())
        self.refused["signal set"] += int((ours & ~known).sum())
        self.refused["time"] += int((known & ~timed).sum())
        kept: npt.NDArray[np.void] = table[timed]
        return kept

    def _decode_group(self, index: int, rows: list[bytes]) -> Readings | None:
        self._waiting_bytes -= sum(map(len, rows)) + PAYLOAD_OVERHEAD_BYTES * len(rows)
        if not 0 <= index < len(self._groups):
            self.refused["no such group" if index >= 0 else "too short"] += len(rows)
            return None
        group = self._groups[index]
        size = group.dtype.itemsize
        data = b"".join(rows)
        if len(data) != size * len(rows) or any(len(row) != size for row in rows):
            fitting = [row for row in rows if len(row) == size]
            self.refused["length"] += len(rows) - len(fitting)
            data = b"".join(fitting)
        table = np.frombuffer(data, group.dtype)
        # magic, version and group as one number, the set's hash as another, the time without sign
        head = np.frombuffer(data, self._heads[index])
        fits = (head["kind"] == self._kinds[index]) & (head["set_hash"] == self._hash)
        if not (fits & (head["t_ns"] <= T_NS_MAX)).all():
            table = self._refuse(table)
        if not len(table):
            return None
        return Readings(
            group, table["counter"].astype(np.int64), table["t_ns"].astype(np.int64),
            table["i"].astype(np.int64), table["f"].astype(np.float64), table["status"].copy(),
        )  # fmt: skip


def _head(group: Group) -> np.dtype[np.void]:
    """The header of a reading of the group, as few numbers."""
    return np.dtype(
        {"names": ["kind", "set_hash", "t_ns"], "formats": ["<u4", "<u8", "<u8"],
         "offsets": [0, 4, 16], "itemsize": group.dtype.itemsize}
    )  # fmt: skip
