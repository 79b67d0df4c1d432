"""Runs the kind `differential-equation`: the flow of its states over one step.

In: a sound `System` and a rate. Out: its dynamics.
Always holds: inputs are held over the step. Right sides that are linear in states and inputs
move exactly (`shared/behaviour/exact.py`); others by classical Runge-Kutta of order 4, in
`substeps` equal parts, without a loop in the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from shared.behaviour.dynamics import Float64, advance, column, columns, per_instance
from shared.behaviour.equations import System
from shared.behaviour.exact import Exact, exact_step
from shared.behaviour.grammar import Call, Name, Negated, Node, Number
from shared.behaviour.linearity import is_linear

_CELSIUS_K = 273.15
_FAR = 3e38  # beyond any float32 state: no clamp

UFUNCS: dict[str, Any] = {
    "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "abs": np.absolute, "sin": np.sin,
    "cos": np.cos, "tanh": np.tanh, "min": np.minimum, "max": np.maximum,
}  # fmt: skip


class EquationDynamics:
    """A sound declaration at a rate."""

    kind = "differential-equation"

    def __init__(self, system: System, rate_hz: float, instances: int) -> None:
        assert not system.faults, system.faults
        self.system, self.instances = system, instances
        model = system.model
        self.step_s = 1.0 / rate_hz
        first = [np.broadcast_to(np.array(x.initial, float), instances) for x in model.states]
        start = np.stack(first, axis=1) if first else np.zeros((instances, 0))
        self.initial: dict[str, Float64] = {}
        if first:
            self.initial = {"state": start, "carry": np.zeros_like(start)}
        self._parameters = {k: per_instance(x.value) for k, x in model.parameters.items()}

    def known(self, inputs: Mapping[str, Any], x: Any) -> dict[str, Any]:
        """Every quantity at a sample, by name."""
        found = {**inputs, **self._parameters}
        for i, state in enumerate(self.system.model.states):
            found[state.name] = column(x, i)
        for name in self.system.order:
            found[name] = value_of(self.system.definitions[name], found)
        return found

    def rates(self, inputs: Mapping[str, Any], x: Any) -> Any:
        """Derivatives [E, states] at states `x`."""
        known = self.known(inputs, x)
        found = [value_of(self.system.rates[s.name], known) for s in self.system.model.states]
        return columns(found, x.shape[0])

    def step(
        self, inputs: Mapping[str, Any], states: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        if not self.initial:
            known = self.known(inputs, np.zeros((self.instances, 0)))
            return {port.name: known[port.name] for port in self.system.outputs}, {}
        x = states["state"]
        known = self.known(inputs, x)
        outputs = {port.name: known[port.name] for port in self.system.outputs}
        moved, carry = advance(x, states["carry"], self.increment(inputs, x))
        if any(s.clamp for s in self.system.model.states):
            low, high = (
                [s.valid[i] if s.clamp else (-_FAR, _FAR)[i] for s in self.system.model.states]
                for i in (0, 1)
            )
            moved = np.minimum(np.maximum(moved, np.array([low])), np.array([high]))
        return outputs, {"state": moved, "carry": carry}

    def increment(self, inputs: Mapping[str, Any], x: Any, substeps: int | None = None) -> Any:
        """How far the states move in one step, inputs held."""
        if self.exact is not None:
            u = columns([inputs[p.name] for p in self.system.inputs], self.instances)
            return self.exact.move(x, u)
        count = substeps or self.system.model.substeps
        h, total = self.step_s / count, None
        for _ in range(count):
            here = x if total is None else x + total
            k1 = self.rates(inputs, here)
            k2 = self.rates(inputs, here + k1 * (h / 2))
            k3 = self.rates(inputs, here + k2 * (h / 2))
            k4 = self.rates(inputs, here + k3 * h)
            moved = (k1 + (k2 + k3) * 2.0 + k4) * (h / 6)
            total = moved if total is None else total + moved
        return total

    @cached_property
    def exact(self) -> Exact | None:
        """Matrices of linear right sides, read off at zero and at each unit vector."""
        if not self.initial or not is_linear(self.system):
            return None
        names = [p.name for p in self.system.inputs]
        count, width = self.instances, len(self.system.model.states)

        def at(x: Float64, u: Float64) -> Float64:
            inputs = {name: u[:, i : i + 1] for i, name in enumerate(names)}
            return np.asarray(self.rates(inputs, x), float)

        zero_x, zero_u = np.zeros((count, width)), np.zeros((count, len(names)))
        with np.errstate(all="ignore"):  # what is no number is refused by the exact step
            constant = at(zero_x, zero_u)
            a = np.stack([at(zero_x + e, zero_u) - constant for e in np.eye(width)], axis=2)
            b = np.stack([at(zero_x, zero_u + e) - constant for e in np.eye(len(names))], axis=2)
        return exact_step(a, b, constant, self.step_s)


def value_of(node: Node, known: Mapping[str, Any]) -> Any:
    """The expression on arrays, or on tensors that are traced."""
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Name):
        return known[node.name]
    if isinstance(node, Negated):
        return -value_of(node.of, known)
    if isinstance(node, Call):
        return _call(node, [value_of(x, known) for x in node.arguments])
    left, right = value_of(node.left, known), value_of(node.right, known)
    if node.sign == "^":
        return _power(left, right)
    return {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}[node.sign](left, right)


def _call(node: Call, values: list[Any]) -> Any:
    if node.function == "kelvin":
        return values[0] + _CELSIUS_K
    if node.function == "celsius":
        return values[0] - _CELSIUS_K
    found = UFUNCS[node.function]
    if len(values) == 1:
        return found(values[0])
    result = values[0]
    for value in values[1:]:
        result = found(result, value)
    return result


def _power(base: Any, exponent: Any) -> Any:
    """Small whole powers as products: exact, and right for negative bases in every runtime."""
    if isinstance(exponent, float) and exponent in (2.0, 3.0, 4.0):
        square = base * base
        return {2.0: lambda: square, 3.0: lambda: square * base, 4.0: lambda: square * square}[
            exponent
        ]()
    return np.power(base, exponent)
