"""A recording as a source: what a cell, a row and a torn file become."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.acquire import csvfile
from edge.acquire.csvfile import CsvSource
from edge.acquire.csvtable import START_NS, TimeColumn, TimeUnit
from edge.acquire.reading import Readings
from shared.errors import Rejected, Unreachable
from shared.signals import STATUS_ABSENT, STATUS_NO_DATA, SignalSet, parse_signal_set

SET = b"""
name = "rig"
version = 1
airframe = "T"
[[group]]
name = "oil"
rate_hz = 10
signal = [
  { name = "TEMP", unit = "Cel", scale = 0.5, offset = -50.0 },
  { name = "SPEED", unit = "%", encoding = "f64" },
  { name = "CHIP", unit = "1", encoding = "enum", enum = { clear = 0, metal = 1 } },
]
[[group]]
name = "slow"
rate_hz = 1
signal = [{ name = "LEVEL", unit = "1" }]
"""
S = 1_000_000_000
OPENED: list[CsvSource] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


@pytest.fixture
def signals() -> SignalSet:
    return parse_signal_set(SET, "rig.toml")


def source(
    tmp_path: Path, signals: SignalSet, text: str | bytes, time: TimeColumn | None = None
) -> CsvSource:
    path = tmp_path / "r.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    made = CsvSource(path, signals, time or TimeColumn())
    OPENED.append(made)
    made.open(1.0)
    return made


def everything(made: CsvSource, step: int = 1000) -> dict[str, Readings]:
    while made.drain(step):
        pass
    return {batch.group.name: batch for batch in made.pull()}


def test_columns_become_the_signals_of_their_name(tmp_path: Path, signals: SignalSet) -> None:
    made = source(
        tmp_path, signals,
        "t,TEMP,other,SPEED,CHIP,LEVEL\n0.0,61.5,x,99.81,clear,7\n0.1,62,y,99.5,1,\n",
    )  # fmt: skip
    found = everything(made)
    oil, slow = found["oil"], found["slow"]
    assert oil.raw.tolist() == [[223, 0], [224, 1]]  # (61.5 + 50) / 0.5
    assert oil.f64[:, 0].tolist() == [99.81, 99.5]
    assert oil.t_ns.tolist() == [START_NS, START_NS + S // 10]
    assert not oil.status.any()
    assert slow.raw.tolist() == [[7]]  # a row without any cell of a group is no reading of it
    assert made.has_ended and made.is_open and not made.refused


def test_an_empty_cell_is_no_data_and_a_bad_one_is_no_sample(
    tmp_path: Path, signals: SignalSet
) -> None:
    made = source(
        tmp_path, signals, "t,TEMP,SPEED\n0,1,\n1,nan,2\n2,warm,3\n3,1e300,4\n4, 5 ,inf\n"
    )
    oil = everything(made)["oil"]
    assert oil.status[:, 0].tolist() == [0, STATUS_NO_DATA, STATUS_ABSENT, STATUS_ABSENT, 0]
    assert oil.status[:, 1].tolist() == [STATUS_NO_DATA, 0, 0, 0, STATUS_ABSENT]
    assert set(oil.status[:, 2].tolist()) == {STATUS_NO_DATA}  # no column at all
    assert made.refused == {"cell": 3}
    assert list(made.problems) == [
        "row 4: TEMP is 'warm'", "row 5: TEMP is '1e300'", "row 6: SPEED is 'inf'",
    ]  # fmt: skip


def test_a_row_that_cannot_be_read_is_named_and_shows_as_a_gap(
    tmp_path: Path, signals: SignalSet
) -> None:
    made = source(tmp_path, signals, "t,TEMP\n0,1\n1\n\nlater,2\n3,4\n4,1,1\n5,6")
    oil = everything(made)["oil"]
    assert oil.counter.tolist() == [0, 3, 5]
    assert made.refused == {"row": 2, "time": 1}
    assert [line.partition(":")[0] for line in made.problems] == ["row 3", "row 7", "row 5"]


@pytest.mark.parametrize(
    ("unit", "absolute", "cells", "expected_ns"),
    [
        ("s", False, ["0.5", "1.75"], [START_NS + S // 2, START_NS + 7 * S // 4]),
        ("s", True, ["1700000000.123456789", "1700000001"],
         [1700000000123456789, 1700000001 * S]),
        ("ms", True, ["1700000000123", "1700000000124.5"],
         [1700000000123 * 10**6, 1700000000124500000]),
        ("us", True, ["1700000000123456", "1700000000123457"],
         [1700000000123456000, 1700000000123457000]),
        ("ns", True, ["1700000000123456789", "1700000000123456790"],
         [1700000000123456789, 1700000000123456790]),
        ("iso", False, ["2023-11-14T22:13:20.000000001Z", "2023-11-15 00:13:21+02:00"],
         [1700000000000000001, 1700000001 * S]),
    ],
)  # fmt: skip
def test_time_columns_are_exact(
    tmp_path: Path, signals: SignalSet, unit: TimeUnit, absolute: bool, cells: list[str],
    expected_ns: list[int],
) -> None:  # fmt: skip
    rows = "".join(f"{cell},1\n" for cell in cells)
    made = source(tmp_path, signals, "clock,TEMP\n" + rows, TimeColumn("clock", unit, absolute))
    assert everything(made)["oil"].t_ns.tolist() == expected_ns


@pytest.mark.parametrize(
    ("unit", "cell"),
    [("iso", "9999-01-01T00:00:00Z"), ("iso", "0001-01-01"), ("iso", "2024-02-30T00:00:00"),
     ("iso", "now"), ("s", "-99999999999.5"), ("s", "1e300"), ("s", "nan"), ("ns", "9" * 30)],
)  # fmt: skip
def test_a_time_that_cannot_be_is_refused(
    tmp_path: Path, signals: SignalSet, unit: TimeUnit, cell: str
) -> None:
    made = source(tmp_path, signals, f"t,TEMP\n{cell},1\n", TimeColumn("t", unit))
    assert everything(made) == {} and made.refused == {"time": 1}


def test_chunks_rows_and_gzip_give_the_same_readings(
    tmp_path: Path, signals: SignalSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{k / 10},{k % 300 / 2},{k},{'metal' if k % 3 else 'clear'}\r\n" for k in range(500)]
    text = "\ufefft,TEMP,SPEED,CHIP\r\n" + "".join(rows)
    whole = everything(source(tmp_path, signals, text))["oil"]
    assert whole.f64[:, 0].tolist() == list(range(500))
    monkeypatch.setattr(csvfile, "CHUNK_BYTES", 37)
    for data in (text.encode(), gzip.compress(text.encode())):
        parts = everything(source(tmp_path, signals, data), step=7)["oil"]
        for name in ("counter", "t_ns", "raw", "f64", "status"):
            assert np.array_equal(getattr(parts, name), getattr(whole, name))


def test_quoted_cells_are_read(tmp_path: Path, signals: SignalSet) -> None:
    made = source(tmp_path, signals, 't,"TEMP",note\n0,"1","a, b"\n1,2,"torn\n2,3,c\n')
    assert everything(made)["oil"].raw[:, 0].tolist() == [102, 106]
    assert made.refused == {"row": 1}


def test_a_torn_gzip_gives_what_it_holds_and_says_so(tmp_path: Path, signals: SignalSet) -> None:
    rng = np.random.default_rng(1)
    text = "t,TEMP\n" + "".join(f"{k},{x:.2f}\n" for k, x in enumerate(rng.random(60_000)))
    packed = gzip.compress(text.encode())
    made = source(tmp_path, signals, packed[: len(packed) // 2])
    assert 1000 < len(everything(made)["oil"].t_ns) < 60_000
    assert made.refused["torn"] == 1 and made.has_ended


def test_an_endless_line_costs_one_row_and_no_memory(
    tmp_path: Path, signals: SignalSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csvfile, "LINE_BYTES_MAX", 64)
    monkeypatch.setattr(csvfile, "CHUNK_BYTES", 50)
    made = source(tmp_path, signals, "t,TEMP\n0,1\n" + "9" * 5000 + "\n1,2\n2,3\n")
    oil = everything(made)["oil"]
    assert oil.raw[:, 0].tolist() == [102, 104, 106] and oil.counter.tolist() == [0, 2, 3]
    assert made.refused == {"row": 1}


def test_it_keeps_pace_with_the_flight_clock(tmp_path: Path, signals: SignalSet) -> None:
    path = tmp_path / "r.csv"
    path.write_text("t,TEMP\n" + "".join(f"{k},{k}\n" for k in [0, 1, 2, 3, 4000, 4001, 5, 6]))
    now = 77 * S
    made = CsvSource(path, signals, now_ns=lambda: now)
    OPENED.append(made)
    made.open(1.0)
    assert made.drain(100) == 1  # the first is due at once
    now += 2 * S
    assert made.drain(100) == 2
    assert made.drain(100) == 0
    now += S
    assert made.drain(100) == 2  # a hole of an hour is not waited for
    assert made.drain(100) == 0
    now += S
    assert made.drain(100) == 2  # nor is time that goes back
    now += S
    assert made.drain(100) == 1


def test_slices_are_short_in_time_and_end_where_time_goes_back(
    tmp_path: Path, signals: SignalSet
) -> None:
    times = [*(k / 10 for k in range(25)), 0.0, 0.1]
    made = source(tmp_path, signals, "t,TEMP,LEVEL\n" + "".join(f"{t},1,2\n" for t in times))
    slices = list(made.slices(1.0))
    assert [len(part[0].t_ns) for part in slices] == [10, 10, 5, 2]
    assert all(len(part) == 2 and np.all(np.diff(part[0].t_ns) > 0) for part in slices)


def test_opened_again_it_goes_on_where_it_was(tmp_path: Path, signals: SignalSet) -> None:
    made = source(tmp_path, signals, "t,TEMP\n" + "".join(f"{k},{k}\n" for k in range(10)))
    assert made.drain(4) == 4
    made.close()
    assert not made.is_open
    made.open(1.0)
    assert everything(made)["oil"].raw[:, 0].tolist() == [100 + 2 * k for k in range(10)]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("x,TEMP\n", "no time column"), ("t,WARMTH\n", "no column is named"), ("t\n", "1 columns"),
        ("t,TEMP,TEMP\n", "named twice"), ("\0\0\0", "not text"), ("", "0 columns"),
        ("t,TEMP\r1,2\r", "carriage returns"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, signals: SignalSet, text: str, what: str
) -> None:
    with pytest.raises(Rejected, match=what):
        source(tmp_path, signals, text)


def test_no_file_is_unreachable(tmp_path: Path, signals: SignalSet) -> None:
    with pytest.raises(Unreachable):
        CsvSource(tmp_path / "none.csv", signals).open(1.0)
