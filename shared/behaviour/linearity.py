"""Whether a system of equations is linear, so that its step can be exact.

In: a read `System`. Out: a decision.
Always holds: a proof by the shape of the expressions; linear in disguise, such as `x * y / y`,
counts as not linear and is stepped by Runge-Kutta.
"""

from __future__ import annotations

from collections.abc import Mapping

from shared.behaviour.equations import System
from shared.behaviour.grammar import Call, Name, Negated, Node, Number


def is_linear(system: System) -> bool:
    """Every derivative is linear in states and inputs, up to a constant."""
    degrees = dict.fromkeys(system.model.parameters, 0)
    degrees |= dict.fromkeys([x.name for x in system.inputs], 1)
    degrees |= dict.fromkeys([x.name for x in system.model.states], 1)
    for name in system.order:
        degrees[name] = _degree(system.definitions[name], degrees)
    return all(_degree(node, degrees) <= 1 for node in system.rates.values())


def _degree(node: Node, degrees: Mapping[str, int]) -> int:
    """0 constant, 1 linear, 2 neither, in states and inputs."""
    if isinstance(node, Number):
        return 0
    if isinstance(node, Name):
        return degrees.get(node.name, 2)
    if isinstance(node, Negated):
        return _degree(node.of, degrees)
    if isinstance(node, Call):
        inner = max(_degree(x, degrees) for x in node.arguments)
        return inner if node.function in ("kelvin", "celsius") else 2 * min(inner, 1)
    left, right = _degree(node.left, degrees), _degree(node.right, degrees)
    if node.sign in "+-":
        return max(left, right)
    if node.sign == "*":
        return min(left + right, 2)
    if node.sign == "/":
        return left if right == 0 else 2
    return 0 if left == right == 0 else 2
