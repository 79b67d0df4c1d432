"""The kind `thermal-rc`: lumped heat capacities joined by thermal resistances.

In: a declaration. Out: its faults, or the arrays of the linear system it is.
Always holds: every node has one capacity; heat flows only between nodes and boundaries that are
declared; all temperatures of one model are in one unit, so that no scale is mixed. A network
that touches no boundary only gathers heat, and is refused unless it is declared integrating.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from shared.behaviour.dynamics import STATES_MAX, Float64, Parameter, Port, parameter_faults
from shared.behaviour.faults import Fault, from_rejected
from shared.behaviour.linear import Arrays
from shared.errors import Rejected
from shared.units import KELVIN, Unit, parse_unit

LINKS_MAX = 128
CAPACITY, RESISTANCE, POWER = (parse_unit(x) for x in ("J/K", "K/W", "W"))


class ThermalNode(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A body of one temperature; `initial` in the unit of the outputs."""

    name: str
    capacity: Parameter
    initial: float


class ThermalLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A resistance between two nodes, or a node and a boundary input."""

    between: tuple[str, str]
    resistance: Parameter


class HeatSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An input in W whose `share` heats a node."""

    input: str
    node: str
    share: Annotated[float, Meta(gt=0, le=1)] = 1.0


class ThermalRc(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind",
    tag="thermal-rc",
):  # fmt: skip
    """boundaries: inputs that are temperatures. outputs: output name to node."""

    nodes: tuple[ThermalNode, ...]
    links: tuple[ThermalLink, ...]
    sources: tuple[HeatSource, ...] = ()
    boundaries: tuple[str, ...] = ()
    outputs: dict[str, str]
    integrating: bool = False


def thermal_faults(
    model: ThermalRc, inputs: Sequence[Port], outputs: Sequence[Port], instances: int
) -> list[Fault]:
    """Names, units and numbers that do not fit."""
    if not 0 < len(model.nodes) <= STATES_MAX or len(model.links) > LINKS_MAX:
        what = f"{len(model.nodes)} nodes, {len(model.links)} links"
        return [Fault("size", "nodes", what, f"1 to {STATES_MAX} and at most {LINKS_MAX}")]
    faults = [*_port_faults(model, inputs, outputs), *_name_faults(model, inputs)]
    numbers = {f"{x.name}.capacity": (x.capacity, CAPACITY) for x in model.nodes}
    for i, link in enumerate(model.links, 1):
        numbers[f"link {i} ({' to '.join(link.between)})"] = (link.resistance, RESISTANCE)
    for place, (parameter, wanted) in numbers.items():
        faults += _number_faults(place, parameter, wanted, instances)
    return faults


def _number_faults(place: str, parameter: Parameter, wanted: Unit, instances: int) -> list[Fault]:
    faults = parameter_faults({place: parameter}, instances)
    try:
        unit = parse_unit(parameter.unit, place)
    except Rejected as error:
        return [*faults, from_rejected("unit", error)]
    if unit.dimension != wanted.dimension:
        faults.append(Fault("unit", place, f"is in {unit.text}, not in {wanted.text}"))
    values = parameter.value if isinstance(parameter.value, tuple) else (parameter.value,)
    if any(x <= 0 for x in values):
        faults.append(Fault("value", place, "is not above 0"))
    return faults


def _port_faults(model: ThermalRc, inputs: Sequence[Port], outputs: Sequence[Port]) -> list[Fault]:
    faults = []
    heats, temperatures = {x.input for x in model.sources}, set(model.boundaries)
    units = {f"output {x.name}": x.unit for x in outputs}
    units |= {f"boundary {x.name}": x.unit for x in inputs if x.name in temperatures}
    first = next(iter(units.values()), "K")
    for place, text in units.items():
        unit = parse_unit(text, place)
        if unit.dimension != KELVIN.dimension:
            faults.append(Fault("unit", place, f"is in {text}, no temperature"))
        elif text != first:
            what = f"is in {text}, others in {first}"
            faults.append(Fault("temperature", place, what, "one unit for all temperatures"))
    for port in inputs:
        if port.name in heats and not parse_unit(port.unit, port.name).same_as(POWER):
            faults.append(Fault("unit", f"source {port.name}", f"is in {port.unit}, not in W"))
        if port.name not in heats | temperatures:
            remedy = "make it a source or a boundary, or leave it out"
            faults.append(Fault("unknown name", f"input {port.name}", "is not used", remedy))
    for name in [x.name for x in outputs] + sorted(model.outputs):
        if name not in model.outputs or name not in {x.name for x in outputs}:
            what = "is not both a port and in behaviour.outputs"
            faults.append(Fault("no equation", f"output {name}", what))
    return faults


def _name_faults(model: ThermalRc, inputs: Sequence[Port]) -> list[Fault]:
    nodes, ports = [x.name for x in model.nodes], {x.name for x in inputs}
    faults = [
        Fault("name", f"node {x}", "is named twice") for x in set(nodes) if nodes.count(x) > 1
    ]
    faults += [Fault("name", f"node {x}", "is also an input") for x in nodes if x in ports]

    def need(place: str, name: str, known: set[str], what: str) -> None:
        if name not in known:
            faults.append(Fault("unknown name", place, f"{name!r} is no {what}"))

    for name in model.boundaries:
        need("boundaries", name, ports, "input")
    for i, link in enumerate(model.links, 1):
        for name in link.between:
            need(f"link {i}", name, {*nodes, *model.boundaries}, "node and no boundary")
        if link.between[0] == link.between[1] or not {*link.between} & {*nodes}:
            faults.append(Fault("name", f"link {i}", "joins no node with another place"))
    for source in model.sources:
        need(f"source {source.input}", source.input, ports, "input")
        need(f"source {source.input}", source.node, set(nodes), "node")
    for name, node in model.outputs.items():
        need(f"output {name}", node, set(nodes), "node")
    return faults


def thermal_arrays(
    model: ThermalRc, inputs: Sequence[str], outputs: Sequence[str], instances: int
) -> Arrays:
    """C dT/dt = sum (T_other - T) / R + sum P, as matrices."""
    nodes, names = [x.name for x in model.nodes], list(inputs)
    a = np.zeros((instances, len(nodes), len(nodes)))
    b = np.zeros((instances, len(nodes), len(names)))
    for link in model.links:
        conductance = 1.0 / _in_base(link.resistance, instances)
        for here, there in (link.between, link.between[::-1]):
            if here in nodes:
                i = nodes.index(here)
                a[:, i, i] -= conductance
                if there in nodes:
                    a[:, i, nodes.index(there)] += conductance
                else:
                    b[:, i, names.index(there)] += conductance
    for source in model.sources:
        b[:, nodes.index(source.node), names.index(source.input)] += source.share
    for i, node in enumerate(model.nodes):
        capacity = _in_base(node.capacity, instances)[:, None]
        a[:, i], b[:, i] = a[:, i] / capacity, b[:, i] / capacity
    c = np.zeros((len(outputs), len(nodes)))
    for row, name in enumerate(outputs):
        c[row, nodes.index(model.outputs[name])] = 1.0
    first = np.array([x.initial for x in model.nodes])
    d = np.zeros((len(outputs), len(names)))
    return Arrays(a, b, np.zeros((instances, len(nodes))), c, d, first)


def _in_base(parameter: Parameter, instances: int) -> Float64:
    """In SI: a number here names its own unit, so converting it hides nothing."""
    value = np.broadcast_to(np.asarray(parameter.value, float), instances)
    return value * parse_unit(parameter.unit).factor
