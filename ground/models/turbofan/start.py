"""Where the search starts: states of a healthy engine over corrected N1 and Mach.

In: an engine type. Out: a table that gives a start [7, n]. Always holds: it only saves rounds; the
solution is the same from any start that converges.

Corrected speed and Mach alone decide a healthy engine's state but for Reynolds, bleed and shaft
power, so one table serves all altitudes and temperatures.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final

import numpy as np

from ground.models.turbofan.cycle import CELSIUS_K, inlet_of, multipliers
from ground.models.turbofan.engine import EngineType
from ground.models.turbofan.gas import Float64
from ground.models.turbofan.maps import load_maps
from ground.models.turbofan.newton import match
from ground.models.turbofan.parts import T_REF_K

_STEP_N1C: Final = 2.5
_MACH: Final = np.linspace(0.0, 0.9, 7)
_SLOW: Final = (50.0, np.array([2.0, 1.8, 2.1, 0.78, 3.4, 6.17, 2.1]))
"""Corrected N1, and a state near which it is: read off the table itself, so that it starts well."""
_ALTITUDE_FT: Final = 15_000.0  # between field and cruise: shaft power weighs middling


@dataclass(frozen=True, eq=False)
class StartTable:
    """[7, speeds, machs]."""

    n1c: Float64
    states: Float64
    jacobians: Float64
    """[speeds, machs, 7, 7]."""

    def __call__(self, n1c: Float64, mach: Float64) -> tuple[Float64, Float64]:
        """States [7, n] between the nodes; Jacobians [n, 7, 7] of the nearest."""
        u = np.clip((n1c - self.n1c[0]) / _STEP_N1C, 0, len(self.n1c) - 1.001)
        v = np.clip((mach - _MACH[0]) / (_MACH[1] - _MACH[0]), 0, len(_MACH) - 1.001)
        i, j = u.astype(int), v.astype(int)
        u, v, t = u - i, v - j, self.states
        low = t[:, i, j] * (1 - u) + t[:, i + 1, j] * u
        high = t[:, i, j + 1] * (1 - u) + t[:, i + 1, j + 1] * u
        start: Float64 = low * (1 - v) + high * v
        return start, self.jacobians[i + (u > 0.5), j + (v > 0.5)]


@functools.cache
def start_table(engine: EngineType) -> StartTable:
    """All nodes at once, from the line between the design point and a slow one."""
    low, high = engine.data.valid.n1c
    n1c = np.arange(low - _STEP_N1C, high + 2 * _STEP_N1C, _STEP_N1C)
    d, maps = engine.data.design, load_maps()
    fan = engine.scales.fan.speed * maps["fan"].defaults["NcMap"]
    fast_n1c = 100 * fan / engine.data.full_speed.n1_rpm
    t2 = T_REF_K * (d.n1_rpm / fan) ** 2
    lines = [maps[name].defaults["RlineMap"] for name in ("fan", "lpc", "hpc")]
    pressures = [maps[name].defaults["PRmap"] for name in ("hpt", "lpt")]
    fast = np.array([*lines, 1.0, d.t4_k / t2, *pressures])
    slow_n1c, slow = _SLOW
    shape = (len(n1c), len(_MACH))
    speeds = np.broadcast_to(n1c[:, None], shape).ravel()
    machs = np.broadcast_to(_MACH, shape).ravel()
    share = (speeds - slow_n1c) / (fast_n1c - slow_n1c)
    guess = slow[:, None] + (fast - slow)[:, None] * share
    found, jacobians = _nodes(engine, speeds, machs, guess)
    k = len(fast)
    return StartTable(n1c, found.reshape(k, *shape), jacobians.reshape(*shape, k, k))


def _nodes(
    engine: EngineType, n1c: Float64, mach: Float64, start: Float64
) -> tuple[Float64, Float64]:
    """States and Jacobians of nodes; where one does not balance, its start stays."""
    ones = np.ones(len(n1c))
    t = T_REF_K * ones
    at = inlet_of(engine, n1c, mach, _ALTITUDE_FT * ones, t - CELSIUS_K, ones, 0 * ones)
    found = match(engine, at, multipliers({}), start)
    return np.where(found.done, found.states, start), found.jacobians
