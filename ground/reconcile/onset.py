"""Change points: whether something changed, what it was, since when and how far.

In: windows of deviations and the direction of each cause. Out: the evidence for every cause over
every shape of change (standing all flight, a step, a ramp), and what follows from it.
Always holds: healthy is one of the hypotheses; an onset has an interval, and it is as wide as the
hole in the data that it falls into.

Method: a likelihood ratio in the manner of S. M. Kay, "Fundamentals of Statistical Signal
Processing II" (1998), chapters 7 and 12, over a grid of onsets and ramps, with correlated noise;
instead of its maximum the mean over the grid is taken, so that many shapes tried are no advantage
(the exact form of what BIC approximates). PELT as ruptures has it was not taken, see
docs/reconciliation.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from ground.reconcile.health import AMOUNT_MAX, CAUSES, Cause, Observed

Float64 = npt.NDArray[np.float64]
ONSETS = 60
"""Onsets tried over a flight; the best is then looked at finer."""
RAMPS_S = (0.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3840.0, 7680.0)
LIMIT_SHARE = 0.02  # of the range of amounts: what counts as its end
AMOUNTS = 160
"""Amounts tried up to AMOUNT_MAX: steps of 0.05 %."""
STANDING_SHARE = 0.5  # prior: half of what is found in a flight was there before; assumption
HEALTHY_PRIOR = 0.95  # of a flight and engine; assumption, 1 in 20 has news
FINE, REFINEMENTS = 30, 4
LIKELY = 1e-4  # of the most probable shape; what is rarer is left out of the finer grid
RAMP_MIN_S = 20.0  # a window; what is shorter is called a step
TIME_STEP_S = 1.0  # rows are of a second: no onset is known better


@dataclass(frozen=True, eq=False)
class Shapes:
    """Shapes of a change, [s]: onset and length of the ramp, s after the first window begins.

    A standing change has onset -inf. weight: prior, sums to 1.
    """

    onset_s: Float64
    ramp_s: Float64
    weight: Float64

    @property
    def standing(self) -> npt.NDArray[np.bool_]:
        return np.isneginf(self.onset_s)

    def over(self, start_s: Float64, stop_s: Float64) -> Float64:
        """Mean share of the change that has come, in each window, [k, s]."""
        onset = np.where(self.standing, 0.0, self.onset_s)
        into = self._area(stop_s[:, None] - onset) - self._area(start_s[:, None] - onset)
        share = into / (stop_s - start_s)[:, None]
        found: Float64 = np.where(self.standing, 1.0, share)
        return found

    def _area(self, since_s: Float64) -> Float64:
        """Integral of the share from the onset on."""
        ramp = np.maximum(self.ramp_s, 1e-6)
        found: Float64 = np.clip(since_s, 0, ramp) ** 2 / (2 * ramp) + np.maximum(since_s - ramp, 0)
        return found


def shapes_for(observed: Observed) -> Shapes:
    """A grid over one flight: standing, and every onset with every ramp that fits twice."""
    start_s, stop_s = _edges(observed)
    first, last = float(start_s[0]), float(stop_s[-1])
    onsets = np.linspace(first, last, ONSETS + 1)[1:-1]
    ramps = np.array([x for x in RAMPS_S if x <= last - first] or [0.0])
    onset, ramp = (x.ravel() for x in np.meshgrid(onsets, ramps, indexing="ij"))
    weight = np.full(len(onset), (1 - STANDING_SHARE) / len(onset))
    return Shapes(
        np.concatenate(([-np.inf], onset)), np.concatenate(([0.0], ramp)),
        np.concatenate(([STANDING_SHARE], weight)),
    )  # fmt: skip


def _edges(observed: Observed) -> tuple[Float64, Float64]:
    zero = observed.start_ns[0]
    return (observed.start_ns - zero) / 1e9, (observed.stop_ns - zero) / 1e9


@dataclass(frozen=True, eq=False)
class Evidence:
    """Of one cause: ln evidence over `none`, and the posterior over shapes and amounts."""

    cause: Cause
    score: float
    shapes: Shapes
    mass: Float64
    """Posterior of each shape, [s]; sums to 1."""
    amount: float
    """Reached at the end of the last window: mean of the posterior, and its sigma."""
    amount_sigma: float
    chi2: float
    """Of what the best shape and amount leave."""
    reached: float
    """Share of the change that had come at the end of the last window, mean."""
    standing: float
    """Posterior that it was there before the first window."""
    at_limit: float
    """Posterior of the greatest amounts tried: near 1, the change is greater than any of them."""

    @property
    def rank(self) -> float:
        """ln of the posterior, but for a constant."""
        return self.score + float(np.log(self.cause.share))

    @property
    def best(self) -> int:
        return int(np.argmax(self.mass))


def evidence_of(observed: Observed, cause: Cause, direction: Float64, shapes: Shapes) -> Evidence:
    """Evidence for one cause. direction: how z moves with it, [k, 3]."""
    came = shapes.over(*_edges(observed))
    pull, push = _statistics(observed, direction, came)
    amounts = _amounts(cause)
    ln, spread = _ln_likelihood(pull, push, amounts, cause.sensitivity_sigma)
    prior = -0.5 * (amounts / cause.prior) ** 2
    prior -= logsumexp(prior)
    table = ln + prior[:, None] + np.log(shapes.weight)[None, :]
    score = float(logsumexp(table))
    mass = np.exp(table - score)
    reached = amounts[:, None] * came[-1][None, :]
    amount = float((mass * reached).sum())
    sigma = float(np.sqrt((mass * (reached - amount) ** 2).sum()))
    sigma = float(np.hypot(sigma, (amounts[1] - amounts[0]) / np.sqrt(12)))
    by_shape = mass.sum(axis=0)
    best = int(np.argmax(by_shape))
    at = int(np.argmax(table[:, best]))
    chi2 = observed.chi2 - 2 * float(spread[at, best])
    return Evidence(
        cause, score, shapes, by_shape, amount, sigma, chi2, float(by_shape @ came[-1]),
        float(by_shape[shapes.standing].sum()),
        float(mass[np.abs(amounts) > np.abs(amounts).max() * (1 - LIMIT_SHARE)].sum()),
    )  # fmt: skip


def _amounts(cause: Cause) -> Float64:
    high = min(AMOUNT_MAX, 5 * cause.prior)
    step = high / AMOUNTS
    found = np.arange(1, AMOUNTS + 1) * step
    if cause.sign:
        return np.sort(cause.sign * found)
    return np.concatenate((-found[::-1], found))


def _statistics(observed: Observed, direction: Float64, came: Float64) -> tuple[Float64, Float64]:
    """(u' W z, u' W u) per output and shape, [3, s], where u = direction * came."""
    pull, push = [], []
    for o, weight in enumerate(observed.weight):
        u = direction[:, o, None] * came
        wu = weight @ u
        pull.append(observed.z[:, o] @ wu)
        push.append((u * wu).sum(axis=0))
    return np.array(pull), np.array(push)


def _ln_likelihood(
    pull: Float64, push: Float64, amounts: Float64, sensitivity_sigma: float
) -> tuple[Float64, Float64]:
    """ln likelihood over `none`, [a, s], and the half chi2 that the change takes away.

    Each output may answer by 1 + e times its sensitivity, e normal with `sensitivity_sigma`:
    integrated out in closed form.
    """
    a = amounts[:, None]
    total = np.zeros((len(amounts), pull.shape[1]))
    gain = np.zeros_like(total)
    v = (sensitivity_sigma * a) ** 2
    for p, b in zip(pull, push, strict=True):
        wide = 1 + v * b
        part = (0.5 * v * p**2 + a * p - 0.5 * a**2 * b) / wide
        gain += part
        total += part - 0.5 * np.log(wide)
    return total, gain


def search(observed: Observed, direction: Float64) -> list[Evidence]:
    """Evidence of every cause over all shapes, most probable first. direction: [k, 3, CAUSES]."""
    shapes = shapes_for(observed)
    found = [
        evidence_of(observed, cause, direction[:, :, j], shapes) for j, cause in enumerate(CAUSES)
    ]
    return sorted(found, key=lambda e: -e.rank)


def again(
    observed: Observed, direction: Float64, found: Sequence[Evidence],
    whose: Sequence[Evidence], shapes: Shapes,
) -> list[Evidence]:  # fmt: skip
    """`found` with those of `whose` judged anew, over `shapes`."""
    names = {e.cause.name for e in whose}
    fresh = [
        evidence_of(observed, e.cause, direction[:, :, CAUSES.index(e.cause)], shapes)
        if e.cause.name in names
        else e
        for e in found
    ]
    return sorted(fresh, key=lambda e: -e.rank)


def probabilities(found: Sequence[Evidence]) -> tuple[float, list[float]]:
    """(of healthy, of each cause), summing to 1."""
    news = np.log(1 - HEALTHY_PRIOR)
    ln = np.array([np.log(HEALTHY_PRIOR), *(news + e.rank for e in found)])
    share = np.exp(ln - logsumexp(ln))
    return float(share[0]), [float(x) for x in share[1:]]


def focused(observed: Observed, direction: Float64, evidence: Evidence) -> Shapes:
    """Shapes around what is likely of one cause, for comparing causes: a grid as coarse as the
    first decides between two that are alike by how well it happens to fit. The whole grid when
    the change stood all flight."""
    shapes = evidence.shapes
    if evidence.standing > 0.5:
        return shapes
    for _ in range(REFINEMENTS - 1):
        shapes = _closer(observed, evidence)
        evidence = evidence_of(observed, evidence.cause, direction, shapes)
    return _closer(observed, evidence)


def _closer(observed: Observed, found: Evidence) -> Shapes:
    """Standing, and a grid over what is likely of `found`. Prior: onset uniform, ramp log-uniform,
    and a step as likely as a doubling of the ramp."""
    start_s, stop_s = _edges(observed)
    shapes = found.shapes
    mass = np.where(shapes.standing, 0.0, found.mass)
    likely = mass > LIKELY * mass.max()
    onset, ramp = shapes.onset_s[likely], shapes.ramp_s[likely]
    known, lengths = np.unique(shapes.onset_s[~shapes.standing]), np.unique(shapes.ramp_s)
    cell_s = float(known[1] - known[0]) if len(known) > 1 else 1.0
    above = lengths[lengths > ramp.max()]
    below = lengths[(lengths < ramp[ramp > 0].min()) & (lengths > 0)] if ramp.any() else []
    longest = float(above[0]) if len(above) else 2 * float(max(ramp.max(), RAMP_MIN_S))
    shortest = float(below[-1]) if len(below) else RAMP_MIN_S
    margin = cell_s + (longest - shortest) / 4  # a longer ramp that begins earlier looks alike
    low = max(float(onset.min()) - margin, float(start_s[0]))
    high = max(min(float(onset.max()) + margin, float(stop_s[-1])), low + 0.1)
    onsets = np.linspace(low, high, FINE)
    edges = np.geomspace(shortest, max(longest, 1.1 * shortest), FINE)
    doublings = float(np.log2(edges[1] / edges[0]))
    is_step = bool((ramp == 0).any())
    ramps = np.concatenate(([0.0], edges)) if is_step else edges
    each = (
        np.concatenate(([1.0], np.full(FINE, doublings))) if is_step else np.full(FINE, doublings)
    )
    t0, length = (x.ravel() for x in np.meshgrid(onsets, ramps, indexing="ij"))
    weight = np.tile(each, len(onsets))
    span = float(stop_s[-1] - start_s[0])
    share = (high - low) / span * float(each.sum()) / len(RAMPS_S)
    weight *= (1 - STANDING_SHARE) * min(share, 1.0) / weight.sum()
    return Shapes(
        np.concatenate(([-np.inf], t0)), np.concatenate(([0.0], length)),
        np.concatenate(([STANDING_SHARE], weight)),
    )  # fmt: skip


@dataclass(frozen=True)
class When:
    """The onset that an evidence stands for; s after the first window begins."""

    standing: float
    onset_s: float
    low_s: float
    high_s: float
    ramp_s: float
    is_step: bool


def when(evidence: Evidence) -> When:
    """Median and 95 % interval of the onset, given that there is one; a row wider at both ends."""
    shapes = evidence.shapes
    mass = np.where(shapes.standing, 0.0, evidence.mass)
    total = mass.sum()
    if total <= 0:
        return When(1.0, float("nan"), float("nan"), float("nan"), 0.0, True)
    mass = mass / total
    order = np.argsort(shapes.onset_s, kind="stable")
    at = np.searchsorted(np.cumsum(mass[order]), (0.025, 0.5, 0.975))
    low, middle, high = shapes.onset_s[order][np.minimum(at, len(order) - 1)].tolist()
    steps = float(mass[shapes.ramp_s == 0].sum())
    ramp = float(mass @ shapes.ramp_s)
    return When(evidence.standing, middle, low - TIME_STEP_S, high + TIME_STEP_S, ramp, steps > 0.5)
