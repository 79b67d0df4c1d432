"""What the kinds that are given as numbers and tables refuse, by name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shared.behaviour.examine import examine
from shared.behaviour.linear import Entry, StateSpace, TransferFunction
from shared.behaviour.machine import Condition, StateMachine, Transition, steps_of
from shared.behaviour.model import Behaviour, Model
from shared.behaviour.thermal import HeatSource, ThermalLink, ThermalNode, ThermalRc
from tests.fakes.graphs import held, number, play, port

VOLT_IN, VOLT_OUT = port("u", "V"), port("y", "V", -1e3, 1e3)
LAG = StateSpace(a=((-1.0,),), b=((1.0,),), c=((1.0,),))
HEAT = ThermalRc(
    nodes=(ThermalNode(name="case", capacity=number(100.0, "J/K"), initial=20.0),),
    links=(ThermalLink(between=("case", "amb"), resistance=number(2.0, "K/W")),),
    sources=(HeatSource(input="p", node="case"),), boundaries=("amb",), outputs={"t": "case"},
)  # fmt: skip
HEAT_IN, HEAT_OUT = (port("p", "W", 0, 50), port("amb", "Cel", -40, 60)), port("t", "Cel", -99, 999)
FAN = StateMachine(
    states=("off", "on"), initial="off", outputs={"y": {"off": 0.0, "on": 5.0}},
    conditions=(Condition(name="hot", quantity="u", unit="V", above=0.5, hysteresis=0.2),),
    transitions=(Transition(source="off", target="on", when=("hot",), holds_s=2.0),
                 Transition(source="on", target="off", when=("not hot",), after_s=3.0)),
)  # fmt: skip


def lag(num: tuple[float, ...], den: tuple[float, ...], **more: Any) -> TransferFunction:
    return TransferFunction(entries=(Entry(input="u", output="y", num=num, den=den),), **more)


def change(model: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(model, **changes)


def faults_of(kind: Behaviour, inputs: Any = (VOLT_IN,), outputs: Any = (VOLT_OUT,)) -> str:
    found = examine(Model(kind, inputs, outputs, 1.0))
    assert (found.compiled is None) == bool(found.faults)
    return "; ".join(str(x) for x in found.faults)


@pytest.mark.parametrize("kind", [LAG, lag((1,), (5, 1)), FAN])
def test_good_model_is_accepted(kind: Behaviour) -> None:
    assert faults_of(kind) == ""


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (change(LAG, a=((1.0,),)), "grows without bound"),
        (change(LAG, a=((0.0,),)), "declare integrating"),
        (change(LAG, a=((1.0,),), time="discrete"), "declare integrating"),
        (change(LAG, a=((1.1,),), time="discrete", integrating=True), "grows without bound"),
        (change(LAG, a=((0.0, 1.0), (-1.0, 0.0)), b=((0.0,), (1.0,)), c=((1.0, 0.0),)), "never forgets"),
        (change(LAG, b=((1.0, 2.0),)), "b: is not [1][1]"),
        (change(LAG, initial=(1.0, 2.0)), "2 values for 1 states"),
        (change(LAG, c=((float("inf"),),)), "no finite number"),
        (change(LAG, operating_point={"x": 1.0}), "'x' is no port"),
        (change(LAG, a=((-1e300,),)), "bring its numbers to a size"),
        (change(LAG, a=((1e4,),)), "grows beyond any number"),
        (lag((1, 0, 0), (5, 1)), "higher power of s"),
        (lag((1,), (0,)), "den is 0"),
        (lag((1,), (1, 0)), "declare integrating"),
        (lag((1,), (1, -1)), "grows without bound"),
        (lag((1,), (1,) * 10), "order 9"),
        (TransferFunction(entries=()), "no entry ends there"),
        (TransferFunction(entries=(Entry(input="v", output="y", num=(1,), den=(1, 1)),)), "not declared"),
        (change(FAN, initial="idle"), "'idle' is no state"),
        (change(FAN, transitions=FAN.transitions[:1]), ""),
        (change(FAN, transitions=FAN.transitions[1:]), "state on: is never reached"),
        (change(FAN, transitions=(Transition(source="off", target="on"),)), "a condition or a time"),
        (change(FAN, transitions=(Transition(source="off", target="on", when=("cold",)),)), "no condition"),
        (change(FAN, outputs={"y": {"off": 0.0}}), "one finite value for each state"),
        (change(FAN, outputs={"z": {"off": 0.0, "on": 1.0}}), "both a port"),
        (change(FAN, conditions=(change(FAN.conditions[0], unit="mV"),)), "its threshold, is mV"),
        (change(FAN, conditions=(change(FAN.conditions[0], below=1.0),)), "above or below"),
        (change(FAN, conditions=(change(FAN.conditions[0], quantity="u u"),)), "follows nothing"),
        (change(FAN, conditions=()), "0 conditions"),
    ],
)  # fmt: skip
def test_bad_model_is_refused_by_name(kind: Behaviour, words: str) -> None:
    found = faults_of(kind)
    assert words in found and bool(words) == bool(found)


def test_integrator_is_accepted_when_it_is_declared() -> None:
    assert faults_of(lag((1,), (1, 0), integrating=True)) == ""
    assert faults_of(lag((1,), (1, 0, 0), integrating=True)) == ""


def test_temperature_into_a_gain_needs_the_point_it_is_counted_from() -> None:
    ports = (port("u", "Cel", 0, 900),), (port("y", "Cel", -1e3, 1e3),)
    assert "has a zero of its own" in faults_of(lag((1,), (5, 1)), *ports)
    counted = lag((1,), (5, 1), operating_point={"u": 400.0, "y": 400.0})
    assert faults_of(counted, *ports) == ""
    got, _ = play(Model(counted, *ports, 1.0), held([(400.0,)], 5))
    assert got.ravel().tolist() == [400.0] * 5


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (HEAT, ""),
        (change(HEAT, boundaries=()), "'amb' is no node and no boundary"),
        (change(HEAT, links=()), "never forgets"),
        (change(HEAT, outputs={"t": "fin"}), "'fin' is no node"),
        (change(HEAT, outputs={}), "both a port"),
        (change(HEAT, sources=()), "input p: is not used"),
        (change(HEAT, nodes=HEAT.nodes * 2), "named twice"),
        (change(HEAT, links=(change(HEAT.links[0], between=("case", "case")),)), "joins no node"),
        (change(HEAT, links=(change(HEAT.links[0], resistance=number(2.0, "W/K")),)), "not in K/W"),
        (change(HEAT, links=(change(HEAT.links[0], resistance=number(0.0, "K/W")),)), "not above 0"),
        (change(HEAT, nodes=(change(HEAT.nodes[0], capacity=number(1.0, "Cel")),)), "not in J/K"),
    ],
)  # fmt: skip
def test_thermal_network_is_refused_by_name(kind: ThermalRc, words: str) -> None:
    found = faults_of(kind, HEAT_IN, (HEAT_OUT,))
    assert words in found and bool(words) == bool(found)


def test_thermal_temperatures_are_in_one_unit_and_heat_in_watt() -> None:
    assert "others in K" in faults_of(HEAT, HEAT_IN, (port("t", "K", 0, 999),))
    kilo = (port("p", "kW"), HEAT_IN[1])
    assert "is in kW, not in W" in faults_of(HEAT, kilo, (HEAT_OUT,))


def test_thermal_units_of_parameters_are_read() -> None:
    """Here a unit stands beside each number, so that kJ/K is no guess."""
    node = change(HEAT.nodes[0], capacity=number(0.1, "kJ/K"))
    rows = held([(10.0, 20.0)], 50)
    plain, _ = play(Model(HEAT, HEAT_IN, (HEAT_OUT,), 1.0), rows)
    kilo, _ = play(Model(change(HEAT, nodes=(node,)), HEAT_IN, (HEAT_OUT,), 1.0), rows)
    assert kilo == pytest.approx(plain, rel=1e-6)
    # one node by hand: 20 K above ambient at rest, with a time constant of 200 s
    assert plain[-1, 0, 0] == pytest.approx(20 + 20 * (1 - 2.718281828 ** (-49 / 200)), abs=1e-4)


def test_dwell_and_hysteresis_of_a_machine_by_hand() -> None:
    levels = [0.6, 0.2, 0.6, 0.6, 0.4, 0.4, 0.2, 0.2, 0.2]
    got, _ = play(Model(FAN, (VOLT_IN,), (VOLT_OUT,), 1.0), held([(x,) for x in levels], 9))
    # Hot from the third sample on (0.4 is inside the hysteresis), two steps later it is on; not
    # hot from the seventh, and on for three steps by the eighth.
    assert got[:, 0, 0].tolist() == [0, 0, 0, 0, 5, 5, 5, 0, 0]


@pytest.mark.parametrize(("seconds", "steps"), [(0, 0), (0.25, 1), (0.3, 2), (1.0, 4), (0.75, 3)])
def test_times_are_rounded_up_to_whole_steps(seconds: float, steps: int) -> None:
    assert steps_of(seconds, 4.0) == steps
