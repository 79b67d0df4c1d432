"""Baselines are fitted within their prior, predict what the engine shows, and say what they left."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from ground.calibrate.baseline_fit import fit_baseline, points_of
from ground.calibrate.passoff import PassOff, load_pass_off
from ground.models.baseline import (
    Baseline,
    check_type,
    nominal,
    parse_baseline,
    predict,
    trimmed,
)
from ground.models.turbofan.engine import load_engine_type
from shared.errors import Rejected
from tests.unit.ground.calibrate.flights import profile, rows_file, shown

ENGINE = load_engine_type()
HEALTH = {"hpc_eff": -0.006, "fan_flow": 0.004, "lpt_eff": 0.003}


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> PassOff:
    path = tmp_path_factory.mktemp("rows") / "7001.npz"
    flights = [shown(ENGINE, profile(seed), HEALTH, seed) for seed in (1, 2, 3)]
    path.write_bytes(rows_file("7001", flights))
    return load_pass_off(path)


@pytest.fixture(scope="module")
def fitted(passed: PassOff) -> Baseline:
    return fit_baseline(ENGINE, passed)


def test_fitted_baseline_predicts_a_flight_it_has_not_seen(fitted: Baseline) -> None:
    inputs = profile(9)
    inputs = {name: column[::10] for name, column in inputs.items()}
    truth = shown(ENGINE, inputs, HEALTH, 9)
    found = predict(ENGINE, fitted, points_of(inputs))
    type_alone = predict(ENGINE, nominal(ENGINE), points_of(inputs))
    assert np.nanmedian(np.abs(truth["egt"] - found["egt"])) < 1.0
    assert np.nanmedian(np.abs(truth["egt"] - type_alone["egt"])) > 3.0


def test_health_stays_near_its_prior_and_its_sigma_is_said(fitted: Baseline) -> None:
    assert max(abs(x) for x in fitted.health.values()) < 0.02
    assert all(0 < x <= 0.005 for x in fitted.health_sigma.values())
    assert fitted.health["hpc_eff"] < 0  # the sign of the largest is found


def test_residuals_are_of_rows_that_were_not_fitted_and_about_the_noise(
    fitted: Baseline, passed: PassOff
) -> None:
    assert fitted.rows < np.count_nonzero(passed.flight < 2) + 1
    assert 0.3 < fitted.sigma["egt"] < 0.8
    assert fitted.smoothed_rms["egt"] < fitted.smoothed_worst["egt"] < 2


def test_approval_changes_the_hash_and_a_file_round_trips(fitted: Baseline) -> None:
    data = msgspec.json.encode(fitted)
    assert parse_baseline(data, "x") == fitted
    assert msgspec.structs.replace(fitted, approved_by="ab").sha256 != fitted.sha256


def test_no_number_where_the_model_is_silent() -> None:
    inputs = {"n1": [30.0, 80.0, np.nan], "mach": [0.5] * 3, "altitude": [20000.0] * 3,
              "tat": [0.0] * 3, "bleed": [1.0] * 3, "anti_ice": [0.0] * 3}  # fmt: skip
    columns = {name: np.array(column) for name, column in inputs.items()}
    found = predict(ENGINE, nominal(ENGINE), points_of(columns))
    assert np.isfinite(found["egt"]).tolist() == [False, True, False]


def test_trims_scale_kelvin_and_are_held_beyond_the_rows() -> None:
    base = msgspec.structs.replace(nominal(ENGINE), trims={"egt": (0.01, 0.02)}, n1c=(60.0, 100.0))
    egt = np.full(3, 626.85)  # 900 K
    found = trimmed(base, np.array([40.0, 80.0, 120.0]), {"egt": egt})["egt"]
    np.testing.assert_allclose(found - egt, [-9.0, 9.0, 27.0])


def test_another_engine_type_is_refused() -> None:
    other = msgspec.structs.replace(nominal(ENGINE), engine_type_sha256="0" * 64)
    with pytest.raises(Rejected, match="fitted with"):
        check_type(ENGINE, other)


def test_rows_of_no_engine_of_the_type_are_refused(passed: PassOff) -> None:
    hot = {**passed.columns, "egt": passed.columns["egt"] + 200}
    with pytest.raises(Rejected, match=r"egt is .* from what the type shows"):
        fit_baseline(ENGINE, PassOff(passed.meta, passed.t_ns, passed.flight, passed.phase, hot))


def test_rows_of_an_engine_that_wore_among_them_are_refused(passed: PassOff) -> None:
    """A wide residual would widen the monitors and blind reconciliation."""
    flights = [shown(ENGINE, profile(seed), {**HEALTH, "hpc_eff": lost}, seed)
               for seed, lost in ((1, -0.006), (2, -0.016), (3, -0.026))]  # fmt: skip
    columns = {name: np.concatenate([x[name] for x in flights]) for name in passed.columns}
    worn = PassOff(passed.meta, passed.t_ns, passed.flight, passed.phase, columns)
    with pytest.raises(Rejected, match=r"of the rows that judge is .* off"):
        fit_baseline(ENGINE, worn)


def test_too_few_steady_rows_are_refused(passed: PassOff) -> None:
    part = {name: column[:40] for name, column in passed.columns.items()}
    with pytest.raises(Rejected, match="steady windows"):
        fit_baseline(ENGINE, PassOff(passed.meta, passed.t_ns[:40], passed.flight[:40],
                                     passed.phase[:40], part))  # fmt: skip


# -- files of rows


def test_csv_of_rows_is_read_and_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    head = "t_ns,n1,n2,egt,ff,mach,altitude,tat,bleed,anti_ice"
    path.write_text(
        f"{head}\n1,80,95,600,1000,0.7,24000,-10,1,0\n2,80,,600,1000,0.7,24000,-10,1,0\n"
    )
    rows = load_pass_off(path, "7001", "PN")
    assert rows.meta.esn == "7001" and np.isnan(rows.columns["n2"][1])
    for text, what in (
        (head.replace("egt,", "") + "\n1,80,95,1000,0.7,24000,-10,1,0\n", "no column egt"),
        (head + "\n1,80\n", "line 2 has 2 values"),
        (head + "\n2" + ",1" * 9 + "\n1" + ",1" * 9 + "\n", "times do not grow"),
        (head + "\n1,x" + ",1" * 8 + "\n", "could not convert"),
        ("", "no column"),
    ):
        path.write_text(text)
        with pytest.raises(Rejected, match=what):
            load_pass_off(path, "7001")
    with pytest.raises(Rejected, match="cannot read"):
        load_pass_off(tmp_path / "none.npz")


def test_rows_of_another_esn_than_said_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    path.write_bytes(rows_file("7001", [shown(ENGINE, profile(1, 4), {}, 1)]))
    with pytest.raises(Rejected, match="rows of ESN 7001, not 7002"):
        load_pass_off(path, "7002")
    path.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(Rejected, match="no rows of an engine"):
        load_pass_off(path, "7001")
