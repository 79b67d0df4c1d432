import dataclasses
import errno
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pytest

from ground.database import open_writer
from ground.lake.flights import Due, FlightFiles, write_flight
from ground.lake.query import Buckets, Raw, Telemetry
from ground.lake.records import Records
from ground.twins.control import METADATA
from shared.block import encode_block
from shared.errors import Rejected
from shared.signals import parse_signal_set
from tests.unit.ground.stores import SETTLE_S, Store
from tests.unit.ground.synthetic import FLIGHT, SET, SET_TEXT, T0_NS, TAIL, Tail, make_block, truth

S = 1_000_000_000
BLOCKS = 40
END_NS = T0_NS + BLOCKS * 30 * S


def filled(store: Store, tail: Tail) -> None:
    messages = [tail.block("engine", 30 * i, 30) for i in range(BLOCKS)]
    store.put(tail, tail.signal_set(), *reversed(messages))


@pytest.mark.parametrize("name", ["EGT", "N1", "HPT_X"])
@pytest.mark.parametrize("points", [1, 3, 7, 40, 333])
@pytest.mark.parametrize("cut_s", [(0, 1200), (17, 1100), (0.5, 31.5), (-500, 5000)])
def test_buckets_are_what_numpy_says(
    store: Store, tail: Tail, name: str, points: int, cut_s: tuple[float, float]
) -> None:
    filled(store, tail)
    start, end = T0_NS + round(cut_s[0] * S), T0_NS + round(cut_s[1] * S)
    data = Telemetry(store.records).read(TAIL, name, start, end, points).data
    real = truth([make_block("engine", 30 * i, 30) for i in range(BLOCKS)], name)
    inside = (real.t_ns >= start) & (real.t_ns < end)
    if inside.sum() <= points:
        assert isinstance(data, Raw)
        np.testing.assert_array_equal(data.t_ns, real.t_ns[inside])
        np.testing.assert_array_equal(data.quality, real.quality[inside])
        expected = np.where(real.used, real.value, np.nan)[inside]
        np.testing.assert_allclose(data.value, expected)
        return
    assert isinstance(data, Buckets)
    edges = [start + (end - start) * i // points for i in range(points + 1)]
    rows = []
    for low, high in pairwise(edges):
        value = real.value[(real.t_ns >= low) & (real.t_ns < high) & real.used]
        if len(value):
            rows.append((low, value.min(), value.max(), value.mean(), len(value)))
    expected_rows = np.array(rows)
    np.testing.assert_array_equal(data.t_ns, [row[0] for row in rows])
    for column, got in enumerate((data.min, data.max, data.mean, data.n), 1):
        np.testing.assert_allclose(got, expected_rows[:, column], rtol=1e-12)


def test_an_unknown_signal_is_refused_and_an_empty_time_is_empty(store: Store, tail: Tail) -> None:
    filled(store, tail)
    telemetry = Telemetry(store.records)
    with pytest.raises(Rejected, match="no signal"):
        telemetry.read(TAIL, "NOPE", T0_NS, END_NS, 10)
    data = telemetry.read(TAIL, "EGT", END_NS, END_NS + S, 10).data
    assert isinstance(data, Raw) and len(data.t_ns) == 0


def test_a_forked_block_is_not_answered(store: Store, tail: Tail) -> None:
    filled(store, tail)
    store.put(tail, tail.block("engine", 0, 30, seq=3))
    data = Telemetry(store.records).read(TAIL, "EGT", T0_NS, END_NS, 10_000).data
    assert len(data.t_ns) == (BLOCKS - 1) * 30


def test_the_cache_of_decoded_blocks_is_bounded(
    store: Store, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(store, tail)
    monkeypatch.setattr("ground.lake.query.CACHE_BYTES_MAX", 10_000)
    telemetry = Telemetry(store.records)
    telemetry.read(TAIL, "EGT", T0_NS, END_NS, 10_000)
    assert 0 < len(telemetry._cache) < 10


@pytest.fixture
def files(store: Store, tmp_path: Path) -> FlightFiles:
    control = open_writer(tmp_path / "control.db")
    METADATA.create_all(control)
    return FlightFiles(store.read_engine, control, store.reader, tmp_path / "flights", store.clock)


def parquet(path: Path) -> list[tuple[object, ...]]:
    with duckdb.connect() as db:
        return db.execute("select * from read_parquet(?)", [str(path)]).fetchall()


def metadata(path: Path) -> dict[str, str]:
    with duckdb.connect() as db:
        rows = db.execute("select key, value from parquet_kv_metadata(?)", [str(path)]).fetchall()
    return {key.decode(): value.decode() for key, value in rows}


def test_a_flight_file_holds_every_sample_bit_for_bit_sorted_and_once(
    store: Store, tail: Tail, files: FlightFiles, tmp_path: Path
) -> None:
    engine = [tail.block("engine", 30 * i, 30) for i in range(5)]
    air = [tail.block("air", 80 * i, 80) for i in range(3)]
    store.put(tail, tail.signal_set(), *reversed(air), *reversed(engine), *engine)
    store.put(tail, *air, tail.manifest())
    store.close_due()
    assert files.write_one_due()
    assert not files.write_one_due()
    path = tmp_path / "flights" / TAIL / f"{FLIGHT}.parquet"
    expected: list[tuple[object, ...]] = []
    for name in sorted(SET.position):
        group = SET.position[name][0].name
        step, n = (30, 5) if group == "engine" else (80, 3)
        real = truth([make_block(group, step * i, step) for i in range(n)], name)
        for t, raw, quality in zip(real.t_ns, real.raw, real.quality, strict=True):
            is_f64 = name == "HPT_X"
            exact = int(np.float64(raw).view(np.int64)) if is_f64 else int(raw)
            expected.append((name, int(t), exact, int(quality),
                             float(raw) if is_f64 else None))  # fmt: skip
    assert parquet(path) == expected
    assert metadata(path) == {
        "tail": TAIL, "flight": FLIGHT, "signal_set_sha256": SET.sha256.hex(),
        "closure_revision": "1",
    }  # fmt: skip
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_revised_closure_rewrites_the_file(
    store: Store, tail: Tail, files: FlightFiles, tmp_path: Path
) -> None:
    blocks = [tail.block("engine", 30 * i, 30) for i in range(4)]
    store.put(tail, tail.signal_set(), *blocks[:2], tail.manifest())
    store.close_due(SETTLE_S)
    store.close_due(SETTLE_S)
    assert files.write_one_due()
    path = tmp_path / "flights" / TAIL / f"{FLIGHT}.parquet"
    assert len(parquet(path)) == 2 * 30 * 4
    store.put(tail, *blocks)
    store.close_due()
    assert files.write_one_due()
    assert len(parquet(path)) == 4 * 30 * 4
    assert metadata(path)["closure_revision"] == "2"


def test_a_period_without_blocks_has_an_empty_file(
    store: Store, tail: Tail, files: FlightFiles, tmp_path: Path
) -> None:
    store.put(tail, tail.signal_set(), tail.manifest())
    store.close_due()
    assert files.write_one_due()
    assert parquet(tmp_path / "flights" / TAIL / f"{FLIGHT}.parquet") == []


def test_a_damaged_segment_is_noted_and_tried_again_ever_more_seldom(
    store: Store, tail: Tail, files: FlightFiles, tmp_path: Path
) -> None:
    store.put(tail, tail.signal_set(), tail.block("engine", 0, 30), tail.manifest())
    store.close_due()
    segment = store.folder / "segments" / "00000001.seg"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    assert files.write_one_due() and not files.write_one_due()
    for wait_s in (10, 40, 160, 640, 2560, 3600, 3600, 3600):
        store.clock.advance_s(wait_s - 1)
        assert not files.write_one_due()
        store.clock.advance_s(1)
        assert files.write_one_due() and not files.write_one_due()
    assert not (tmp_path / "flights" / TAIL / f"{FLIGHT}.parquet").exists()


def test_a_disk_that_was_full_for_long_costs_no_flight_its_file(
    store: Store, tail: Tail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed(store, tail)
    files = flight_files(store, tmp_path)
    with monkeypatch.context() as full:
        full.setattr("ground.lake.flights._publish", disk_full)
        for _ in range(20):
            store.clock.advance_s(3600)
            files.write_one_due()
    store.clock.advance_s(3600)
    assert files.write_one_due()
    assert written(tmp_path) == [FLIGHT]


def disk_full(_aside: Path, _path: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def flight_files(store: Store, tmp_path: Path) -> FlightFiles:
    control = open_writer(tmp_path / "control.db")
    METADATA.create_all(control)
    return FlightFiles(store.read_engine, control, store.reader, tmp_path / "flights", store.clock)


def written(tmp_path: Path) -> list[str]:
    return sorted(path.stem for path in (tmp_path / "flights").rglob("*.parquet"))


def test_a_flight_of_more_sets_than_are_cached_is_written(
    store: Store, tail: Tail, tmp_path: Path
) -> None:
    messages = []
    for i in range(20):
        text = SET_TEXT.replace(b"version = 1", b"version = %d" % (i + 1))
        block = dataclasses.replace(
            make_block("air", 10 * i, 4), set_sha256=parse_signal_set(text, "test").sha256
        )
        messages += [tail.record("state", text, schema="signal-set/1"),
                     tail.record("block", encode_block(block), stream="block-air")]  # fmt: skip
    store.put(tail, *messages, tail.manifest())
    store.close_due(SETTLE_S)
    assert flight_files(store, tmp_path).write_one_due()
    assert written(tmp_path) == [FLIGHT]


def closed(store: Store, *tails: Tail) -> None:
    for one in tails:
        store.put(one, one.signal_set(), one.block("air", 0, 20), one.manifest())
        store.close_due(1)


def test_a_bug_in_one_flight_file_is_noted_and_the_next_is_written(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Tail(tail="AAAA-1"), Tail(tail="ZZZZ-1")
    closed(store, first, second)

    def broken(records: Records, due: Due, path: Path) -> int:
        if due.tail == first.tail:
            raise KeyError("a bug")
        return write_flight(records, due, path)

    monkeypatch.setattr("ground.lake.flights.write_flight", broken)
    files = flight_files(store, tmp_path)
    assert files.write_one_due()
    assert files.write_one_due()
    assert written(tmp_path) == [second.flight]


def test_a_flight_that_is_revised_again_and_again_does_not_keep_another_waiting(
    store: Store, tmp_path: Path
) -> None:
    busy, quiet = Tail(tail="AAAA-1"), Tail(tail="ZZZZ-1")
    closed(store, busy, quiet)
    files = flight_files(store, tmp_path)
    for i in range(3):
        store.put(busy, busy.manifest(closed_ns=T0_NS + 10**12 + i + 1))
        store.close_due(1)
        assert files.write_one_due()
    assert quiet.flight in written(tmp_path)


def test_a_flight_of_too_many_samples_is_refused_by_name_and_not_written(
    store: Store, tail: Tail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed(store, tail)
    monkeypatch.setattr("ground.lake.flights.SAMPLES_MAX", 19)
    with pytest.raises(Rejected, match="20 samples"):
        write_flight(store.records, Due(TAIL, FLIGHT, 1), tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()
    monkeypatch.setattr("ground.lake.flights.SAMPLES_MAX", 20)
    assert write_flight(store.records, Due(TAIL, FLIGHT, 1), tmp_path / "x.parquet") == 20
