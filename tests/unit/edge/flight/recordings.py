"""The example recording as rows of roles, to be edited into odd ones, and what becomes of them.

A row is one second. Most of climb, cruise and descent is cut out, so altitude jumps there.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path

from edge.flight.flights import Counters, FlightMachine, Period, Transition
from edge.flight.phase import PhaseInputs, PhaseMachine, PhaseState
from edge.situation import ENGINES, PHASE_FLAGS, PHASE_NUMBERS
from edge.update.gate import GATE_ROLES, Gate, GateInputs, GateRule, Observation
from shared.phases import Confidence, Phase
from shared.quality import Quality

EXAMPLE = Path(__file__).parents[4] / "examples" / "first_recording"
S = 1_000_000_000
T0_NS = 1_767_225_600 * S
CUTS = ((520, 820), (1000, 1480), (1600, 2040))  # most of climb, cruise and descent
OUT, OFF, CRUISE, DESCENT, APPROACH, ON, TAXI_IN, BLOCK, END = (
    157, 327, 547, 722, 887, 1124, 1151, 1261, 1460,
)  # fmt: skip
Row = dict[str, float | None]
GROUND_PHASES = {Phase.PARKED, Phase.TAXI_OUT, Phase.TAXI_IN}
POSSIBLE = {
    Phase.PARKED: {Phase.TAXI_OUT},
    Phase.TAXI_OUT: {Phase.PARKED, Phase.TAKEOFF},
    Phase.TAKEOFF: {Phase.CLIMB, Phase.TAXI_OUT},
    Phase.CLIMB: {Phase.CRUISE, Phase.DESCENT, Phase.LANDING},
    Phase.CRUISE: {Phase.CLIMB, Phase.DESCENT, Phase.LANDING},
    Phase.DESCENT: {Phase.CLIMB, Phase.CRUISE, Phase.APPROACH, Phase.LANDING},
    Phase.APPROACH: {Phase.CLIMB, Phase.CRUISE, Phase.LANDING},
    Phase.LANDING: {Phase.CLIMB, Phase.TAXI_IN},
    Phase.TAXI_IN: {Phase.PARKED, Phase.TAKEOFF},
}  # fmt: skip
"""What may follow what; `unknown` may come before and after any."""


@cache
def _rows() -> tuple[tuple[tuple[str, float | None], ...], ...]:
    data = tomllib.loads((EXAMPLE / "signals.toml").read_text())
    low = {s["name"] for g in data["group"] for s in g["signal"] if s.get("true_is") == "low"}
    with (EXAMPLE / "recording.csv").open() as file:
        every = list(csv.DictReader(file))
    some = [row for i, row in enumerate(every) if not any(a <= i < b for a, b in CUTS)][:END]
    return tuple(
        tuple(
            (role, None if not row[name] else
             1.0 - float(row[name]) if name in low else float(row[name]))
            for role, name in data["roles"].items()
        )
        for row in some
    )  # fmt: skip


def rows(first: int = 0, last: int | None = None) -> list[Row]:
    """Rows [first, last) of the example, by role; discretes 1 for true."""
    return [dict(row) for row in _rows()[first:last]]


def edit(
    some: list[Row], first: int, last: int, **values: float | Callable[[int], float | None] | None
) -> list[Row]:
    """Rows with roles set in [first, last); a function gets the row's number."""
    edited = [dict(row) for row in some]
    for i in range(first, min(last, len(edited))):
        for role, value in values.items():
            edited[i][role] = value(i) if callable(value) else value
    return edited


def frozen(some: list[Row], at: int, *roles: str) -> list[Row]:
    """Rows in which roles keep the value they have at row `at`, for good."""
    return edit(some, at, len(some), **{role: some[at][role] for role in roles})


def only(some: list[Row], *roles: str) -> list[Row]:
    """Rows of an aircraft whose signal set binds nothing else."""
    return [{role: row.get(role) for role in roles} for row in some]


