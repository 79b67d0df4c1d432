"""A flight of ten hours, made of a bench flight whose cruise is flown again and again.

In: a flight of the plant, hours. Out: `LongFlight`, the records an aircraft would hold of it: signal
set, states with phases, blocks, KPIs, and last the manifest. Always holds: event times grow without a
hole; readings are those of the plant, shifted in time; only the predictions in the KPIs are made up
(measured plus 3 K), since what they cost is their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.codec import cut
from hil.plant.flight import Flight, Readings
from shared.block import encode_block
from shared.envelope import seal
from shared.identity import Signer
from shared.messages import (
    Kpi,
    KpiSeries,
    Manifest,
    Oooi,
    PartStream,
    State,
    encode,
)
from shared.signals import SignalSet
from shared.topics import subject

OPERATOR, TAIL, EPOCH = "OPX", "B737-28001", "10b3c4"
FLIGHT = f"{TAIL}-{EPOCH}-F00001"
BUNDLE = "egt_rom-1.0.0-000000000000"
S = 1_000_000_000
KPI_S, KPI_STEP_S = 60, 1.0
Message = tuple[str, bytes]


def stretched(flight: Flight, hours: float) -> Flight:
    """The flight with its cruise repeated until it lasts so long; phases and OOOI move along."""
    phases = flight.meta["phases"]
    start, end = next((a[0], b[0]) for a, b in pairwise(phases)
                      if a[1] == "cruise")  # fmt: skip
    a = start + (end - start) // 4 // S * S
    b = start + (end - start) * 3 // 4 // S * S
    times = max(0, round((hours * 3600 * S - (flight.end_ns - flight.start_ns)) / (b - a)))
    extra_ns = times * (b - a)
    groups = {name: _repeat(r, a, b, times) for name, r in flight.groups.items()}

    def later(t_ns: int) -> int:
        return t_ns + extra_ns if t_ns >= b else t_ns

    meta = dict(flight.meta)
    meta["phases"] = [[later(t_ns), phase] for t_ns, phase in phases]
    meta["oooi_ns"] = {name: later(t_ns) for name, t_ns in flight.meta["oooi_ns"].items()}
    return Flight(flight.set_sha256, groups, meta)


def _repeat(readings: Readings, a: int, b: int, times: int) -> Readings:
    i, j = np.searchsorted(readings.t_ns, [a, b])
    pieces = [(slice(0, j), 0)] + [(slice(i, j), k * (b - a)) for k in range(1, times + 1)]
    pieces.append((slice(j, None), times * (b - a)))

    def joined(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.concatenate([column[part] for part, _ in pieces])

    t_ns = np.concatenate([readings.t_ns[part] + shift for part, shift in pieces])
    return Readings(t_ns, joined(readings.raw), joined(readings.f64), joined(readings.status))


class _Made(NamedTuple):
    """A record before it is sealed, at `at_ns`."""

    at_ns: int
    cls: str
    stream: str
    payload: bytes
    t_event_ns: int
    schema: str


@dataclass
class LongFlight:
    """Records in the order an aircraft seals them."""

    flight: Flight
    signals: SignalSet
    signer: Signer = field(default_factory=lambda: Signer(Ed25519PrivateKey.generate()))
    next_seq: dict[str, int] = field(default_factory=dict)
    samples: int = 0

    def records(self) -> list[tuple[int, Message]]:
        """(event time of its end, message), by that time; without the manifest."""
        self.next_seq.clear()
        made = sorted(self._made(), key=lambda one: one.at_ns)
        return [(one.at_ns, self._sealed(one)) for one in made]

    def manifest(self) -> Message:
        """Over everything sealed so far."""
        o = self.flight.meta["oooi_ns"]
        parts = [PartStream(EPOCH, stream, 0, n) for stream, n in self.next_seq.items()]
        body = encode(Manifest(
            1, OPERATOR, TAIL, FLIGHT, "flight", 1, self.flight.start_ns, self.flight.end_ns,
            Oooi(o["out"], o["off"], o["on"], o["in"]), parts, [], [], [1],
            self.signals.sha256, [BUNDLE], list(self.flight.meta["esns"]),
        ))  # fmt: skip
        signed = self.signer.sign("manifest", body)
        end_ns = self.flight.end_ns
        return self._sealed(_Made(end_ns, "manifest", "manifest", signed, end_ns, "manifest/1"))

    def _made(self) -> Iterator[_Made]:
        start = self.flight.start_ns
        yield _Made(start, "state", "state", self.signals.text, start, "signal-set/1")
        for t_ns, phase in self._phases():
            yield _Made(t_ns, "state", "state", encode(self._state(phase)), t_ns, "state/1")
        for block in cut(self.flight, self.signals):
            self.samples += block.quality.size
            data = encode_block(replace(block, period=FLIGHT, t_quality=2))
            yield _Made(int(block.t_ns[-1]), "block", f"block-{block.group}", data,
                        int(block.t_ns[0]), "block/1")  # fmt: skip
        for position, esn in enumerate(self.flight.meta["esns"], 1):
            for t0_ns, kpi in self._kpis(position, esn):
                yield _Made(t0_ns + KPI_S * S, "kpi", "kpi", encode(kpi), t0_ns, "kpi/1")

    def _phases(self) -> list[tuple[int, str]]:
        """On change and once a minute, as the recorder says it."""
        changes = [(t_ns, phase) for t_ns, phase in self.flight.meta["phases"]]
        times = np.array([t_ns for t_ns, _ in changes])
        each = np.arange(self.flight.start_ns, self.flight.end_ns, 60 * S, dtype=np.int64)
        at = np.maximum(0, np.searchsorted(times, each, "right") - 1)
        return sorted(
            changes + [(int(t), changes[int(k)][1]) for t, k in zip(each, at, strict=True)]
        )

    def _state(self, phase: str) -> State:
        return State(
            phase=phase, confidence="high", gate_open=False, gate_reasons=["in flight"],
            link="air", slot="a", bundles=[BUNDLE], alerts=[], worker="up", boot=1,
            outbox_records=0, outbox_bytes=0, oldest_unsafe_ns=None,
            esns=list(self.flight.meta["esns"]),
        )  # fmt: skip

    def _kpis(self, position: int, esn: str) -> Iterator[tuple[int, Kpi]]:
        group, index = self.signals.position[f"ENG{position}_EGT"]
        readings = self.flight.groups[group.name]
        column = readings.raw[:, int(np.sum(~group.is_f64[:index]))]
        second = (readings.t_ns - self.flight.start_ns) // S
        counts = np.bincount(second)
        means = np.bincount(second, column) / np.maximum(counts, 1)
        lsb = group.signal[index].scale
        for first in range(0, len(means) - KPI_S, KPI_S):
            values = means[first : first + KPI_S]
            measured = np.rint(values).astype(int).tolist()
            predicted = np.rint(values + 3.0 / lsb).astype(int).tolist()
            series = KpiSeries(name="egt", esn=esn, unit="Cel", lsb=lsb, measured=measured,
                               predicted=predicted)  # fmt: skip
            t0_ns = self.flight.start_ns + first * S
            yield t0_ns, Kpi(bundle=BUNDLE, t0_ns=t0_ns, step_s=KPI_STEP_S, series=[series])

    def _sealed(self, one: _Made) -> Message:
        seq = self.next_seq.get(one.stream, 0)
        self.next_seq[one.stream] = seq + 1
        _, sealed = seal(
            operator=OPERATOR, tail=TAIL, epoch=EPOCH, stream=one.stream, seq=seq, cls=one.cls,
            flight=FLIGHT, t_event_ns=one.t_event_ns, t_quality=2, schema=one.schema, codec="",
            payload=one.payload,
        )  # fmt: skip
        return subject(OPERATOR, TAIL, one.cls), sealed
