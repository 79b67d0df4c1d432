"""Alert machines: when an alert arises, stands and clears.

In: rows of samples already judged over, under or between the limits. Out: `Alert` messages.
Pure: time comes with the samples. Always holds: an alert arises after its persistence over the
onset and clears after its own under the clear limit; time without a sample neither raises nor
clears; more onsets than the cap in an hour, counted from the first, are counted, not sent. State
survives a restart and a change of bundles, by name and ESN; all of it fits one row of the outbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from shared.errors import Corrupt
from shared.messages import Alert
from shared.phases import Phase

BETWEEN, OVER, UNDER = 0, 1, 2
HOUR_NS = 3_600_000_000_000
STEP_MAX_NS = 3_000_000_000
"""The most that one sample adds to a persistence: the largest age a signal may have."""
STATES_MAX = 384  # of at most 130 bytes each, so that a snapshot is below STATE_BYTES_MAX
STATE_BYTES_MAX = 64 * 1024  # what the outbox keeps under a key
_IDLE = -1  # of `held_ns`: no persistence is running

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine needs of an exceedance or a monitor."""

    name: str
    fault_code: str
    severity: str
    onset: float
    clear: float
    high: bool
    persistence_ns: int
    clear_persistence_ns: int
    phases: tuple[str, ...]
    rate_per_hour_max: int
    hole_ns: int
    """A persistence starts over after so long without a sample."""
    esn: str = ""
    ata: str = ""
    signal: str = ""
    unit: str = ""
    bundle: str = ""
    latched: bool = False
    """Once standing it does not clear before `AlertBook.release`."""

    @property
    def key(self) -> str:
        return f"{self.name}-{self.esn}" if self.esn else self.name

    def classify(self, values: Float64) -> npt.NDArray[np.int8]:
        """OVER the onset, UNDER the clear limit (both in the sense of `high`), or BETWEEN."""
        over = values >= self.onset if self.high else values <= self.onset
        under = values <= self.clear if self.high else values >= self.clear
        return np.where(over, OVER, np.where(under, UNDER, BETWEEN)).astype(np.int8)


class AlertState(msgspec.Struct, array_like=True):
    """One alert instance. Times are event time, ns."""

    standing: bool = False
    sent: bool = False
    """The onset that stands was sent, not suppressed."""
    onset_ns: int = 0
    held_ns: int = _IDLE
    last_ns: int | None = None
    occurrences: int = 0
    suppressed: int = 0
    suppressed_since: int = 0
    """Suppressed since the last onset that was sent."""
    hour_ns: int = 0
    """The onset that began the hour in which the cap counts …"""
    hour_count: int = 0
    """… and how many were sent in it."""
    latched: bool = False
    """It may not clear yet."""

    @property
    def is_idle(self) -> bool:
        return not self.standing and self.held_ns == _IDLE


class AlertBook:
    """Every alert instance of the aircraft, by name and ESN."""

    def __init__(self) -> None:
        self._states: dict[str, AlertState] = {}

    def standing(self) -> list[str]:
        """Keys of the instances that stand."""
        return sorted(key for key, state in self._states.items() if state.standing)

    def snapshot(self) -> bytes:
        """MessagePack of the whole book."""
        return msgspec.msgpack.encode(self._states)

    def restore(self, data: bytes) -> None:
        """Take a snapshot's place; Corrupt when it is none."""
        try:
            if len(data) > STATE_BYTES_MAX:
                raise msgspec.DecodeError("over the cap")
            self._states = msgspec.msgpack.decode(data, type=dict[str, AlertState])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Corrupt(f"no alert states: {error}", "alert book", "starts empty") from None

    def release(self) -> None:
        """The period is over: what is latched may clear once its signal says so."""
        for state in self._states.values():
            state.latched = False

    def is_idle(self, rule: Rule) -> bool:
        """Nothing stands and no persistence is running."""
        state = self._states.get(rule.key)
        return state is None or state.is_idle

    def _make_room(self) -> bool:
        """For one more: the one that was idle the longest goes. False when all are in use."""
        if len(self._states) < STATES_MAX:
            return True
        idle = [(s.last_ns or 0, key) for key, s in self._states.items() if s.is_idle]
        if idle:
            del self._states[min(idle)[1]]
        return bool(idle)

    def judge(
        self,
        rule: Rule,
        t_ns: Int64,
        values: Float64,
        phase: Phase,
        trigger: Callable[[int], tuple[str, int] | None],
    ) -> list[Alert]:
        """Changes over usable samples in order of time. trigger: (group, counter) of sample i."""
        state = self._states.get(rule.key)
        if state is None:
            if not self._make_room():
                return []
            state = self._states[rule.key] = AlertState()
        alerts = []
        for i in _changes(rule, state, t_ns, values, phase):
            turn = _arise if state.standing else _clear
            alert = turn(rule, state, int(t_ns[i]), float(values[i]), phase, trigger(i))
            alerts += [alert] if alert else []
        return alerts


