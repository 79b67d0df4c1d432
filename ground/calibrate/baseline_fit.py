"""The fit of a baseline: whose health and trims make the engine type show what this ESN showed.

In: the engine type and pass-off rows of a healthy engine. Out: a `Baseline`, not yet approved.
Always holds: rows that were fitted do not judge; health parameters stay within what their prior
and the rows allow, and what they do not explain is a low polynomial in corrected N1, no more.

Method: maximum a posteriori over ten health parameters with a prior of 0.5 % each, by Gauss-Newton
on the logarithms of N2, EGT (K) and fuel flow of 20 s windows (A. Volponi, "Gas Turbine Engine
Health Management", ASME GT2013-96049, on weighted least squares with a prior); then trims by least
squares. With three measurements the ten are not told apart: the prior shares a deviation out
among them, which is enough to predict and no finding about a component.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from ground.calibrate.passoff import PassOff
from ground.models.baseline import INPUTS, N1C_CENTRE, N1C_SPAN, OUTPUTS, Baseline, predict
from ground.reconcile.windows import steady_rows, windows_of
from shared.behaviour.formulas import CELSIUS_K, corrected_speed, theta
from shared.behaviour.monitoring import smoothed
from shared.errors import Rejected

if TYPE_CHECKING:
    from ground.models.turbofan.engine import EngineType
    from ground.models.turbofan.solve import Points

Float64 = npt.NDArray[np.float64]
PRIOR = 0.005
"""Standard deviation of every health parameter of a healthy engine: fleet scatter, assumption."""
DISCREPANCY = {"n2": 0.003, "egt": 0.005, "ff": 0.010}
"""Of the model itself, relative, at one operating point: it is no noise, so more rows at that
point do not make it smaller. Assumption, of the size of the differences from pyCycle."""
POINT_PERCENT = 5.0  # of corrected N1: rows nearer than this are one operating point
TRIM_TERMS = 3
LIKE_MAX = 0.10  # of the type at nominal health, median; beyond, the rows are of something else
TRIM_MAX = 0.05  # beyond, this is no engine of the type
ROUNDS, SLOPE_ROUNDS = 4, 1  # health is under 1 %: slopes hardly change
JUDGED_SHARE = 0.5
"""Of DISCREPANCY: smoothed rms of the rows that judge, beyond which they are not of the engine that was
fitted. The bench's are 0.04 % of EGT; 3 % of HPC efficiency lost over three flights are 0.6 %."""
WINDOWS_MIN = {False: 30, True: 10}  # to fit, and to judge: 10 and 3 min of steady running
HELD_OUT_EVERY = 3  # of flights; with fewer than three, of windows
SMOOTHING_S = 15.0  # as the EGT monitor aboard
JUDGED_PHASES = ("cruise",)  # where it judges
DIGITS = 6


@dataclass(frozen=True, eq=False)
class _Part:
    """Steady rows, and the windows of them, to fit or to judge."""

    rows: dict[str, Float64]
    windows: dict[str, Float64]
    flight: npt.NDArray[np.int64]
    judged: npt.NDArray[np.bool_]


def fit_baseline(engine: EngineType, passed: PassOff) -> Baseline:
    """A proposal; Rejected when the rows show too little, or no engine of this type."""
    fitted, held = _parts(engine, passed)
    health, sigma = _health(engine, fitted.windows)
    n1c = _n1c(fitted.windows)
    draft = Baseline(
        esn=passed.meta.esn, part_number=passed.meta.part_number, engine_type=engine.name,
        engine_type_sha256=engine.sha256, health=health, health_sigma=sigma,
        n1c=(_rounded(float(n1c.min())), _rounded(float(n1c.max()))),
        rows=len(fitted.rows["n1"]), source=passed.meta.source,
    )  # fmt: skip
    draft = msgspec.structs.replace(draft, trims=_trims(engine, draft, fitted.windows))
    return msgspec.structs.replace(draft, **_residuals(engine, draft, held))


def points_of(columns: dict[str, Float64]) -> Points:
    """The inputs of the turbofan from columns by name."""
    from ground.models.turbofan.solve import Points

    return Points(**{name: np.asarray(columns[name], np.float64) for name in INPUTS})


