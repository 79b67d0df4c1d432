"""Fits the RUL model to engines that ran to failure, and says what to expect of it.

In: the training fleet and settings. Out: a `Fitted`: the model and its validation figures.
Always holds: an engine is wholly in one fold; axes, scaling and networks of a fold never saw the
engines they are judged on; the same fleet and settings give the same numbers on one machine.
The test set is not an argument of anything here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from ground.prognostics.cmapss import Engine, Fleet, Float64
from ground.prognostics.network import Training, train
from ground.prognostics.rul import (
    AXES,
    CAP,
    KNOTS,
    Axes,
    Band,
    Rul,
    bent,
    features_of,
    nasa_score,
    rmse,
    true_rul,
)
from shared.errors import Rejected

ENGINES_MIN = 20
YOUNG_CYCLES = 20  # of an engine, taken as young: an assumption
CUT_CYCLES_MIN, CUTS_PER_ENGINE = 31, 3
CUT_RUL = (7, 145)  # cycles left at a cut; an assumption of what an operator asks, not the test's
LATE_STARTS = 2  # of each engine, beside the whole of it
LATE_CYCLES = 30  # seen before a cut, for the figure of a late start
NO_BAND = Band((0.0,) * len(KNOTS), (0.0,) * len(KNOTS))
Say = Callable[[str], None]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """folds: of the validation, drawn with split_seed. coverage: of the band."""

    training: Training = Training()
    folds: int = 5
    split_seed: int = 7
    coverage: float = 0.9


@dataclass(frozen=True, eq=False)
class Fitted:
    """figures: of the validation, on engines that the judged networks had not seen."""

    model: Rul
    figures: dict[str, float]


def fit(fleet: Fleet, settings: Settings, say: Say = lambda _: None) -> Fitted:
    """Validate by folds, make the band from what the folds missed, then train on every engine."""
    engines = fleet.engines
    if len(engines) < ENGINES_MIN:
        raise Rejected(f"{len(engines)} engines, want {ENGINES_MIN}", fleet.source)
    found, late = dict[int, Float64](), list[float]()
    cuts = cuts_of(engines, settings.split_seed)
    for number, held in enumerate(split(engines, settings)):
        used = [x for x in engines if x.unit not in held]
        judged = [x for x in engines if x.unit in held]
        model = fit_engines(used, settings.training)
        answers = model.of_engines(judged)
        found |= {x.unit: y[:, 0] for x, y in zip(judged, answers, strict=True)}
        late += late_errors(model, judged, cuts)
        worst = rmse(np.concatenate([found[x.unit] - true_rul(x) for x in judged]))
        say(
            f"fold {number + 1} of {settings.folds}: {len(judged)} engines, every cycle: RMSE {worst:.2f}"
        )
    band = band_of(
        np.concatenate([found[x.unit] for x in engines]),
        np.concatenate([true_rul(x) for x in engines]), settings.coverage,
    )  # fmt: skip
    say(f"all {len(engines)} engines")
    whole = fit_engines(engines, settings.training)
    model = Rul(whole.axes, whole.scale, whole.networks, band)
    figures = _figures(engines, found, cuts)
    return Fitted(model, figures | {"validation_rmse_of_30_cycles": rmse(np.array(late))})


def split(engines: Sequence[Engine], settings: Settings) -> list[set[int]]:
    """Units held out in each fold."""
    units = np.random.default_rng(settings.split_seed).permutation([x.unit for x in engines])
    return [set(units[i :: settings.folds].tolist()) for i in range(settings.folds)]


def fit_engines(engines: Sequence[Engine], training: Training) -> Rul:
    """Axes, scaling and networks from these engines; no band yet."""
    axes = axes_of(engines)
    shown = [*engines, *started_late(engines, training.seed)]
    features = np.concatenate(features_of(axes, shown))
    scale = np.stack([features.mean(axis=0), 1 / features.std(axis=0)])
    wanted = np.concatenate([true_rul(x) for x in shown])
    networks = train((features - scale[0]) * scale[1], wanted, training)
    return Rul(axes, scale, networks, NO_BAND)


def started_late(engines: Sequence[Engine], seed: int) -> list[Engine]:
    """The same engines with their first part unseen, as after a loss of state."""
    rng = np.random.default_rng(seed)
    return [x.since(int(rng.integers(1, len(x) - 1))) for x in engines for _ in range(LATE_STARTS)]


def axes_of(engines: Sequence[Engine]) -> Axes:
    """Principal axes of the scaled sensors (K. Pearson, 1901), signs made certain."""
    rows = np.concatenate([x.rows for x in engines])
    centre, spread = rows.mean(axis=0), rows.std(axis=0)
    if not spread.all():
        raise Rejected("a sensor never moves", "training data", "is it FD001?")
    scaled = (rows - centre) / spread
    axes = np.linalg.eigh(scaled.T @ scaled / len(scaled))[1][:, ::-1][:, :AXES]
    strongest = np.abs(axes).argmax(axis=0)
    axes = axes * np.sign(axes[strongest, np.arange(AXES)])
    projection = axes / spread[:, None]
    young = np.concatenate([x.rows[:YOUNG_CYCLES] for x in engines])
    return Axes(centre, projection, ((young - centre) @ projection).mean(axis=0))


def band_of(answers: Float64, truth: Float64, coverage: float) -> Band:
    """Quantiles of truth - answer around each knot, weighted by how near an answer is to it.

    Each engine's cycles are alike, so this is no promise: the test set says what it is worth.
    """
    missed, tails = truth - answers, ((1 - coverage) / 2, (1 + coverage) / 2)
    reach = KNOTS[1] - KNOTS[0]
    rows = []
    for knot in KNOTS:
        weights = np.maximum(0.0, 1 - np.abs(answers - knot) / reach)
        if not weights.any():  # no answer was near: what all of them missed
            weights = np.ones(len(answers))
        order = np.argsort(missed, kind="stable")
        share = np.cumsum(weights[order]) / weights.sum()
        rows.append([float(missed[order][np.searchsorted(share, tail)]) for tail in tails])
    return Band(tuple(min(x, 0.0) for x, _ in rows), tuple(max(x, 0.0) for _, x in rows))


def cuts_of(engines: Sequence[Engine], seed: int) -> list[tuple[int, int]]:
    """(unit, row) at which an operator might ask: never before CUT_CYCLES_MIN cycles."""
    rng, cuts = np.random.default_rng(seed), []
    for engine in engines:
        for left in rng.integers(CUT_RUL[0], CUT_RUL[1] + 1, CUTS_PER_ENGINE):
            row = len(engine) - 1 - int(left)
            if row >= CUT_CYCLES_MIN - 1:
                cuts.append((engine.unit, row))
    return cuts


def late_errors(
    model: Rul, engines: Sequence[Engine], cuts: Sequence[tuple[int, int]]
) -> list[float]:
    """Errors at the cuts when only the last LATE_CYCLES were seen."""
    parts, truth = [], []
    for engine in engines:
        for row in (row for unit, row in cuts if unit == engine.unit):
            seen = engine.since(row + 1 - LATE_CYCLES)
            parts.append(Engine(seen.unit, seen.rows[:LATE_CYCLES], seen.first))
            truth.append(true_rul(engine)[row])
    answers = model.of_engines(parts)
    return [float(y[-1, 0]) - wanted for y, wanted in zip(answers, truth, strict=True)]


def covered(answers: Float64, truth: Float64, band: Band) -> float:
    """Share of true lives (under the cap) inside the band."""
    low = np.clip(answers + bent(answers, band.low), 0, CAP)
    high = np.clip(answers + bent(answers, band.high), 0, CAP)
    return float(np.mean((truth >= low) & (truth <= high)))


def _figures(
    engines: Sequence[Engine], found: dict[int, Float64], cuts: Sequence[tuple[int, int]]
) -> dict[str, float]:
    truth = {x.unit: true_rul(x) for x in engines}
    error = np.array([found[unit][row] - truth[unit][row] for unit, row in cuts])
    every = np.concatenate([found[x.unit] - truth[x.unit] for x in engines])
    return {
        "validation_rmse_cycles": rmse(error),
        "validation_score_per_100": 100 * nasa_score(error) / len(error),
        "validation_cuts": float(len(error)),
        "validation_rmse_every_cycle": rmse(every),
        "engines_trained": float(len(engines)),
        "cycles_trained": float(sum(map(len, engines))),
    }
