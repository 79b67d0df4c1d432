"""Conditions: what the engine is asked at, before and after the changes.

In: columns n1, mach, altitude, tat, bleed, anti_ice [n] and the changes of a request. Out: the same
columns changed. Pure. Always holds: Mach and pressure altitude move with the day kept (ISA deviation
constant); a change of the day moves the air temperature and nothing else.

`ambient` over a flight: the air temperature at its first usable second; the difference to what was
measured there acts at every second, as a warmer day does.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from shared.behaviour.formulas import CELSIUS_K, isa_deviation, isa_temperature_k

Float64 = npt.NDArray[np.float64]
Columns = dict[str, Float64]
NAMES = ("n1", "mach", "altitude", "tat", "bleed", "anti_ice")


def of_point(point: Mapping[str, float]) -> Columns:
    """Columns of length 1 from a checked point."""
    columns = {name: np.array([point[name]]) for name in NAMES if name in point}
    mach, altitude = columns["mach"], columns["altitude"]
    if "ambient" in point:
        columns["tat"] = _total(np.array([point["ambient"] + CELSIUS_K]), mach)
    elif "isa_dev" in point:
        columns["tat"] = _total(isa_temperature_k(altitude) + point["isa_dev"], mach)
    return {name: columns[name] for name in NAMES}


def changed(columns: Columns, changes: Mapping[str, float]) -> Columns:
    """`columns` with the changes that act on conditions."""
    day_k = isa_deviation(columns["tat"], columns["mach"], columns["altitude"])
    out = dict(columns)
    for name in ("n1", "mach", "altitude"):
        if name in changes:
            out[name] = columns[name] + changes[name]
    for name in ("bleed", "anti_ice"):
        if name in changes:
            out[name] = np.full(len(day_k), changes[name])
    if "isa_dev" in changes:
        day_k = np.full(len(day_k), changes["isa_dev"])
    elif "ambient" in changes:
        static_k = isa_temperature_k(columns["altitude"]) + day_k
        known = np.flatnonzero(np.isfinite(static_k))
        day_k = day_k + (changes["ambient"] + CELSIUS_K - static_k[known[0]] if len(known) else 0.0)
    if {"isa_dev", "ambient", "mach", "altitude"} & changes.keys():
        static_k = isa_temperature_k(out["altitude"]) + day_k
        out["tat"] = _total(static_k, out["mach"])
    return out


def _total(static_k: Float64, mach: Float64) -> Float64:
    """Total air temperature, Cel; recovery factor 1, as formulas.isa_deviation has it."""
    return static_k * (1.0 + 0.2 * mach * mach) - CELSIUS_K
