"""The flight machine: which period a record belongs to. Pure.

In: phase states with event time. Out: `Transition` values: close this period, open that one.
A period is a flight or a ground period; exactly one is open at any time. A flight opens at
off-block, and closes at in, at the next off, or at the next engine start after landing.
Always holds: the machine's state is one frozen value that is persisted with every change, so a
restart goes on with the same period; out, off, on and in of a flight are in this order, and in
one time: what was marked before the aircraft's clock went back is not kept.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edge.flight.phase import PhaseState
from shared.messages import Oooi
from shared.phases import AIRBORNE, Phase

TURN_S = 120.0  # on the ground for longer, without a known phase, is no touch-and-go; assumption
OFF_BLOCK = "off-block"
"""Why a flight was opened whose beginning was seen."""
ORDER = ("out_ns", "off_ns", "on_ns", "in_ns")


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
        self._airborne: bool | None = None

    def step(self, state: PhaseState, t_event_ns: int) -> Transition | None:
        """What this state does to the open period, if anything."""
        phase, before = state.phase, self._last_phase
        was = self._airborne
        if phase is not Phase.UNKNOWN:
            self._last_phase = phase
        if state.airborne is not None:
            self._airborne = state.airborne
        if self.period.kind == "ground":
            transition = self._on_ground(state, before, t_event_ns)
        else:
            transition = self._in_flight(state, before, was, t_event_ns)
        if self.period.kind == "flight":
            self._turn(state, was, t_event_ns)
            if state.airborne or phase in AIRBORNE or phase is Phase.LANDING:
                self._set(flew=True)
        if transition is None:
            return None
        return msgspec.structs.replace(transition, opened=self.period)

    def stop(self, t_event_ns: int) -> Transition | None:
        """An orderly stop: a ground period ends with it, a flight goes on at the next start."""
        if self.period.kind == "flight" or not t_event_ns:
            return None
        return self._switch("ground", t_event_ns, "orderly stop")

    def _on_ground(self, state: PhaseState, before: Phase, t_ns: int) -> Transition | None:
        """A ground period: leaving the stand, or being in the air, opens a flight."""
        phase = state.phase
        if phase is Phase.PARKED or (phase is Phase.UNKNOWN and not state.airborne):
            return None
        seen_out = before is Phase.PARKED and phase is Phase.TAXI_OUT
        where = "the air" if phase is Phase.UNKNOWN else phase.value
        why = OFF_BLOCK if seen_out else f"first seen in {where}"
        transition = self._switch("flight", t_ns, why)
        if seen_out:
            self._mark(out_ns=t_ns - round(state.phase_age_s * 1e9))
        return transition

    def _in_flight(
        self, state: PhaseState, before: Phase, was: bool | None, t_ns: int
    ) -> Transition | None:
        phase, has_landed = state.phase, self.period.oooi.on_ns is not None
        if phase is Phase.PARKED:
            self._mark(in_ns=t_ns - round(state.phase_age_s * 1e9))
            return self._switch("ground", t_ns, "in")
        if not has_landed:
            if phase is Phase.TAXI_IN and before not in (Phase.TAXI_IN, Phase.TAXI_OUT):
                self._mark(on_ns=t_ns)  # missed in an outage, and seen to be over
            if was is False and state.airborne and self.period.flew:
                return self._switch("flight", t_ns, "next off")  # it landed in an outage
            return None
        if state.airborne and self._is_next_leg(state, t_ns):
            return self._switch("flight", t_ns, "next off")
        return self._restart(state, t_ns)

    def _is_next_leg(self, state: PhaseState, t_ns: int) -> bool:
        """In the air again after landing: a new flight, unless it only touched and went."""
        if state.phase is not Phase.UNKNOWN:
            return state.phase is Phase.TAKEOFF
        on_ns = self.period.oooi.on_ns
        return on_ns is not None and t_ns - on_ns > TURN_S * 1e9

    def _restart(self, state: PhaseState, t_ns: int) -> Transition | None:
        """Engines stopped after landing and started again: the next flight's ground period."""
        if state.engines_running is False and not self.period.engines_stopped:
            self._set(engines_stopped=True)
        elif state.engines_running and self.period.engines_stopped:
            return self._switch("ground", t_ns, "next engine start")
        return None

    def _turn(self, state: PhaseState, was: bool | None, t_ns: int) -> None:
        """Left the ground, or came back to it: when the evidence began, not when it sufficed."""
        at_ns = t_ns - round(state.airborne_age_s * 1e9)
        if state.airborne is True and was is False:
            if self.period.oooi.on_ns is None and self.period.oooi.off_ns is None:
                self._mark(off_ns=at_ns)
            self._clear_landing()
        elif state.airborne is False and was is True and self.period.oooi.on_ns is None:
            self._mark(on_ns=at_ns)
        elif state.phase in AIRBORNE:
            self._clear_landing()

    def _clear_landing(self) -> None:
        """Touch and go: still the same flight."""
        if self.period.oooi.on_ns is not None:
            self._set(oooi=msgspec.structs.replace(self.period.oooi, on_ns=None))

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

    def _mark(self, **time: int) -> None:
        """One of the four times; earlier ones that would come after it were of another clock."""
        ((name, at_ns),) = time.items()
        times: dict[str, int | None] = {name: max(at_ns, 0)}
        for earlier in ORDER[: ORDER.index(name)]:
            known = getattr(self.period.oooi, earlier)
            times[earlier] = known if known is not None and known <= at_ns else None
        self._set(oooi=Oooi(**times))

    def _set(self, **changes: object) -> None:
        changed = msgspec.structs.replace(self.period, **changes)
        if changed != self.period:
            self.period = changed
