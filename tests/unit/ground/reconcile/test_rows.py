"""A flight file as rows of one second."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest

from ground.reconcile.rows import PhaseChange, Rows, binding_of, phases_at, rows_of_file
from shared.errors import Rejected
from shared.signals import SignalSet, parse_signal_set

BINDING = binding_of(1)
SECOND = 1_000_000_000
T0 = 1_760_000_000 * SECOND


def signals(unit: str = "Cel", more: str = "") -> SignalSet:
    return parse_signal_set(
        f"""
name = "s"
version = 1
airframe = "B737"
[[group]]
name = "g"
rate_hz = 10.0
signal = [
  {{ name = "ENG1_EGT", unit = "{unit}", scale = 0.5, offset = -40.0 }},
  {{ name = "ENG1_FF", unit = "kg/h", encoding = "f64" }},
  {{ name = "ENG1_BLEED", unit = "1", encoding = "enum", enum = {{ on = 0, off = 1 }}, true_is = "low" }},
  {more}
]
""".encode(),
        "test",
    )


def file_of(path: Path, samples: list[tuple[str, int, int, int, float | None]]) -> Path:
    with duckdb.connect() as db:
        db.execute(
            "create table s (signal varchar, t_ns bigint, raw bigint, quality utinyint, f64 double)"
        )
        db.executemany("insert into s values (?, ?, ?, ?, ?)", samples)
        db.execute(f"copy s to '{path}' (format parquet)")
    return path


def egt(rows: Rows) -> list[float]:
    return [float(x) for x in rows.columns["ENG1_EGT"]]


def test_a_row_is_the_mean_of_good_samples_and_counts_them(tmp_path: Path) -> None:
    path = file_of(tmp_path / "f", [
        ("ENG1_EGT", T0, 100, 0, None), ("ENG1_EGT", T0 + 1, 104, 0, None),
        ("ENG1_EGT", T0 + 2, 900, 1, None), ("ENG1_EGT", T0 + 3, 900, 2 + 4 * 1, None),
        ("ENG1_EGT", T0 + SECOND, 110, 0, None),
    ])  # fmt: skip
    rows = rows_of_file(path, [signals()], [BINDING])
    assert egt(rows) == [11.0, 15.0]  # 0.5 * 102 - 40 and 0.5 * 110 - 40
    assert rows.good["ENG1_EGT"].tolist() == [2, 1]
    assert rows.t_ns.tolist() == [T0 + SECOND // 2, T0 + SECOND + SECOND // 2]
    assert rows.counts(BINDING)["egt"] == 2


def test_a_hole_is_rows_without_a_value_not_fewer_rows(tmp_path: Path) -> None:
    path = file_of(tmp_path / "f", [
        ("ENG1_EGT", T0, 100, 0, None), ("ENG1_EGT", T0 + 3 * SECOND, 100, 0, None),
    ])  # fmt: skip
    rows = rows_of_file(path, [signals()], [BINDING])
    assert np.isnan(egt(rows)).tolist() == [False, True, True, False]
    assert np.diff(rows.t_ns).tolist() == [SECOND] * 3


@pytest.mark.parametrize(
    ("unit", "raw", "expected"),
    [("K", 1000, 0.5 * 1000 - 40 - 273.15), ("[degF]", 1000, (460.0 - 32) / 1.8)],
)
def test_units_are_converted_to_those_of_the_models(
    tmp_path: Path, unit: str, raw: int, expected: float
) -> None:
    path = file_of(tmp_path / "f", [("ENG1_EGT", T0, raw, 0, None)])
    rows = rows_of_file(path, [signals(unit)], [BINDING])
    assert egt(rows)[0] == pytest.approx(expected, abs=1e-9)


def test_floats_are_taken_as_they_are_and_a_discrete_by_its_sense(tmp_path: Path) -> None:
    path = file_of(tmp_path / "f", [
        ("ENG1_FF", T0, 0, 0, 1540.25), ("ENG1_BLEED", T0, 0, 0, None),
    ])  # fmt: skip
    rows = rows_of_file(path, [signals()], [BINDING])
    assert rows.columns["ENG1_FF"][0] == 1540.25
    assert rows.columns["ENG1_BLEED"][0] == 1.0, "0 is on where true_is is low"


def test_a_unit_that_does_not_convert_is_refused_by_name_and_the_others_are_not(
    tmp_path: Path,
) -> None:
    path = file_of(tmp_path / "f", [
        ("ENG1_EGT", T0, 100, 0, None), ("ENG1_FF", T0, 0, 0, 1500.0),
    ])  # fmt: skip
    rows = rows_of_file(path, [signals("kg")], [BINDING])
    assert "ENG1_EGT is in 'kg', which is no 'Cel'" in rows.refused["ENG1_EGT"]
    assert "ENG1_EGT" not in rows.columns
    assert rows.columns["ENG1_FF"][0] == 1500.0
    assert "no signal ENG1_N1" in rows.refused["ENG1_N1"]


def test_two_sets_that_scale_a_signal_differently_are_refused(tmp_path: Path) -> None:
    path = file_of(tmp_path / "f", [("ENG1_EGT", T0, 100, 0, None)])
    rows = rows_of_file(path, [signals(), signals("K")], [BINDING])
    assert "differently" in rows.refused["ENG1_EGT"]


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(Rejected, match="not a flight file"):
        rows_of_file(path, [signals()], [BINDING])


def test_a_file_from_the_dawn_of_time_to_its_end_is_refused(tmp_path: Path) -> None:
    path = file_of(tmp_path / "f", [
        ("ENG1_EGT", 0, 1, 0, None), ("ENG1_EGT", T0, 1, 0, None),
    ])  # fmt: skip
    with pytest.raises(Rejected, match="over the cap"):
        rows_of_file(path, [signals()], [BINDING])


def test_an_empty_file_gives_no_rows(tmp_path: Path) -> None:
    path = file_of(tmp_path / "f", [("OTHER", T0, 1, 0, None)])
    assert len(rows_of_file(path, [signals()], [BINDING])) == 0


def test_phases_hold_until_the_next_and_are_unknown_before_the_first() -> None:
    changes = [PhaseChange(30, "cruise"), PhaseChange(10, "climb")]
    found = phases_at(changes, np.array([5, 10, 29, 30, 99]))
    assert found.tolist() == ["unknown", "climb", "climb", "cruise", "cruise"]
    assert phases_at([], np.array([1])).tolist() == ["unknown"]
