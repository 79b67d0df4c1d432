"""The atmosphere: Doc 7488's tables, days that are not standard, the inverse, its ROM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ground.models.atmosphere.atmosphere import (
    ALTITUDE_FT,
    OFFSET_K,
    PRESSURE_PA,
    AtmosphereModel,
    air_at,
    height_ft,
    pressure_altitude_ft,
    saturation_pa,
)
from ground.models.rom import Rom, compare
from shared.behaviour.declaration import load_declaration
from shared.errors import Rejected

FT_M = 0.3048
ROM = Path(__file__).parents[4] / "firmware_profiles/models/atmosphere.toml"

# Geopotential height m: temperature K, pressure hPa, density kg/m3. Tables of ICAO Doc 7488/3
# (also ISO 2533 and US 1976, the same figures below 20 km).
TABLE = {
    0: (288.15, 1013.25, 1.22500),
    1_000: (281.65, 898.746, 1.11164),
    2_000: (275.15, 794.952, 1.00649),
    5_000: (255.65, 540.199, 0.736116),
    10_000: (223.15, 264.363, 0.412707),
    11_000: (216.65, 226.321, 0.363918),
    15_000: (216.65, 120.446, 0.193673),
}


def test_tables_of_doc_7488_are_met_to_their_last_digit_but_one() -> None:
    air = air_at(np.array(list(TABLE)) / FT_M)
    want = np.array(list(TABLE.values()))
    assert np.abs(air.temperature_k - want[:, 0]).max() < 1e-9
    assert np.abs(air.pressure_pa / 100 / want[:, 1] - 1).max() < 1e-5
    assert np.abs(air.density_kg_m3 / want[:, 2] - 1).max() < 1e-5
    assert air.sound_m_s[0] == pytest.approx(340.294, abs=1e-3)


def test_pressure_altitude_is_the_inverse_over_the_whole_range() -> None:
    altitude = np.linspace(*ALTITUDE_FT, 2_001)
    back = pressure_altitude_ft(air_at(altitude).pressure_pa)
    assert np.abs(back - altitude).max() < 1e-6
    assert np.isnan(pressure_altitude_ft([PRESSURE_PA[0] - 1, PRESSURE_PA[1] + 1, np.nan])).all()


def test_warm_day_is_thinner_at_the_same_pressure_and_its_levels_lie_higher() -> None:
    standard, warm = air_at([0.0, 35_000.0]), air_at([0.0, 35_000.0], 35.0)
    assert np.array_equal(standard.pressure_pa, warm.pressure_pa)
    assert np.allclose(warm.temperature_k - standard.temperature_k, 35.0)
    ratio = warm.density_kg_m3 / standard.density_kg_m3
    assert np.allclose(ratio, standard.temperature_k / warm.temperature_k)
    assert height_ft(0.0, 35.0) == 0.0
    assert np.allclose(height_ft([1_000.0, 30_000.0, 60_000.0]), [1_000, 30_000, 60_000])


@pytest.mark.parametrize("offset", [-40.0, 20.0, 35.0])
def test_heights_of_such_a_day_are_in_hydrostatic_balance(offset: float) -> None:
    """dp = -rho g dH, by finite differences: another way to the same heights."""
    altitude = np.linspace(0.0, 60_000.0, 4_001)
    air = air_at(altitude, offset)
    slabs = -np.diff(air.pressure_pa) / (
        9.80665 * np.sqrt(air.density_kg_m3[1:] * air.density_kg_m3[:-1])
    )
    assert np.abs(np.cumsum(slabs) / FT_M - height_ft(altitude, offset)[1:]).max() < 1.0


def test_humid_air_is_as_light_as_the_published_formula_for_moist_air_says() -> None:
    """CIPM-2007 (Metrologia 45, 2008): 1.1992 kg/m3 at 20 Cel, half saturated; IAPWS: vapour, Pa.

    CoolProp's moist air (too slow to ask here) agreed within 0.2 % up to 50 Cel.
    """
    assert float(air_at(0.0, 5.0, 0.5).density_kg_m3) == pytest.approx(1.1992, rel=5e-4)
    assert saturation_pa(np.array(293.15)) == pytest.approx(2339.2, rel=3e-3)
    assert saturation_pa(np.array(308.15)) == pytest.approx(5629.0, rel=3e-3)


def test_points_outside_are_nan_and_the_others_still_speak() -> None:
    air = air_at([0.0, -2_001.0, 65_001.0, np.nan], [0.0, 0.0, 0.0, 0.0])
    assert np.isfinite(air.density_kg_m3).tolist() == [True, False, False, False]
    assert np.isnan(air_at(0.0, [OFFSET_K[1] + 1]).temperature_k).all()
    found = AtmosphereModel().evaluate(
        {
            "altitude": np.zeros(3),
            "isa_offset": np.zeros(3),
            "humidity": np.array([0.0, 101.0, 50.0]),
        }
    )
    assert len(found) == 4
    assert all(np.isfinite(x).tolist() == [True, False, True] for x in found.values())


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"altitude": None}, "'altitude' is missing"),
        ({"height": np.zeros(2)}, "no input 'height'"),
        ({"altitude": np.zeros(3)}, "unequal length"),
        ({"altitude": np.zeros((2, 2))}, "2 dimensions"),
        ({"altitude": np.array(["a", "b"])}, "not a column of numbers"),
    ],
)
def test_bad_columns_are_refused_by_name(change: dict[str, object], names: str) -> None:
    given = {x: np.zeros(2) for x in ("altitude", "isa_offset", "humidity")} | change
    with pytest.raises(Rejected, match=names):
        AtmosphereModel().evaluate({k: v for k, v in given.items() if v is not None})  # type: ignore[misc]


def test_rom_is_within_its_stated_error_of_the_parent() -> None:
    """docs/models.md; off the grid points that any table would have."""
    declared = load_declaration(ROM)
    altitude = np.linspace(ALTITUDE_FT[0] + 7, ALTITUDE_FT[1] - 13, 997)
    offset = np.linspace(*OFFSET_K, 997)[np.random.default_rng(3).permutation(997)]
    given = {"altitude": altitude, "isa_offset": offset}
    rom = Rom(declared).play(given)
    parent = AtmosphereModel().evaluate({**given, "humidity": np.zeros(997)})
    limits = {"temperature": 1e-4, "pressure": 2e-4, "density": 4e-6, "sound": 1e-4}
    for port in declared.outputs:
        found = compare(rom[port.name][:, 0], parent[port.name], port.unit)
        assert found.worst < limits[port.name], (port.name, found)
        assert found.count == 997
