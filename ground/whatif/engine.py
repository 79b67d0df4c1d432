"""The engine under other conditions: two cases solved, compared, and where there is no answer.

In: an engine type, a baseline, columns of conditions, changes. Out: an `EngineAnswer`.
Always holds: a point that one case cannot answer counts in no comparison; where thrust is held, N1
is found at which it is, or the point is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

import numpy as np
import numpy.typing as npt

from ground.models.baseline import Baseline, trimmed
from ground.models.turbofan.engine import HEALTH, EngineType
from ground.models.turbofan.solve import OK, WHY, Points, solve
from ground.whatif.answer import UNITS, Change, EngineAnswer, Margin, Refused
from ground.whatif.conditions import NAMES, Columns, changed
from ground.whatif.drag import drag_n
from shared.behaviour.formulas import corrected_speed, theta

Float64 = npt.NDArray[np.float64]
Names = npt.NDArray[np.str_]
OUTPUTS = ("egt", "ff", "n2", "thrust")
LEVEL_PHASES = ("cruise", "")
"""Where drag answers; a steady point has no phase and is taken for level flight."""
SEARCH_STEPS, THRUST_TOLERANCE = 8, 1e-3
N1_RANGE = (30.0, 112.0)
REFUSED_MAX = 50
SHOWN_MAX = 2_000  # points of a series


class Case:
    """One case solved. values: OUTPUTS and n1, [n]; why: `ok` or a reason, [n]."""

    def __init__(self, values: dict[str, Float64], why: Names) -> None:
        self.values, self.why = values, why


def compare(
    engine: EngineType, baseline: Baseline, columns: Columns, changes: Mapping[str, float],
    hold: str, limit_cel: float, position: int, t_ns: npt.NDArray[np.int64], phase: Names,
    every_s: int,
) -> EngineAnswer:  # fmt: skip
    """Baseline and changed case over the same points. t_ns: empty of a steady point."""
    wear = worn(baseline, changes)
    before = _case(engine, baseline, columns, baseline.health)
    conditions = changed(columns, changes)
    if hold == "thrust":
        wanted = _wanted(before, columns, changes, phase)
        unknown = np.where(before.why == "ok", "not_level_flight", before.why)
        after = _at_thrust(engine, baseline, conditions, wear, wanted, unknown)
    else:
        after = _case(engine, baseline, conditions, wear)
    cases = {"baseline": before, "changed": after}
    both = (before.why == "ok") & (after.why == "ok")
    thin = slice(None, None, max(1, -(-len(phase) // SHOWN_MAX)))
    return EngineAnswer(
        position=position, esn=baseline.esn, baseline_sha256=baseline.sha256,
        baseline_source=baseline.event or baseline.source, points=len(phase), every_s=every_s,
        shown_every_s=every_s * thin.step, t_ns=tuple(t_ns[thin].tolist()),
        phase=tuple(phase[thin].tolist()) if len(t_ns) else (),
        series={name: {k: _nullable(v[thin]) for k, v in case.values.items()}
                for name, case in cases.items()},
        changes=tuple(_changes(before, after, both, phase)),
        margins=tuple(m for name, case in cases.items()
                      if (m := _margin(name, case, both, limit_cel, t_ns, phase)) is not None),
        refused=tuple(r for name, case in cases.items() for r in _refused(name, case, t_ns)),
    )  # fmt: skip


def worn(baseline: Baseline, changes: Mapping[str, float]) -> dict[str, float]:
    """Health as fractions: the baseline's, and the change in % on top."""
    health = dict(baseline.health)
    for name in HEALTH:
        if name in changes:
            health[name] = health.get(name, 0.0) + changes[name] / 100.0
    return health


def sweep(
    engine: EngineType, baseline: Baseline, columns: Columns, changes: Mapping[str, float]
) -> dict[str, tuple[float | None, ...]]:
    """EGT of both cases against N1 at the conditions of one point."""
    n1 = np.arange(40.0, 110.1, 2.5)
    wide = {name: np.full(len(n1), columns[name][0]) for name in NAMES} | {"n1": n1}
    rest = {name: value for name, value in changes.items() if name != "n1"}
    before = _case(engine, baseline, wide, baseline.health).values
    after = _case(engine, baseline, changed(wide, rest), worn(baseline, changes)).values
    return {"n1": tuple(n1.tolist()), "baseline": _nullable(before["egt"]),
            "changed": _nullable(after["egt"])}  # fmt: skip


def _case(
    engine: EngineType, baseline: Baseline, columns: Columns, health: Mapping[str, float]
) -> Case:
    found = solve(engine, Points(**columns), health)
    n1c = corrected_speed(columns["n1"], theta(columns["tat"]))
    values = trimmed(baseline, n1c, {x: getattr(found, x) for x in OUTPUTS})
    names = np.array([name.replace(" ", "_") for name in WHY])
    ok = found.why == OK
    values["n1"] = np.where(ok, columns["n1"], np.nan)
    return Case(values, names[found.why])


