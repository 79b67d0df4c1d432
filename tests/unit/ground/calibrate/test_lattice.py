"""Lattice regression on functions whose table is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from ground.calibrate.lattice import fit, weights
from shared.behaviour.kinds import Axis

AXES = (Axis("a", (0.0, 1.0, 3.0, 6.0)), Axis("b", (-1.0, 0.5, 2.0)))
RNG = np.random.default_rng(5)
POINTS = np.column_stack([RNG.uniform(0, 6, 900), RNG.uniform(-1, 2, 900)])
NONE = np.zeros((900, 0))


def test_weights_interpolate_as_scipy_does() -> None:
    table = RNG.uniform(1, 2, (4, 3))
    wanted = RegularGridInterpolator([np.array(x.points) for x in AXES], table)(POINTS)
    np.testing.assert_allclose(weights(POINTS, AXES) @ table.ravel(), wanted, rtol=1e-12)


def test_weights_of_a_point_add_to_one_even_outside() -> None:
    outside = np.array([[-5.0, 9.0], [99.0, -9.0], [3.0, 0.5]])
    np.testing.assert_allclose(weights(outside, AXES).sum(axis=1), 1.0)


def test_table_is_found_again_from_scattered_values() -> None:
    table = RNG.uniform(800, 1000, 12)
    found, effects = fit(POINTS, weights(POINTS, AXES) @ table, NONE, AXES, 1e-9)
    np.testing.assert_allclose(found, table, rtol=1e-3)
    assert effects.size == 0


def test_effect_is_told_apart_from_the_table_it_moves_with() -> None:
    """Bleed is closed where N1 is high: what alternating fits get wrong for long."""
    open_bleed = (POINTS[:, 0] < 4.5) & (RNG.uniform(size=900) < 0.9)
    quantity = np.column_stack([open_bleed.astype(float), np.zeros(900)])
    table = 900 + 10 * np.arange(12.0)
    values = (weights(POINTS, AXES) @ table) * (1 + quantity @ [0.012, 0.0])
    found, effects = fit(POINTS, values, quantity, AXES, 1e-9)
    assert effects == pytest.approx([0.012, 0.0], abs=1e-4)
    np.testing.assert_allclose(found, table, rtol=1e-3)


def test_where_nothing_was_flown_the_table_goes_straight_on() -> None:
    inside = POINTS[POINTS[:, 0] < 3.0]
    values = 500 + 20 * inside[:, 0] + 7 * inside[:, 1]
    found, _ = fit(inside, values, np.zeros((len(inside), 0)), AXES, 1e-5)
    corner = found.reshape(4, 3)[3, 2]
    assert corner == pytest.approx(500 + 20 * 6 + 7 * 2, rel=0.01)
