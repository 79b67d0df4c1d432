"""The steady engine: NASA's pyCycle as a table, read at any condition and health.

In: corrected N1, Mach, static pressure, inlet temperature, bleed, health. Out: corrected N2, EGT,
fuel flow and thrust. Always holds: continuous in everything; outside the table the edge counts;
the numbers are pyCycle's (hil/plant/pycycle/make_deck.py), nothing here is physics.

Between the nodes: cubic over N1 and Mach; by 1/pressure between the two altitudes, because what
does not correct away is the constant shaft power taken off. What health, bleed and temperature do
is a polynomial through pyCycle's answers at each node of a coarser grid, linear in between.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
FOLDER: Final = Path(__file__).parent / "decks"
HEALTH: Final = (
    "fan_eff", "fan_flow", "lpc_eff", "lpc_flow", "hpc_eff", "hpc_flow", "hpt_eff", "hpt_flow",
    "lpt_eff", "lpt_flow",
)  # fmt: skip
"""Relative change of a component's efficiency or flow capacity against its type, a fraction."""
OUTPUTS: Final = ("n2", "egt_k", "ff_kg_h", "thrust_n")


class Deck:
    """One engine type. `at` gives corrected (N2 %, EGT K, fuel kg/h, thrust N)."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        base, effects = document["base"], document["effects"]
        self.n1c = tuple(float(x) for x in base["n1c"])
        self.bleed_on = float(document["engine"]["bleed_on"])
        self.anti_ice = float(document["engine"]["anti_ice"])
        self._mach = tuple(float(x) for x in base["mach"])
        low, high = (1 / float(p) for p in base["static_pa"])
        self._per_pa = (low, high - low)
        self._base = _cubics(self.n1c, [base["tables"][name] for name in OUTPUTS])
        self._t2 = np.array(base["tables"]["t2_k"], dtype=np.float64).ravel()
        self._coarse = tuple(float(x) for x in effects["n1c"])
        self._path = tuple(float(mach) for mach, _ in effects["path"])
        self._effects, self._powers = _polynomials(effects["moved"])

    def at(
        self,
        n1c: float,
        mach: float,
        static_pa: float,
        t2_k: float,
        bleed: float,
        health: Mapping[str, float],
    ) -> tuple[float, float, float, float]:
        """bleed: the fraction of compressor flow taken by the aircraft."""
        n1c = min(max(n1c, self.n1c[0]), self.n1c[-1])
        k = min(bisect_right(self.n1c, n1c), len(self.n1c) - 1) - 1
        u = (n1c - self.n1c[k]) / (self.n1c[k + 1] - self.n1c[k])
        w_mach = _lagrange(self._mach, min(max(mach, 0.0), self._mach[-1] + 0.1))
        share = min(max((1 / static_pa - self._per_pa[0]) / self._per_pa[1], -0.2), 2.0)
        low, high = 1 - share, share
        cells = [low * w for w in w_mach] + [high * w for w in w_mach]
        power = (1.0, u, u * u, u * u * u)
        weights = np.array([c * p for p in power for c in cells])
        n2, egt, fuel, thrust = (self._base[k] @ weights).tolist()
        warmer = t2_k - float(np.dot(self._t2, cells))
        d_n2, d_egt, d_fuel, d_thrust = self._moved(
            n1c, mach, bleed - self.bleed_on, warmer, health
        )
        return (
            n2 * math.exp(d_n2),
            egt * math.exp(d_egt),
            fuel * math.exp(d_fuel),
            thrust + d_thrust,
        )

    def _moved(
        self, n1c: float, mach: float, bleed: float, warmer: float, health: Mapping[str, float]
    ) -> list[float]:
        """Logarithms of ratios, and a difference for thrust."""
        value = {"bleed": bleed, "t2_k": warmer, **health}
        x = np.array([value.get(name, 0.0) ** power for name, power in self._powers])
        i, v = _between(self._path, mach)
        j, u = _between(self._coarse, n1c)
        e = self._effects
        corners = (1 - v) * ((1 - u) * e[i, j] + u * e[i, j + 1]) + v * (
            (1 - u) * e[i + 1, j] + u * e[i + 1, j + 1]
        )
        return (corners @ x).tolist()  # type: ignore[no-any-return]


@cache
def load_deck(name: str = "hbtf_cfm56") -> Deck:
    """The deck of an engine type."""
    return Deck(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def _between(nodes: tuple[float, ...], at: float) -> tuple[int, float]:
    at = min(max(at, nodes[0]), nodes[-1])
    i = min(bisect_right(nodes, at), len(nodes) - 1) - 1
    return i, (at - nodes[i]) / (nodes[i + 1] - nodes[i])


def _lagrange(nodes: tuple[float, ...], at: float) -> list[float]:
    """Weights of the polynomial through all nodes."""
    weights = []
    for a in nodes:
        w = 1.0
        for b in nodes:
            if b != a:
                w *= (at - b) / (a - b)
        weights.append(w)
    return weights


def _cubics(x: tuple[float, ...], tables: list[Any]) -> FloatArray:
    """Per segment of x: [output, power and cell], cubic Hermite with three-point slopes."""
    y = np.array(tables, dtype=np.float64)  # [output, altitude, mach, x]
    y = y.reshape(len(tables), -1, len(x))
    h, rise = np.diff(x), np.diff(y, axis=-1)
    secant = rise / h
    slope = np.empty_like(y)
    slope[..., 1:-1] = (secant[..., :-1] * h[1:] + secant[..., 1:] * h[:-1]) / (h[1:] + h[:-1])
    slope[..., 0], slope[..., -1] = secant[..., 0], secant[..., -1]
    a, b = slope[..., :-1] * h, slope[..., 1:] * h
    powers = np.stack([y[..., :-1], a, 3 * rise - 2 * a - b, a + b - 2 * rise])
    return np.ascontiguousarray(np.moveaxis(powers, (3, 1, 0), (0, 1, 2))).reshape(
        len(h), len(tables), -1
    )


def _polynomials(
    moved: Mapping[str, Any],
) -> tuple[FloatArray, tuple[tuple[str, int], ...]]:
    """[condition, n1c, output, coefficient], and what each coefficient multiplies."""
    columns: list[FloatArray] = []
    powers: list[tuple[str, int]] = []
    for name, effect in moved.items():
        y = np.array([effect[o] for o in OUTPUTS], dtype=np.float64)  # [output, cond., n1c, step]
        steps = np.array(effect["steps"], dtype=np.float64)  # [condition, n1c, step]
        exponents = np.arange(1, y.shape[-1] + 1)
        matrix = steps[..., None] ** exponents
        columns.append(np.asarray(np.linalg.solve(matrix[None], y[..., None])[..., 0]))
        powers += [(name, int(p)) for p in exponents]
    return np.moveaxis(np.concatenate(columns, axis=-1), 0, 2), tuple(powers)