def _n1c(columns: dict[str, Float64]) -> Float64:
    found: Float64 = corrected_speed(columns["n1"], theta(columns["tat"]))
    return found


def _parts(engine: EngineType, passed: PassOff) -> tuple[_Part, _Part]:
    flights = np.unique(passed.flight)
    by_flight = len(flights) >= HELD_OUT_EVERY
    chunks: dict[bool, list[tuple[dict[str, Float64], ...]]] = {False: [], True: []}
    marks: dict[bool, list[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]]] = {
        False: [], True: [],
    }  # fmt: skip
    for i, flight in enumerate(flights.tolist()):
        here = passed.flight == flight
        columns = {name: column[here] for name, column in passed.columns.items()}
        phase = passed.phase[here]
        judged = np.isin(phase, JUDGED_PHASES) | (phase == "unknown")
        used = steady_rows(columns) & np.all([np.isfinite(x) for x in columns.values()], axis=0)
        n1c = _n1c(columns)
        used &= (n1c >= engine.n1c_valid[0]) & (n1c <= engine.n1c_valid[1])
        windows = windows_of(used)
        for held in (False, True):
            if by_flight:
                chosen = np.full(len(windows), (i % HELD_OUT_EVERY == HELD_OUT_EVERY - 1) == held)
            else:
                chosen = (np.arange(len(windows)) % HELD_OUT_EVERY == 0) == held
            rows = (windows.label >= 0) & np.append(chosen, False)[windows.label]
            chunks[held].append((
                {name: column[rows] for name, column in columns.items()},
                {name: windows.mean(np.where(used, x, 0.0))[chosen] for name, x in columns.items()},
            ))  # fmt: skip
            marks[held].append((np.full(int(rows.sum()), flight), judged[rows]))
    parts = []
    for held in (False, True):
        rows, means = (
            {name: np.concatenate([chunk[k][name] for chunk in chunks[held]])
             for name in passed.columns} for k in (0, 1)
        )  # fmt: skip
        if len(means["n1"]) < WINDOWS_MIN[held]:
            raise Rejected(
                f"{len(means['n1'])} steady windows to {'judge' if held else 'fit'}",
                f"pass-off rows of ESN {passed.meta.esn}", "more steady flight, or an engine run",
            )  # fmt: skip
        parts.append(_Part(
            rows, means, np.concatenate([m[0] for m in marks[held]]),
            np.concatenate([m[1] for m in marks[held]]),
        ))  # fmt: skip
    return parts[0], parts[1]


def _logs(columns: dict[str, Float64]) -> dict[str, Float64]:
    shift = {"egt": CELSIUS_K}
    return {name: np.log(columns[name] + shift.get(name, 0.0)) for name in OUTPUTS}


def _health(
    engine: EngineType, windows: dict[str, Float64]
) -> tuple[dict[str, float], dict[str, float]]:
    """(health, its standard deviation), by Gauss-Newton; each as fractions."""
    from ground.models.turbofan.engine import HEALTH
    from ground.models.turbofan.solve import sensitivities, solve

    points, measured = points_of(windows), _logs(windows)
    count = len(windows["n1"])
    places = len(np.unique(np.floor(_n1c(windows) / POINT_PERCENT)))
    weight = np.repeat([1 / DISCREPANCY[name] for name in OUTPUTS], count) * np.sqrt(places / count)
    health, slope = np.zeros(len(HEALTH)), np.zeros((0, len(HEALTH)))
    precision = np.eye(len(HEALTH)) / PRIOR**2
    for turn in range(ROUNDS):
        now = dict(zip(HEALTH, health.tolist(), strict=True))
        found = solve(engine, points, now)
        model = _logs({"n2": found.n2, "egt": found.egt, "ff": found.ff})
        missed = np.concatenate([measured[name] - model[name] for name in OUTPUTS])
        if turn == 0:
            _check_like(engine, {name: measured[name] - model[name] for name in OUTPUTS})
        if turn < SLOPE_ROUNDS:
            slopes = sensitivities(engine, points, now)
            slope = np.column_stack(
                [np.concatenate([slopes[p][name] for name in OUTPUTS]) for p in HEALTH]
            )
        usable = np.isfinite(missed) & np.isfinite(slope).all(axis=1)
        if usable.sum() < len(missed) / 2:
            raise Rejected("the model gives no number at most of these rows", engine.name,
                           "check the units and the range of the rows")  # fmt: skip
        a = (slope * weight[:, None])[usable]
        precision = a.T @ a + np.eye(len(HEALTH)) / PRIOR**2
        step = np.linalg.solve(precision, a.T @ (missed * weight)[usable] - health / PRIOR**2)
        health = np.clip(health + step, -6 * PRIOR, 6 * PRIOR)
        if np.abs(step).max() < 1e-6:
            break
    sigma = np.sqrt(np.diag(np.linalg.inv(precision)))
    return (
        {name: _rounded(x) for name, x in zip(HEALTH, health.tolist(), strict=True)},
        {name: _rounded(x) for name, x in zip(HEALTH, sigma.tolist(), strict=True)},
    )


