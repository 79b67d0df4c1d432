"""Corrections of gas-turbine practice, as a closed list of plain formulas.

In: numpy arrays (or anything that answers numpy ufuncs, which is how the compiler traces them).
Out: the same. Always holds: only ufuncs are used, so what runs here in float64 is what the
graph runs in float32.

Sources: ISO 2533 (ICAO standard atmosphere); A. J. Volponi, "Gas Turbine Parameter
Corrections", ASME 98-GT-347 (theta and delta, exponents 0.5 and 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

T0_K, CELSIUS_K = 288.15, 273.15
LAPSE_K_PER_FT = 0.0065 * 0.3048
TROPOPAUSE_FT = 11_000 / 0.3048
TROPOPAUSE_K = 216.65
PRESSURE_EXPONENT = 5.255880  # g0 / (R * lapse), ISO 2533
SCALE_HEIGHT_FT = 287.05287 * TROPOPAUSE_K / 9.80665 / 0.3048


def theta(tat_cel: Any) -> Any:
    """Total temperature over that of the standard day at sea level."""
    return (tat_cel + CELSIUS_K) / T0_K


def isa_temperature_k(altitude_ft: Any) -> Any:
    """Standard temperature at a pressure altitude, to 20 km."""
    return np.maximum(T0_K - LAPSE_K_PER_FT * altitude_ft, TROPOPAUSE_K)


def isa_deviation(tat_cel: Any, mach: Any, altitude_ft: Any) -> Any:
    """Static air temperature minus the standard one, K; recovery factor 1."""
    sat_k = (tat_cel + CELSIUS_K) / (1.0 + 0.2 * mach * mach)
    return sat_k - isa_temperature_k(altitude_ft)


def delta(altitude_ft: Any, mach: Any) -> Any:
    """Total pressure over the standard one at sea level; compressible, gamma 1.4."""
    troposphere = np.power(
        1.0 - (LAPSE_K_PER_FT / T0_K) * np.minimum(altitude_ft, TROPOPAUSE_FT), PRESSURE_EXPONENT
    )
    above = np.maximum(altitude_ft - TROPOPAUSE_FT, 0.0)
    static = troposphere * np.exp(above * (-1.0 / SCALE_HEIGHT_FT))
    return static * np.power(1.0 + 0.2 * mach * mach, 3.5)


def corrected_speed(speed: Any, theta: Any) -> Any:
    """N / sqrt(theta)."""
    return speed / np.sqrt(theta)


def temperature_from_corrected(corrected_k: Any, theta: Any) -> Any:
    """A gas temperature in Cel from its corrected value T / theta in K."""
    return corrected_k * theta - CELSIUS_K


def flow_from_corrected(corrected: Any, delta: Any, theta: Any) -> Any:
    """A fuel flow from its corrected value W / (delta sqrt(theta))."""
    return corrected * (delta * np.sqrt(theta))


def temperature_to_corrected(value_cel: Any, theta: Any) -> Any:
    """Inverse of `temperature_from_corrected`, K."""
    return (value_cel + CELSIUS_K) / theta


def flow_to_corrected(value: Any, delta: Any, theta: Any) -> Any:
    """Inverse of `flow_from_corrected`."""
    return value / (delta * np.sqrt(theta))


class Formula(msgspec.Struct, frozen=True):
    """One entry of the list: the function, the units of its arguments (UCUM) and of its value.

    `"*"` is any unit, the same one wherever it stands.
    """

    function: Callable[..., Any]
    arguments: tuple[str, ...]
    unit: str


CORRECTIONS: dict[str, Formula] = {
    "theta": Formula(theta, ("Cel",), "1"),
    "isa_deviation": Formula(isa_deviation, ("Cel", "1", "[ft_i]"), "K"),
    "delta": Formula(delta, ("[ft_i]", "1"), "1"),
    "corrected_speed": Formula(corrected_speed, ("*", "1"), "*"),
}
"""Inputs to quantities a table is looked up by."""

RESTORATIONS: dict[str, Formula] = {
    "temperature_from_corrected": Formula(temperature_from_corrected, ("K", "1"), "Cel"),
    "flow_from_corrected": Formula(flow_from_corrected, ("*", "1", "1"), "*"),
}
"""Corrected table values (first argument) back to what the sensor shows."""

REDUCTIONS: dict[str, Formula] = {
    "temperature_from_corrected": Formula(temperature_to_corrected, ("Cel", "1"), "K"),
    "flow_from_corrected": Formula(flow_to_corrected, ("*", "1", "1"), "*"),
}
"""The inverse of each restoration, for fitting."""
