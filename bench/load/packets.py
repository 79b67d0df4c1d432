"""A flight as MQTT packets, ready to be written to a socket.

In: a flight of the plant, a load set, a span. Out: one run of bytes, where each packet ends, when
it is due. Always holds: values lie on the line between two readings of the plant, with one LSB of
sensor noise; discretes and status hold the last one; in the storm's span its signals swing over
their limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench.load.signals import STORM
from hil.plant.flight import Flight
from shared.signals import READING_MAGIC, READING_VERSION, STATUS_NORMAL, Group, SignalSet

SWING_S: Final = 0.097
"""Half a period of a storm signal: 4 signals make about 41 alerts a second, on no tick's beat."""
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Stream:
    """n packets in the order of their due times."""

    data: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]
    """[n] offset behind each packet"""
    due_ns: npt.NDArray[np.int64]
    """[n] after the start"""
    group: npt.NDArray[np.uint8]
    counter: npt.NDArray[np.int64]

    def save(self, path: Path) -> None:
        np.savez(
            path, data=self.data, ends=self.ends, due_ns=self.due_ns, group=self.group,
            counter=self.counter,
        )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> Stream:
        with np.load(path) as held:
            return cls(*(held[name] for name in ("data", "ends", "due_ns", "group", "counter")))


def make_stream(
    flight: Flight, airframe: SignalSet, load: SignalSet, start_s: float, length_s: float,
    storm_from_s: float, seed: int = 4,
) -> Stream:  # fmt: skip
    """The packets of `length_s` from flight second `start_s` on; a storm from `storm_from_s` on."""
    rng = np.random.default_rng(seed)
    start_ns = flight.at_ns(start_s)
    parts, dues, sizes, groups, counters = [], [], [], [], []
    for index, group in enumerate(load.groups):
        n = round(length_s * group.rate_hz)
        # groups are not in phase with each other on a bus either
        due = (np.arange(n) * group.period_ns + rng.integers(0, group.period_ns)).astype(np.int64)
        table = _records(flight, airframe, load, group, start_ns + due, rng)
        _swing(table, group, due, round(storm_from_s * 1e9))
        body = table.view(np.uint8).reshape(n, -1)
        head = _head(f"bus/{group.name}", body.shape[1])
        parts.append(np.hstack([np.broadcast_to(head, (n, len(head))), body]))
        dues.append(due)
        sizes.append(np.full(n, parts[-1].shape[1]))
        groups.append(np.full(n, index, np.uint8))
        counters.append(np.arange(n))
    order = np.argsort(np.concatenate(dues), kind="stable")
    size = np.concatenate(sizes)[order]
    ends = np.cumsum(size)
    data = np.empty(int(ends[-1]), np.uint8)
    place = np.empty(len(order), np.int64)
    place[order] = ends - size
    first = 0
    for part in parts:
        at = place[first : first + len(part)]
        data[at[:, None] + np.arange(part.shape[1])] = part
        first += len(part)
    return Stream(
        data, ends, np.concatenate(dues)[order], np.concatenate(groups)[order],
        np.concatenate(counters)[order],
    )  # fmt: skip


def _head(topic: str, payload_bytes: int) -> npt.NDArray[np.uint8]:
    """Fixed header, remaining length and topic of a PUBLISH at QoS 0."""
    name = topic.encode()
    left, length = 2 + len(name) + payload_bytes, b""
    while True:
        left, digit = left >> 7, left & 127
        length += bytes([digit | (128 if left else 0)])
        if not left:
            break
    return np.frombuffer(b"\x30" + length + len(name).to_bytes(2, "big") + name, np.uint8)


def _records(
    flight: Flight, airframe: SignalSet, load: SignalSet, group: Group, t_ns: Array,
    rng: np.random.Generator,
) -> Array:  # fmt: skip
    """Bench readings of one load group at the event times `t_ns`."""
    table = np.zeros(len(t_ns), group.dtype)
    table["magic"], table["version"] = READING_MAGIC, READING_VERSION
    table["group"], table["set_hash"] = load.group_index[group.name], load.bus_hash
    table["counter"], table["t_ns"] = np.arange(len(t_ns)), t_ns
    i = f = 0
    for k, signal in enumerate(group.signal):
        home, position = airframe.position[signal.name]
        had = flight.groups[home.name]
        before = np.clip(np.searchsorted(had.t_ns, t_ns, "right") - 1, 0, had.count - 1)
        column = int((~home.is_f64[:position]).sum())
        if signal.encoding == "f64":
            column = int(home.is_f64[:position].sum())
            table["f"][:, f] = np.interp(t_ns, had.t_ns, had.f64[:, column])
            f += 1
        else:
            raw = had.raw[:, column]
            if signal.encoding == "int":
                between = np.interp(t_ns, had.t_ns, raw) + rng.uniform(-0.5, 0.5, len(t_ns))
                table["i"][:, i] = np.round(between)
            else:
                table["i"][:, i] = raw[before]
            i += 1
        table["status"][:, k] = had.status[before, position]
    return table


def _swing(table: Array, group: Group, due: Array, from_ns: int) -> None:
    """Storm signals between a tenth (even half periods) and nine tenths of their range."""
    i = -1
    for k, signal in enumerate(group.signal):
        i += signal.encoding != "f64"
        if signal.name not in STORM:
            continue
        low, high = signal.range or (0.0, 1.0)
        ends = [round((low + x * (high - low) - signal.offset) / signal.scale) for x in (0.1, 0.9)]
        # each signal with its own phase, or all four would change in one reading
        half = (due + STORM.index(signal.name) * SWING_S * 4e8) // round(SWING_S * 1e9)
        rows = due >= from_ns
        table["i"][rows, i] = np.where(half[rows].astype(np.int64) % 2 == 0, ends[0], ends[1])
        table["status"][rows, k] = STATUS_NORMAL
