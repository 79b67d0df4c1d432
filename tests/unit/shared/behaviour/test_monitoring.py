"""Arrays see what the monitors aboard see."""

from __future__ import annotations

import numpy as np

from shared.behaviour.monitoring import smoothed


def test_smoothing_is_that_of_the_monitors() -> None:
    """Both are written out, since one is on arrays and one on samples; here they are compared."""
    from edge.models.deviations import _Filter

    values = np.random.default_rng(1).normal(0, 3, 200)
    memory = _Filter()
    theirs = [memory.smooth(i * 10**9, float(v), 15.0) for i, v in enumerate(values)]
    np.testing.assert_allclose(
        smoothed(values, 15.0, 1.0), np.array([np.nan if x is None else x for x in theirs])
    )
