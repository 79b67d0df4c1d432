"""Simulated flights with a known truth, judged: golden values are what was put in.

The engine is tests/unit/ground/reconcile/engines.py; noise, quantisation and the baseline's error
are those of bench/readings.py. bench/detect.py does the same with the turbofan and many flights.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bench.readings import T0_NS, mismatch, ramp, readings, schedule, truth_of
from ground.reconcile.judge import Judged, judge
from ground.reconcile.result import EngineResult
from ground.reconcile.rows import Rows, binding_of
from tests.unit.ground.reconcile.engines import FakeEngine, baseline_of

Float64 = npt.NDArray[np.float64]
CRUISE_S = 420
BINDING, ESN = binding_of(1), "894102"


def flown(
    seed: int, amount: float = 0.0, onset_s: float | None = None, ramp_s: float = 240.0,
    parameter: str = "hpc_eff", slope_error: Float64 | float = 0.0,
    biases: dict[str, float] | None = None,
) -> Rows:  # fmt: skip
    """Readings of one flight. onset_s: after cruise begins; None: all flight."""
    flight = schedule(CRUISE_S, seed)
    n = len(flight)
    change = np.full(n, amount)
    if onset_s is not None:
        change = ramp(n, flight.cruise_s + onset_s, ramp_s, amount)
    truth = truth_of(flight, FakeEngine(error=slope_error), {parameter: change})
    scaled = {x: np.asarray(v * truth["ff"] if x == "ff" else v) for x, v in (biases or {}).items()}
    return readings(flight, truth, seed, error=mismatch(flight, seed), biases=scaled)


def judged(rows: Rows, engine: FakeEngine | None = None) -> Judged:
    return judge(rows, BINDING, baseline_of(ESN), engine or FakeEngine())


def estimate_of(result: EngineResult, name: str) -> tuple[float, float]:
    found = {x.name: x for x in result.hypotheses}[name]
    assert found.estimate is not None and found.estimate_95 is not None
    return found.estimate, found.estimate_95


def test_the_loss_of_the_demo_is_found_with_its_size_and_its_onset() -> None:
    result = judged(flown(4, -0.03, onset_s=60)).result
    verdict = result.verdict
    assert verdict.kind == "degrading" and verdict.cause == "hpc_eff"
    size, half = estimate_of(result, "hpc_eff")
    assert abs(size + 3.0) <= half < 0.5
    assert verdict.onset is not None and verdict.onset.shape == "ramp"
    assert verdict.onset.t_95_ns is not None
    low, high = ((t - T0_NS) / 1e9 for t in verdict.onset.t_95_ns)
    assert low <= 540 + 60 <= high and high - low < 60
    assert verdict.onset.ramp_s == pytest.approx(240, rel=0.15)
    assert "HPC efficiency -3." in verdict.text or "HPC efficiency -2." in verdict.text
    assert "since 06:1" in verdict.text and "ESN 894102" in verdict.text


def test_what_these_readings_cannot_tell_apart_is_said() -> None:
    """HPC and HPT efficiency move N2, EGT and fuel flow alike (cosine 0.9999)."""
    verdict = judged(flown(4, -0.03, onset_s=60)).result.verdict
    assert set(verdict.not_separable) == {"hpc_eff", "hpt_eff"}
    assert "or HPT efficiency" in verdict.text and "cannot tell them apart" in verdict.text


def test_a_loss_from_the_beginning_has_no_onset_in_the_flight() -> None:
    verdict = judged(flown(5, -0.03)).result.verdict
    assert verdict.kind == "degrading" and verdict.onset is not None
    assert verdict.onset.shape == "standing" and verdict.onset.t_ns is None
    assert "since before this flight" in verdict.text
    size, half = estimate_of(judged(flown(5, -0.03)).result, "hpc_eff")
    assert abs(size + 3.0) <= half


def test_a_loss_still_growing_at_the_end_is_told_as_far_as_it_came() -> None:
    result = judged(flown(6, -0.03, onset_s=200, ramp_s=440)).result  # half of it by the end
    assert result.verdict.onset is not None and result.verdict.onset.still_growing
    size, half = estimate_of(result, "hpc_eff")
    assert abs(size + 1.5) <= half


@pytest.mark.parametrize("seed", range(100, 104))
def test_healthy_engines_are_healthy(seed: int) -> None:
    verdict = judged(flown(seed)).result.verdict
    assert verdict.kind == "healthy", verdict.text
    assert "would have been seen" in verdict.advice


@pytest.mark.parametrize(
    ("biases", "cause", "size", "unit"),
    [({"egt": 14.0}, "egt", 14.0, "Cel"), ({"n2": 0.6}, "n2", 0.6, "%"),
     ({"ff": -0.04}, "ff", -0.04, "kg/h")],
)  # fmt: skip
def test_a_sensor_that_is_off_is_told_from_a_component(
    biases: dict[str, float], cause: str, size: float, unit: str
) -> None:
    result = judged(flown(7, biases=biases)).result
    verdict = result.verdict
    assert (verdict.kind, verdict.cause, verdict.unit) == ("sensor_fault", cause, unit)
    assert verdict.estimate is not None and verdict.estimate_95 is not None
    level = 1.0
    if cause == "ff":
        level = float(np.nanmedian(flown(7).columns["ENG1_FF"][20:900]))
    assert abs(verdict.estimate - size * level) <= max(1.5 * verdict.estimate_95, 0.02 * level)
    assert "before the engine is touched" in verdict.advice


@pytest.mark.parametrize(
    ("parameter", "amount"),
    [("fan_flow", -0.02), ("hpc_flow", -0.05), ("lpt_eff", -0.025), ("hpt_eff", -0.025)],
)
def test_other_components_are_among_those_named(parameter: str, amount: float) -> None:
    verdict = judged(flown(8, amount, onset_s=100, parameter=parameter)).result.verdict
    assert verdict.kind == "degrading"
    assert parameter in (verdict.cause, *verdict.not_separable), verdict.text


def test_estimates_and_onsets_lie_within_what_is_stated() -> None:
    """Of 8 flights with sensitivities that are wrong by the 5 % that is allowed for; the
    intervals are of 95 %: 3 misses of 8 have a chance of 1 %. bench/detect.py counts over hundreds."""
    size_missed = onset_missed = 0
    for seed in range(8):
        rng = np.random.default_rng([seed, 3])
        amount, onset_s = -rng.uniform(0.012, 0.035), rng.uniform(60, 200)
        rows = flown(seed, amount, onset_s, float(rng.choice([60, 120, 180])),
                     slope_error=rng.normal(0, 0.05, 3))  # fmt: skip
        result = judged(rows).result
        size, half = estimate_of(result, "hpc_eff")
        size_missed += abs(size - 100 * amount) > half
        onset = result.verdict.onset
        assert onset is not None and onset.t_95_ns is not None
        low, high = ((t - T0_NS) / 1e9 for t in onset.t_95_ns)
        onset_missed += not low <= 540 + onset_s <= high
    assert size_missed <= 2 and onset_missed <= 2, (size_missed, onset_missed)


def test_an_engine_that_is_better_than_its_baseline_is_unexplained_not_degrading() -> None:
    verdict = judged(flown(9, +0.04)).result.verdict
    assert verdict.kind in ("unexplained", "sensor_fault") or verdict.cause in ("hpt_flow",)
    assert verdict.kind != "healthy"


def test_idle_alone_gives_no_verdict_and_says_why() -> None:
    rows = flown(10)
    verdict = judged(rows, FakeEngine(n1c_min=120.0)).result.verdict
    assert verdict.kind == "model_out_of_range"
    assert "does not speak" in verdict.text


def test_too_little_steady_flight_gives_no_verdict() -> None:
    rows = flown(11)
    rows.columns["ENG1_EGT"][40:] = np.nan
    found = judged(rows)
    assert found.result.verdict.kind == "not_enough_data"
    assert "too_few_windows" in {x.code for x in found.findings}


def test_points_that_do_not_converge_are_a_finding_and_the_rest_is_judged() -> None:
    found = judged(flown(12), FakeEngine(deaf=slice(100, 220)))
    assert found.result.verdict.kind == "healthy"
    said = next(x for x in found.findings if x.code == "not_converged")
    assert "120 of" in said.text and said.esn == ESN
    assert found.result.windows > 0 and found.result.steady < 900


def test_the_joint_estimate_says_how_little_four_readings_know_of_ten_parameters() -> None:
    parameters = {x.name: x for x in judged(flown(4, -0.03, onset_s=60)).result.parameters}
    assert len(parameters) == 10
    hpc, hpt = parameters["hpc_eff"], parameters["hpt_eff"]
    assert abs(hpc.estimate + 3.0) <= hpc.estimate_95, "it shares the loss with the HPT"
    assert hpc.estimate < -1.0 and hpt.estimate < 0
    assert parameters["hpt_flow"].learned < 0.2 < hpc.learned
