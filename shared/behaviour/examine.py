"""The whole examination of a declared model, as an author or a build asks for it.

In: a `Model`. Out: an `Examination`: every fault, or the figures of a model that may be built.
Always holds: no graph is made of a model with a fault; figures are of the very step and numbers
that the graph will have. Runs off the aircraft.
"""

from __future__ import annotations

import msgspec
import numpy as np

from shared.behaviour.compile import Compiled, compile_dynamics
from shared.behaviour.dynamics import Float64
from shared.behaviour.faults import Fault, from_rejected
from shared.behaviour.model import Model, dynamics, faults, run
from shared.behaviour.stability import Stability, examine_step
from shared.errors import Rejected
from shared.profile import ModelBounds

ROUNDING_STEPS = 512
HELD_STEPS_MAX = 32  # of the excitation: steps up to this long, seeded
ROUNDING_MAX = 1e-3  # of an output's valid range; an assumption


class Figures(msgspec.Struct, frozen=True):
    """rounding: per output, float32 against float64 over 512 steps of seeded inputs, in the
    output's unit. states: tensor name to width."""

    kind: str
    step_s: float
    stability: Stability
    states: dict[str, int]
    nodes: int
    tensor_elements: int
    rounding: dict[str, float]


class Examination(msgspec.Struct, frozen=True):
    """Either faults, or figures and the compiled graph."""

    faults: tuple[Fault, ...]
    figures: Figures | None = None
    compiled: Compiled | None = None


def examine(model: Model) -> Examination:
    """Units and names, the step, the size, rounding: each only if what is before holds."""
    found = faults(model)
    if found:
        return Examination(tuple(found))
    try:
        moving = dynamics(model)
        stability, found = examine_step(model, moving)
    except Rejected as error:
        return Examination((from_rejected("value", error),))
    if found:
        return Examination(tuple(found))
    names = [x.name for x in model.inputs], [x.name for x in model.outputs]
    try:
        compiled = compile_dynamics(moving, *names)
    except Rejected as error:
        return Examination((from_rejected("value", error),))
    found = _sizes(compiled)
    if found:
        return Examination(tuple(found))
    rounding, found = _rounding(model)
    if found:
        return Examination(tuple(found))
    widths = {name: first.shape[1] for name, first in moving.initial.items()}
    figures = Figures(
        moving.kind, 1.0 / model.rate_hz, stability, widths, compiled.nodes,
        compiled.tensor_elements, rounding,
    )  # fmt: skip
    return Examination((), figures, compiled)


def excitation(model: Model, steps: int, seed: int) -> Float64:
    """Inputs [steps, E, inputs] over their valid ranges: levels held for 1 to 32 steps."""
    rng = np.random.default_rng(seed)
    low = np.array([x.valid[0] for x in model.inputs])
    high = np.array([x.valid[1] for x in model.inputs])
    rows = np.empty((steps, model.instances, len(low)))
    for instance in range(model.instances):
        at = 0
        while at < steps:
            held = int(rng.integers(1, HELD_STEPS_MAX + 1))
            rows[at : at + held, instance] = low + rng.uniform(size=len(low)) * (high - low)
            at += held
    return rows.astype(np.float32).astype(np.float64)


def _rounding(model: Model) -> tuple[dict[str, float], list[Fault]]:
    rows = excitation(model, ROUNDING_STEPS, seed=0)
    with np.errstate(all="ignore"):
        exact, rounded = run(model, rows), run(model, rows, np.float32)
        error = np.abs(exact - rounded).max(axis=(0, 1))
    found, figures = [], {}
    for i, port in enumerate(model.outputs):
        figures[port.name] = float(error[i])
        if not np.isfinite(exact[:, :, i]).all() or not np.isfinite(rounded[:, :, i]).all():
            bad = ~np.isfinite(exact[:, :, i] + rounded[:, :, i]).all(axis=1)
            what = f"is no number after {int(np.argmax(bad))} steps of inputs in their valid range"
            remedy = "clamp a state, or keep an argument in bounds with max or min"
            found.append(Fault("range", f"output {port.name}", what, remedy))
        elif error[i] > ROUNDING_MAX * (port.valid[1] - port.valid[0]) and _is_smooth(model):
            what = f"float32 is off by {error[i]:.3g} {port.unit} in {ROUNDING_STEPS} steps"
            remedy = "count from an operating point, or scale the states to like size"
            found.append(Fault("precision", f"output {port.name}", what, remedy))
    return figures, found


def _is_smooth(model: Model) -> bool:
    """A machine that switches a step earlier is not imprecise."""
    return model.behaviour.__struct_config__.tag != "state-machine"


def _sizes(compiled: Compiled) -> list[Fault]:
    bounds = ModelBounds()
    if (
        compiled.nodes <= bounds.nodes_max
        and compiled.tensor_elements <= bounds.tensor_elements_max
    ):
        return []
    what = f"{compiled.nodes} nodes, {compiled.tensor_elements} elements in a tensor"
    remedy = f"the default profile takes {bounds.nodes_max}: fewer substeps, or shorter equations"
    return [Fault("size", "behaviour", what, remedy)]
