"""The flight machine: which period a record belongs to. Pure.

In: phase states with event time. Out: `Transition` values: close this period, open that one.
A period is a flight or a ground period; exactly one is open at any time. A flight opens at
off-block, and closes at in, at the next off, or at the next engine start after landing.
Always holds: the machine's state is one frozen value that is persisted with every change, so a
restart goes on with the same period.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edge.flight.phase import PhaseState
from shared.messages import Oooi
from shared.phases import AIRBORNE, Phase


class Period(msgspec.Struct, frozen=True):
    """The period that is open. serial: leg counter of flights, own counter of ground periods."""

    kind: Literal["flight", "ground"]
    serial: int
    opened_ns: int
    oooi: Oooi = Oooi()
    engines_stopped: bool = False
    """After touch-down, all engines were seen stopped."""
    flew: bool = False
    """It was seen in the air. A tow or a rejected take-off was not, and is a ground event."""

    def id(self, tail: str, epoch: str) -> str:
        """`B737-28001-3f9a1c-F00001`; the first six of the epoch keep a new store apart."""
        letter = "F" if self.kind == "flight" else "G"
        return f"{tail[:18]}-{epoch[:6]}-{letter}{self.serial % 100_000:05d}"


class Counters(msgspec.Struct, frozen=True):
    """Last serials given out."""

    leg: int = 0
    ground: int = 0


class Transition(msgspec.Struct, frozen=True):
    """Close `closed` at `at_ns` (event time) because of `why`, and open `opened`."""

    closed: Period
    opened: Period
    at_ns: int
    why: str


class FlightMachine:
    """`step` with each phase state; persist `period` and `counters` when they change."""

    def __init__(self, period: Period | None, counters: Counters, now_event_ns: int) -> None:
        self.counters = counters
        self.period = period or self._next("ground", now_event_ns)
        self._last_phase = Phase.UNKNOWN

    def step(self, state: PhaseState, t_event_ns: int) -> Transition | None:
        """What this state does to the open period, if anything."""
        phase, before = state.phase, self._last_phase
        if phase is Phase.UNKNOWN:
            return None
        self._last_phase = phase
        if self.period.kind == "ground":
            if phase is Phase.PARKED:
                return None
            transition = self._open_flight(state, before, t_event_ns)
            self._see_air(state)
            return msgspec.structs.replace(transition, opened=self.period)
        self._see_air(state)
        return self._in_flight(state, before, t_event_ns)

    def _see_air(self, state: PhaseState) -> None:
        if not self.period.flew and (state.phase in AIRBORNE or state.phase is Phase.LANDING):
            self.period = msgspec.structs.replace(self.period, flew=True)

    def stop(self, t_event_ns: int) -> Transition | None:
        """An orderly stop: a ground period ends with it, a flight goes on at the next start."""
        if self.period.kind == "flight" or not t_event_ns:
            return None
        return self._switch("ground", t_event_ns, "orderly stop")

    def _open_flight(self, state: PhaseState, before: Phase, t_ns: int) -> Transition:
        seen_out = before is Phase.PARKED
        airborne = state.phase in AIRBORNE
        why = "off-block" if seen_out else f"first seen in {state.phase}"
        transition = self._switch("flight", t_ns, why)
        out = t_ns if seen_out else None
        self.period = msgspec.structs.replace(self.period, oooi=Oooi(out_ns=out))
        if airborne and seen_out:
            self._mark(off_ns=t_ns)
        return msgspec.structs.replace(transition, opened=self.period)

    def _in_flight(self, state: PhaseState, before: Phase, t_ns: int) -> Transition | None:
        oooi, phase = self.period.oooi, state.phase
        if phase is Phase.PARKED:
            self._mark(in_ns=t_ns)
            return self._switch("ground", t_ns, "in")
        lifted = state.on_ground is False
        if oooi.on_ns is not None:
            if phase is Phase.TAKEOFF and lifted:
                transition = self._switch("flight", t_ns, "next off")
                self._mark(off_ns=t_ns)
                return msgspec.structs.replace(transition, opened=self.period)
            return self._restart(state, t_ns)
        if oooi.off_ns is None and lifted and before in (Phase.TAXI_OUT, Phase.TAKEOFF):
            self._mark(off_ns=t_ns)
        elif _touched_down(phase, before):
            self._mark(on_ns=t_ns)
        return None

    def _restart(self, state: PhaseState, t_ns: int) -> Transition | None:
        """Engines stopped after landing and started again: the next flight's ground period."""
        if state.engines_running is False and not self.period.engines_stopped:
            self.period = msgspec.structs.replace(self.period, engines_stopped=True)
        elif state.engines_running and self.period.engines_stopped:
            return self._switch("ground", t_ns, "next engine start")
        if state.phase in AIRBORNE:  # touch and go: still the same flight
            self.period = msgspec.structs.replace(
                self.period, oooi=msgspec.structs.replace(self.period.oooi, on_ns=None)
            )
        return None

    def _switch(self, kind: Literal["flight", "ground"], t_ns: int, why: str) -> Transition:
        closed = self.period
        if closed.kind == "flight" and not closed.flew:
            closed = msgspec.structs.replace(closed, kind="ground")
        self.period = self._next(kind, t_ns)
        return Transition(closed, self.period, t_ns, why)

    def _next(self, kind: Literal["flight", "ground"], t_ns: int) -> Period:
        if kind == "flight":
            self.counters = Counters(self.counters.leg + 1, self.counters.ground)
            return Period(kind, self.counters.leg, t_ns)
        self.counters = Counters(self.counters.leg, self.counters.ground + 1)
        return Period(kind, self.counters.ground, t_ns)

    def _mark(self, **times: int) -> None:
        oooi = msgspec.structs.replace(self.period.oooi, **times)
        self.period = msgspec.structs.replace(self.period, oooi=oooi)


def _touched_down(phase: Phase, before: Phase) -> bool:
    """A landing seen, or missed in an outage and seen to be over."""
    if phase is Phase.LANDING:
        return before in AIRBORNE
    return phase is Phase.TAXI_IN and before not in (Phase.TAXI_IN, Phase.TAXI_OUT)
