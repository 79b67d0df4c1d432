"""What a what-if may change: every input by name, with its unit and its bounds.

In: a name and a value as a person writes it (`15`, `"15 K"`, `"-2 %"`, `"on"`). Out: a number in
the input's own unit. Always holds: an unknown input, a unit that does not measure the same and a
value out of bounds are each refused by name; a bare number is in the input's own unit, which every
answer repeats.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import Literal

from shared.errors import Rejected
from shared.units import parse_unit

Part = Literal["point", "set", "tank point", "tank"]
Given = float | int | str | bool
TEXT_MAX = 64
_NUMBER = re.compile(r"\s*([+\-\u2212]?)(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})\s*(.*?)\s*\Z")
WORDS = {"on": 1.0, "off": 0.0}


@dataclass(frozen=True, slots=True)
class Input:
    """One thing that can be said. low, high: in `unit`."""

    unit: str
    low: float
    high: float
    about: str
    is_change: bool = False
    """A change of what is there; n1, mach and altitude need their sign, so that nobody takes it
    for a value."""
    is_difference: bool = False
    """A difference of temperatures: Cel has its own zero and is refused."""
    has_words: bool = False


POINT = {
    "n1": Input("%", 20, 110, "fan speed"),
    "mach": Input("1", 0, 0.95, "Mach number"),
    "altitude": Input("[ft_i]", -2000, 45_000, "pressure altitude"),
    "isa_dev": Input("K", -60, 45, "static air temperature minus the standard one",
                     is_difference=True),
    "ambient": Input("Cel", -100, 60, "static air temperature"),
    "tat": Input("Cel", -100, 110, "total air temperature"),
    "bleed": Input("1", 0, 1, "pack bleed, on or off", has_words=True),
    "anti_ice": Input("1", 0, 1, "engine anti-ice, on or off", has_words=True),
}  # fmt: skip
"""A steady point: values. Bounds are wider than the models', which say themselves what they
cannot answer."""

_HEALTH = {"fan": "fan", "lpc": "booster", "hpc": "HPC", "hpt": "HPT", "lpt": "LPT"}
SET = {
    "isa_dev": POINT["isa_dev"],
    "ambient": POINT["ambient"],
    "n1": Input("%", -30, 30, "change of fan speed", is_change=True),
    "mach": Input("1", -0.3, 0.3, "change of Mach number", is_change=True),
    "altitude": Input("[ft_i]", -20_000, 20_000, "change of pressure altitude", is_change=True),
    "bleed": POINT["bleed"],
    "anti_ice": POINT["anti_ice"],
    **{f"{part}_{kind}": Input("%", -15, 5, f"change of {name} {what} against the baseline")
       for part, name in _HEALTH.items()
       for kind, what in (("eff", "efficiency"), ("flow", "flow capacity"))},
    "gross_weight": Input("kg", 28_000, 75_000, "weight that payload is added to"),
    "payload": Input("kg", -20_000, 20_000, "change of payload"),
}  # fmt: skip
"""What is changed. Health at most -15 %: an engine that lost more does not fly (assumption)."""

TANK_POINT = {
    "heat_leak": Input("W", 0, 5000, "heat that leaks into the tank"),
    "draw": Input("g/s", 0, 200, "liquid drawn"),
    "fill": Input("%", 6, 96, "liquid in the tank at the start, by volume"),
    "start_pressure": Input("kPa", 102, 600, "pressure at the start"),
    "ambient_pressure": Input("kPa", 5, 110, "what the vent blows against"),
}  # fmt: skip
"""A tank at rest: values."""

TANK_DEFAULTS = {"heat_leak": 150.0, "draw": 0.0, "fill": 85.0, "start_pressure": 130.0,
                 "ambient_pressure": 101.325}  # fmt: skip
"""At the stand. The heat leak is an assumption: about 7 W/m2 of wall."""

TANK = {
    **TANK_POINT,
    "heat_leak": Input("%", -90, 400, "change of the heat that leaks into the tank"),
}
"""What is changed of a tank: its heat leak by a share, the rest by another value."""

OUTPUTS = ("n2", "egt", "ff", "thrust")
KNOWN: dict[Part, dict[str, Input]] = {
    "point": POINT, "set": SET, "tank point": TANK_POINT, "tank": TANK,
}  # fmt: skip


def read(part: Part, name: str, value: Given) -> float:
    """The value in the input's own unit; Rejected says which input, what of it and what is taken."""
    known = KNOWN[part]
    where = f"{part}.{name[:TEXT_MAX]}"
    if name not in known:
        raise Rejected(_no_input(part, name), where, f"known are {', '.join(known)}")
    return number_of(known[name], value, where)


def number_of(one: Input, value: Given, where: str) -> float:
    """The same of an input that is in no table."""
    number = _number(one, value, where)
    if not one.low <= number <= one.high:
        raise Rejected(
            f"{number:g} {one.unit} is out of range", where,
            f"{one.low:g} to {one.high:g} {one.unit} ({one.about})",
        )  # fmt: skip
    return number


def _no_input(part: Part, name: str) -> str:
    if name in OUTPUTS:
        return f"{name} is what the model answers, not what it is asked with"
    near = difflib.get_close_matches(name[:TEXT_MAX], KNOWN[part], 1)
    other = next((p for p in KNOWN if p != part and name in KNOWN[p]), None)
    hint = f"; did you mean {near[0]}?" if near else f"; {other} has it" if other else ""
    return f"no input {name[:TEXT_MAX]!r}{hint}"


def _number(one: Input, value: Given, where: str) -> float:
    if isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in WORDS):
        if not one.has_words:
            raise Rejected(f"{value!r} is not a number", where, f"a number of {one.unit}")
        return float(value) if isinstance(value, bool) else WORDS[value.strip().lower()]
    if isinstance(value, str):
        return _with_unit(one, value, where)
    if not math.isfinite(value):
        raise Rejected("is not finite", where, f"a number of {one.unit}")
    if one.is_change and value >= 0:
        raise Rejected("has no sign, and this is a change", where, f'write "+{value:g} {one.unit}"')
    return float(value)


def _with_unit(one: Input, text: str, where: str) -> float:
    found = _NUMBER.match(text) if len(text) <= TEXT_MAX else None
    if found is None:
        words = ", or on or off" if one.has_words else ""
        raise Rejected(f"{text[:TEXT_MAX]!r} is not a number with a unit", where,
                       f'such as "{one.high:g} {one.unit}"{words}')  # fmt: skip
    sign, digits, unit = found.groups()
    number = float(digits) * (-1.0 if sign in ("-", "\u2212") else 1.0)
    if one.is_change and not sign:
        raise Rejected("has no sign, and this is a change", where, f'write "+{text.strip()}"')
    if not unit:
        return number
    given, wanted = parse_unit(unit, where), parse_unit(one.unit, where)
    if one.is_difference and given.is_scale:
        raise Rejected(f"{unit} has its own zero, and this is a difference", where,
                       f"write it in {given.amount.text}")  # fmt: skip
    if given.dimension != wanted.dimension:
        raise Rejected(f"{unit!r} does not measure {one.about}", where, f"write it in {one.unit}")
    if given.same_as(wanted):
        return number
    return (number * given.factor + given.zero - wanted.zero) / wanted.factor
