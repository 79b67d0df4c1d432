"""Telemetry: signals of a tail over a time, in at most so many points.

In: signal names, [start, end), points. Out: raw samples when they are few, else buckets with
min, max, mean and n of good and suspect samples, in engineering values.
Always holds: an answer comes from the index of blocks, before any closure; a bucket takes a
block's summary where it covers the whole block, and decodes blocks only at its edges.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from sqlalchemy import and_, select

from ground.ingest import schema
from ground.ingest.index import BLOCK_SPAN_NS_MAX, column_of, engineering
from ground.ingest.segments import Place
from ground.lake.records import BlockRow, Records
from shared.block import Block, decode_block
from shared.errors import Rejected
from shared.signals import Group, Signal, SignalSet

POINTS_MAX = 10_000
BLOCKS_MAX = 50_000
"""Of one query: 10 h of a 1 Hz group are 1,200, of a 50 Hz group 1,800 (20 s blocks)."""
BLOCKS_AT_ONCE = 512
SETS_LOOKED_AT = 4  # of one tail, the newest it sent (assumption: it flies with one)
CACHE_BYTES_MAX = 64 << 20
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


class Raw(msgspec.Struct, frozen=True):
    """Samples as they are; value is NaN where quality is bad or no_data."""

    t_ns: I64
    value: F64
    quality: npt.NDArray[np.uint8]


class Buckets(msgspec.Struct, frozen=True):
    """t_ns: start of each bucket that has a sample."""

    t_ns: I64
    min: F64
    max: F64
    mean: F64
    n: I64


class Series(msgspec.Struct, frozen=True):
    """One signal over the time asked for."""

    signal: Signal
    data: Raw | Buckets


class Telemetry:
    """Answers from one ledger; safe to call from several threads."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._cache: OrderedDict[Place, Block] = OrderedDict()
        self._cache_bytes = 0
        self._lock = threading.Lock()

    def signals(self, tail: str) -> dict[str, tuple[Signal, Group]]:
        """Every signal of this tail's blocks, and its group; the newest set names it."""
        found: dict[str, tuple[Signal, Group]] = {}
        for signal_set in self._sets(tail):
            for name, (group, position) in signal_set.position.items():
                found[name] = (group.signal[position], group)
        return found

    def open_signals(self, tail: str) -> set[str]:
        """Names that may be shown: known from a set this tail sent, confidential in none.

        Unknown is hidden: before the first set nobody can say what is confidential.
        """
        sent = schema.tail_sets
        newest = (
            select(sent.c.sha256).where(sent.c.tail == tail)
            .order_by(sent.c.t_ground_ns.desc()).limit(SETS_LOOKED_AT)
        )  # fmt: skip
        with self._records.engine.begin() as db:
            hashes = list(db.scalars(newest))
        sets = [*self._records.signal_sets(hashes).values(), *self._sets(tail)]
        signals = [one for each in sets for group in each.groups for one in group.signal]
        hidden = {one.name for one in signals if one.confidentiality == "fdm"}
        return {one.name for one in signals} - hidden

    def read(self, tail: str, name: str, start_ns: int, end_ns: int, points: int) -> Series:
        """One signal in [start, end). Rejected when it is unknown or asks for too much."""
        known = self.signals(tail)
        if name not in known:
            raise Rejected(f"no signal {name[:40]!r} of {tail}", "signals", "see /v1/twins/{tail}")
        signal, group = known[name][0], known[name][1].name
        rows = self._blocks(tail, group, start_ns, end_ns)
        sets = self._records.signal_sets(sorted({row.set_sha256 for row in rows}))
        usable = [
            (row, sets[row.set_sha256].group(group), position)
            for row in rows
            if row.set_sha256 in sets and row.summary
            and (position := _position(sets[row.set_sha256], group, name)) >= 0
        ]  # fmt: skip
        inside = sum(row.n for row in rows)
        if inside <= points:
            return Series(signal, self._raw(usable, start_ns, end_ns))
        if inside <= 4 * points:  # the blocks at both ends may bring it below
            raw = self._raw(usable, start_ns, end_ns)
            if len(raw.t_ns) <= points:
                return Series(signal, raw)
        return Series(signal, self._buckets(usable, start_ns, end_ns, points))

    def _sets(self, tail: str) -> list[SignalSet]:
        table = schema.last_values
        query = select(table.c.set_sha256).where(table.c.tail == tail).order_by(table.c.t_ns)
        with self._records.engine.begin() as db:
            hashes = list(dict.fromkeys(db.scalars(query)))
        return list(self._records.signal_sets(hashes).values())

    def _blocks(self, tail: str, group: str, start_ns: int, end_ns: int) -> list[BlockRow]:
        b, r = schema.blocks, schema.records
        query = (
            select(r.c.segment, r.c.offset, r.c.length, b.c.set_sha256, b.c.t0_ns, b.c.t1_ns,
                   b.c.n, b.c.summary)
            .join(r, and_(*(b.c[n] == r.c[n] for n in ("tail", "epoch", "stream", "seq"))))
            .where(b.c.tail == tail, b.c.grp == group, b.c.t0_ns < end_ns,
                   b.c.t0_ns >= start_ns - BLOCK_SPAN_NS_MAX, b.c.t1_ns >= start_ns)
            .order_by(b.c.t0_ns, b.c.epoch, b.c.seq)
            .limit(BLOCKS_MAX + 1)
        )  # fmt: skip
        with self._records.engine.begin() as db:
            rows = [BlockRow(Place(*row[:3]), *row[3:]) for row in db.execute(query)]
        if len(rows) > BLOCKS_MAX:
            raise Rejected(f"more than {BLOCKS_MAX} blocks", "start, end", "ask for a shorter time")
        return rows

    def _raw(self, rows: Sequence[tuple[BlockRow, Group, int]], start_ns: int, end_ns: int) -> Raw:
        times, values, qualities = [], [], []
        for row, group, position in rows:
            block = self._block(row.place)
            inside = (block.t_ns >= start_ns) & (block.t_ns < end_ns)
            quality = block.quality[inside, position]
            value = engineering(column_of(block, group, position)[inside], group.signal[position])
            times.append(block.t_ns[inside])
            values.append(np.where((quality & 3) <= 1, value, np.nan))
            qualities.append(quality)
        if not times:
            return Raw(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.uint8))
        t_ns = np.concatenate(times)
        order = np.argsort(t_ns, kind="stable")
        return Raw(t_ns[order], np.concatenate(values)[order], np.concatenate(qualities)[order])

    def _buckets(
        self, rows: Sequence[tuple[BlockRow, Group, int]], start_ns: int, end_ns: int, points: int
    ) -> Buckets:
        edges = start_ns + (end_ns - start_ns) * np.arange(points + 1, dtype=object) // points
        edges = edges.astype(np.int64)
        table = np.tile(np.array([np.inf, -np.inf, 0.0, 0.0]), (points, 1))
        first = np.array([row.t0_ns for row, _, _ in rows])
        last = np.array([row.t1_ns for row, _, _ in rows])
        low = np.searchsorted(edges, first, "right") - 1
        high = np.searchsorted(edges, last, "right") - 1
        whole = (low == high) & (low >= 0) & (high < points)
        summaries = [
            np.frombuffer(row.summary, np.float64).reshape(-1, 4)[position]
            for (row, _, position), is_whole in zip(rows, whole, strict=True)
            if is_whole
        ]
        if summaries:
            _merge(table, low[whole], np.array(summaries))
        cut = [rows[k] for k in np.flatnonzero(~whole).tolist()]
        for k in range(0, len(cut), BLOCKS_AT_ONCE):
            self._merge_cut(table, edges, cut[k : k + BLOCKS_AT_ONCE])
        filled = table[:, 3] > 0
        used = table[filled]
        return Buckets(
            edges[:-1][filled], used[:, 0], used[:, 1], used[:, 2] / used[:, 3],
            used[:, 3].astype(np.int64),
        )  # fmt: skip

    def _merge_cut(
        self, table: F64, edges: I64, rows: Sequence[tuple[BlockRow, Group, int]]
    ) -> None:
        """Samples of blocks that no single bucket covers."""
        times, values = [], []
        for row, group, position in rows:
            block = self._block(row.place)
            usable = (block.quality[:, position] & 3) <= 1
            column = column_of(block, group, position)[usable]
            times.append(block.t_ns[usable])
            values.append(engineering(column, group.signal[position]))
        t_ns, value = np.concatenate(times), np.concatenate(values)
        bucket = np.searchsorted(edges, t_ns, "right") - 1
        used = np.isfinite(value) & (bucket >= 0) & (bucket < len(table))
        value = value[used]
        _merge(table, bucket[used], np.column_stack((value, value, value, np.ones(len(value)))))

    def _block(self, place: Place) -> Block:
        with self._lock:
            if place in self._cache:
                self._cache.move_to_end(place)
                return self._cache[place]
        block = decode_block(self._records.envelope(place).payload)
        with self._lock:
            if place not in self._cache:
                self._cache[place] = block
                self._cache_bytes += _bytes(block)
            while self._cache_bytes > CACHE_BYTES_MAX:
                self._cache_bytes -= _bytes(self._cache.popitem(last=False)[1])
        return block


def _bytes(block: Block) -> int:
    return block.t_ns.nbytes + block.raw.nbytes + block.f64.nbytes + 2 * block.quality.nbytes


def _merge(table: F64, bucket: npt.NDArray[np.intp], summary: F64) -> None:
    """Put rows of (min, max, sum, n) into their buckets, of which some may come repeatedly."""
    np.minimum.at(table[:, 0], bucket, summary[:, 0])
    np.maximum.at(table[:, 1], bucket, summary[:, 1])
    np.add.at(table[:, 2], bucket, summary[:, 2])
    np.add.at(table[:, 3], bucket, summary[:, 3])


def _position(signal_set: SignalSet, group: str, name: str) -> int:
    """Place of a signal in its group in this set; -1 when it is not there."""
    found = signal_set.position.get(name)
    return found[1] if found and found[0].name == group else -1
