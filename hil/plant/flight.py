"""A flight as the buses carried it, and its file.

In: readings by group. Out: a frozen `Flight`; `save` and `load` of one `.npz`; `truth.npz` of what
was published of it. Always holds: raw integers and times are exact; a group's times grow.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared.errors import Corrupt, Rejected, Unreachable
from shared.signals import READING_MAGIC, READING_VERSION, SignalSet

FORMAT: Final = 1
_PARTS: Final = ("t_ns", "raw", "f64", "status")
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Readings:
    """All readings of one group. n readings of k_int int and k_f64 float signals."""

    t_ns: Int64Array
    """[n]"""
    raw: Int64Array
    """[n, k_int]"""
    f64: npt.NDArray[np.float64]
    """[n, k_f64]"""
    status: npt.NDArray[np.uint8]
    """[n, k_int + k_f64], in the order of the signal set"""

    @property
    def count(self) -> int:
        return len(self.t_ns)


@dataclass(frozen=True)
class Flight:
    """Readings of every group of a signal set, and what is known of how they came to be."""

    set_sha256: str
    groups: Mapping[str, Readings]
    meta: Mapping[str, Any]
    """seed, mission, esns, degradation, onset_ns, oooi_ns, phases, touchdown_fps, conditions."""

    @property
    def start_ns(self) -> int:
        """Event time of flight second 0."""
        return int(self.meta["start_ns"])

    @property
    def end_ns(self) -> int:
        """Event time of the last reading."""
        return max(int(r.t_ns[-1]) for r in self.groups.values() if r.count)

    @property
    def duration_s(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9

    def at_ns(self, flight_s: float) -> int:
        """Event time of a flight second."""
        return self.start_ns + round(flight_s * 1e9)

    def digest(self) -> str:
        """sha-256 over every time, raw value and status: equal flights, equal digests."""
        total = hashlib.sha256(self.set_sha256.encode())
        for name, r in self.groups.items():
            total.update(name.encode())
            for column in (r.t_ns, r.raw, r.f64, r.status):
                total.update(np.ascontiguousarray(column).tobytes())
        return total.hexdigest()

    def check(self, signal_set: SignalSet) -> None:
        """Rejected unless this flight was made for that signal set."""
        if self.set_sha256 != signal_set.sha256.hex():
            raise Rejected(
                "the flight was made for another signal set", signal_set.name, "fly it again"
            )

    def bench_readings(
        self, signal_set: SignalSet, name: str, counter: int = 0
    ) -> npt.NDArray[np.void]:
        """Readings of one group as bench bus records (`Group.dtype`), counters from `counter`."""
        self.check(signal_set)
        group, r = signal_set.group(name), self.groups[name]
        out = np.zeros(r.count, group.dtype)
        out["magic"], out["version"] = READING_MAGIC, READING_VERSION
        out["group"], out["set_hash"] = signal_set.group_index[name], signal_set.bus_hash
        out["counter"] = (counter + np.arange(r.count)) & 0xFFFFFFFF
        out["t_ns"], out["i"], out["f"], out["status"] = r.t_ns, r.raw, r.f64, r.status
        return out


def save(flight: Flight, path: Path) -> None:
    """Write aside, fsync, rename."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, r in flight.groups.items():
        arrays[f"{name}.t_ns"], arrays[f"{name}.raw"] = r.t_ns, r.raw
        arrays[f"{name}.f64"], arrays[f"{name}.status"] = r.f64, r.status
    head = {
        "format": FORMAT, "set_sha256": flight.set_sha256, "groups": list(flight.groups),
        "meta": dict(flight.meta),
    }  # fmt: skip
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    _write_npz(path, arrays)


def load(path: Path) -> Flight:
    """Read what `save` wrote; Corrupt when it is not that."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            head = json.loads(data["head"].tobytes())
            if head["format"] != FORMAT:
                raise Corrupt(f"flight file of format {head['format']}", str(path), "fly it again")
            groups = {
                name: Readings(
                    *(data[f"{name}.{part}"] for part in ("t_ns", "raw", "f64", "status"))
                )
                for name in head["groups"]
            }
    except FileNotFoundError:
        raise Unreachable("no such flight file", str(path), "fly it first") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise Corrupt(f"not a flight file ({error})", str(path), "delete it, fly again") from None
    return Flight(head["set_sha256"], groups, head["meta"])


Published = Mapping[str, tuple[int, int]] | Mapping[str, int]
"""Per group the half-open range of readings that were published, or just how many from the first."""


def write_truth(path: Path, signal_set: SignalSet, legs: Sequence[tuple[Flight, Published]]) -> int:
    """Write `truth.npz` of the readings published, over all flights; returns how many samples.

    A sample without data is a sample: raw 0, `status` 1. `raw` of an f64 signal is the bit
    pattern of the float, so that the file stays exact.
    """
    columns: dict[str, list[npt.NDArray[Any]]] = {"signal": [], "t_ns": [], "raw": [], "status": []}
    for flight, published in legs:
        flight.check(signal_set)
        _append_published(columns, flight, signal_set, published)
    arrays = {name: np.concatenate(parts) for name, parts in columns.items()}
    arrays["names"] = np.array([s.name for g in signal_set.groups for s in g.signal])
    _write_npz(path, arrays)
    return len(arrays["t_ns"])


def _append_published(
    columns: dict[str, list[npt.NDArray[Any]]],
    flight: Flight,
    signal_set: SignalSet,
    published: Published,
) -> None:
    index = 0
    for group in signal_set.groups:
        span = published.get(group.name, 0)
        first, last = span if isinstance(span, tuple) else (0, span)
        r = flight.groups[group.name]
        seen = {True: 0, False: 0}
        for k, is_f64 in enumerate(group.is_f64):
            position = seen[bool(is_f64)]
            seen[bool(is_f64)] += 1
            raw = r.f64[first:last, position].view("<i8") if is_f64 else r.raw[first:last, position]
            columns["signal"].append(np.full(last - first, index, np.int32))
            columns["t_ns"].append(r.t_ns[first:last])
            columns["raw"].append(raw)
            columns["status"].append(r.status[first:last, k])
            index += 1


def _write_npz(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # stub wants allow_pickle
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("wb") as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