def _wanted(before: Case, columns: Columns, changes: Mapping[str, float], phase: Names) -> Float64:
    """Thrust that the changed case must have, N; NaN where nobody can say."""
    thrust = before.values["thrust"]
    if "payload" not in changes:
        return thrust
    mass = changes["gross_weight"]
    light, heavy = (drag_n(columns["mach"], columns["altitude"], one)
                    for one in (mass, mass + changes["payload"]))  # fmt: skip
    return np.where(np.isin(phase, LEVEL_PHASES), thrust * heavy / light, np.nan)


def _at_thrust(
    engine: EngineType, baseline: Baseline, columns: Columns, health: Mapping[str, float],
    wanted: Float64, unknown: Names,
) -> Case:  # fmt: skip
    """The case at the N1 that gives the thrust wanted, by secants on all points at once. unknown:
    why, where nothing is wanted."""
    low = np.where(np.isfinite(wanted), columns["n1"], np.nan)
    first = _case(engine, baseline, {**columns, "n1": low}, health)
    high = np.clip(low * 1.01, *N1_RANGE)
    missed = first.values["thrust"] - wanted
    case = first
    for _ in range(SEARCH_STEPS):
        case = _case(engine, baseline, {**columns, "n1": high}, health)
        error = case.values["thrust"] - wanted
        if not np.any(_missed(error, wanted)):
            break
        silent = np.isnan(error)  # beyond what the model answers: half the way back
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.clip(-error * (high - low) / (error - missed), -5.0, 5.0)
        after = np.where(silent, 0.5 * (low + high), high + np.where(np.isfinite(step), step, 0.0))
        low, missed = np.where(silent, low, high), np.where(silent, missed, error)
        high = np.clip(after, *N1_RANGE)
    off = _missed(case.values["thrust"] - wanted, wanted) | (case.why != "ok")
    why = np.where(off, "thrust_not_reached", case.why)
    why = np.where(np.isnan(wanted), unknown, why)
    return Case({k: np.where(why == "ok", v, np.nan) for k, v in case.values.items()}, why)


def _missed(error: Float64, wanted: Float64) -> npt.NDArray[np.bool_]:
    """Points whose thrust is wanted and not there yet; NaN is not there."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(wanted) & ~(np.abs(error) <= THRUST_TOLERANCE * np.abs(wanted))


def _changes(before: Case, after: Case, both: npt.NDArray[np.bool_], phase: Names) -> list[Change]:
    found = []
    phases = (
        ["all", *dict.fromkeys(phase[both].tolist())] if len(set(phase.tolist())) > 1 else ["all"]
    )
    for name in (*OUTPUTS, "n1"):
        for one in phases:
            rows = both if one == "all" else both & (phase == one)
            if not rows.any():
                continue
            a, b = before.values[name][rows], after.values[name][rows]
            difference = b - a
            found.append(Change(
                output=name, unit=UNITS[name], phase=one, points=int(rows.sum()),
                baseline=round(float(a.mean()), 3), changed=round(float(b.mean()), 3),
                mean_change=round(float(difference.mean()), 3),
                largest_change=round(float(difference[np.argmax(np.abs(difference))]), 3),
            ))  # fmt: skip
    return found


def _margin(
    name: str, case: Case, both: npt.NDArray[np.bool_], limit_cel: float,
    t_ns: npt.NDArray[np.int64], phase: Names,
) -> Margin | None:  # fmt: skip
    """Of the points that both cases answer, so that the two margins compare; of its own where
    there are none."""
    egt = np.where(both, case.values["egt"], np.nan) if both.any() else case.values["egt"]
    if not np.isfinite(egt).any():
        return None
    hottest = int(np.nanargmax(egt))
    return Margin(
        case=name, limit_cel=limit_cel, margin_k=round(limit_cel - float(egt[hottest]), 2),
        t_ns=int(t_ns[hottest]) if len(t_ns) else None, phase=str(phase[hottest]),
        points_above=int(np.count_nonzero(egt > limit_cel)),
    )  # fmt: skip


def _refused(name: str, case: Case, t_ns: npt.NDArray[np.int64]) -> list[Refused]:
    """Runs of points with one reason; beyond REFUSED_MAX one for all further ones of a reason."""
    runs, at = [], 0
    for reason, group in groupby(case.why.tolist()):
        n = len(list(group))
        if reason != "ok":
            start, end = (int(t_ns[at]), int(t_ns[at + n - 1])) if len(t_ns) else (None, None)
            runs.append(Refused(case=name, reason=reason, points=n, start_ns=start, end_ns=end))
        at += n
    if len(runs) > REFUSED_MAX:
        rest, runs = runs[REFUSED_MAX:], runs[:REFUSED_MAX]
        for reason in dict.fromkeys(run.reason for run in rest):
            same = [run for run in rest if run.reason == reason]
            runs.append(Refused(case=name, reason=reason, points=sum(r.points for r in same),
                                start_ns=same[0].start_ns, end_ns=same[-1].end_ns))  # fmt: skip
    return runs


def _nullable(values: Float64) -> tuple[float | None, ...]:
    return tuple(round(v, 3) if np.isfinite(v) else None for v in values.tolist())
