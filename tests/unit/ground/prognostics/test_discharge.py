"""Discharges: reading, the fit of a cell type, and predictions that know only what was seen."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ground.prognostics import cell_fit, discharge, discharge_fit
from ground.prognostics.cell_fit import SHARED, Health, curves, fit_cell
from ground.prognostics.discharges import Discharge, Float64, parse_discharge, read_discharges
from ground.prognostics.endurance import WHOLE, Endurance, Prior, band_s
from shared.errors import Rejected

MODEL = discharge.load_model()
CELL = MODEL.cell_type()
PRIOR = Prior(
    first=(0.0, 0.0), first_sd=(0.1, 0.1), drift=(-0.0005, 0.0004), change=(2e-5, -1e-5, 2e-5)
)
RUNNER = Endurance(CELL, PRIOR, 4000.0)


def toy(health: Health, test: int = 1, cell: str = "B0006", offset_v: float = 0.0) -> Discharge:
    """What a cell of the shipped type would have shown, and an offset that the type does not know."""
    blank = Discharge(cell, test, np.zeros(1), np.zeros(1), np.zeros(1), 2.0, 2.5, 1.0, 24.0)
    found = curves(CELL, [blank], np.array([[health.capacity, health.resistance]]))
    end = float(found.end_s(np.array([2.5 - offset_v]))[0])
    time = np.arange(10.0, end, 40.0)
    return dataclasses.replace(
        blank, time_s=time, end_s=end,
        voltage=np.interp(time, found.time_s, found.voltage[:, 0]) + offset_v,
        temperature=np.interp(time, found.time_s, found.temperature[:, 0]),
    )  # fmt: skip


# -- predictions


@pytest.fixture(scope="module")
def seen() -> Discharge:
    return toy(Health(-0.15, 0.12), test=60)


def test_half_a_discharge_of_the_same_type_tells_its_end(seen: Discharge) -> None:
    """Where the rows weigh far more than the prior."""
    wide = dataclasses.replace(RUNNER, rows_worth=1e6)
    before = wide.learn(toy(Health(-0.1, 0.1), test=30), Health(-0.1, 0.1))
    (found,) = wide.predict(seen, [0.5], before)
    assert found.end_s == pytest.approx(seen.end_s, abs=10)
    assert found.health.capacity == pytest.approx(-0.15, abs=0.01)


def test_rows_after_what_was_seen_change_nothing(seen: Discharge) -> None:
    later = seen.voltage.copy()
    later[seen.time_s > seen.end_s / 2] -= 1.0
    other = dataclasses.replace(seen, voltage=later)
    (one,), (two,) = (RUNNER.predict(x, [0.5], None) for x in (seen, other))
    assert one.health == two.health and one.end_s == two.end_s


def test_with_nothing_seen_it_is_the_discharge_before_aged_by_the_tests_between(
    seen: Discharge,
) -> None:
    known = RUNNER.learn(toy(Health(-0.1, 0.1), test=30), Health(-0.1, 0.1))
    (found,) = RUNNER.predict(seen, [0.0], known)
    assert found.health.capacity == pytest.approx(-0.1 - 30 * 0.0005)
    assert found.health.resistance == pytest.approx(0.1 + 30 * 0.0004)
    (first,) = RUNNER.predict(seen, [0.0], None)
    assert (first.health.capacity, first.health.resistance) == pytest.approx((0.0, 0.0))


def test_what_the_type_does_not_know_of_a_cell_is_carried_over() -> None:
    """15 mV are 5 % of the discharge; carried over from the one before they cost nothing."""
    odd = toy(Health(-0.12, 0.1), test=40, offset_v=0.015)
    known = RUNNER.learn(toy(Health(-0.1, 0.1), test=30, offset_v=0.015), Health(-0.1, 0.1))
    forgotten = dataclasses.replace(known, missed=np.zeros_like(known.missed))
    (found,) = RUNNER.predict(odd, [0.5], known)
    (without,) = RUNNER.predict(odd, [0.5], forgotten)
    assert abs(found.end_s - odd.end_s) < abs(without.end_s - odd.end_s) / 2


def test_band_is_a_share_of_the_end() -> None:
    low, high = band_s(MODEL, 0.5, 3000.0)
    assert high - 3000 == 3000 - low == pytest.approx(3000 * MODEL.band["0.5"])


# -- fitting


def test_jacobian_is_what_differences_say() -> None:
    problem = cell_fit._Problem([toy(Health(), 1), toy(Health(-0.1, 0.1), 30)], "toy", "test")
    x, _, _ = problem.bounds()
    found = problem.jacobian(x)
    for i in (0, 3, len(SHARED), len(SHARED) + 3):
        step = np.zeros(len(x))
        step[i] = 1e-3 * max(abs(x[i]), 0.1)
        wanted = (problem.residuals(x + step) - problem.residuals(x - step)) / (2 * step[i])
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(found[:, i] / scale, wanted / scale, atol=0.02)


def test_too_few_discharges_are_refused() -> None:
    with pytest.raises(Rejected, match="2 discharges"):
        fit_cell([toy(Health()), toy(Health())], "toy", "test")


def test_health_moves_by_its_drift_and_scatter() -> None:
    """By hand: -0.02 in 10 tests, then -0.08 in 40: -0.002 a test, no scatter; two cells' firsts."""
    runs = [
        toy(Health(), t, c) for c, t in (("B0005", 1), ("B0005", 11), ("B0005", 51), ("B0006", 1))
    ]
    healths = [Health(x, -x) for x in (0.1, 0.08, 0.0, 0.3)]
    prior = discharge_fit.prior_of(runs, healths)
    assert prior.drift == pytest.approx((-0.002, 0.002)) and prior.change == pytest.approx(
        (0, 0, 0)
    )
    assert prior.first == pytest.approx((0.2, -0.2)) and prior.first_sd == pytest.approx((0.1, 0.1))


