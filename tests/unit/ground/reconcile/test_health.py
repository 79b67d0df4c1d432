"""Covariances, causes and the joint estimate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ground.reconcile.health import (
    CAUSES,
    INPUT_SCALE,
    PARAMETERS,
    Observed,
    joint_estimate,
    model_error,
    white_noise,
)
from ground.reconcile.onset import (
    evidence_of,
    probabilities,
    search,
    shapes_for,
    when,
)
from tests.unit.ground.reconcile.engines import SLOPES

Float64 = npt.NDArray[np.float64]
K = 40
SECOND = 1_000_000_000


def observed(z: Float64 | None = None, k: int = K, model: float = 1e-4) -> Observed:
    start = np.arange(k, dtype=np.int64) * 20 * SECOND
    return Observed(
        start_ns=start, stop_ns=start + 20 * SECOND, rows=np.full(k, 20),
        z=np.zeros((k, 3)) if z is None else z, rate=np.zeros((k, 3)),
        white=np.array([1e-4, 2e-4, 6e-4]), model=np.full(3, model),
        condition=np.tile([84.0, 0.64], (k, 1)), level=np.tile([91.0, 1010.0, 1540.0], (k, 1)),
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 30), st.floats(1e-5, 1e-2), st.floats(50, 105), st.floats(0, 1e-4),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_covariances_are_positive_and_never_smaller_than_what_does_not_average_away(
    k: int, model: float, n1c: float, rate: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    one = observed(k=k, model=model)
    object.__setattr__(one, "condition", np.column_stack((rng.normal(n1c, 8, k), rng.random(k))))
    object.__setattr__(one, "rate", np.full((k, 3), rate))
    for c in one.covariance:
        assert np.linalg.eigvalsh(c).min() > 0
        mean_sigma = np.sqrt(1 / (np.ones(k) @ np.linalg.solve(c, np.ones(k))))
        assert mean_sigma >= 0.6 * model, "0.4 of the variance is the same in every window"


def test_parameters_are_recovered_when_the_prior_lets_the_readings_speak() -> None:
    truth = np.zeros(10)
    truth[PARAMETERS.index("hpc_flow")] = -0.02
    z = np.tile(SLOPES @ truth, (K, 1))
    slope = np.tile(SLOPES, (K, 1, 1))
    found = joint_estimate(
        observed(z), np.ones(K, np.bool_), slope, lambda x: np.tile(SLOPES @ x, (K, 1))
    )
    assert found.converged
    sigma = np.sqrt(np.diag(found.covariance))
    assert (np.abs(found.estimate - truth) <= 2 * sigma).all()
    assert found.learned[PARAMETERS.index("hpc_flow")] > 0.9
    assert found.chi2 < 1.0


def test_a_response_that_is_no_number_ends_the_estimate_and_says_so() -> None:
    slope = np.tile(SLOPES, (K, 1, 1))
    found = joint_estimate(
        observed(np.full((K, 3), 0.01)), np.ones(K, np.bool_), slope,
        lambda _: np.full((K, 3), np.nan),
    )  # fmt: skip
    assert not found.converged and np.isfinite(found.estimate).all()


def test_noise_is_taken_from_neighbours_so_that_a_ramp_is_none() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 3e-4, (600, 3))
    slow = np.linspace(0, 0.03, 600)[:, None]
    found = white_noise(noise + slow, np.repeat(np.arange(30), 20))
    assert found == pytest.approx(np.full(3, 3e-4), rel=0.15)


def test_a_baseline_without_figures_is_trusted_no_more_than_the_floor() -> None:
    level = {"n2": 91.0, "egt": 1000.0, "ff": 1500.0}
    assert model_error({}, level).tolist() == [0.0005, 0.001, 0.002]
    assert model_error({"egt": 5.0}, level)[1] == 0.005


def directions_of() -> Float64:
    return np.concatenate([np.tile(SLOPES, (K, 1, 1)), np.tile(np.eye(3), (K, 1, 1)),
                           np.zeros((K, 3, len(INPUT_SCALE)))], axis=2)  # fmt: skip


def noisy(seed: int, change: Float64 | float = 0.0) -> Float64:
    rng = np.random.default_rng(seed)
    z = rng.normal(0, np.array([1e-4, 2e-4, 6e-4]) / np.sqrt(20), (K, 3))
    found: Float64 = z + np.asarray(change)
    return found


def test_noise_alone_is_evidence_for_nothing() -> None:
    for seed in range(5):
        found = search(observed(noisy(seed)), directions_of())
        healthy, odds = probabilities(found)
        assert found[0].score < 4 and healthy > 0.5
        assert healthy + sum(odds) == pytest.approx(1.0)


@pytest.mark.parametrize("onset_s", [150.0, 400.0, 640.0])
def test_a_step_is_dated_within_its_interval(onset_s: float) -> None:
    came = np.clip((np.arange(K) * 20 + 20 - onset_s) / 20, 0, 1)
    u = SLOPES[:, PARAMETERS.index("hpc_eff")]
    one = observed(noisy(3, -0.01 * came[:, None] * u))
    cause = CAUSES[PARAMETERS.index("hpc_eff")]
    found = evidence_of(one, cause, np.tile(u, (K, 1)), shapes_for(one))
    at = when(found)
    assert found.score > 50 and at.standing < 1e-6
    assert at.low_s - 20 <= onset_s <= at.high_s + 20
    assert found.amount == pytest.approx(-0.01, abs=3 * found.amount_sigma)


def test_an_onset_in_a_hole_is_as_uncertain_as_the_hole_is_long() -> None:
    u = SLOPES[:, PARAMETERS.index("hpc_eff")]
    came = (np.arange(K) >= 20).astype(float)
    one = observed(noisy(4, -0.01 * came[:, None] * u))
    late = one.start_ns + (np.arange(K) >= 20) * 600 * SECOND  # ten minutes without readings
    object.__setattr__(one, "start_ns", late)
    object.__setattr__(one, "stop_ns", late + 20 * SECOND)
    found = evidence_of(one, CAUSES[4], np.tile(u, (K, 1)), shapes_for(one))
    at = when(found)
    assert at.high_s - at.low_s > 400
    assert at.low_s >= 380 and at.high_s <= 1020
