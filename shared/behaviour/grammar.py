"""Equations of behavioural models: a small arithmetic grammar, parsed and never run as Python.

    equation   = target "=" sum
    target     = "d" NAME "/" "dt"  |  NAME [ "(" "t" ")" ]
    sum        = product { ("+" | "-") product }
    product    = signed { ("*" | "/") signed }
    signed     = [ "-" | "+" ] signed  |  power
    power      = operand [ "^" signed ]
    operand    = NUMBER [ "[" UNIT "]" ]  |  NAME [ "(" "t" ")" ]
               | FUNCTION "(" sum { "," sum } ")"  |  "(" sum ")"

In: the text of one equation. Out: an `Equation`, its right side as a tree of frozen nodes.
Always holds: text, tokens, depth and arguments are bounded; a fault names its column; the tree
holds nothing but numbers, names and the functions of `FUNCTIONS`. `-x^2` is `-(x^2)`, and
`x^y^z` is `x^(y^z)`. UNIT is UCUM and may hold square brackets of its own.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from shared.errors import Rejected
from shared.units import ONE, Unit, parse_unit

TEXT_MAX, TOKENS_MAX, DEPTH_MAX = 512, 256, 32

FUNCTIONS: dict[str, tuple[int, int]] = {
    "exp": (1, 1), "log": (1, 1), "sqrt": (1, 1), "abs": (1, 1), "sin": (1, 1), "cos": (1, 1),
    "tanh": (1, 1), "min": (2, 4), "max": (2, 4), "kelvin": (1, 1), "celsius": (1, 1),
}  # fmt: skip
"""Name to the least and most arguments. `log` is the natural one; `kelvin` takes a Celsius
temperature to an absolute one, and `celsius` back."""
CONSTANTS = {"pi": math.pi}


@dataclass(frozen=True)
class Number:
    value: float
    unit: Unit = ONE
    has_unit: bool = False
    at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Name:
    name: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Negated:
    of: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Binary:
    """sign: one of + - * / ^."""

    sign: str
    left: Node
    right: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Call:
    function: str
    arguments: tuple[Node, ...]
    at: int = field(default=0, compare=False)


Node = Number | Name | Negated | Binary | Call


@dataclass(frozen=True)
class Equation:
    """`target` is a state when `is_derivative`, else the quantity that is defined."""

    target: str
    is_derivative: bool
    right: Node
    text: str


_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sign>[-+*/^(),=\[]))"
)


def parse_equation(text: str, where: str) -> Equation:
    """The equation that `text` spells, or Rejected with its column."""
    reader = _Reader(text, where)
    target, is_derivative = reader.target()
    reader.take("=")
    right = reader.sum(0)
    reader.end()
    return Equation(target, is_derivative, right, text)


def parse_expression(text: str, where: str) -> Node:
    """A right side alone."""
    reader = _Reader(text, where)
    node = reader.sum(0)
    reader.end()
    return node


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


class _Reader:
    """Recursive descent; `depth` bounds it."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where, self.at = text, where, 0
        if len(text) > TEXT_MAX:
            raise Rejected(f"{len(text)} characters", where, f"at most {TEXT_MAX}; name a part")
        self.tokens = self._tokens()

    def _tokens(self) -> list[_Token]:
        tokens, at = [], 0
        while self.text[at:].strip():
            match = _TOKEN.match(self.text, at)
            if match is None:
                at += len(self.text[at:]) - len(self.text[at:].lstrip())
                hint = {"*": "a power is ^"}.get(self.text[at], "see docs/behavioural-models.md")
                raise self._fault(f"{self.text[at]!r} is not of the grammar", at, hint)
            kind = str(match.lastgroup)
            at = match.end()
            tokens.append(_Token(kind, match[kind], match.start(kind)))
            if match[kind] == "[":
                at = self._unit_end(match.start(kind))
                tokens.append(_Token("unit", self.text[match.end() : at - 1], match.end()))
            if len(tokens) > TOKENS_MAX:
                raise self._fault("too many signs and names", at, "name a part of it")
        return tokens

    def _unit_end(self, start: int) -> int:
        """Past the bracket that closes the one at `start`; units have brackets of their own."""
        depth = 0
        for at in range(start, len(self.text)):
            depth += {"[": 1, "]": -1}.get(self.text[at], 0)
            if depth == 0:
                return at + 1
        raise self._fault("a unit's bracket is not closed", start)

    def target(self) -> tuple[str, bool]:
        """Left side: (name, whether its derivative is meant)."""
        name = self._take_kind("name", "a name")
        if self._peek() == "/":
            self.at += 1
            if self._take_kind("name", "dt").text != "dt" or name.text[:1] != "d":
                raise self._fault("a derivative is written dNAME/dt", name.at)
            if len(name.text) < 2:
                raise self._fault("the derivative of what?", name.at)
            return name.text[1:], True
        self._of_time()
        return name.text, False

    def sum(self, depth: int) -> Node:
        node = self._product(depth)
        while self._peek() in ("+", "-"):
            sign = self._next()
            node = Binary(sign.text, node, self._product(depth), sign.at)
        return node

    def _product(self, depth: int) -> Node:
        node = self._signed(depth)
        while self._peek() in ("*", "/"):
            sign = self._next()
            if self._peek() == "*":
                raise self._fault("'**' is not of the grammar", sign.at, "a power is ^")
            node = Binary(sign.text, node, self._signed(depth), sign.at)
        return node

    def _signed(self, depth: int) -> Node:
        if depth > DEPTH_MAX:
            raise self._fault("nested too deep", self._column(), "name a part of it")
        if self._peek() == "-":
            sign = self._next()
            return Negated(self._signed(depth + 1), sign.at)
        if self._peek() == "+":
            self.at += 1
            return self._signed(depth + 1)
        node = self._operand(depth)
        if self._peek() == "^":
            sign = self._next()
            node = Binary("^", node, self._signed(depth + 1), sign.at)
        return node

    def _operand(self, depth: int) -> Node:
        if self._peek() == "(":
            self.at += 1
            node = self.sum(depth + 1)
            self.take(")")
            return node
        if self._kind() == "number":
            return self._number()
        name = self._take_kind("name", "a number, a name or a bracket")
        if name.text in FUNCTIONS:
            return self._call(name, depth)
        self._of_time()
        if self._peek() == "(":
            known = ", ".join(FUNCTIONS)
            raise self._fault(f"no function {name.text!r}", name.at, f"one of {known}")
        if name.text in CONSTANTS:
            return Number(CONSTANTS[name.text], at=name.at)
        return Name(name.text, name.at)

    def _number(self) -> Node:
        token = self._next()
        value = float(token.text)
        if not math.isfinite(value):
            raise self._fault(f"{token.text[:20]} is too large", token.at)
        if self._peek() != "[":
            return Number(value, at=token.at)
        self.at += 1
        unit = self._next()
        found = parse_unit(unit.text, f"{self.where}, column {unit.at + 1}")
        return Number(value, found, True, token.at)

    def _call(self, name: _Token, depth: int) -> Node:
        self.take("(")
        arguments = [self.sum(depth + 1)]
        while self._peek() == ",":
            self.at += 1
            arguments.append(self.sum(depth + 1))
        self.take(")")
        least, most = FUNCTIONS[name.text]
        if not least <= len(arguments) <= most:
            wanted = f"{least}" if least == most else f"{least} to {most}"
            raise self._fault(f"{name.text} takes {wanted} arguments", name.at)
        return Call(name.text, tuple(arguments), name.at)

    def _of_time(self) -> None:
        """Skip `(t)` after a name, which says only that it varies."""
        if [x.text for x in self.tokens[self.at : self.at + 3]] == ["(", "t", ")"]:
            self.at += 3

    def take(self, text: str) -> None:
        if self._peek() != text:
            found = self._peek()
            raise self._fault(f"{text!r} is missing" + (f" before {found!r}" if found else ""),
                              self._column())  # fmt: skip
        self.at += 1

    def end(self) -> None:
        if self.at < len(self.tokens):
            raise self._fault(f"{self._peek()!r} follows nothing", self._column())

    def _take_kind(self, kind: str, wanted: str) -> _Token:
        if self._kind() != kind:
            found = self._peek()
            raise self._fault(f"{wanted} is missing" + (f" before {found!r}" if found else ""),
                              self._column())  # fmt: skip
        return self._next()

    def _peek(self) -> str:
        return self.tokens[self.at].text if self.at < len(self.tokens) else ""

    def _kind(self) -> str:
        return self.tokens[self.at].kind if self.at < len(self.tokens) else ""

    def _next(self) -> _Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def _column(self) -> int:
        return self.tokens[self.at].at if self.at < len(self.tokens) else len(self.text)

    def _fault(self, what: str, at: int, remedy: str = "") -> Rejected:
        return Rejected(what, f"{self.where}, column {at + 1}", remedy)
