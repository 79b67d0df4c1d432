"""The solver: all points of a flight at once, batched Newton with damping.

In: an engine type, points as arrays, health. Out: a Solution of the same length. Always holds:
bad points get NaN and a reason and disturb no other; iterations are bounded; memory is bounded by
CHUNK points at a time; the answer for a point does not depend on the others or on their order.

Against pyCycle with its equilibrium chemistry every quantity is within 0.03 % over the reference
points (largest: airflow 0.026, thrust 0.022, fuel flow 0.020, EGT 0.019 %; rms 0.025 and less);
docs/models.md has the table and tests/unit/ground/models/test_turbofan_pycycle.py holds it to that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from ground.models.turbofan.cycle import CELSIUS_K, KG_S_KG_H, Run, inlet_of, multipliers, run
from ground.models.turbofan.engine import HEALTH, EngineType
from ground.models.turbofan.gas import Float64
from ground.models.turbofan.newton import match
from ground.models.turbofan.start import start_table
from shared.errors import Rejected

OK: Final = 0
BAD_INPUT: Final = 1
OUT_OF_RANGE: Final = 2
NOT_CONVERGED: Final = 3
WHY: Final = ("ok", "bad input", "out of range", "not converged")
"""Names of the codes in `Solution.why`."""

CHUNK = 4096
"""Points at a time: 30 MB of work arrays, and long enough that numpy is not the cost."""
LINE_VALID: Final = (0.9, 3.5)
"""R-lines that are answered. The maps end at 1 (stall) and 3 (choke, where they go on straight, as
an idling engine in flight needs and pyCycle does)."""
_ROUNDING: Final = 1e-6  # a limit itself is inside, however it was computed
NUDGE: Final = 2e-3
HEALTH_MAX: Final = 0.25
"""|h| beyond this is not an engine that runs: an assumption."""


@dataclass(frozen=True, eq=False)
class Points:
    """What the aircraft measures, float64 [n]; a scalar stands for all points."""

    n1: Float64
    """%, mechanical."""
    mach: Float64
    altitude: Float64
    """Pressure altitude, ft."""
    tat: Float64
    """Celsius."""
    bleed: Float64
    """0 to 1: pack bleed on."""
    anti_ice: Float64
    """0 to 1."""

    def __len__(self) -> int:
        return max(np.size(getattr(self, f.name)) for f in fields(self))

    def arrays(self) -> tuple[Float64, ...]:
        """All six as float64 [n]."""
        wide = np.broadcast_arrays(*(np.atleast_1d(getattr(self, f.name)) for f in fields(self)))
        return tuple(np.asarray(a, dtype=np.float64) for a in wide)


@dataclass(frozen=True, eq=False)
class Solution:
    """What the engine does, float64 [n], NaN where `ok` is false."""

    n2: Float64
    """%."""
    egt: Float64
    """Celsius, total temperature at the LPT inlet (station 4.5)."""
    ff: Float64
    """kg/h."""
    thrust: Float64
    """N, net."""
    t3_k: Float64
    p3_pa: Float64
    t4_k: Float64
    airflow_kg_s: Float64
    bypass_ratio: Float64
    ok: npt.NDArray[np.bool_]
    why: npt.NDArray[np.uint8]
    """Index into WHY."""

    def __len__(self) -> int:
        return len(self.ok)


_QUANTITIES: Final = (
    "n2", "egt", "ff", "thrust", "t3_k", "p3_pa", "t4_k", "airflow_kg_s", "bypass_ratio",
)  # fmt: skip


def solve(
    engine: EngineType, points: Points, health: Mapping[str, float | Float64] | None = None
) -> Solution:
    """Every point of `points` with that health (fractions, scalar or [n])."""
    columns = points.arrays()
    n = len(columns[0])
    wear = _wear(health or {}, n)
    why = _judge(engine, columns, wear)
    found = np.full((len(_QUANTITIES), n), np.nan)
    for rows in _chunks(np.flatnonzero(why == OK)):
        at = inlet_of(engine, *(c[rows] for c in columns))
        k = multipliers({name: h[rows] for name, h in wear.items()})
        matched = match(engine, at, k, *start_table(engine)(at.n1c, at.mach))
        why[rows] = np.where(matched.done, _mapped(matched.states), NOT_CONVERGED)
        ok = why[rows] == OK
        found[:, rows[ok]] = _outputs(engine, run(engine, at, k, matched.states))[:, ok]
    values = dict(zip(_QUANTITIES, found, strict=True))
    return Solution(ok=why == OK, why=why, **values)


def sensitivities(
    engine: EngineType, points: Points, health: Mapping[str, float | Float64] | None = None,
    parameters: tuple[str, ...] = HEALTH,
) -> dict[str, dict[str, Float64]]:  # fmt: skip
    """d ln(output) / d(parameter) by central differences: {parameter: {n2, egt (K), ff: [n]}}.

    Over +-0.2 %, a scatter between engines, so that a kink of a map is not taken for its slope.
    All parameters of all points are solved as one batch.
    """
    columns = points.arrays()
    n, m = len(columns[0]), len(parameters)
    health = dict(health or {})
    for name in parameters:
        health.setdefault(name, 0.0)
    nudged = {}
    for name, h in _wear(health, n).items():
        rows = np.tile(h, (2, m, 1))
        if name in parameters:
            rows[0, parameters.index(name)] -= NUDGE
            rows[1, parameters.index(name)] += NUDGE
        nudged[name] = rows.ravel()
    found = solve(engine, Points(*(np.tile(c, 2 * m) for c in columns)), nudged)
    slopes = {}
    for name, of in (("n2", found.n2), ("egt", found.egt + CELSIUS_K), ("ff", found.ff)):
        low, high = np.log(of).reshape(2, m, n)
        slopes[name] = (high - low) / (2 * NUDGE)
    return {p: {name: slope[i] for name, slope in slopes.items()} for i, p in enumerate(parameters)}


def _wear(health: Mapping[str, float | Float64], n: int) -> dict[str, Float64]:
    unknown = sorted(set(health) - set(HEALTH))
    if unknown:
        raise Rejected(f"no health parameter {', '.join(unknown)}", "health", f"use {HEALTH}")
    return {
        name: np.broadcast_to(np.asarray(h, dtype=np.float64), (n,)) for name, h in health.items()
    }


def _judge(
    engine: EngineType, columns: tuple[Float64, ...], wear: Mapping[str, Float64]
) -> npt.NDArray[np.uint8]:
    """Which points can be asked at all."""
    n1, mach, altitude, tat, bleed, anti_ice = columns
    finite = np.isfinite(np.stack([*columns, *wear.values()])).all(axis=0)
    with np.errstate(invalid="ignore"):
        sane = (n1 > 0) & (n1 < 150) & (tat > -90) & (tat < 90)
        for share in (bleed, anti_ice):
            sane &= (share >= 0) & (share <= 1)
        for h in wear.values():
            sane &= np.abs(h) <= HEALTH_MAX
        valid = engine.data.valid
        n1c = n1 / np.sqrt(np.maximum(tat + CELSIUS_K, 1.0) / 288.15)
        inside = np.ones(len(n1), dtype=bool)
        for value, (low, high) in (
            (n1c, valid.n1c), (mach, valid.mach), (altitude, valid.altitude_ft)
        ):  # fmt: skip
            inside &= (value >= low - _ROUNDING) & (value <= high + _ROUNDING)
    why = np.where(finite & sane, np.where(inside, OK, OUT_OF_RANGE), BAD_INPUT)
    return why.astype(np.uint8)


def _mapped(states: Float64) -> npt.NDArray[np.uint8]:
    """OUT_OF_RANGE where a compressor runs beyond its map: stall, or far into choke."""
    lines = states[:3]
    inside = (lines >= LINE_VALID[0]) & (lines <= LINE_VALID[1])
    return np.where(inside.all(axis=0), OK, OUT_OF_RANGE).astype(np.uint8)


def _chunks(rows: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
    for first in range(0, len(rows), CHUNK):
        yield rows[first : first + CHUNK]


def _outputs(engine: EngineType, r: Run) -> Float64:
    """In the order of _QUANTITIES."""
    return np.stack(
        [
            100 * r.n2_rpm / engine.data.full_speed.n2_rpm, r.t45 - CELSIUS_K,
            r.fuel_kg_s * KG_S_KG_H, r.thrust_n, r.t3, r.p3, r.t4, r.airflow, r.bypass_ratio,
        ]
    )  # fmt: skip
