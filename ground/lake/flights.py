"""Flight files: one sorted Parquet file a closed period.

In: closures and the blocks of their periods. Out: `{tail}/{flight}.parquet` with columns
`signal, t_ns, raw, quality` (and `f64` where a signal of the set has that encoding).
Always holds: a file is of one closure revision, named in its metadata, and appears by rename;
of several workers one writes it; memory is bounded by the longest column, not by the flight:
columns pass through a spill file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine, and_, case, func, select
from sqlalchemy.dialects.sqlite import insert

from ground.database import transaction
from ground.ingest import schema
from ground.ingest.index import column_of, group_of
from ground.ingest.segments import Place, SegmentReader
from ground.lake.claims import Claims
from ground.lake.records import BlockRow, Records
from ground.twins.control import flight_files
from shared.block import decode_block
from shared.clock import Clock
from shared.errors import Corrupt, Rejected, TailTwinError
from shared.files import sync_folder
from shared.log import event
from shared.signals import Group, SignalSet

DUCKDB_MEMORY = "256MB"  # assumption: the worker shares a small machine
ROW_GROUP_ROWS = 122_880
RETRY_NS, RETRY_NS_MAX = 10_000_000_000, 3_600_000_000_000
"""After a failed try, and four times as long after each further one; then every hour for good: what
failed it may be a full disk, or a segment that is restored (assumption)."""
SAMPLES_MAX = 200_000_000  # of one file (assumption: 10 h of 4,000 samples/s are 144 million)
SPILL_BYTES = 16 << 20  # decoded and not yet written
SUMMARY_BYTES = 32  # of one signal in the summary of a block
EXPECTED = (TailTwinError, OSError, duckdb.Error)


@dataclass(frozen=True, slots=True)
class Due:
    """A period whose newest closure has no file yet."""

    tail: str
    flight: str
    revision: int


class FlightFiles:
    """Writes what is due, one at a time. ledger: read-only; control: written."""

    def __init__(
        self, ledger: Engine, control: Engine, reader: SegmentReader, folder: Path, clock: Clock
    ) -> None:
        self._records, self._control = Records(ledger, reader), control
        self._folder, self._clock = folder, clock
        self._claims = Claims(folder / ".claims")

    def write_one_due(self) -> bool:
        """Write one file; False when none is due that no other writes already. A failure is noted
        and tried again later."""
        for due in self._due():
            with self._claims.claim(f"{due.tail}/{due.flight}") as ours:
                if ours and due in self._due():  # or another wrote it before we claimed it
                    return self._write(due)
        return False

    def _write(self, due: Due) -> bool:
        path = self._folder / due.tail / f"{due.flight}.parquet"
        try:
            samples = write_flight(self._records, due, path)
        except Exception as error:  # noted and bounded: one period must not stop those behind it
            problem = str(error) if isinstance(error, EXPECTED) else f"bug: {error!r}"
            event("flight_file_failed", level=logging.ERROR, flight=due.flight,
                  problem=problem[:400])  # fmt: skip
            self._note(due, path, 0, 0, problem[:400])
            return True
        size = path.stat().st_size
        self._note(due, path, samples, size, "")
        event("flight_file", flight=due.flight, revision=due.revision, samples=samples, bytes=size)
        return True

    def _due(self) -> list[Due]:
        """Fewest attempts first, then the oldest closure: who revises often stands last."""
        table = schema.closures
        with transaction(self._records.engine, "ledger.db") as db:
            closed = db.execute(
                select(
                    table.c.tail, table.c.flight, func.max(table.c.revision),
                    func.max(table.c.t_ground_ns),
                ).group_by(table.c.tail, table.c.flight)
            ).all()  # fmt: skip
        with transaction(self._control, "control.db") as db:
            files = {(row.tail, row.flight): row for row in db.execute(select(flight_files))}
        due: list[tuple[int, int, Due]] = []
        for tail, flight, revision, t_ns in closed:
            done = files.get((tail, flight))
            if done is None or done.revision < revision:
                due.append((0, t_ns, Due(tail, flight, revision)))
            elif done.problem and self._may_try_again(done.attempts, done.t_ground_ns):
                due.append((done.attempts, t_ns, Due(tail, flight, revision)))
        return [one for _, _, one in sorted(due, key=lambda one: one[:2])]

    def _may_try_again(self, attempts: int, tried_ns: int) -> bool:
        wait_ns = min(RETRY_NS << 2 * min(attempts - 1, 6), RETRY_NS_MAX)
        return abs(self._clock.wall_ns() - tried_ns) >= wait_ns  # or the clock was set back

    def _note(self, due: Due, path: Path, samples: int, size: int, problem: str) -> None:
        row = {
            "revision": due.revision, "path": str(path.relative_to(self._folder)),
            "samples": samples, "bytes": size, "t_ground_ns": self._clock.wall_ns(),
            "problem": problem,
        }  # fmt: skip
        statement = insert(flight_files).values(tail=due.tail, flight=due.flight, attempts=1, **row)
        again = and_(flight_files.c.revision == due.revision, flight_files.c.problem != "")
        attempts = case((again, flight_files.c.attempts + 1), else_=1)
        with transaction(self._control, "control.db") as db:
            db.execute(
                statement.on_conflict_do_update(
                    index_elements=["tail", "flight"], set_=row | {"attempts": attempts}
                )
            )


def write_flight(records: Records, due: Due, path: Path) -> int:
    """Write the file of a period; samples in it. Corrupt when a segment is damaged."""
    rows = _blocks(records, due)
    sets = records.signal_sets(sorted({row.set_sha256 for row in rows}))
    rows = [row for row in rows if row.set_sha256 in sets]
    samples = sum(row.n * len(row.summary) // SUMMARY_BYTES for row in rows)
    if samples > SAMPLES_MAX:
        raise Rejected(f"{samples} samples, over the cap of {SAMPLES_MAX}", due.flight)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".writing-{due.flight}-*"):  # by a worker that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".writing-{due.flight}-") as spill:
        folder = Path(spill)
        joined = _join(_spill(records, rows, sets, folder), folder)
        aside = folder / "flight.parquet"
        has_f64 = any(group.is_f64.any() for s in sets.values() for group in s.groups)
        with duckdb.connect() as db:
            db.execute(f"set memory_limit = '{DUCKDB_MEMORY}'")
            db.execute("set threads = 1")  # so that rows come out as they went in
            db.execute("set preserve_insertion_order = true")
            _copy(db, joined, aside, due, sets, has_f64)
        _publish(aside, path)
    return joined.samples


def _blocks(records: Records, due: Due) -> list[BlockRow]:
    """Indexed blocks of the period; forks and blocks without a set are not among them."""
    b, r = schema.blocks, schema.records
    same = [b.c[name] == r.c[name] for name in ("tail", "epoch", "stream", "seq")]
    query = (
        select(r.c.segment, r.c.offset, r.c.length, b.c.set_sha256, b.c.t0_ns, b.c.t1_ns, b.c.n,
               b.c.summary)
        .join(r, and_(*same))
        .where(b.c.tail == due.tail, b.c.flight == due.flight, r.c.mark == "")
        .order_by(b.c.grp, b.c.t0_ns, b.c.epoch, b.c.seq)
    )  # fmt: skip
    with records.engine.begin() as db:
        return [BlockRow(Place(*row[:3]), *row[3:]) for row in db.execute(query)]


@dataclass(frozen=True, slots=True)
class _Column:
    """Where one signal of one set spilled: its raw bytes and quality."""

    signal: str
    is_f64: bool
    t_ns: Path
    values: Path
    quality: Path


@dataclass(frozen=True, slots=True)
class _Joined:
    """All columns one after the other, in the order of the file. names, is_f64: of each signal;
    the files hold its number, time, raw value and quality a sample."""

    names: list[str]
    is_f64: list[bool]
    samples: int
    number: Path
    t_ns: Path
    raw: Path
    quality: Path


def _spill(
    records: Records, rows: list[BlockRow], sets: dict[bytes, SignalSet], folder: Path
) -> Iterator[_Column]:
    """Decode every block once; append each of its columns to the file of its signal."""
    kinds: dict[tuple[bytes, str], Group] = {}
    opened: dict[tuple[bytes, str], list[Path]] = {}
    waiting: dict[Path, list[bytes]] = {}
    waiting_bytes = 0
    for row in rows:
        block = decode_block(records.envelope(row.place).payload)
        group = group_of(block, sets[row.set_sha256])
        key = (row.set_sha256, group.name)
        if key not in kinds:
            kinds[key] = group
            stem = f"{len(kinds)}"
            opened[key] = [folder / f"{stem}.t"] + [
                folder / f"{stem}-{i}.{part}" for i in range(len(group.signal)) for part in "vq"
            ]
        parts = [block.t_ns.tobytes()]
        for i in range(len(group.signal)):
            parts += [np.ascontiguousarray(column_of(block, group, i)).tobytes(),
                      np.ascontiguousarray(block.quality[:, i]).tobytes()]  # fmt: skip
        for path, data in zip(opened[key], parts, strict=True):
            waiting.setdefault(path, []).append(data)
            waiting_bytes += len(data)
        if waiting_bytes > SPILL_BYTES:
            _write(waiting)
            waiting_bytes = 0
    _write(waiting)
    for key, group in kinds.items():
        paths = opened[key]
        for i, signal in enumerate(group.signal):
            yield _Column(signal.name, bool(group.is_f64[i]), paths[0], paths[1 + 2 * i],
                          paths[2 + 2 * i])  # fmt: skip


def _write(waiting: dict[Path, list[bytes]]) -> None:
    """Append to each file what waits for it; opening one for each block costs more than decoding."""
    for path, data in waiting.items():
        with path.open("ab") as file:
            file.write(b"".join(data))
    waiting.clear()


def _join(spilled: Iterator[_Column], folder: Path) -> _Joined:
    """Signals by name, one after the other, in one file a column."""
    columns: dict[str, list[_Column]] = {}
    for column in spilled:
        columns.setdefault(column.signal, []).append(column)
    names = sorted(columns)
    paths = [folder / f"all.{part}" for part in ("s", "t", "r", "q")]
    samples, is_f64 = 0, []
    with contextlib.ExitStack() as stack:
        number, times, raws, qualities = (stack.enter_context(p.open("wb")) for p in paths)
        for k, name in enumerate(names, 1):
            t_ns, raw, quality = _sorted(name, columns[name])
            np.full(len(t_ns), k, np.uint16).tofile(number)
            t_ns.tofile(times)
            raw.tofile(raws)
            quality.tofile(qualities)
            samples += len(t_ns)
            is_f64.append(columns[name][0].is_f64)
    return _Joined(names, is_f64, samples, *paths)


def _sorted(
    signal: str, columns: list[_Column]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """One signal, by time; the order in which blocks came decides between equal times."""
    if any(c.is_f64 != columns[0].is_f64 for c in columns):
        raise Corrupt("an integer in one signal set and a float in another", signal,
                      "rename one of them")  # fmt: skip
    t_ns = np.concatenate([np.fromfile(c.t_ns, np.int64) for c in columns])
    quality = np.concatenate([np.fromfile(c.quality, np.uint8) for c in columns])
    # raw of a float is its bit pattern, as in truth.npz: what the bus carried, exactly
    raw = np.concatenate([np.fromfile(c.values, np.int64) for c in columns])
    if np.any(np.diff(t_ns) < 0):
        order = np.argsort(t_ns, kind="stable")
        t_ns, quality, raw = t_ns[order], quality[order], raw[order]
    return t_ns, raw, quality


def _copy(
    db: duckdb.DuckDBPyConnection, joined: _Joined, path: Path, due: Due,
    sets: dict[bytes, SignalSet], has_f64: bool,
) -> None:  # fmt: skip
    """One scan of the joined files, which are mapped and not read into memory."""
    raw = _mapped(joined.raw, np.int64)
    db.register("joined", {
        "s": _mapped(joined.number, np.uint16), "t_ns": _mapped(joined.t_ns, np.int64), "raw": raw,
        "quality": _mapped(joined.quality, np.uint8), "f": raw.view(np.float64),
    })  # fmt: skip
    # Identifiers and names of signals are `[A-Za-z0-9_-]`, hashes hexadecimal: nothing here can
    # end a literal.
    names = ",".join(f"'{name}'" for name in joined.names) or "''"
    floats = ",".join("true" if one else "false" for one in joined.is_f64) or "false"
    f64 = f", case when [{floats}][s] then f end as f64" if has_f64 else ""
    hashes = ",".join(sorted(sha256.hex() for sha256 in sets))
    db.execute(
        f"copy (select [{names}][s] as signal, t_ns, raw, quality{f64} from joined) to '{path}' "  # noqa: S608  # see above
        f"(format parquet, compression zstd, "
        f"row_group_size {ROW_GROUP_ROWS}, kv_metadata {{tail: '{due.tail}', "
        f"flight: '{due.flight}', signal_set_sha256: '{hashes}', "
        f"closure_revision: '{due.revision}'}})"
    )
    db.unregister("joined")


def _mapped(path: Path, kind: type[np.generic]) -> npt.NDArray[Any]:
    """A file as an array; an empty file cannot be mapped."""
    if not path.stat().st_size:
        return np.zeros(0, kind)
    return np.memmap(path, kind, "r")


def _publish(aside: Path, path: Path) -> None:
    handle = os.open(aside, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    aside.replace(path)
    sync_folder(path.parent)
