"""A CSV becomes a flight, or is refused by its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.plant.replay import TimeColumn, replay
from shared.errors import Rejected
from shared.signals import STATUS_NO_DATA, SignalSet, parse_signal_set

SET = parse_signal_set(
    b"""
name = "small"
version = 1
airframe = "X"
[[group]]
name = "air"
rate_hz = 10.0
signal = [
  { name = "ALT", unit = "[ft_i]", scale = 2.0, range = [0.0, 1000.0] },
  { name = "MASS", unit = "kg", encoding = "f64" },
  { name = "WOW", unit = "1", encoding = "enum", enum = { air = 0, ground = 1 } },
]
""",
    "a test",
)
HEAD = "t,ALT,MASS,WOW\n"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "in.csv"
    path.write_text(text)
    return path


def test_values_are_held_on_the_grid_of_the_group(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "0,100,5.5,ground\n0.25,200,6.5,air\n0.5,300,7.5,0\n")
    r = replay(path, SET, start_ns=1000).groups["air"]
    assert (r.t_ns - 1000).tolist() == [0, 100_000_000, 200_000_000, 300_000_000, 400_000_000,
                                        500_000_000]  # fmt: skip
    assert r.raw[:, 0].tolist() == [50, 50, 50, 100, 100, 150]
    assert r.f64[:, 0].tolist() == [5.5, 5.5, 5.5, 6.5, 6.5, 7.5]
    assert r.raw[:, 1].tolist() == [1, 1, 1, 0, 0, 0]
    assert not r.status.any()


def test_empty_cells_and_absent_columns_are_no_data(tmp_path: Path) -> None:
    r = replay(write(tmp_path, "t,ALT\n0,100\n0.1,\n0.2,300\n"), SET).groups["air"]
    assert r.status[:, 0].tolist() == [0, STATUS_NO_DATA, 0]
    assert r.raw[:, 0].tolist() == [50, 0, 150]
    assert (r.status[:, 1:] == STATUS_NO_DATA).all()


def test_a_gap_in_the_file_is_no_data_not_an_old_value(tmp_path: Path) -> None:
    rows = "".join(f"{k / 10},100\n" for k in range(20)) + "10,100\n10.1,100\n"
    r = replay(write(tmp_path, "t,ALT\n" + rows), SET).groups["air"]
    assert r.status[50, 0] == STATUS_NO_DATA and r.status[10, 0] == 0 and r.status[-1, 0] == 0


def test_a_value_out_of_range_is_carried_so_that_the_edge_can_call_it_bad(tmp_path: Path) -> None:
    r = replay(write(tmp_path, "t,ALT\n0,5000\n0.1,5000\n"), SET).groups["air"]
    assert r.raw[0, 0] == 2500


def test_columns_can_be_mapped_and_time_can_be_iso(tmp_path: Path) -> None:
    path = write(tmp_path, "when,h\n2026-03-01T06:00:00Z,10\n2026-03-01T06:00:00.1Z,20\n")
    flight = replay(path, SET, TimeColumn("when", "iso"), {"h": "ALT"})
    assert flight.start_ns == 1_772_344_800_000_000_000
    assert flight.groups["air"].raw[:, 0].tolist() == [5, 10]


def test_nanoseconds_stay_exact(tmp_path: Path) -> None:
    t = 1_772_344_800_123_456_789
    path = write(tmp_path, f"t,ALT\n{t},10\n{t + 100_000_000},20\n")
    assert replay(path, SET, TimeColumn(unit="ns", absolute=True)).start_ns == t


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", 1, "columns"),
        ("x,ALT\n0,1\n", 1, "no time column"),
        ("t,FOO\n0,1\n", 1, "no column is named like a signal"),
        ("t,ALT,ALT\n0,1,1\n", 1, "named twice"),
        (HEAD, 2, "fewer than two rows"),
        (HEAD + "0,1,1,0\n0.1,1,1\n", 3, "3 cells, not 4"),
        (HEAD + "0,1,1,0\n0.1,abc,1,0\n", 3, "ALT is 'abc'"),
        (HEAD + "0,1,1,0\n0.1,nan,1,0\n", 3, "ALT is 'nan'"),
        (HEAD + "0,1,1,0\n0.1,1,1,flying\n", 3, "WOW is 'flying'"),
        (HEAD + "0,1,1,0\n0,1,1,0\n", 3, "time does not grow"),
        (HEAD + "0,1,1,0\nsoon,1,1,0\n", 3, "'soon' is not a time"),
        (HEAD + "0,1,1,0\n1e30,1,1,0\n", 3, "out of range"),
        (HEAD + "0,1,1,0\n200000,1,1,0\n", 3, "too long"),
    ],
)
def test_bad_input_is_refused_by_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    with pytest.raises(Rejected, match=what) as refused:
        replay(write(tmp_path, text), SET)
    assert refused.value.where.endswith(f":{line}")
    assert refused.value.remedy


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, b: bytes) -> None:
    path = tmp_path_factory.mktemp("csv") / "in.csv"
    path.write_bytes(b"t,ALT\n" + b)
    try:
        replay(path, SET)
    except Rejected:
        pass


def test_a_flown_signal_comes_back_from_csv(
    hop: object, signal_set: SignalSet, tmp_path: Path
) -> None:
    rows = "".join(f"{k * 0.1:.1f},{k % 7}\n" for k in range(50))
    r = replay(write(tmp_path, "t,AIR_ALT\n" + rows), signal_set).groups["air"]
    assert (r.raw[:, 0] == np.arange(50) % 7).all()