def _arise(
    rule: Rule, state: AlertState, t_ns: int, value: float, phase: Phase,
    trigger: tuple[str, int] | None,
) -> Alert | None:  # fmt: skip
    state.onset_ns, state.latched = t_ns, rule.latched
    state.occurrences += 1
    if not 0 <= t_ns - state.hour_ns < HOUR_NS or not state.hour_count:
        state.hour_ns, state.hour_count = t_ns, 0
    state.sent = state.hour_count < rule.rate_per_hour_max
    if state.sent:
        state.hour_count += 1
        state.suppressed_since = 0
        return _alert(rule, state, "onset", value, phase, trigger)
    state.suppressed += 1
    state.suppressed_since += 1
    if state.suppressed_since > 1:
        return None  # the first one said that the cap was reached
    return _alert(rule, state, "suppressed", value, phase, trigger)


def _clear(
    rule: Rule, state: AlertState, t_ns: int, value: float, phase: Phase,
    trigger: tuple[str, int] | None,
) -> Alert | None:  # fmt: skip
    if not state.sent:
        return None  # its onset was never told
    return _alert(rule, state, "clear", value, phase, trigger, clear_ns=t_ns)


def _changes(
    rule: Rule, state: AlertState, t_ns: Int64, values: Float64, phase: Phase
) -> Iterator[int]:
    """Walk the samples run by run; toggles `state.standing` and yields the index of each change."""
    n, kinds = len(t_ns), rule.classify(values)
    previous = t_ns[0] if state.last_ns is None else state.last_ns
    gap = np.diff(t_ns, prepend=previous)
    added = np.clip(gap, 0, STEP_MAX_NS)
    torn = gap > rule.hole_ns
    state.last_ns = int(t_ns[-1])
    inhibited = bool(rule.phases) and phase not in rule.phases
    i = 0
    while i < n:
        if inhibited and not state.standing:
            state.held_ns = _IDLE
            return
        if state.standing and state.latched:
            state.held_ns = _IDLE
            return
        hit = kinds[i:] == (UNDER if state.standing else OVER)
        if not hit[0] or torn[i]:
            state.held_ns = _IDLE
        if not hit.any():
            return
        start = i + int(np.argmax(hit))
        broken = ~hit[start - i + 1 :] | torn[start + 1 :]
        end = start + 1 + (int(np.argmax(broken)) if broken.any() else n - start - 1)
        held = np.cumsum(added[start:end])
        held += -added[start] if state.held_ns == _IDLE else state.held_ns
        wanted = rule.clear_persistence_ns if state.standing else rule.persistence_ns
        at = int(np.searchsorted(held, wanted))
        if at < len(held):
            state.standing, state.held_ns = not state.standing, _IDLE
            yield start + at
            i = start + at + 1
        else:
            state.held_ns = int(held[-1]) if end == n else _IDLE
            i = end


def _alert(
    rule: Rule,
    state: AlertState,
    change: Literal["onset", "clear", "suppressed"],
    value: float,
    phase: Phase,
    trigger: tuple[str, int] | None,
    clear_ns: int | None = None,
) -> Alert:
    return Alert(
        id=f"{rule.key}-{state.onset_ns}", name=rule.name, fault_code=rule.fault_code, change=change,
        severity=rule.severity, ata=rule.ata, onset_ns=state.onset_ns, clear_ns=clear_ns,
        signal=rule.signal, unit=rule.unit, value=value,
        threshold=rule.clear if change == "clear" else rule.onset,
        occurrences=state.occurrences, suppressed=state.suppressed, esn=rule.esn,
        bundle=rule.bundle, phase=phase, trigger=trigger,
    )  # fmt: skip
