"""Is the step stable, and how far off is it? Asked once, before a graph is made.

In: a faultless model. Out: `Stability` with figures, and faults.
Always holds: a linear step outside the unit circle is refused, and one on it unless that is
declared; a Runge-Kutta step is refused where an eigenvalue of the Jacobian, at any of the sampled
points of the declared valid range, lies outside its region of stability, and the refusal says
how many substeps would do. Samples are corners, the middle, and seeded draws: the same each time.

The eigenvalues at points say nothing of what happens between them: this finds a step that is too
long, it does not prove that a nonlinear model is stable.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import msgspec
import numpy as np
import numpy.typing as npt

from shared.behaviour.dynamics import Dynamics, Float64
from shared.behaviour.equations import SUBSTEPS_MAX, DifferentialEquation, System
from shared.behaviour.faults import Fault
from shared.behaviour.integrate import EquationDynamics
from shared.behaviour.linear import LinearDynamics, StateSpace, TransferFunction
from shared.behaviour.model import Model
from shared.behaviour.thermal import ThermalRc

SAMPLES, CORNERS_MAX = 256, 256
EDGE = 1e-9  # under 1: a pole on the unit circle; slower than 1e9 steps is no model of a flight
DEFECT = 1e-6  # over 1: what rounding makes of a double pole on the circle
GROWTH_NOISE = 1e-6  # of the fastest eigenvalue: central differences are good to about 1e-9
RK4_EDGE = 1e-7
DIFFERENCE = 1e-6  # of a state's valid range, for the Jacobian
ERROR_MAX = 1e-4  # of a state's valid range in one step; an assumption

PLACE = "behaviour.substeps"

Complex = npt.NDArray[np.complex128]


class Stability(msgspec.Struct, frozen=True):
    """spectral_radius: of an exact or discrete step; amplification: the largest that RK4 gives
    an eigenvalue that should decay. error_per_step: of a state, as a share of its valid range,
    by halving the step; 0 where the step is exact."""

    method: str
    spectral_radius: float | None = None
    amplification: float | None = None
    fastest_per_s: float | None = None
    substeps: int = 1
    error_per_step: float = 0.0


def examine_step(model: Model, moving: Dynamics) -> tuple[Stability, list[Fault]]:
    """Figures of the chosen step, and what speaks against it."""
    behaviour = model.behaviour
    if isinstance(moving, LinearDynamics):
        assert isinstance(behaviour, StateSpace | TransferFunction | ThermalRc)
        return _linear(moving.transition, behaviour.integrating)
    if isinstance(moving, EquationDynamics) and moving.initial:
        assert isinstance(behaviour, DifferentialEquation)
        if moving.exact is not None:
            return _exact(moving, behaviour)
        return _sampled(model, behaviour)
    return Stability("none" if not moving.initial else "discrete"), []


def _linear(transition: Float64, integrating: bool) -> tuple[Stability, list[Fault]]:
    radius = _radius(transition)
    found = Stability("exact", spectral_radius=radius)
    if radius > 1 + DEFECT:
        what = f"spectral radius {radius:.9g}: it grows without bound"
        return found, [Fault("unstable", "behaviour", what, "correct the signs of the poles")]
    if radius > 1 - EDGE and not integrating:
        what = f"spectral radius {radius:.9g}: it never forgets"
        remedy = "declare integrating = true if that is meant, or give it the leak that it has"
        return found, [Fault("unstable", "behaviour", what, remedy)]
    return found, []


def _exact(
    moving: EquationDynamics, behaviour: DifferentialEquation
) -> tuple[Stability, list[Fault]]:
    assert moving.exact is not None
    radius = _radius(moving.exact.transition)
    found = Stability("exact", spectral_radius=radius)
    if radius > np.exp(behaviour.growth_per_s_max * moving.step_s) + DEFECT:
        growth = np.log(radius) / moving.step_s
        return found, [_grows(float(growth), "everywhere")]
    return found, []


def _radius(transition: Float64) -> float:
    if not transition.size:
        return 0.0
    return float(np.abs(np.linalg.eigvals(transition)).max())


def _sampled(model: Model, behaviour: DifferentialEquation) -> tuple[Stability, list[Fault]]:
    """Every instance with numbers of its own is looked at alone."""
    step_s, worst = 1.0 / model.rate_hz, Stability("rk4", substeps=behaviour.substeps)
    faults: list[Fault] = []
    for one in _instances(behaviour, model.instances):
        moving = EquationDynamics(System(one, model.inputs, model.outputs), model.rate_hz, 1)
        x, inputs = _points(model, one)
        with np.errstate(all="ignore"):
            bad = _not_finite(moving, x, inputs)
            if bad:
                return worst, [bad]
            slopes = _jacobians(moving, x, inputs)
            if not np.isfinite(slopes).all():
                return worst, [Fault("range", "behaviour", "its slopes are beyond any number")]
            eigenvalues = np.linalg.eigvals(slopes).astype(complex)
            error = partial(_error, moving, x, inputs)
            found, new = _judge(eigenvalues, step_s, one, x, error)
        faults += [f for f in new if f not in faults]
        worst = Stability(
            "rk4",
            amplification=max(worst.amplification or 0.0, found.amplification or 0.0),
            fastest_per_s=max(worst.fastest_per_s or 0.0, found.fastest_per_s or 0.0),
            substeps=behaviour.substeps,
            error_per_step=max(worst.error_per_step, found.error_per_step),
        )
    return worst, faults


def _instances(behaviour: DifferentialEquation, count: int) -> Iterator[DifferentialEquation]:
    own = any(isinstance(p.value, tuple) for p in behaviour.parameters.values())
    for i in range(count if own else 1):
        numbers = {
            name: msgspec.structs.replace(
                p, value=p.value[i] if isinstance(p.value, tuple) else p.value
            )
            for name, p in behaviour.parameters.items()
        }
        states = tuple(
            msgspec.structs.replace(
                s, initial=s.initial[0] if isinstance(s.initial, tuple) else s.initial
            )
            for s in behaviour.states
        )
        yield msgspec.structs.replace(behaviour, parameters=numbers, states=states)


def _points(model: Model, behaviour: DifferentialEquation) -> tuple[Float64, dict[str, Float64]]:
    """States [N, n] and inputs [N, 1] over their valid ranges."""
    ranges = np.array([s.valid for s in behaviour.states] + [p.valid for p in model.inputs])
    rng = np.random.default_rng(0)
    share = [np.full((1, len(ranges)), 0.5), rng.uniform(size=(SAMPLES, len(ranges)))]
    if 2 ** len(ranges) <= CORNERS_MAX:
        share.append(np.array(list(itertools.product((0.0, 1.0), repeat=len(ranges)))))
    points = ranges[:, 0] + np.vstack(share) * (ranges[:, 1] - ranges[:, 0])
    n = len(behaviour.states)
    return points[:, :n], {p.name: points[:, n + i : n + i + 1] for i, p in enumerate(model.inputs)}


def _not_finite(moving: EquationDynamics, x: Float64, inputs: dict[str, Float64]) -> Fault | None:
    known = moving.known(inputs, x)
    wanted = {f"d{s.name}/dt": v for s, v in zip(moving.system.model.states,
              moving.rates(inputs, x).T, strict=True)}  # fmt: skip
    wanted |= {p.name: known[p.name] for p in moving.system.outputs}
    for name, value in wanted.items():
        bad = ~np.isfinite(np.broadcast_to(np.ravel(value), len(x)))
        if bad.any():
            where = _at(moving, x, inputs, int(np.flatnonzero(bad)[0]))
            remedy = "narrow the valid range, or keep the argument in bounds with max or min"
            return Fault("range", name, f"is no number at {where}", remedy)
    return None


def _at(moving: EquationDynamics, x: Float64, inputs: dict[str, Float64], i: int) -> str:
    states = [f"{s.name} = {v:.4g}" for s, v in zip(moving.system.model.states, x[i], strict=True)]
    return ", ".join(states + [f"{k} = {v[i, 0]:.4g}" for k, v in inputs.items()])


def _jacobians(moving: EquationDynamics, x: Float64, inputs: dict[str, Float64]) -> Float64:
    """[N, n, n] by central differences."""
    spans = [s.valid[1] - s.valid[0] for s in moving.system.model.states]
    found = []
    for i, span in enumerate(spans):
        step = np.zeros(len(spans))
        step[i] = DIFFERENCE * span
        change = moving.rates(inputs, x + step) - moving.rates(inputs, x - step)
        found.append(change / (2 * step[i]))
    return np.stack(found, axis=2)


def _error(moving: EquationDynamics, x: Float64, inputs: dict[str, Float64], count: int) -> float:
    """Of one step in `count` parts, by one of twice as many (Richardson, order 4)."""
    rough, fine = moving.increment(inputs, x, count), moving.increment(inputs, x, 2 * count)
    spans = np.array([s.valid[1] - s.valid[0] for s in moving.system.model.states])
    worst = float(np.max(np.abs(rough - fine) / spans)) * 16 / 15
    return worst if np.isfinite(worst) else float("inf")


def amplification(z: Complex) -> Float64:
    """What one step of classical RK4 does to a mode: |1 + z + z^2/2 + z^3/6 + z^4/24|."""
    return np.abs(1 + z * (1 + z / 2 * (1 + z / 3 * (1 + z / 4))))


def _judge(
    eigenvalues: Complex,
    step_s: float,
    behaviour: DifferentialEquation,
    x: Float64,
    error: Callable[[int], float],
) -> tuple[Stability, list[Fault]]:
    faults: list[Fault] = []
    fastest, growth = float(np.abs(eigenvalues).max()), float(eigenvalues.real.max())
    if growth > behaviour.growth_per_s_max + GROWTH_NOISE * fastest:
        at = int(np.argmax(eigenvalues.real.max(axis=1)))
        values = zip(behaviour.states, x[at], strict=True)
        faults.append(_grows(growth, ", ".join(f"{s.name} = {v:.4g}" for s, v in values)))
    fading = eigenvalues.real <= GROWTH_NOISE * fastest

    def worst(count: int) -> float:
        """Amplification of modes that should not grow; of growing ones only their length."""
        z = eigenvalues * (step_s / count)
        return float(np.where(fading, amplification(z), np.abs(z)).max())

    count = behaviour.substeps
    at_once, off = worst(count), error(count)
    if at_once > 1 + RK4_EDGE:
        what = (
            f"a step of {step_s / count:.4g} s is outside the region of stability: "
            f"the fastest eigenvalue is {fastest:.4g} 1/s"
        )
        faults.append(Fault("step", PLACE, what, _remedy(count, step_s, worst, error)))
    elif off > ERROR_MAX:
        what = f"one step is off by {off:.2g} of a state's valid range, at most {ERROR_MAX:g}"
        faults.append(Fault("step", PLACE, what, _remedy(count, step_s, worst, error)))
    found = Stability(
        "rk4", amplification=at_once, fastest_per_s=fastest, substeps=count, error_per_step=off
    )
    return found, faults


def _remedy(
    count: int, step_s: float, worst: Callable[[int], float], error: Callable[[int], float]
) -> str:
    """The fewest substeps that were tried and would do: each trial is a tenth more."""
    while count < SUBSTEPS_MAX:
        count = min(max(count + 1, count * 11 // 10), SUBSTEPS_MAX)
        if worst(count) <= 1 + RK4_EDGE and error(count) <= ERROR_MAX:
            return f"substeps = {count} would do, a step of {step_s / count:.4g} s"
    return (
        f"{SUBSTEPS_MAX} substeps, a step of {step_s / SUBSTEPS_MAX:.3g} s, are still too long: "
        "raise rate_hz, or replace the fastest part by its steady state"
    )


def _grows(growth: float, where: str) -> Fault:
    what = f"a mode grows by {growth:.4g} 1/s at {where}"
    remedy = "declare growth_per_s_max if that is meant, or correct the signs"
    return Fault("unstable", "behaviour", what, remedy)
