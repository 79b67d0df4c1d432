"""State machines against a plain interpreter, tables against scipy.

The machine's graph agrees exactly: its counts and its one-hot state are whole numbers. A table
stays within 3e-6 of the size of its values.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from shared.behaviour.kinds import Axis, Column, LookupTable
from shared.behaviour.machine import Condition, StateMachine, Transition
from shared.behaviour.model import Model
from tests.fakes.graphs import number, play, port

STATES = ("off", "arming", "on", "fault")
RATE_HZ = 4.0

conditions = st.builds(
    lambda name, quantity, level, is_above, hysteresis: Condition(
        name=name, quantity=quantity, unit="V", hysteresis=hysteresis,
        **{"above" if is_above else "below": level},
    ),
    st.just("?"), st.sampled_from(["u", "v", "u - v", "gain * u"]), st.integers(-3, 3).map(float),
    st.booleans(), st.sampled_from([0.0, 1.0, 2.5]),
)  # fmt: skip


@st.composite
def machines(draw: st.DrawFn) -> StateMachine:
    found = draw(st.lists(conditions, min_size=1, max_size=4))
    named = tuple(
        Condition(**{**{k: getattr(c, k) for k in c.__struct_fields__}, "name": f"c{i}"})
        for i, c in enumerate(found)
    )
    literals = st.sampled_from([p + c.name for c in named for p in ("", "not ")])
    seconds = st.sampled_from([0.0, 0.25, 0.3, 1.0])
    moves = [
        Transition(source=a, target=b, when=(draw(literals),), holds_s=draw(seconds))
        for a, b in itertools.pairwise(STATES)
    ]
    moves += draw(
        st.lists(
            st.builds(
                Transition, source=st.sampled_from(STATES), target=st.sampled_from(STATES),
                when=st.lists(literals, min_size=1, max_size=3).map(tuple), holds_s=seconds,
                after_s=seconds,
            ), max_size=5,
        )
    )  # fmt: skip
    moves = draw(st.permutations(moves))
    values = {s: float(i) for i, s in enumerate(STATES)}
    return StateMachine(
        states=STATES, initial="off", conditions=named, transitions=tuple(moves),
        outputs={"y": values}, parameters={"gain": number((1.0, -0.5), "1")},
    )  # fmt: skip


def interpret(machine: StateMachine, rows: Any, gain: float) -> list[float]:
    """By the words of the documentation: one condition, one transition, one clock at a time."""
    here, entered = machine.initial, 0
    truth = {c.name: False for c in machine.conditions}
    since: dict[int, int | None] = dict.fromkeys(range(len(machine.transitions)))
    found = []
    for step, (u, v) in enumerate(rows):
        for c in machine.conditions:
            value = {"u": u, "v": v, "u - v": u - v, "gain * u": gain * u}[c.quantity]
            if c.above is not None:
                truth[c.name] = value > c.above - (c.hysteresis if truth[c.name] else 0)
            else:
                assert c.below is not None
                truth[c.name] = value < c.below + (c.hysteresis if truth[c.name] else 0)
        chosen = None
        for i, move in enumerate(machine.transitions):
            wanted = [(x.removeprefix("not "), not x.startswith("not ")) for x in move.when]
            if move.source == here and all(bool(truth[name]) == sense for name, sense in wanted):
                first = since[i]
                first = since[i] = step if first is None else first
                held = step - first >= math.ceil(move.holds_s * RATE_HZ)
                if held and step - entered >= math.ceil(move.after_s * RATE_HZ):
                    chosen = move if chosen is None else chosen
            else:
                since[i] = None
        if chosen is not None:
            here, entered = chosen.target, step
            since = dict.fromkeys(since)
        found.append(float(machine.states.index(here)))
    return found


@settings(max_examples=60, deadline=None)
@given(machines(), st.integers(0, 2**32 - 1))
def test_graph_agrees_with_a_plain_interpreter(machine: StateMachine, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Eighths are exact in float32, so that a threshold is met in both or in neither.
    rows = np.round(np.cumsum(rng.normal(scale=0.8, size=(60, 2, 2)), axis=0) * 8) / 8
    rows[rng.random(60) < 0.05] = 3.0
    model = Model(machine, (port("u", "V"), port("v", "V")), (port("y"),), RATE_HZ, 2)
    got, last = play(model, rows)
    for e, gain in enumerate((1.0, -0.5)):
        assert got[:, e, 0].tolist() == interpret(machine, rows[:, e], gain)
    assert last["state"].sum(axis=1).tolist() == [1.0, 1.0]
    assert set(np.ravel(last["state"])) <= {0.0, 1.0}


def test_value_that_is_no_number_makes_no_condition_true() -> None:
    machine = StateMachine(
        states=("a", "b"), initial="a", outputs={"y": {"a": 0.0, "b": 1.0}},
        conditions=(Condition(name="hot", quantity="u", unit="V", above=1.0),),
        transitions=(Transition(source="a", target="b", when=("hot",)),),
    )  # fmt: skip
    got, last = play(Model(machine, (port("u", "V"),), (port("y"),), 1.0), [[[np.nan]], [[2.0]]])
    assert got[:, 0, 0].tolist() == [0.0, 1.0]
    assert np.isfinite(last["state"]).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 2))
def test_table_agrees_with_scipy(seed: int, axes: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    points = [np.cumsum(rng.uniform(0.1, 3, size=rng.integers(2, 6))) - 4 for _ in range(axes)]
    values = rng.normal(scale=100, size=(2, columns, int(np.prod([len(p) for p in points]))))
    names = [f"x{i}" for i in range(axes)]
    outs = [f"y{i}" for i in range(columns)]
    # a corrected flow where theta and delta are 1 is the table's own value
    kind = LookupTable(
        (), tuple(Axis(n, tuple(p.tolist())) for n, p in zip(names, points, strict=True)),
        tuple(Column(o, "kg/h", "flow_from_corrected", ("one", "one")) for o in outs),
        tuple(tuple(tuple(v.tolist()) for v in e) for e in values),
    )  # fmt: skip
    ports = (*(port(n, low=-9, high=20) for n in names), port("one"))
    rows = rng.uniform(-6, 10, size=(20, 2, axes + 1))
    rows[:, :, -1] = 1.0
    rows = rows.astype(np.float32).astype(float)
    got, _ = play(Model(kind, ports, tuple(port(o, "kg/h") for o in outs), 1.0, 2), rows)
    for e in range(2):
        for c in range(columns):
            grid = values[e, c].reshape([len(p) for p in points])
            inside = [np.clip(rows[:, e, i], p[0], p[-1]) for i, p in enumerate(points)]
            wanted = RegularGridInterpolator(points, grid)(np.stack(inside, axis=1))
            assert np.abs(got[:, e, c] - wanted).max() <= 3e-6 * np.abs(grid).max()