def test_quantile_takes_the_next_rank_up() -> None:
    """Of 19 the 18th: ceil(20 x 0.9)."""
    assert discharge_fit.quantile_up(np.arange(1.0, 20.0)) == 18


def test_shipped_model_was_fitted_to_b0005_and_early_b0006_only() -> None:
    cells = {name.partition("/")[0] for name in MODEL.fitted_on}
    assert cells == {"B0005", "B0006"}
    assert sum(name.startswith("B0006") for name in MODEL.fitted_on) == 5


# -- reading

HEAD = "Voltage_measured,Current_measured,Temperature_measured,Current_load,Voltage_load,Time\n"


def rows(volts: Float64, amperes: float = -2.0) -> bytes:
    current = np.full(len(volts), amperes)
    current[0] = 0.0
    lines = [
        f"{v},{a},24,0,0,{10 * i}" for i, (v, a) in enumerate(zip(volts, current, strict=True))
    ]
    return (HEAD + "\n".join(lines)).encode()


def test_end_is_interpolated_and_counted_from_when_load_came_on() -> None:
    """Load between 0 and 10 s, so at 5 s; 2.6 V at 30 s, 2.4 V at 40 s: 2.5 V at 35 s."""
    found = parse_discharge(rows(np.array([4.2, 4.0, 3.5, 2.6, 2.4])), "x", "B0006", 1)
    assert found.end_s == pytest.approx(30.0) and found.current_a == pytest.approx(2.0)
    np.testing.assert_allclose(found.time_s, [5, 15, 25])


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "begins at rest"),
        (b"a,b\n1,2\n", "no numbers"),
        (rows(np.array([4.2, 4.0, 3.9])), "fall through"),
        (rows(np.array([4.2, 4.0, 2.0]), amperes=0.0), "begins at rest"),
        (rows(np.array([4.2, np.nan, 2.0])), "begins at rest"),
        (b"\xff", "not CSV"),
    ],
)
def test_what_is_not_a_discharge_is_refused(data: bytes, what: str) -> None:
    with pytest.raises(Rejected, match=what):
        parse_discharge(data, "x", "B0006", 1)


def test_list_names_no_other_folder_and_no_other_cell(tmp_path: Path) -> None:
    inside = tmp_path / "data"
    inside.mkdir()
    (tmp_path / "x.csv").write_bytes(rows(np.array([4.2, 4.0, 2.0])))
    for row, what in (("B0006,1,../x.csv", "No such file"), ("B0099,1,x.csv", "selected.csv")):
        (inside / "selected.csv").write_text(f"battery_id,test_id,filename\n{row}\n")
        with pytest.raises(Rejected, match=what) as refused:
            read_discharges(inside)
        assert refused.value.remedy


@pytest.mark.parametrize("command", [["fit", "--out", "x.json"], ["evaluate"]])
def test_without_data_it_says_what_to_do(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert discharge.main(command) == 65
    assert "docs/prognostics.md" in capsys.readouterr().err


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("{}")
    with pytest.raises(Rejected, match="not a discharge model"):
        discharge.load_model(path)


def test_whole_is_the_last_share_in_order() -> None:
    (found,) = RUNNER.in_order([toy(Health(-0.05, 0.0))])
    assert len(found) == 5 and found[-1].health.capacity == pytest.approx(-0.05, abs=0.01)
    assert WHOLE == 1.0
