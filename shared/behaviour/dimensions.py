"""The unit check: what unit an expression has, or why it has none.

In: a tree of the grammar and the unit of each name. Out: its unit, and faults.
Always holds: nothing is converted; a sum of different units is a fault even where the dimension
is the same, and says the factor. A temperature in Cel is a point on a scale: a difference of two
is K, a point plus K is a point, and anything else asks for `kelvin()`. After a fault the check
goes on, so that an author sees all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction

from shared.behaviour.faults import Fault, Kind
from shared.behaviour.grammar import Binary, Call, Name, Negated, Node, Number
from shared.errors import Rejected
from shared.units import BASE, CELSIUS, KELVIN, ONE, SECOND, TEXT_MAX, Unit

_PLAIN_ARGUMENT = ("exp", "log", "sin", "cos", "tanh")
_RANK = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 4}
_OTHER_TIMES = re.compile(r"(?<![\w\[])(min|h|d)(?![\w\]])")


def render(node: Node, outer: int = 0) -> str:
    """The expression as an author would write it."""
    if isinstance(node, Number):
        return f"{node.value:.12g}" + (f" [{node.unit.text}]" if node.has_unit else "")
    if isinstance(node, Name):
        return node.name
    if isinstance(node, Negated):
        return f"(-{render(node.of, 3)})" if outer > 3 else f"-{render(node.of, 3)}"
    if isinstance(node, Call):
        return f"{node.function}({', '.join(render(x) for x in node.arguments)})"
    rank = _RANK[node.sign]
    # a power takes what stands to its right, signs included, and only one operand to its left
    left, right = (5, 3) if node.sign == "^" else (rank, rank + 1)
    text = f"{render(node.left, left)} {node.sign} {render(node.right, right)}"
    return f"({text})" if rank < outer else text


def names_of(node: Node) -> Iterator[Name]:
    """Every name in the expression."""
    waiting = [node]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Name):
            yield found
        elif isinstance(found, Negated):
            waiting.append(found.of)
        elif isinstance(found, Binary):
            waiting += [found.left, found.right]
        elif isinstance(found, Call):
            waiting += found.arguments


def constant_of(node: Node) -> Fraction | None:
    """The value of an exponent: numbers without unit, joined by signs; else None."""
    if isinstance(node, Number):
        return None if node.has_unit else Fraction(node.value).limit_denominator(1000)
    if isinstance(node, Negated):
        inner = constant_of(node.of)
        return None if inner is None else -inner
    if isinstance(node, Binary) and node.sign in "+-*/":
        left, right = constant_of(node.left), constant_of(node.right)
        if left is None or right is None or (node.sign == "/" and right == 0):
            return None
        return {"+": left + right, "-": left - right, "*": left * right}.get(
            node.sign, left / right if right else None
        )
    return None


class UnitCheck:
    """Of one equation. `units` grows with its caller; `faults` is shared by all equations."""

    def __init__(self, units: Mapping[str, Unit], place: str, faults: list[Fault]) -> None:
        self.units, self.place, self.faults = units, place, faults

    def unit(self, node: Node) -> Unit | None:
        """Unit of `node`; None fits anything: a bare 0, or what a fault left unknown."""
        if isinstance(node, Number):
            return None if node.value == 0 and not node.has_unit else node.unit
        if isinstance(node, Name):
            return self._name(node)
        if isinstance(node, Negated):
            return self._amount(node.of, self.unit(node.of), node)
        if isinstance(node, Call):
            return self._call(node)
        left = self.unit(node.left)
        if node.sign == "^":
            return self._power(node, left)
        right = self.unit(node.right)
        if node.sign in "+-":
            return self._sum(node, left, right)
        left, right = self._amount(node.left, left, node), self._amount(node.right, right, node)
        if left is None or right is None:
            return None
        return self._made(node, lambda: left * right if node.sign == "*" else left / right)

    def _made(self, node: Node, make: Callable[[], Unit]) -> Unit | None:
        try:
            return make()
        except Rejected as error:
            self._fault("unit", node, f"{render(node)[:TEXT_MAX]}: {error.what}")
            return None

    def expect(self, node: Node, wanted: Unit, what: str) -> None:
        """`node` has the unit `wanted`, which `what` asks for."""
        found = self.unit(node)
        if found is not None and not found.same_as(wanted):
            self._differ(node, found, wanted, what)

    def expect_rate(self, node: Node, state: str, unit: Unit) -> None:
        """`node` is a derivative: the state's unit per second."""
        self.expect(node, unit.amount / SECOND, f"d{state}/dt, with {state} in {unit.text}")

    def _differ(self, node: Node, found: Unit, wanted: Unit, what: str) -> None:
        kind: Kind = "temperature" if found.is_scale or wanted.is_scale else "unit"
        text = f"{what}, is {wanted.text}; the right side is {found.text}"
        if found.dimension != wanted.dimension:
            text += f", that is {found.base_text} where {wanted.base_text} belongs"
            pairs = zip(BASE, found.dimension, wanted.dimension, strict=True)
            if kind == "unit" and all(a == b for name, a, b in pairs if name != "s"):
                kind, text = "time unit", text + ": they differ by a time"
        elif not found.matches(wanted.factor):
            text += f", {found.factor / wanted.factor:.6g} times as large a unit"
        timed = sorted(
            f"{x} is in {self.units[x].text}"
            for x in {n.name for n in names_of(node)} & set(self.units)
            if _OTHER_TIMES.search(self.units[x].text)
        )
        remedy = "nothing is converted here: write the factor, such as 3600 [s] / 1 [h]"
        if _OTHER_TIMES.search(wanted.text):
            timed.append(f"{wanted.text} has two times in it")
        if timed and kind == "unit" and SECOND.text in wanted.text:
            kind, text = "time unit", f"{text}; {', '.join(timed)}, and d/dt is per s"
            remedy = "give it per s, such as a charge in C instead of mA.h"
        self._fault(kind, node, text, remedy)

    def _name(self, node: Name) -> Unit | None:
        found = self.units.get(node.name)
        if found is None:
            remedy = "declare it as an input, a state, a parameter, or define it by an equation"
            if node.name == "t":
                remedy = "time is no name here: declare a state whose derivative is 1"
            self._fault("unknown name", node, f"{node.name!r} names nothing", remedy)
        return found

    def _amount(self, node: Node, unit: Unit | None, whole: Node) -> Unit | None:
        """For places where a point on a scale makes no sense; goes on with its difference."""
        if unit is None or not unit.is_scale:
            return unit
        self._fault(
            "temperature", whole,
            f"{render(node)} in {unit.text} is a point on a scale with its own zero, "
            f"so {render(whole)} means nothing",
            "write kelvin(...) for the absolute temperature, or subtract another in "
            f"{unit.text}; a sum with K stays in {unit.text}",
        )  # fmt: skip
        return unit.amount

    def _sum(self, node: Binary, left: Unit | None, right: Unit | None) -> Unit | None:
        if left is None or right is None:
            return left or right
        if left.is_scale or right.is_scale:
            return self._scale_sum(node, left, right)
        if not left.same_as(right):
            self._unlike(node, node.left, left, node.right, right)
        return left

    def _scale_sum(self, node: Binary, left: Unit, right: Unit) -> Unit | None:
        plus = node.sign == "+"
        if left.is_scale and right.is_scale and not plus and left.same_as(right):
            return left.amount
        if left.is_scale and not right.is_scale and right.same_as(left.amount):
            return left
        if right.is_scale and plus and not left.is_scale and left.same_as(right.amount):
            return right
        scale = left if left.is_scale else right
        text = f"{render(node)}: {_said(node.left, left)} {node.sign} {_said(node.right, right)}"
        remedy = "kelvin() takes Cel to K, celsius() takes K to Cel"
        if ONE in (left, right):
            remedy = f"give the number its unit, such as 25 [{scale.text}]; {remedy}"
        self._fault("temperature", node, text, remedy)
        return scale if plus else scale.amount

    def _unlike(self, node: Node, a: Node, left: Unit, b: Node, right: Unit) -> None:
        text = f"{render(node)}: {_said(a, left)} and {_said(b, right)}"
        if left.dimension == right.dimension:
            text += f" differ by {left.factor / right.factor:.6g}"
            remedy = "nothing is converted here: write the factor with its units"
        else:
            text += f", that is {left.base_text} and {right.base_text}"
            remedy = "only like can be added or compared"
        self._fault("unit", node, text, remedy)

    def _power(self, node: Binary, base: Unit | None) -> Unit | None:
        base = self._amount(node.left, base, node)
        exponent = self.unit(node.right)
        if exponent is not None and not exponent.is_number:
            text = f"{render(node)}: an exponent in {exponent.text}"
            self._fault("argument", node, text, "an exponent is a plain number")
        if base is None or base.is_number:
            return base
        power = constant_of(node.right)
        if power is None or abs(power) > 12:
            text = f"{render(node)}: {render(node.left)} in {base.text} to a power that varies"
            self._fault("argument", node, text, "write the exponent as a number, at most 12")
            return None
        return self._made(node, lambda: base**power)

    def _call(self, node: Call) -> Unit | None:
        units = [self.unit(x) for x in node.arguments]
        first = units[0]
        if node.function in ("min", "max"):
            return self._like(node, units)
        if node.function in ("kelvin", "celsius"):
            wanted, given = (CELSIUS, KELVIN) if node.function == "kelvin" else (KELVIN, CELSIUS)
            if first is not None and not first.same_as(wanted):
                text = f"{render(node)} takes {wanted.text}, not {first.text}"
                self._fault("temperature", node, text)
            return given
        first = self._amount(node.arguments[0], first, node)
        if node.function == "abs" or first is None:
            return first
        if node.function == "sqrt":
            return self._made(node, lambda: first ** Fraction(1, 2))
        assert node.function in _PLAIN_ARGUMENT, node
        if not first.is_number:
            text = f"{render(node)}: {node.function} of {render(node.arguments[0])}"
            remedy = "divide it by something of the same unit"
            if first.dimension == KELVIN.dimension:
                remedy = "its coefficient is per kelvin: give it the unit 1/K"
            self._fault("argument", node, f"{text}, which is in {first.text}", remedy)
        return ONE

    def _like(self, node: Call, units: list[Unit | None]) -> Unit | None:
        known = [(a, u) for a, u in zip(node.arguments, units, strict=True) if u is not None]
        for a, unit in known[1:]:
            if not unit.same_as(known[0][1]):
                self._unlike(node, known[0][0], known[0][1], a, unit)
        return known[0][1] if known else None

    def _fault(self, kind: Kind, node: Node, what: str, remedy: str = "") -> None:
        self.faults.append(Fault(kind, f"{self.place}, column {node.at + 1}", what, remedy))


def _said(node: Node, unit: Unit) -> str:
    if isinstance(node, Number) and not node.has_unit:
        return f"{node.value:g} without a unit"
    return f"{render(node)} in {unit.text}"
