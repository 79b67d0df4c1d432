"""Means over a model step."""

from __future__ import annotations

import math

import numpy as np

from edge.models.means import StepMeans
from tests.unit.edge.models.test_alerts import signals


def test_mean_is_over_good_samples_and_starts_over_each_step() -> None:
    means = StepMeans(signals(), ["A", "B", "NOT_IN_THE_SET"])
    quality = np.array([[0, 0], [6, 0]], np.uint8)
    means.add("fast", np.array([[1.0, 2.0], [99.0, 4.0]]), quality)
    means.add("fast", np.array([[3.0, 6.0]]), quality[:1])
    means.add("other", np.zeros((1, 1)), quality[:1, :1])
    assert means.take() == {"A": 2.0, "B": 4.0}
    assert all(math.isnan(x) for x in means.take().values())


def test_signal_that_was_never_good_has_no_mean() -> None:
    means = StepMeans(signals(), ["A", "B"])
    means.add("fast", np.array([[1.0, 2.0]]), np.array([[3, 0]], np.uint8))
    taken = means.take()
    assert math.isnan(taken["A"]) and taken["B"] == 2.0
