"""What a flight puts on the bus, when, and in which bytes.

In: a `Flight`, a signal set, a starting second. Out: the merged order of readings and the bytes of
each. Always holds: pure, no I/O; event time never goes back; counters of each group start at 0
with the first reading that is published, so what was published is a range a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hil.plant.flight import Flight
from shared.errors import Rejected
from shared.signals import STATUS_NORMAL, SignalSet


@dataclass(frozen=True)
class Altered:
    """Readings [first, last) of a group whose raw values were replaced before they went out."""

    group: str
    first: int
    last: int
    raw: Mapping[str, int]


class Schedule:
    """The order of one replay."""

    def __init__(self, flight: Flight, signal_set: SignalSet, start_s: float = 0.0) -> None:
        flight.check(signal_set)
        self.signal_set, self.flight = signal_set, flight
        self.names = tuple(g.name for g in signal_set.groups)
        self.start_ns = flight.at_ns(start_s)
        self.first: dict[str, int] = {}
        self._records: list[npt.NDArray[np.void]] = []
        times, groups = [], []
        for index, name in enumerate(self.names):
            first = int(np.searchsorted(flight.groups[name].t_ns, self.start_ns))
            records = flight.bench_readings(signal_set, name)[first:]
            records["counter"] = np.arange(len(records))
            self.first[name] = first
            self._records.append(records)
            times.append(records["t_ns"])
            groups.append(np.full(len(records), index, np.uint8))
        all_t, all_g = np.concatenate(times), np.concatenate(groups)
        order = np.lexsort((all_g, all_t))
        self.t_ns: npt.NDArray[np.int64] = all_t[order]
        self._group: npt.NDArray[np.uint8] = all_g[order]
        self._next = [0] * len(self.names)
        self._bytes = [r.view(np.uint8).data for r in self._records]
        self._size = [r.dtype.itemsize for r in self._records]
        self.sent = 0
        self.altered: list[Altered] = []

    def __len__(self) -> int:
        return len(self.t_ns)

    @property
    def published(self) -> dict[str, int]:
        """How many readings of each group went out."""
        return dict(zip(self.names, self._next, strict=True))

    @property
    def ranges(self) -> dict[str, tuple[int, int]]:
        """Half-open range of flight readings that went out, a group; for `write_truth`."""
        return {n: (self.first[n], self.first[n] + k) for n, k in self.published.items()}

    @property
    def event_ns(self) -> int:
        """Event time of the last reading that went out."""
        return int(self.t_ns[self.sent - 1]) if self.sent else self.start_ns

    def due(self, event_ns: int, most: int) -> Iterator[tuple[int, bytes]]:
        """(group index, bytes) of what is due at `event_ns`, at most `most`; each counts as sent
        when the next is asked for."""
        last = min(int(np.searchsorted(self.t_ns, event_ns, "right")), self.sent + most)
        for index in self._group[self.sent : last].tolist():
            k, size = self._next[index], self._size[index]
            yield index, bytes(self._bytes[index][k * size : (k + 1) * size])
            self._next[index] = k + 1
            self.sent += 1

    def alter(self, group: str, raw: Mapping[str, int], count: int) -> Altered:
        """Replace raw values (status normal) in the next `count` readings of a group."""
        if group not in self.names:
            raise Rejected(f"no group {group!r}", "inject", "one of " + ", ".join(self.names))
        if not 0 < count <= 1_000_000:
            raise Rejected(f"count {count} is out of range", "inject", "1 to 1000000")
        index = self.names.index(group)
        k, records = self._next[index], self._records[index]
        spec = self.signal_set.groups[index]
        changes = [(_int_position(spec.name, self.signal_set, n), v) for n, v in raw.items()]
        span = records[k : k + count]
        for (column, position), value in changes:
            span["i"][:, column] = value
            span["status"][:, position] = STATUS_NORMAL
        first = self.first[group] + k
        done = Altered(group, first, first + len(span), dict(raw))
        self.altered.append(done)
        return done


def _int_position(group: str, signal_set: SignalSet, name: str) -> tuple[int, int]:
    """(column among int signals, position among all) of a signal of that group."""
    if name not in signal_set.position or signal_set.position[name][0].name != group:
        raise Rejected(f"no signal {name!r} in {group!r}", "inject", "name one of its signals")
    spec, position = signal_set.position[name]
    if spec.is_f64[position]:
        raise Rejected(f"{name!r} is an f64", "inject", "name an int or enum signal")
    return int((~spec.is_f64[:position]).sum()), position


def apply_altered(flight: Flight, signal_set: SignalSet, altered: list[Altered]) -> None:
    """Make a flight say what was published: overwrite what was altered, in place."""
    for a in altered:
        r = flight.groups[a.group]
        for name, value in a.raw.items():
            column, position = _int_position(a.group, signal_set, name)
            r.raw[a.first : a.last, column] = value
            r.status[a.first : a.last, position] = STATUS_NORMAL
