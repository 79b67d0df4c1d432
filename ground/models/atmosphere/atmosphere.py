"""The air outside: ICAO standard atmosphere, and days that differ from it.

In: pressure altitude, deviation from the standard temperature, humidity, as columns [n].
Out: temperature, pressure, density, speed of sound, and heights.
Always holds: pressure belongs to pressure altitude alone, whatever the day; a point outside the
valid range is NaN, never extrapolated.

Source: ICAO Doc 7488 (3rd edition, 1993) as the library `ambiance` 1.3.1 implements it. Looked at
and not taken: `stdatm` (faster, but GPL-3), `fluids` (one point at a time; its US 1976 constants
differ by up to 4e-6), `isacalc` and `pystdatm` (no inverse). Non-standard days are the performance
engineer's: the standard profile shifted by a constant at every pressure altitude, heights following
from hydrostatics. Saturated vapour: WMO-No. 8 (2018), annex 4.B, over water.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ground.models.model import Float64, columns_of, in_range
from shared.behaviour.dynamics import Port
from shared.errors import Rejected

FT_M = 0.3048
KELVIN = 273.15
LIBRARY = "ambiance==1.3.1"

ALTITUDE_FT = (-2_000.0, 65_000.0)
"""Of pressure altitude. Doc 7488 goes on to 80 km; what is asked here flies below FL650."""
OFFSET_K = (-60.0, 45.0)
"""From the standard temperature; holds 50 Cel at sea level and the coldest days on record."""
PRESSURE_PA = (5_639.0, 108_880.0)
"""What the altitudes above have, rounded outwards."""

TROPOPAUSE_M, SEA_LEVEL_K, LAPSE_K_PER_M, STRATOSPHERE_K = 11_000.0, 288.15, 0.0065, 216.65
GAMMA, GAS_J_PER_KG_K = 1.4, 287.05287  # Doc 7488
WATER_TO_AIR = 0.62198  # ratio of molar masses, WMO-No. 8


@dataclass(frozen=True, eq=False)
class Air:
    """Each [n]; NaN where the point is outside the valid range."""

    temperature_k: Float64
    pressure_pa: Float64
    density_kg_m3: Float64
    sound_m_s: Float64


def air_at(
    altitude_ft: npt.ArrayLike,
    offset_k: npt.ArrayLike = 0.0,
    humidity: npt.ArrayLike = 0.0,
) -> Air:
    """Air at a pressure altitude, on a day that is `offset_k` warmer than the standard one.

    humidity: share of saturation, 0 to 1; it makes air lighter and sound a little faster.
    """
    from ambiance import Atmosphere

    altitude, offset, moist = np.broadcast_arrays(
        *(np.asarray(x, float) for x in (altitude_ft, offset_k, humidity))
    )
    good = _within(altitude, ALTITUDE_FT) & _within(offset, OFFSET_K) & _within(moist, (0.0, 1.0))
    if not good.any():
        return Air(*(np.full(altitude.shape, np.nan) for _ in range(4)))
    standard = Atmosphere(Atmosphere.geop2geom_height(altitude[good] * FT_M))
    pressure = np.asarray(standard.pressure)
    temperature = np.asarray(standard.temperature) + offset[good]
    vapour = moist[good] * saturation_pa(temperature)
    share = np.minimum(vapour / pressure, 1.0)
    virtual = temperature / (1.0 - share * (1.0 - WATER_TO_AIR))
    density = pressure / (GAS_J_PER_KG_K * virtual)
    sound = np.sqrt(GAMMA * GAS_J_PER_KG_K * virtual)
    return Air(*(_placed(x, good) for x in (temperature, pressure, density, sound)))


def pressure_altitude_ft(pressure_pa: npt.ArrayLike) -> Float64:
    """Inverse: the pressure altitude that has this pressure; NaN outside the valid range."""
    from ambiance import Atmosphere

    pressure = np.asarray(pressure_pa, float)
    good = _within(pressure, PRESSURE_PA)
    if not good.any():
        return np.full(pressure.shape, np.nan)
    found = np.asarray(Atmosphere.from_pressure(pressure[good]).H) / FT_M
    return _placed(found, good)


def height_ft(altitude_ft: npt.ArrayLike, offset_k: npt.ArrayLike = 0.0) -> Float64:
    """Geopotential height above the level where the pressure is standard, on a dry day.

    From dH = (T / T_standard) dHp, layer by layer: a warm day's levels lie higher.
    """
    altitude, offset = np.broadcast_arrays(
        np.asarray(altitude_ft, float), np.asarray(offset_k, float)
    )
    good = _within(altitude, ALTITUDE_FT) & _within(offset, OFFSET_K)
    metres = np.where(good, altitude, 0.0) * FT_M
    below, above = np.minimum(metres, TROPOPAUSE_M), np.maximum(metres - TROPOPAUSE_M, 0.0)
    lower = np.log(SEA_LEVEL_K / (SEA_LEVEL_K - LAPSE_K_PER_M * below)) / LAPSE_K_PER_M
    # The layer above 20 km is warmer by 1 K per km; to FL650, 19.8 km, it is not reached.
    stretched = metres + offset * (lower + above / STRATOSPHERE_K)
    return np.where(good, stretched / FT_M, np.nan)


def saturation_pa(temperature_k: Float64) -> Float64:
    """Pressure of saturated water vapour over water, WMO-No. 8 annex 4.B, -45 to 60 Cel."""
    celsius = temperature_k - KELVIN
    return np.asarray(611.2 * np.exp(17.62 * celsius / (243.12 + celsius)))


class AtmosphereModel:
    """The atmosphere as a `FullFidelity` model."""

    name = "atmosphere"
    inputs = (
        Port(name="altitude", unit="[ft_i]", valid=ALTITUDE_FT),
        Port(name="isa_offset", unit="K", valid=OFFSET_K),
        Port(name="humidity", unit="%", valid=(0.0, 100.0)),
    )
    outputs = (
        Port(name="temperature", unit="Cel", valid=(-117.0, 65.0)),
        Port(name="pressure", unit="kPa", valid=(5.6, 109.0)),
        Port(name="density", unit="kg/m3", valid=(0.07, 1.8)),
        Port(name="sound", unit="m/s", valid=(250.0, 375.0)),
    )
    step_s = 0.0
    sha256 = hashlib.sha256(LIBRARY.encode()).hexdigest()

    def evaluate(self, inputs: Mapping[str, Float64]) -> dict[str, Float64]:
        columns = columns_of(inputs, self.inputs, self.name)
        if not len(columns["altitude"]):
            raise Rejected("no rows", self.name, "give at least one")
        good = in_range(columns, self.inputs)
        air = air_at(columns["altitude"], columns["isa_offset"], columns["humidity"] / 100.0)
        found = {
            "temperature": air.temperature_k - KELVIN,
            "pressure": air.pressure_pa / 1000.0,
            "density": air.density_kg_m3,
            "sound": air.sound_m_s,
        }
        return {k: np.where(good, v, np.nan) for k, v in found.items()}


def _within(x: Float64, limits: tuple[float, float]) -> npt.NDArray[np.bool_]:
    return (x >= limits[0]) & (x <= limits[1])


def _placed(values: Float64, good: npt.NDArray[np.bool_]) -> Float64:
    found = np.full(good.shape, np.nan)
    found[good] = values
    return found
