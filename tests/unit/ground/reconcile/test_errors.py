"""Model error and deviation, kept apart, with the uncertainty of their means."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ground.reconcile.errors import (
    EdgeSteps,
    EngineRows,
    deltas_of,
    deviations_of,
    edge_steps,
    mean_95,
    model_errors,
)
from shared.messages import Kpi, KpiSeries

Float64 = npt.NDArray[np.float64]
SECOND = 1_000_000_000
T0 = 1_760_000_000 * SECOND


def engine(n: int = 60, position: int = 1, off: float = 0.0) -> EngineRows:
    t_ns = T0 + np.arange(n, dtype=np.int64) * SECOND + SECOND // 2
    air = {"tat": np.full(n, 15.0), "altitude": np.zeros(n), "mach": np.zeros(n)}
    full = {
        "n2": np.full(n, 91.0),
        "egt": 700 + np.arange(n, dtype=float),
        "ff": np.full(n, 1500.0),
    }
    measured = {name: x + off for name, x in full.items()}
    phase = np.where(np.arange(n) < n // 2, "climb", "cruise")
    steady = np.arange(n) >= 10
    return EngineRows(position, f"89410{position}", t_ns, phase, air | measured, full, steady)


def series(predicted: list[int | None], **changed: object) -> KpiSeries:
    values: dict[str, object] = {
        "name": "egt", "esn": "894101", "unit": "Cel", "lsb": 0.5, "measured": [None] * 12,
        "predicted": predicted,
    }  # fmt: skip
    return KpiSeries(**(values | changed))  # type: ignore[arg-type]  # of the test


def test_model_error_is_edge_minus_full_fidelity_and_no_sensor_takes_part() -> None:
    rows = engine(off=25.0)  # the sensors are 25 off: a deviation, no model error
    middles = [702.0 + 5 * i for i in range(12)]  # means of full fidelity over steps of 5 s
    kpi = Kpi(
        bundle="rom-1",
        t0_ns=T0,
        step_s=5.0,
        series=[series([round((x + 3) / 0.5) for x in middles])],
    )
    steps, problems = edge_steps([kpi])
    errors, outside = model_errors(steps[0], rows)
    assert not problems and outside == 0
    whole = next(x for x in errors if x.phase == "all" and not x.steady)
    assert (whole.n, whole.mean, whole.rms, whole.max_abs) == (12, 3.0, 3.0, 3.0)
    assert {x.phase for x in errors} == {"all", "climb", "cruise"}
    calm = next(x for x in errors if x.phase == "all" and x.steady)
    assert calm.n == 10, "the first two steps lie in rows that are not steady"


def test_steps_in_which_full_fidelity_does_not_speak_are_counted_not_compared() -> None:
    rows = engine()
    rows.full["egt"][:30] = np.nan
    kpi = Kpi(bundle="rom-1", t0_ns=T0, step_s=5.0, series=[series([1400] * 12)])
    errors, outside = model_errors(edge_steps([kpi])[0][0], rows)
    assert outside == 6
    assert next(x for x in errors if x.phase == "all" and not x.steady).n == 6


def test_predictions_come_in_any_unit_that_measures_the_same_and_no_other() -> None:
    kelvin = series([2000], unit="K")
    steps, problems = edge_steps([Kpi(bundle="b", t0_ns=T0, step_s=5.0, series=[kelvin])])
    assert steps[0].predicted[0] == pytest.approx(1000 - 273.15)
    wrong = series([2000], unit="kg")
    steps, problems = edge_steps([Kpi(bundle="b", t0_ns=T0, step_s=5.0, series=[wrong])])
    assert not steps and "egt is in 'kg', which is no 'Cel'" in problems[0]


def test_a_resent_record_is_counted_once_and_null_steps_are_none() -> None:
    kpi = Kpi(bundle="b", t0_ns=T0, step_s=5.0, series=[series([1400, None, 1402])])
    steps, _ = edge_steps([kpi, kpi])
    assert steps[0].predicted.tolist() == [700.0, 701.0]
    t_ns = T0 + np.array([1, 6, 11, 16]) * SECOND
    found = steps[0].on_rows(t_ns)
    assert np.isnan(found).tolist() == [False, True, False, True]


def test_outputs_that_full_fidelity_does_not_have_are_left_alone() -> None:
    score = series([1], name="score", unit="1")
    assert edge_steps([Kpi(bundle="b", t0_ns=T0, step_s=5.0, series=[score])]) == ([], [])


def test_deviation_is_sensor_minus_baseline_by_phase_with_corrected_values() -> None:
    found = deviations_of(engine(off=8.0), {"egt": 1.0})
    egt = next(x for x in found if x.output == "egt" and x.phase == "cruise")
    assert (egt.n, egt.mean, egt.sigma) == (30, 8.0, 0.0)
    assert egt.mean_95 == pytest.approx(1.96, abs=0.01), "the baseline's own error stays"
    # theta of a standing engine at 15 Cel is 1: corrected is the same temperature in K
    assert egt.corrected_unit == "K"
    assert egt.measured_corrected - egt.baseline_corrected == pytest.approx(8.0)
    assert egt.baseline_corrected == pytest.approx(744.5 + 273.15)
    assert {x.phase for x in found} == {"climb", "cruise"}


def test_engines_are_compared_where_both_are_steady() -> None:
    first, second = engine(), engine(position=2, off=6.0)
    second.steady[40:] = False
    found = next(x for x in deltas_of(first, second) if x.output == "ff" and x.phase == "cruise")
    assert (found.n, found.mean, found.esns) == (10, 6.0, ("894101", "894102"))


def ar1(rho: float, n: int, rng: np.random.Generator) -> Float64:
    noise = rng.standard_normal(n) * np.sqrt(1 - rho**2)
    out = np.empty(n)
    out[0] = rng.standard_normal()
    for i in range(1, n):
        out[i] = rho * out[i - 1] + noise[i]
    return out


@pytest.mark.parametrize(("rho", "least"), [(0.0, 0.92), (0.8, 0.86)])
def test_the_mean_lies_within_its_uncertainty_whether_noise_is_white_or_not(
    rho: float, least: float
) -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        x = ar1(rho, 300, rng)
        half = mean_95(x)
        assert half is not None
        hits += abs(x.mean()) <= half
    assert least <= hits / 200 <= 0.99
    assert hits > 150


def test_a_mean_of_two_values_has_no_uncertainty_that_could_be_known() -> None:
    assert mean_95(np.array([1.0, 2.0])) is None
    assert mean_95(np.full(50, 3.0)) == 0.0


def test_steps_beyond_the_rows_are_counted_as_not_compared() -> None:
    edge = EdgeSteps("m", "egt", "894101", np.array([T0 + 900 * SECOND]), 5 * SECOND, np.ones(1))
    assert model_errors(edge, engine()) == ([], 1)