def _check_like(engine: EngineType, missed: dict[str, Float64]) -> None:
    """Before anything is fitted: wrong units and other types are not a matter of health."""
    for name, value in missed.items():
        off = float(np.nanmedian(np.abs(value))) if np.isfinite(value).any() else 0.0
        if off > LIKE_MAX:
            raise Rejected(f"{name} is {off:.1%} from what the type shows", engine.name,
                           "another engine type, or wrong units")  # fmt: skip


def _trims(
    engine: EngineType, draft: Baseline, windows: dict[str, Float64]
) -> dict[str, tuple[float, ...]]:
    model = _logs(predict(engine, draft, points_of(windows)))
    measured = _logs(windows)
    x = (_n1c(windows) - N1C_CENTRE) / N1C_SPAN
    trims = {}
    for name in OUTPUTS:
        missed = np.expm1(measured[name] - model[name])
        ok = np.isfinite(missed)
        terms = np.polynomial.polynomial.polyfit(x[ok], missed[ok], TRIM_TERMS - 1)
        trims[name] = tuple(_rounded(float(term)) for term in terms)
        largest = float(np.abs(missed[ok]).max())
        if largest > TRIM_MAX:
            raise Rejected(
                f"{name} is {largest:.1%} from what the type can show", f"ESN {draft.esn}",
                "another engine type, wrong units, or not healthy",
            )  # fmt: skip
    return trims


def _residuals(
    engine: EngineType, draft: Baseline, held: _Part
) -> dict[str, dict[str, float] | float]:
    """sigma and smoothed figures from rows that were not fitted."""
    predicted = predict(engine, draft, points_of(held.rows))
    sigma, rms, worst = {}, {}, {}
    for name in OUTPUTS:
        missed = held.rows[name] - predicted[name]
        ok = np.isfinite(missed)
        sigma[name] = _rounded(float(np.sqrt(np.mean(missed[ok] ** 2))))
        low = np.concatenate([
            smoothed(missed[ok & held.judged & (held.flight == flight)], SMOOTHING_S, 1.0)
            for flight in np.unique(held.flight).tolist()
        ])  # fmt: skip
        low = low[np.isfinite(low)]
        if len(low) == 0:
            raise Rejected("no steady cruise among the rows that judge", f"ESN {draft.esn}",
                           "pass-off rows with cruise in them")  # fmt: skip
        rms[name] = _rounded(float(np.sqrt(np.mean(low**2))))
        worst[name] = _rounded(float(np.abs(low).max()))
        level = float(np.median(held.rows[name][ok])) + (CELSIUS_K if name == "egt" else 0.0)
        if rms[name] > JUDGED_SHARE * DISCREPANCY[name] * level:
            raise Rejected(
                f"{name} of the rows that judge is {rms[name] / level:.2%} off those that were fitted",
                f"ESN {draft.esn}", "rows of one engine in one state: it wore, was washed or changed "
                "among these",
            )  # fmt: skip
    return {
        "sigma": sigma, "smoothed_rms": rms, "smoothed_worst": worst, "smoothing_s": SMOOTHING_S,
    }  # fmt: skip


def _rounded(x: float) -> float:
    return float(f"{x:.{DIGITS}g}")
