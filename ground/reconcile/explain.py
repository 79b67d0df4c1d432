"""Which cause explains one engine's windows: the causes one by one, then all parameters at once.

In: windows, the full-fidelity engine. Out: evidence by cause with the direction each was judged
by, the joint estimate, and how small a loss would have been seen. Always holds: a direction that
the model does not give at some point stays its linear one there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ground.models.baseline import OUTPUTS
from ground.reconcile.errors import NORMAL_95
from ground.reconcile.fidelity import FULL_SCALE, Fidelity
from ground.reconcile.health import (
    CAUSES,
    PARAMETERS,
    PRIOR,
    SENSITIVITY_SIGMA,
    Observed,
    directions,
    joint_estimate,
    misread,
)
from ground.reconcile.onset import STANDING_SHARE, Evidence, again, focused, search
from ground.reconcile.result import Parameter
from ground.reconcile.verdict import THRESHOLD

Float64 = npt.NDArray[np.float64]
SECANT_PASSES = 2
NORMAL_ONE_SIDED_95 = 1.644854
PLAUSIBLE = 0.2
"""Share of the best score that a cause may lack and still be followed; assumption."""


def explain(
    observed: Observed, slope: Float64, points: Mapping[str, Float64], fidelity: Fidelity
) -> tuple[list[Evidence], Float64]:
    """Evidence of every cause, most probable first, and the direction of each, [k, 3, causes].
    slope: sensitivities at no change, [k, 3, PARAMETERS].

    Gauss-Newton in its secant form: the direction of a plausible cause is taken from no change
    to the change it explains, until that stands still.
    """
    direction = directions(slope, observed.level, misread(ln_outputs(fidelity), points))
    found = search(observed, direction)
    for _ in range(SECANT_PASSES):
        plausible = _plausible(found)
        for evidence in plausible:
            _bend(observed, direction, evidence, points, fidelity)
        found = again(observed, direction, found, plausible, found[0].shapes)
    plausible = _plausible(found)
    if plausible:
        j = CAUSES.index(found[0].cause)
        shapes = focused(observed, direction[:, :, j], found[0])
        found = again(observed, direction, found, plausible, shapes)
    return found, direction


def second_of(observed: Observed, direction: Float64, best: Evidence) -> Evidence:
    """The best cause of what the first one leaves."""
    zero = observed.start_ns[0]
    came = best.shapes.over((observed.start_ns - zero) / 1e9, (observed.stop_ns - zero) / 1e9)
    share = came @ best.mass / max(best.reached, 1e-9)
    taken = best.amount * share[:, None] * direction[:, :, CAUSES.index(best.cause)]
    sigma = np.hypot(SENSITIVITY_SIGMA, best.amount_sigma / abs(best.amount))
    left = replace(observed, z=observed.z - taken, taken=taken, taken_sigma=float(sigma))
    return search(left, direction)[0]


def ln_outputs(fidelity: Fidelity) -> Callable[[Mapping[str, Float64]], Float64]:
    """Of what the baseline predicts, EGT in K, [k, 3]."""

    def predict(points: Mapping[str, Float64]) -> Float64:
        outputs = fidelity.predict(points).outputs
        with np.errstate(invalid="ignore"):
            return np.stack([np.log(outputs[x] + FULL_SCALE[x]) for x in OUTPUTS], axis=1)

    return predict


def _plausible(found: list[Evidence]) -> list[Evidence]:
    return [e for e in found if e.score > max((1 - PLAUSIBLE) * found[0].score, 0.0)]


def _bend(
    observed: Observed, direction: Float64, evidence: Evidence, points: Mapping[str, Float64],
    fidelity: Fidelity,
) -> None:  # fmt: skip
    """Take the direction of a cause as the secant to the change it explains."""
    if evidence.cause.bias_of:
        return
    change = np.full(len(observed), evidence.amount)
    bent = fidelity.response(points, {evidence.cause.name: change}) / evidence.amount
    fine = np.isfinite(bent).all(axis=1)
    direction[fine, :, CAUSES.index(evidence.cause)] = bent[fine]


def least_loss(observed: Observed, direction: Float64) -> float:
    """Standing loss of HPC efficiency that 95 flights of 100 would have shown, fraction: its
    evidence reaches the threshold although noise takes some away."""
    u = direction[:, :, PARAMETERS.index("hpc_eff")]
    push = float(np.einsum("ko,okl,lo->", u, observed.weight, u))
    occam = 0.5 * np.log1p(push * PRIOR["hpc_eff"] ** 2)
    occam -= np.log(STANDING_SHARE)
    return float(
        (np.sqrt(2 * (THRESHOLD + occam)) + NORMAL_ONE_SIDED_95) / np.sqrt(max(push, 1e-9))
    )


def joint_of(
    observed: Observed, best: Evidence, slope: Float64, points: Mapping[str, Float64],
    fidelity: Fidelity,
) -> tuple[Parameter, ...]:  # fmt: skip
    """All parameters at once, at the end of the flight: from windows after the change, if any."""
    used = np.ones(len(observed), np.bool_)
    if best.score >= THRESHOLD and best.standing < 0.5:
        zero = observed.start_ns[0]
        share = best.shapes.over((observed.start_ns - zero) / 1e9, (observed.stop_ns - zero) / 1e9)
        late = share[:, best.best] >= 0.9 * share[-1, best.best]
        used = late if late.any() else used

    def change(x: Float64) -> dict[str, Float64]:
        return {name: np.full(len(observed), v) for name, v in zip(PARAMETERS, x, strict=True)}

    joint = joint_estimate(
        observed, used, slope, lambda x: np.nan_to_num(fidelity.response(points, change(x)))
    )
    sigma = np.sqrt(np.diag(joint.covariance))
    return tuple(
        Parameter(name=name, estimate=100 * float(joint.estimate[i]),
                  estimate_95=100 * NORMAL_95 * float(sigma[i]), learned=float(joint.learned[i]))
        for i, name in enumerate(PARAMETERS)
    )  # fmt: skip
