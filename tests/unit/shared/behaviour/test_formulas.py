"""Corrections against published tables."""

from __future__ import annotations

import numpy as np
import pytest

from shared.behaviour.formulas import REDUCTIONS, RESTORATIONS, delta, isa_deviation, theta


# ICAO Doc 7488/3 (Manual of the ICAO Standard Atmosphere): feet, K, pressure ratio.
@pytest.mark.parametrize(
    ("altitude_ft", "temperature_k", "ratio"),
    [(0, 288.15, 1.0), (10_000, 268.338, 0.68770), (30_000, 228.714, 0.29695),
     (36_089, 216.65, 0.22336), (45_000, 216.65, 0.14555)],
)  # fmt: skip
def test_standard_atmosphere_is_that_of_the_manual(
    altitude_ft: float, temperature_k: float, ratio: float
) -> None:
    assert delta(altitude_ft, 0.0) == pytest.approx(ratio, rel=2e-4)
    assert isa_deviation(temperature_k - 273.15, 0.0, altitude_ft) == pytest.approx(0, abs=0.01)


# NACA Report 1135, table I: Mach, p/pt, T/Tt.
@pytest.mark.parametrize(("mach", "p_pt", "t_tt"), [(0.5, 0.8430, 0.9524), (0.8, 0.6560, 0.8865)])
def test_total_conditions_are_those_of_the_naca_tables(
    mach: float, p_pt: float, t_tt: float
) -> None:
    assert 1 / delta(0.0, mach) == pytest.approx(p_pt, rel=1e-4)
    static_cel = 15.0
    total_cel = (static_cel + 273.15) / t_tt - 273.15
    assert isa_deviation(total_cel, mach, 0.0) == pytest.approx(0, abs=0.02)


def test_theta_is_one_on_the_standard_day() -> None:
    assert theta(15.0) == 1.0


@pytest.mark.parametrize("name", sorted(RESTORATIONS))
def test_every_restoration_has_its_inverse(name: str) -> None:
    arguments = [np.array([1.1, 0.8])] * (len(RESTORATIONS[name].arguments) - 1)
    corrected = np.array([900.0, 1100.0])
    shown = RESTORATIONS[name].function(corrected, *arguments)
    np.testing.assert_allclose(REDUCTIONS[name].function(shown, *arguments), corrected)
