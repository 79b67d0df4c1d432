"""The kind `state-machine`: named states, guarded transitions, a value of each output by state.

In: a declaration. Out: its faults, or its dynamics at a rate.
Always holds: exactly one state is active (one-hot); at most one transition a step, the first
listed whose guard holds; outputs are those of the state after it, so a transition shows without
delay. A condition has a hysteresis of its own memory; a transition may ask that its guard held
for `holds_s` and that its state has lasted `after_s`. Times are rounded up to whole steps. A
condition on a value that is no number is false.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from shared.behaviour.dimensions import UnitCheck
from shared.behaviour.dynamics import (
    Float64,
    Parameter,
    Port,
    columns,
    parameter_faults,
    per_instance,
)
from shared.behaviour.faults import Fault, from_rejected
from shared.behaviour.grammar import Node, parse_expression
from shared.behaviour.integrate import value_of
from shared.errors import Rejected
from shared.units import Unit, parse_unit

MACHINE_STATES_MAX, CONDITIONS_MAX, TRANSITIONS_MAX = 32, 32, 64
SECONDS_MAX = 86_400.0  # of a dwell; counts of steps stay exact in float32
STEPS_MAX = 1 << 23

Seconds = Annotated[float, Meta(ge=0, le=SECONDS_MAX)]


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """True above (or below) a threshold; false again `hysteresis` on its other side.

    quantity: an expression of inputs and parameters. unit: of the threshold and hysteresis.
    """

    name: str
    quantity: str
    unit: str
    above: float | None = None
    below: float | None = None
    hysteresis: Annotated[float, Meta(ge=0)] = 0.0


class Transition(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"source": "from",
    "target": "to"},
):  # fmt: skip
    """when: conditions that all hold; `not NAME` for one that does not. Empty: only time."""

    source: str
    target: str
    when: tuple[str, ...] = ()
    holds_s: Seconds = 0.0
    after_s: Seconds = 0.0


class StateMachine(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind",
    tag="state-machine",
):  # fmt: skip
    """outputs: output to its value in each state."""

    states: tuple[str, ...]
    initial: str
    conditions: tuple[Condition, ...]
    transitions: tuple[Transition, ...]
    outputs: dict[str, dict[str, float]]
    parameters: dict[str, Parameter] = {}


def machine_faults(
    model: StateMachine, inputs: Sequence[Port], outputs: Sequence[Port], instances: int
) -> list[Fault]:
    """Names, units and sizes that do not fit."""
    sizes = (len(model.states), len(model.conditions), len(model.transitions))
    limits = (MACHINE_STATES_MAX, CONDITIONS_MAX, TRANSITIONS_MAX)
    if any(not 0 < size <= limit for size, limit in zip(sizes, limits, strict=True)):
        what = "{} states, {} conditions, {} transitions".format(*sizes)
        return [Fault("size", "behaviour", what, f"at least one of each, at most {limits}")]
    faults = parameter_faults(model.parameters, instances)
    faults += _condition_faults(model, inputs)
    states, conditions = set(model.states), [x.name for x in model.conditions]
    if len(states) < len(model.states) or len(set(conditions)) < len(conditions):
        faults.append(Fault("name", "behaviour", "a state or a condition is named twice"))
    if model.initial not in states:
        faults.append(Fault("unknown name", "initial", f"{model.initial!r} is no state"))
    for i, move in enumerate(model.transitions, 1):
        place = f"transition {i} ({move.source} to {move.target})"
        for name in (move.source, move.target):
            if name not in states:
                faults.append(Fault("unknown name", place, f"{name!r} is no state"))
        for literal in move.when:
            if literal.removeprefix("not ") not in conditions:
                faults.append(Fault("unknown name", place, f"{literal!r} is no condition"))
        if not move.when and not move.after_s:
            faults.append(Fault("value", place, "needs a condition or a time"))
    return faults + _output_faults(model, outputs) + _unreached(model)


def _condition_faults(model: StateMachine, inputs: Sequence[Port]) -> list[Fault]:
    faults: list[Fault] = []
    units: dict[str, Unit] = {}
    for name, text in (
        *((x.name, x.unit) for x in inputs),
        *((k, x.unit) for k, x in model.parameters.items()),
    ):
        if name in units:
            faults.append(Fault("name", f"parameter {name}", "is named twice"))
        try:
            units[name] = parse_unit(text, name)
        except Rejected as error:
            faults.append(from_rejected("unit", error))
    for condition in model.conditions:
        place = f"condition {condition.name}"
        if (condition.above is None) == (condition.below is None):
            faults.append(Fault("value", place, "has above or below, one of them"))
        try:
            node = parse_expression(condition.quantity, place)
            unit = parse_unit(condition.unit, place)
        except Rejected as error:
            faults.append(from_rejected("syntax", error))
            continue
        UnitCheck(units, place, faults).expect(node, unit, "its threshold")
    return faults


def _output_faults(model: StateMachine, outputs: Sequence[Port]) -> list[Fault]:
    faults = []
    for name in sorted({x.name for x in outputs} ^ set(model.outputs)):
        what = "is not both a port and in behaviour.outputs"
        faults.append(Fault("no equation", f"output {name}", what))
    for name, values in model.outputs.items():
        if set(values) != set(model.states) or not np.isfinite(list(values.values())).all():
            what = "needs one finite value for each state, by its name"
            faults.append(Fault("value", f"output {name}", what))
    return faults


def _unreached(model: StateMachine) -> list[Fault]:
    reached, waiting = {model.initial}, [model.initial]
    while waiting:
        here = waiting.pop()
        for move in model.transitions:
            if move.source == here and move.target not in reached:
                reached.add(move.target)
                waiting.append(move.target)
    remedy = "add the transition that leads there, or leave the state out"
    return [
        Fault("loop", f"state {x}", "is never reached", remedy)
        for x in model.states
        if x not in reached
    ]


def steps_of(seconds: float, rate_hz: float) -> int:
    """Whole steps, rounded up; a rounding error of the product does not cost a step."""
    return int(np.ceil(round(seconds * rate_hz, 6)))


class MachineDynamics:
    """A sound declaration at a rate, as products of constant matrices."""

    kind = "state-machine"

    def __init__(
        self, model: StateMachine, outputs: Sequence[str], rate_hz: float, instances: int
    ) -> None:
        self.model, self.outputs, self.instances = model, tuple(outputs), instances
        moves, states = model.transitions, list(model.states)
        count = len(moves)
        self._quantities: list[Node] = [parse_expression(c.quantity, "") for c in model.conditions]
        self._parameters = {k: per_instance(x.value) for k, x in model.parameters.items()}
        # Turned so that every condition asks for "above".
        sign = np.array([[1.0 if c.above is not None else -1.0 for c in model.conditions]])
        limit = [[c.above if c.above is not None else c.below or 0.0 for c in model.conditions]]
        self._sign, self._on = sign, sign * np.array(limit)
        self._off = self._on - np.array([[c.hysteresis for c in model.conditions]])
        names = [c.name for c in model.conditions]
        self._literals, self._needed = np.zeros((len(names), count)), np.zeros((1, count))
        for j, move in enumerate(moves):
            for literal in set(move.when):
                name = literal.removeprefix("not ")
                self._literals[names.index(name), j] += 1.0 if name == literal else -1.0
                self._needed[0, j] += float(name == literal)
        self._source = np.array([[float(m.source == s) for m in moves] for s in states])
        self._target = np.array([[float(m.target == s) for s in states] for m in moves])
        self._holds = np.array([[float(steps_of(m.holds_s, rate_hz)) for m in moves]])
        self._after = np.array([[float(steps_of(m.after_s, rate_hz)) for m in moves]])
        self._earlier = np.triu(np.ones((count, count)), 1)
        self._values = np.array([[model.outputs[o][s] for o in outputs] for s in states])
        first = np.array([[float(s == model.initial) for s in states]])
        widths = {"conditions": len(names), "held": count, "since": 1}
        self.initial: dict[str, Float64] = {"state": np.repeat(first, instances, axis=0)}
        self.initial |= {name: np.zeros((instances, width)) for name, width in widths.items()}

    def step(
        self, inputs: Mapping[str, Any], states: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """since: steps since the state was entered; held: steps each guard has held."""
        known = {**inputs, **self._parameters}
        seen = columns([value_of(x, known) for x in self._quantities], self.instances) * self._sign
        latched = np.logical_and(states["conditions"] > 0.5, seen > self._off)
        conditions = _number(np.logical_or(seen > self._on, latched))
        satisfied = np.matmul(conditions, self._literals) > self._needed - 0.5
        active = np.matmul(states["state"], self._source) > 0.5
        live = np.logical_and(satisfied, active)
        held = np.minimum((states["held"] + 1.0) * _number(live), self._holds + 1.0)
        lasted = np.logical_and(held > self._holds + 0.5, states["since"] > self._after - 0.5)
        ready = _number(np.logical_and(live, lasted))
        first = np.greater(0.5, np.matmul(ready, self._earlier))
        fired = ready * _number(first)
        stays = 1.0 - np.matmul(fired, np.ones((fired.shape[1], 1)))
        state = states["state"] * stays + np.matmul(fired, self._target)
        since = np.minimum(states["since"] * stays + 1.0, float(self._after.max()) + 1.0)
        values = np.matmul(state, self._values)
        moved = {"state": state, "conditions": conditions, "held": held * stays, "since": since}
        return {name: values[:, i : i + 1] for i, name in enumerate(self.outputs)}, moved


def _number(truth: Any) -> Any:
    """1 where true, 0 where not."""
    return truth.astype(np.float32)
