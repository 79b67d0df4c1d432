"""What docs/prognostics.md says of NASA's data, computed again: the shipped RUL graph on the test
set of C-MAPSS FD001, and the shipped cell type on cells and cycles that its fit has not seen.

TAILTWIN_RETRAIN=1 also trains and fits both again (some ten minutes) and compares.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec
import pytest

from ground.prognostics import discharge, discharge_fit, evaluate_rul, train_rul
from ground.prognostics.cmapss import read_training
from ground.prognostics.discharges import read_discharges

pytestmark = pytest.mark.realdata
PAGE = Path(__file__).parents[2] / "docs/prognostics.md"
RETRAIN = pytest.mark.skipif(
    "TAILTWIN_RETRAIN" not in os.environ, reason="ten minutes; TAILTWIN_RETRAIN=1 runs it"
)
RETRAINED_CYCLES_MAX = 0.2  # of RMSE, between machines whose BLAS adds in another order


@pytest.fixture(scope="module")
def cmapss(data: Path) -> Path:
    return data / "cmapss"


@pytest.fixture(scope="module")
def battery(data: Path) -> Path:
    return data / "battery"


def table(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def test_rul_on_the_test_set_is_what_the_page_says(cmapss: Path) -> None:
    judged = evaluate_rul.evaluate(cmapss)
    for line in table(evaluate_rul.told(judged)):
        assert line in PAGE.read_text()
    assert judged.engines == 100 and judged.over_cap == 11 and judged.outside_valid == 0
    assert judged.rmse_capped < judged.ridge_rmse_capped / 2
    stated = re.search(r"covers (\d+) % of them", PAGE.read_text())
    assert stated is not None and round(100 * judged.band_coverage) == int(stated[1])


def test_rul_was_trained_on_this_training_file(cmapss: Path) -> None:
    bundle, _ = evaluate_rul.load(evaluate_rul.SHIPPED)
    assert read_training(cmapss).sha256 in bundle.calibration.source


def test_discharges_held_out_are_predicted_as_the_page_says(battery: Path) -> None:
    data, model = read_discharges(battery), discharge.load_model()
    assert data.sha256 == model.data_sha256
    judged = discharge.evaluate(data, model)
    for line in table(discharge.told(judged)):
        assert line in PAGE.read_text()
    seen = [x for x in judged.groups if x.share > 0]
    assert all(x.end_mae_s < x.last_cycle_s < x.rated_s for x in seen)


@RETRAIN
@pytest.mark.timeout(1800)
def test_training_again_gives_the_same_model(cmapss: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.json"
    train_rul.train_rul(cmapss, out)
    one, other = (msgspec.json.decode(x.read_bytes()) for x in (out, evaluate_rul.SHIPPED))
    figures = [x["model_card"].pop("figures") for x in (one, other)]
    one.pop("states"), other.pop("states")  # the last bit of a sum is the machine's
    assert one == other
    error = "validation_rmse_cycles"
    assert figures[0][error] == pytest.approx(figures[1][error], abs=RETRAINED_CYCLES_MAX)


@RETRAIN
@pytest.mark.timeout(1800)
def test_fitting_again_gives_the_same_cell(battery: Path) -> None:
    again, shipped = discharge_fit.fit(read_discharges(battery)), discharge.load_model()
    assert again.fitted_on == shipped.fitted_on and again.rows_worth == shipped.rows_worth
    for key, value in shipped.cell.items():
        assert again.cell[key] == pytest.approx(value, rel=0.02), key
