"""Gas and maps of the turbofan against their sources, not against themselves."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ground.models.turbofan.gas import (
    R_MOLAR,
    composition,
    load_gas,
    nasa9,
    oxide,
    oxide_share,
    read_data,
)
from ground.models.turbofan.maps import MAPS, even, load_maps
from ground.models.turbofan.parts import standard_pressure, standard_temperature

T = np.linspace(200.0, 2150.0, 400)


def mixture(f: float, t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """cp, h, s of a kg of air and f of burned fuel, from the NASA polynomials, NO in equilibrium."""
    data = read_data()
    mols = composition(data)
    parts = {name: nasa9(data["species"][name], t) for name in ("N2", "O2", "Ar", "CO2", "H2O")}
    n = {s: mols.air.get(s, 0.0) + f * mols.fuel.get(s, 0.0) for s in parts}
    cp, h, s = (sum(n[name] * parts[name][i] for name in parts) for i in range(3))
    a, b = oxide_share(mols)
    formed, formed_cp = oxide(data, t)
    share = a + b * f
    fine = np.gradient(formed, t) / t
    inside = np.concatenate([[0.0], np.cumsum((fine[1:] + fine[:-1]) / 2 * np.diff(t))])
    return cp + share * formed_cp, h + share * formed, s + share * inside


@pytest.mark.parametrize("f", [0.0, 0.015, 0.03])
def test_the_fitted_gas_agrees_with_the_nasa_polynomials(f: float) -> None:
    gas = load_gas()
    cp, h, s = mixture(f, T)
    ratio = np.full_like(T, f)
    assert np.abs(gas.cp(T, ratio) / cp - 1).max() < 1e-3
    assert np.abs(gas.h(T, ratio) - h).max() < 25.0  # J of some 1e6
    drift = gas.phi(T, ratio) - s
    assert np.abs(drift - drift.mean()).max() < 0.08  # J/K of some 1e3


def test_air_is_air() -> None:
    """cp 1003.5 at 15 Cel and R 287.05, as any table of dry air has them."""
    gas = load_gas()
    assert gas.cp(np.array(288.15)) == pytest.approx(1004.0, rel=1e-3)
    assert gas.r() == pytest.approx(287.05, rel=1e-4)


def test_oxide_in_equilibrium_is_what_textbooks_say() -> None:
    """N2 + O2 = 2 NO has K = 4.0e-4 at 2000 K (JANAF); our fits take 1 kJ/mol more to form it."""
    data, t = read_data(), np.array([2000.0])
    (_, h, s), (_, h_n, s_n), (_, h_o, s_o) = (
        nasa9(data["species"][x], t) for x in ("NO", "N2", "O2")
    )
    log_k = ((s - (s_n + s_o) / 2) - (h - (h_n + h_o) / 2) / t) / R_MOLAR
    assert np.exp(2 * log_k[0]) == pytest.approx(4.0e-4, rel=0.15)


@pytest.mark.parametrize("f", [None, 0.02])
def test_inversions_give_back_the_temperature(f: float | None) -> None:
    gas = load_gas()
    t = np.linspace(220.0, 1900.0, 300)
    ratio = None if f is None else np.full_like(t, f)
    for off, kelvin in ((0.05, 1e-3), (-0.05, 1e-3), (0.01, 2e-6), (-0.01, 2e-6)):
        guess = t * (1 + off)
        assert np.abs(gas.t_of_h(gas.h(t, ratio), guess, ratio) - t).max() < kelvin
        assert np.abs(gas.t_of_phi(gas.phi(t, ratio), guess, ratio) - t).max() < kelvin
    up = gas.isentropic(t[:200], np.full(200, 0.5), None if ratio is None else ratio[:200])
    assert (up > t[:200]).all()


def test_not_a_number_stays_where_it_is() -> None:
    t = np.array([300.0, np.nan, 900.0])
    found = load_gas().t_of_h(load_gas().h(t), t)
    assert np.isnan(found[1])
    assert np.isfinite(found[[0, 2]]).all()


@pytest.mark.parametrize("name", ["fan", "lpc", "hpc", "hpt", "lpt"])
def test_maps_give_their_published_values_at_the_nodes_and_lines_between(name: str) -> None:
    record = json.loads(MAPS.read_text())["maps"][name]
    (speed, x), (line, y) = record["axes"].items()
    assert speed in ("NcMap", "NpMap")
    assert line in ("RlineMap", "PRmap")
    grid = np.meshgrid(x, y, indexing="ij")
    read = load_maps()[name].read(*grid)
    order = ("WcMap", "PRmap", "effMap") if name in ("fan", "lpc", "hpc") else ("WpMap", "effMap")
    for i, output in enumerate(order):
        assert np.allclose(read[i], record["tables"][output], rtol=1e-12)
    half = load_maps()[name].read(np.array((x[2] + x[3]) / 2), np.array((y[4] + y[5]) / 2))
    table = np.array(record["tables"][order[0]])
    assert half[0] == pytest.approx(table[2:4, 4:6].mean(), rel=1e-12)


def test_maps_go_on_straight_beyond_their_edges() -> None:
    fan = load_maps()["fan"]
    line = np.full(3, 2.0)
    inside = fan.read(np.array([1.10, 1.15, 1.20]), line)[0]
    assert inside[2] - inside[1] == pytest.approx(inside[1] - inside[0])
    assert np.isnan(fan.read(np.array([np.nan]), np.array([2.0]))).all()


def test_axes_refine_to_their_common_step() -> None:
    assert even([0.3, 0.4, 0.45]).tolist() == pytest.approx([0.3, 0.35, 0.4, 0.45])


def test_the_standard_atmosphere_at_heights_that_tables_list() -> None:
    """ISO 2533: 1013.25, 696.82 and 238.42 hPa at 0, 10,000 and 35,000 ft; 197 hPa at 39,000."""
    p = standard_pressure(np.array([0.0, 10_000.0, 35_000.0, 39_000.0])) / 100
    assert p == pytest.approx([1013.25, 696.82, 238.42, 196.77], rel=2e-4)
    assert standard_temperature(np.array([0.0, 45_000.0])) == pytest.approx([288.15, 216.65])
