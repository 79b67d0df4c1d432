"""The kind `differential-equation`: right sides and outputs as equations with units.

In: a declaration. Out: its faults, or its dynamics at a rate.
Always holds: every state has exactly one equation and every output a value; equations are
parsed, never run; units are checked without conversion. Where the right sides are linear in
states and inputs the step is exact for held inputs, else classical Runge-Kutta of order 4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.behaviour.dimensions import UnitCheck, names_of
from shared.behaviour.dynamics import (
    STATES_MAX,
    Parameter,
    Port,
    parameter_faults,
)  # fmt: skip
from shared.behaviour.faults import Fault, from_rejected
from shared.behaviour.grammar import (
    CONSTANTS,
    FUNCTIONS,
    Equation,
    Node,
    parse_equation,
)  # fmt: skip
from shared.errors import Rejected
from shared.units import Unit, parse_unit

EQUATIONS_MAX, SUBSTEPS_MAX = 64, 64
RESERVED = {*FUNCTIONS, *CONSTANTS, "t", "dt"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}\Z")


class StateVariable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """clamp: the state stays in `valid`; else `valid` is where the step was checked."""

    name: str
    unit: str
    initial: float | tuple[float, ...]
    valid: tuple[float, float]
    clamp: bool = False


class DifferentialEquation(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind",
    tag="differential-equation",
):  # fmt: skip
    """`dX/dt = ...` for each state, `NAME = ...` for outputs and for parts of other equations."""

    states: tuple[StateVariable, ...]
    parameters: dict[str, Parameter] = {}
    equations: tuple[str, ...]
    substeps: Annotated[int, Meta(ge=1, le=SUBSTEPS_MAX)] = 1
    """Of one step, where the equations are not linear."""
    growth_per_s_max: Annotated[float, Meta(ge=0)] = 0.0
    """Fastest growth that is meant; 0 where nothing grows by itself."""


class System:
    """A declaration read: its equations in order of use, or its faults."""

    def __init__(
        self,
        model: DifferentialEquation,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        instances: int = 1,
    ) -> None:
        self.model = model
        self.inputs, self.outputs, self.instances = tuple(inputs), tuple(outputs), instances
        self.faults: list[Fault] = []
        self.units: dict[str, Unit] = {}
        self.rates: dict[str, Node] = {}
        self.definitions: dict[str, Node] = {}
        self.order: list[str] = []
        if len(model.equations) > EQUATIONS_MAX or len(model.states) > STATES_MAX:
            what = f"{len(model.equations)} equations of {len(model.states)} states"
            self._fault("size", "behaviour", what, f"at most {EQUATIONS_MAX} and {STATES_MAX}")
            return
        self.faults += parameter_faults(model.parameters, instances)
        self._declare()
        placed = self._read()
        self._sort()
        self._check_units(placed)

    def _fault(self, kind: Any, place: str, what: str, remedy: str = "") -> None:
        self.faults.append(Fault(kind, place, what, remedy))

    def _declare(self) -> None:
        """Units of inputs, states and parameters."""
        declared = [
            *((f"input {x.name}", x.name, x.unit) for x in self.inputs),
            *((f"state {x.name}", x.name, x.unit) for x in self.model.states),
            *((f"parameter {k}", k, x.unit) for k, x in self.model.parameters.items()),
        ]
        for place, name, unit in declared:
            if not _NAME.match(name) or name in RESERVED:
                self._fault("name", place, f"{name[:40]!r} cannot stand in an equation",
                            "letters, digits and _, and none of the functions")  # fmt: skip
            if name in self.units:
                self._fault("name", place, "is named twice")
            self._unit(place, name, unit)
        for state in self.model.states:
            self._state(state)

    def _unit(self, place: str, name: str, text: str) -> None:
        try:
            self.units[name] = parse_unit(text, place)
        except Rejected as error:
            self.faults.append(from_rejected("unit", error))

    def _state(self, state: StateVariable) -> None:
        low, high = state.valid
        first = state.initial if isinstance(state.initial, tuple) else (state.initial,)
        if len(first) not in (1, self.instances):
            what = f"{len(first)} initial values for {self.instances} instances"
            self._fault("size", f"state {state.name}", what)
        if not low < high or not all(low <= x <= high for x in first):
            what = f"initial {state.initial} is not in {low:g} to {high:g}"
            self._fault("range", f"state {state.name}", what)

    def _read(self) -> dict[str, str]:
        """Parse; the place of each equation by its target, `d` before a derivative's."""
        placed: dict[str, str] = {}
        states = {x.name for x in self.model.states}
        declared = {x.name for x in self.inputs} | set(self.model.parameters)
        for i, text in enumerate(self.model.equations, 1):
            try:
                found = parse_equation(text, f"equation {i}")
            except Rejected as error:
                self.faults.append(from_rejected("syntax", error))
                continue
            self._place(found, i, states, declared, placed)
        for name in sorted(states):
            if name not in self.rates:
                self._fault("no equation", f"state {name}", "has no equation for its derivative",
                            f"write d{name}/dt = ..., or declare it as a parameter")  # fmt: skip
        for port in self.outputs:
            if port.name not in self.definitions and port.name not in states:
                self._fault("no equation", f"output {port.name}", "is no state and has no equation",
                            f"write {port.name} = ...")  # fmt: skip
        return placed

    def _place(
        self, found: Equation, i: int, states: set[str], declared: set[str], placed: dict[str, str]
    ) -> None:
        name, table = found.target, self.rates if found.is_derivative else self.definitions
        label = f"d{name}/dt" if found.is_derivative else name
        place = f"equation {i} ({label})"
        if found.is_derivative and name not in states:
            self._fault("unknown name", place, f"{name!r} is no state", "declare the state")
        elif not found.is_derivative and name in states | declared:
            what = "a state: its equation is" if name in states else "already given:"
            self._fault("name", place, f"{name!r} is {what} d{name}/dt" if name in states
                        else f"{name!r} is an input or a parameter")  # fmt: skip
        elif not found.is_derivative and (name in RESERVED or not _NAME.match(name)):
            self._fault("name", place, f"{name[:40]!r} is not a name for a quantity")
        elif name in table:
            self._fault("name", place, "has two equations")
        else:
            table[name], placed[label] = found.right, place

    def _sort(self) -> None:
        """Definitions before their use; a loop is a fault."""
        done: set[str] = set()
        for first in self.definitions:
            trail: list[str] = []
            waiting = [(first, False)]
            while waiting:
                name, leaving = waiting.pop()
                if leaving:
                    trail.pop()
                    done.add(name)
                    self.order.append(name)
                elif name in trail:
                    loop = " uses ".join([*trail[trail.index(name) :], name])
                    self._fault("loop", f"equation of {name}", loop, "make one of them a state")
                    return
                elif name not in done:
                    trail.append(name)
                    waiting.append((name, True))
                    uses = {x.name for x in names_of(self.definitions[name])}
                    waiting += [(x, False) for x in sorted(uses & set(self.definitions) - done)]

    def _check_units(self, placed: Mapping[str, str]) -> None:
        outputs: dict[str, Unit] = {}
        for port in self.outputs:
            try:
                outputs[port.name] = parse_unit(port.unit, f"output {port.name}")
            except Rejected as error:
                self.faults.append(from_rejected("unit", error))
        for name in self.order:
            check = UnitCheck(self.units, placed[name], self.faults)
            if name in outputs:
                check.expect(self.definitions[name], outputs[name], name)
                self.units[name] = outputs[name]
            else:
                unit = check.unit(self.definitions[name])
                if unit is not None:
                    self.units[name] = unit
        for name, unit in outputs.items():
            if name in self.rates and name in self.units and not unit.same_as(self.units[name]):
                what = f"is {unit.text}, the state of that name {self.units[name].text}"
                self._fault("unit", f"output {name}", what)
        for name, node in self.rates.items():
            if name in self.units:
                check = UnitCheck(self.units, placed[f"d{name}/dt"], self.faults)
                check.expect_rate(node, name, self.units[name])
