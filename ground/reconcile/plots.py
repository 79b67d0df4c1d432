"""Series of a reconciliation for plots.

In: judged engines, edge predictions. Out: `Series` of at most SERIES_POINTS_MAX points.
Always holds: a point is the mean of what was there; a bin with nothing is null, never bridged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ground.models.baseline import OUTPUTS, UNITS
from ground.reconcile.errors import EdgeSteps, EngineRows
from ground.reconcile.judge import Health
from ground.reconcile.result import SERIES_POINTS_MAX, Series

Float64 = npt.NDArray[np.float64]
DIGITS = 5  # significant; more than a plot shows


def engine_series(engine: EngineRows, edge: Sequence[EdgeSteps]) -> list[Series]:
    """`egt`, `ff`, `n2` and `conditions` of one engine."""
    found = []
    for output in OUTPUTS:
        columns = {
            "measured": engine.columns[output],
            "full": engine.full[output],
            "deviation": np.where(engine.steady, engine.deviation(output), np.nan),
        }
        ours = [x for x in edge if x.output == output and x.esn == engine.esn]
        if ours:  # of several models over one flight, the one that spoke most
            columns["edge"] = max(ours, key=lambda x: len(x.start_ns)).on_rows(engine.t_ns)
        found.append(_series(output, engine, UNITS[output], columns))
    conditions = {x: engine.columns[x] for x in ("n1", "mach", "altitude", "tat")}
    found.append(_series("conditions", engine, "", conditions))
    return found


def health_series(engine: EngineRows, health: Health) -> Series:
    """The health parameter of the verdict over time, with its band."""
    columns = {
        "estimate": health.estimate,
        "low": health.estimate - health.estimate_95,
        "high": health.estimate + health.estimate_95,
    }
    at = np.clip(np.searchsorted(engine.t_ns, health.t_ns), 0, len(engine.t_ns) - 1)
    return Series(
        name="health", esn=engine.esn, position=engine.position, unit="%",
        subject=health.subject, t_ns=tuple(health.t_ns.tolist()),
        phase=tuple(engine.phase[at].tolist()),
        columns={name: _rounded(x) for name, x in columns.items()},
    )  # fmt: skip


def _series(name: str, engine: EngineRows, unit: str, columns: Mapping[str, Float64]) -> Series:
    n = len(engine.t_ns)
    bins = min(n, SERIES_POINTS_MAX)
    edges = np.linspace(0, n, bins + 1).round().astype(int)
    return Series(
        name=name, esn=engine.esn, position=engine.position, unit=unit,
        t_ns=tuple(engine.t_ns[(edges[:-1] + edges[1:]) // 2].tolist()),
        phase=tuple(engine.phase[(edges[:-1] + edges[1:]) // 2].tolist()),
        columns={key: _rounded(_binned(x, edges)) for key, x in columns.items()},
    )  # fmt: skip


def _binned(values: Float64, edges: npt.NDArray[np.int64]) -> Float64:
    known = np.isfinite(values)
    total = np.concatenate(([0.0], np.cumsum(np.where(known, values, 0.0))))
    count = np.concatenate(([0], np.cumsum(known)))
    n = count[edges[1:]] - count[edges[:-1]]
    mean = (total[edges[1:]] - total[edges[:-1]]) / np.maximum(n, 1)
    found: Float64 = np.where(n > 0, mean, np.nan)
    return found


def _rounded(values: Float64) -> tuple[float | None, ...]:
    return tuple(
        float(f"{x:.{DIGITS}g}") if np.isfinite(x) else None for x in np.asarray(values).tolist()
    )