def phase_inputs(row: Row) -> PhaseInputs:
    numbers = {role: row.get(role) for role in PHASE_NUMBERS}
    flags = {
        role: None if row.get(role) is None else row[role] == 1.0 for role in PHASE_FLAGS
    }  # fmt: skip
    engines = tuple(n for n in ENGINES if f"n1_{n}" in row or f"n2_{n}" in row)
    dark = tuple(
        n for n in engines if row.get(f"n2_{n}") is None and row.get(f"eec_power_{n}") == 0.0
    )
    has_speed = "airspeed_kt" in row or "ground_speed_kt" in row
    return PhaseInputs(
        **numbers,
        **flags,
        engines=engines,
        unpowered=dark,
        has_speed=has_speed,  # type: ignore[arg-type]
    )


def gate_inputs(row: Row) -> GateInputs:
    def observed(value: float | None) -> Observation:
        return Observation(value, Quality.NO_DATA if value is None else Quality.GOOD, 0)

    return GateInputs(**{role: observed(row[role]) for role in GATE_ROLES if role in row})


@dataclass
class Story:
    """What the machines made of a recording."""

    states: list[PhaseState] = field(default_factory=list)
    turns: list[Transition] = field(default_factory=list)
    gates: list[bool] = field(default_factory=list)
    reasons: list[set[str]] = field(default_factory=list)
    last: Period | None = None

    @property
    def phases(self) -> list[Phase]:
        """Each once, in order."""
        seen = [state.phase for state in self.states]
        return [p for i, p in enumerate(seen) if i == 0 or p is not seen[i - 1]]

    @property
    def known(self) -> list[Phase]:
        """The same without `unknown`."""
        seen = [p for p in self.phases if p is not Phase.UNKNOWN]
        return [p for i, p in enumerate(seen) if i == 0 or p is not seen[i - 1]]

    @property
    def flights(self) -> list[Period]:
        """That flew, closed ones first; the last may be open."""
        periods = [turn.closed for turn in self.turns] + ([self.last] if self.last else [])
        return [period for period in periods if period.kind == "flight"]

    def times(self, index: int = 0) -> tuple[float | None, ...]:
        """Out, off, on, in of a flight, s of the recording."""
        oooi = self.flights[index].oooi
        return tuple(
            None if at is None else (at - T0_NS) / S
            for at in (oooi.out_ns, oooi.off_ns, oooi.on_ns, oooi.in_ns)
        )

    def opened(self, first: int = 0, last: int | None = None) -> bool:
        """Whether the gate was open in any of these rows."""
        return any(self.gates[first:last])

    def phase_at(self, row: int) -> Phase:
        return self.states[row].phase


def run(
    some: Sequence[Row], times_s: Sequence[float] | None = None,
    events_s: Sequence[float] | None = None,
) -> Story:  # fmt: skip
    """The machines over rows, one look a row. times_s: of the flight clock; events_s: of the
    recording's own time."""
    story, machine, gate = Story(), PhaseMachine(), Gate(GateRule())
    flights = FlightMachine(None, Counters(), 0)
    for i, row in enumerate(some):
        now_ns = round((i if times_s is None else times_s[i]) * S)
        t_ns = T0_NS + round((i if events_s is None else events_s[i]) * S)
        state = machine.step(now_ns, phase_inputs(row))
        turn = flights.step(state, t_ns)
        decision = gate.step(
            now_ns, gate_inputs(row), state.phase, state.confidence, state.contradictions
        )
        story.states.append(state)
        story.turns += [turn] if turn else []
        story.gates.append(decision.open)
        story.reasons.append({reason.code for reason in decision.reasons})
    story.last = flights.period
    check(story)
    return story


def check(story: Story) -> None:
    """What holds of every recording, however odd."""
    for before, after in pairwise(story.phases):
        if Phase.UNKNOWN not in (before, after):
            assert after in POSSIBLE[before], (before, after)
    for state, is_open in zip(story.states, story.gates, strict=True):
        if is_open:
            assert state.phase is Phase.PARKED and state.confidence is Confidence.HIGH
            assert not state.contradictions and state.on_ground and not state.moving
        if state.phase is Phase.UNKNOWN:
            assert state.confidence is Confidence.NONE
    for period in story.flights:
        known = [getattr(period.oooi, f"{name}_ns") for name in ("out", "off", "on", "in")]
        marked = [at for at in known if at is not None]
        assert marked == sorted(marked)
