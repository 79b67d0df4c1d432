"""Units as UCUM writes them: dimension, scale, and whether the scale has its own zero.

In: a unit's text, such as `mA.h`, `[ft_i]/min`, `Cel`. Out: a frozen `Unit`.
Always holds: text that is not in the table below is refused by name, never guessed; nothing
here converts a value behind its author's back.

Source: The Unified Code for Units of Measure, version 2.1, case sensitive; the part of it that
airframes, engines, batteries and heat need. Spellings outside UCUM that data sheets use are
listed too, and each is told what to write instead.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from shared.errors import Rejected

TEXT_MAX, DEPTH_MAX, EXPONENT_MAX = 64, 8, 12
BASE = ("kg", "m", "s", "A", "K", "mol", "cd")
POWER_MAX, DIGITS_MAX = 99, 90  # of a dimension, and of a factor: 1e-90 to 1e90
FACTOR_TOLERANCE = 1e-9  # relative; factors are products of a few floats

Dimension = tuple[Fraction, ...]
"""Exponents of `BASE`."""

NO_DIMENSION: Dimension = (Fraction(0),) * len(BASE)


@dataclass(frozen=True)
class Unit:
    """A value in this unit, times `factor`, plus `zero`, is the value in SI base units.

    is_scale: a scale with its own zero, such as Cel: its values are points, not amounts.
    """

    text: str
    dimension: Dimension
    factor: float
    zero: float = 0.0
    is_scale: bool = False

    @property
    def is_number(self) -> bool:
        """Dimension 1 and factor 1: what exp takes."""
        return self.dimension == NO_DIMENSION and self.matches(1.0) and not self.is_scale

    def matches(self, factor: float) -> bool:
        return math.isclose(self.factor, factor, rel_tol=FACTOR_TOLERANCE)

    def same_as(self, other: Unit) -> bool:
        """Numbers in one are numbers in the other."""
        return (
            self.dimension == other.dimension
            and self.matches(other.factor)
            and self.is_scale == other.is_scale
            and math.isclose(self.zero, other.zero, abs_tol=FACTOR_TOLERANCE)
        )

    def __mul__(self, other: Unit) -> Unit:
        dimension = tuple(a + b for a, b in zip(self.dimension, other.dimension, strict=True))
        return _made(_joined(self.text, ".", other.text), dimension, self.factor * other.factor)

    def __truediv__(self, other: Unit) -> Unit:
        dimension = tuple(a - b for a, b in zip(self.dimension, other.dimension, strict=True))
        return _made(_joined(self.text, "/", other.text), dimension, self.factor / other.factor)

    def __pow__(self, exponent: Fraction) -> Unit:
        dimension = tuple(a * exponent for a in self.dimension)
        text = f"{_grouped(self.text)}^{exponent}" if self.text != "1" else "1"
        digits = float(exponent) * math.log10(self.factor)
        return _made(text, dimension, 10.0**digits if abs(digits) < DIGITS_MAX else math.inf)

    @property
    def amount(self) -> Unit:
        """The unit of a difference of two of its values: K for Cel."""
        if not self.is_scale:
            return self
        return _DEGREES.get(self.text, KELVIN)

    @property
    def base_text(self) -> str:
        """In base units, such as `kg.m2.s-3`."""
        parts = [
            name if power == 1 else f"{name}{power}"
            for name, power in zip(BASE, self.dimension, strict=True)
            if power
        ]
        return ".".join(parts) or "1"


def _made(text: str, dimension: Dimension, factor: float) -> Unit:
    """A unit made of others; Rejected when it is beyond any size, so that every one is bounded."""
    powers_fit = all(abs(x) <= POWER_MAX and x.denominator <= POWER_MAX for x in dimension)
    if not powers_fit or not 10.0**-DIGITS_MAX < factor < 10.0**DIGITS_MAX:
        raise Rejected(f"a unit such as {text[:TEXT_MAX]} is beyond any size", "units")
    made = Unit(text, dimension, factor)
    if len(text) <= TEXT_MAX:
        return made
    scale = "" if made.matches(1.0) else f"{factor:.6g} "
    return Unit(scale + made.base_text, dimension, factor)


def _joined(left: str, sign: str, right: str) -> str:
    if right == "1":
        return left
    if left == "1" and sign == ".":
        return right
    return left + sign + (_grouped(right) if sign == "/" else right)


def _grouped(text: str) -> str:
    return f"({text})" if re.search(r"[./^]", text) else text


def _dimension(text: str) -> Dimension:
    """From `kg.m2.s-3`."""
    powers = dict.fromkeys(BASE, Fraction(0))
    for part in text.split(".") if text else ():
        match = re.fullmatch(r"([a-zA-Z]+)(-?\d*)", part)
        assert match, text
        powers[match[1]] += Fraction(match[2] or 1)
    return tuple(powers.values())


_G, _LB, _INCH = 9.80665, 0.45359237, 0.0254
_PSI = _LB * _G / _INCH**2

# UCUM tables 1 to 8: atoms that take a prefix, then those that do not.
_METRIC: dict[str, tuple[float, str]] = {
    "m": (1, "m"), "g": (1e-3, "kg"), "s": (1, "s"), "A": (1, "A"), "K": (1, "K"),
    "mol": (1, "mol"), "cd": (1, "cd"), "rad": (1, ""), "Hz": (1, "s-1"), "N": (1, "kg.m.s-2"),
    "Pa": (1, "kg.m-1.s-2"), "J": (1, "kg.m2.s-2"), "W": (1, "kg.m2.s-3"), "C": (1, "A.s"),
    "V": (1, "kg.m2.s-3.A-1"), "F": (1, "A2.s4.kg-1.m-2"), "Ohm": (1, "kg.m2.s-3.A-2"),
    "S": (1, "A2.s3.kg-1.m-2"), "Wb": (1, "kg.m2.s-2.A-1"), "T": (1, "kg.s-2.A-1"),
    "H": (1, "kg.m2.s-2.A-2"), "bar": (1e5, "kg.m-1.s-2"), "l": (1e-3, "m3"), "L": (1e-3, "m3"),
    "t": (1e3, "kg"), "[g]": (_G, "m.s-2"),
}  # fmt: skip
_PLAIN: dict[str, tuple[float, str]] = {
    "min": (60, "s"), "h": (3600, "s"), "d": (86400, "s"), "deg": (math.pi / 180, ""),
    "%": (1e-2, ""), "[ppth]": (1e-3, ""), "[ppm]": (1e-6, ""), "[pi]": (math.pi, ""),
    "circ": (2 * math.pi, ""), "[in_i]": (_INCH, "m"), "[ft_i]": (0.3048, "m"),
    "[mi_i]": (1609.344, "m"), "[nmi_i]": (1852, "m"), "[kn_i]": (1852 / 3600, "m.s-1"),
    "[lb_av]": (_LB, "kg"), "[lbf_av]": (_LB * _G, "kg.m.s-2"), "[psi]": (_PSI, "kg.m-1.s-2"),
    "[HP]": (550 * 0.3048 * _LB * _G, "kg.m2.s-3"), "[gal_us]": (231 * _INCH**3, "m3"),
    "[qt_us]": (231 * _INCH**3 / 4, "m3"), "atm": (101325, "kg.m-1.s-2"),
    "m[Hg]": (133322.387415, "kg.m-1.s-2"), "mm[Hg]": (133.322387415, "kg.m-1.s-2"),
    "[in_i'Hg]": (133322.387415 * _INCH, "kg.m-1.s-2"),
    "[degR]": (5 / 9, "K"),
}  # fmt: skip
_PREFIXES = {
    "da": 1e1, "Y": 1e24, "Z": 1e21, "E": 1e18, "P": 1e15, "T": 1e12, "G": 1e9, "M": 1e6,
    "k": 1e3, "h": 1e2, "d": 1e-1, "c": 1e-2, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12,
    "f": 1e-15,
}  # fmt: skip

KELVIN = Unit("K", _dimension("K"), 1.0)
ONE = Unit("1", NO_DIMENSION, 1.0)
SECOND = Unit("s", _dimension("s"), 1.0)
_RANKINE = Unit("[degR]", _dimension("K"), 5 / 9)
_SCALES = {
    "Cel": Unit("Cel", _dimension("K"), 1.0, 273.15, True),
    "[degF]": Unit("[degF]", _dimension("K"), 5 / 9, 459.67 * 5 / 9, True),
}
_DEGREES = {"Cel": KELVIN, "[degF]": _RANKINE}
CELSIUS = _SCALES["Cel"]

SPELLINGS = {
    "mAh": "mA.h", "Ah": "A.h", "Wh": "W.h", "kWh": "kW.h", "°C": "Cel", "degC": "Cel",
    "°F": "[degF]", "°": "deg", "Ω": "Ohm", "ohm": "Ohm", "mΩ": "mOhm", "sec": "s", "secs": "s",
    "seconds": "s", "minute": "min", "minutes": "min", "hr": "h", "hour": "h", "hours": "h",
    "ft": "[ft_i]", "kt": "[kn_i]", "kts": "[kn_i]", "psi": "[psi]", "lb": "[lb_av]",
    "in": "[in_i]", "nmi": "[nmi_i]", "percent": "%", "volts": "V", "amps": "A", "inHg": "[in_i'Hg]",
}  # fmt: skip
"""What data sheets write, and UCUM for it."""

_TOKEN = re.compile(r"\{[^{}]*\}|10[*^]-?\d+|[()./]|\d+|(?:[A-Za-z%]|\[[^\[\]]*\])+-?\d*")
_ATOM = re.compile(r"(.*?[^\d-])(-?\d+)?\Z")


def parse_unit(text: str, where: str = "unit") -> Unit:
    """The unit that `text` names in UCUM, or Rejected."""
    if len(text) > TEXT_MAX:
        raise Rejected(f"a unit of {len(text)} characters", where, f"at most {TEXT_MAX}")
    if text in _SCALES:
        return _SCALES[text]
    if text in SPELLINGS:
        raise Rejected(f"{text!r} is not UCUM", where, f"write {SPELLINGS[text]!r}")
    tokens = _TOKEN.findall(text)
    if not tokens or "".join(tokens) != text:
        raise Rejected(f"{text!r} is not a unit", where, "write it in UCUM, such as m/s or mA.h")
    reader = _Reader(tokens, text, where)
    try:
        unit = reader.term(0)
    except Rejected as error:
        raise Rejected(error.what, where, error.remedy) from None
    if reader.at < len(tokens):
        raise Rejected(f"{text!r}: {tokens[reader.at]!r} follows nothing", where)
    return Unit(text, unit.dimension, unit.factor)


class _Reader:
    """Recursive descent over the tokens of one unit."""

    def __init__(self, tokens: list[str], text: str, where: str) -> None:
        self.tokens, self.text, self.where, self.at = tokens, text, where, 0

    def term(self, depth: int) -> Unit:
        if depth > DEPTH_MAX:
            raise Rejected(f"{self.text!r} is nested too deep", self.where)
        unit = ONE if self._peek() == "/" else self._component(depth)
        while self._peek() in (".", "/"):
            divides = self._next() == "/"
            other = self._component(depth)
            unit = unit / other if divides else unit * other
        return unit

    def _component(self, depth: int) -> Unit:
        token = self._next()
        if token == "(":
            unit = self.term(depth + 1)
            if self._next() != ")":
                raise Rejected(f"{self.text!r}: a bracket is not closed", self.where)
            return unit
        if token.startswith("{"):  # an annotation says what is counted, and is 1
            return ONE
        if token[:3] in ("10*", "10^"):
            return Unit(token, NO_DIMENSION, 10.0 ** self._exponent(token[3:]))
        if token.isdigit():
            if not 0 < int(token) <= 10**9:
                raise Rejected(f"{self.text!r}: factor {token[:12]}", self.where)
            return Unit(token, NO_DIMENSION, float(token))
        return self._powered(token)

    def _powered(self, token: str) -> Unit:
        match = _ATOM.match(token)
        if match is None or token in "./)":
            raise Rejected(f"{self.text!r}: a unit is missing before {token!r}", self.where)
        unit = self._atom(match[1])
        return unit ** Fraction(self._exponent(match[2])) if match[2] else unit

    def _exponent(self, digits: str) -> int:
        if len(digits) > 3 or abs(int(digits)) > EXPONENT_MAX:
            raise Rejected(f"{self.text!r}: exponent {digits[:8]}", self.where)
        return int(digits)

    def _atom(self, name: str) -> Unit:
        if name in _PLAIN:
            return Unit(name, _dimension(_PLAIN[name][1]), _PLAIN[name][0])
        for prefix, scale in (("", 1.0), *_PREFIXES.items()):
            atom = name.removeprefix(prefix)
            if atom in _METRIC and (atom != name or not prefix):
                factor, dimension = _METRIC[atom]
                return Unit(name, _dimension(dimension), scale * factor)
        if name in _SCALES:
            raise Rejected(
                f"{self.text!r}: {name} has its own zero, so it stands alone",
                self.where,
                f"a difference of temperatures is {_DEGREES[name].text}",
            )
        hint = (
            f"write {SPELLINGS[name]!r}"
            if name in SPELLINGS
            else "write it in UCUM, such as Cel, K, %, kg, t, m, [ft_i], kPa, kg/h"
        )
        raise Rejected(f"{self.text!r}: no unit {name!r}", self.where, hint)

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        if not token:
            raise Rejected(f"{self.text!r} ends too early", self.where)
        self.at += 1
        return token
