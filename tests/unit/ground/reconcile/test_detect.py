"""A small sample of bench/detect.py, with the real turbofan: the bench itself takes minutes."""

from __future__ import annotations

import pytest

from bench.detect import Case, Stand, smallest


@pytest.fixture(scope="module")
def stand() -> Stand:
    return Stand(cruise_s=300)


def test_healthy_flights_raise_nothing(stand: Stand) -> None:
    for seed in (1, 2):
        verdict = stand.judged(Case(100_000 + seed)).verdict
        assert verdict.kind == "healthy", verdict.text


def test_a_loss_of_one_percent_is_found_in_one_flight(stand: Stand) -> None:
    result = stand.judged(Case(7001, "hpc_eff", -0.01, onset_s=60.0))
    told = next(x for x in result.hypotheses if x.name == "hpc_eff")
    assert told.estimate is not None and told.estimate_95 is not None
    assert abs(told.estimate + 1.0) <= told.estimate_95
    assert set(result.verdict.not_separable) <= {"hpc_eff", "hpt_eff"}
    assert result.verdict.kind == "degrading"


def test_a_biased_thermocouple_is_no_component(stand: Stand) -> None:
    verdict = stand.judged(Case(7002, "bias_egt", 12.0)).verdict
    assert (verdict.kind, verdict.cause) == ("sensor_fault", "egt")


def test_the_smallest_loss_found_is_the_least_from_which_on_none_is_missed() -> None:
    table = [{"loss_percent": x, "found": y} for x, y in
             ((0.1, 0.0), (0.2, 1.0), (0.3, 0.9), (0.5, 1.0), (1.0, 1.0))]  # fmt: skip
    assert smallest(table) == 0.5
    assert smallest([{"loss_percent": 1.0, "found": 0.2}]) is None
