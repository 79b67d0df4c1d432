"""Probation: whether a set that has just gone live may stay.

In: what its bundles predicted, deaths of the worker, and flights that begin and end. Out: which
bundles fail and why; whether the set passed. Pure.
Always holds: a set passes only by one whole flight, from off-block to its end, in which every
bundle of it predicted within range often enough; none counted is not a pass, and a bundle that
failed once does not pass any more. The state is a value: kept over restarts, the flight goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec
import numpy as np

from edge.models.step import NO_NUMBER, RESTARTED, ModelStep

NAMES_SAID = 4


class ProbationRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a bundle fails, and what a pass takes. Every figure is an assumption."""

    predictions_min: int = 60
    """So many predictions of one engine each within range, for a pass: one minute of one engine at
    1 Hz."""
    out_share_max: float = 0.05
    """More of `judged_min` or more out of range than this: the bundle fails."""
    judged_min: int = 600
    """Five minutes of two engines at 1 Hz: a start transient alone bars no model."""
    gross_share_max: float = 0.5
    """So wrong that `predictions_min` are enough to see it."""
    counted_max: int = 3600
    """Of so many, half an hour of two engines at 1 Hz, half are forgotten: hours within range do not
    excuse what comes after them."""
    not_finite_max: int = 0
    """An input in its range and no number from it: the bundle fails at the first one."""
    deaths_max: int = 2
    """Workers that may die between two off-blocks; the set was admitted, so one may be somebody
    else's fault, and one in a month is."""


class Tally(msgspec.Struct, frozen=True):
    """Predictions, one for each engine and step; the latest weigh most."""

    good: int = 0
    out: int = 0
    """Outside `Output.valid`."""
    not_finite: int = 0

    def __add__(self, more: Tally) -> Tally:
        return Tally(self.good + more.good, self.out + more.out, self.not_finite + more.not_finite)


class ProbationState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything there is to keep. names: all bundles of the set. fresh: those of them that the
    last known good set does not have. since_ns: wall clock. flight: the one that counts now."""

    set_id: str
    names: tuple[str, ...]
    fresh: tuple[str, ...]
    since_ns: int
    flight: str = ""
    flights: int = 0
    """Whole ones that were not enough."""
    tallies: dict[str, Tally] = {}
    deaths: int = 0
    failed: dict[str, str] = {}


class Probation:
    """`state` after each call is what to keep."""

    def __init__(self, state: ProbationState, rule: ProbationRule | None = None) -> None:
        self.state, self.rule = state, rule or ProbationRule()

    def took(self, name: str, tally: Tally) -> str:
        """One step of one bundle; why it fails now, or empty. A bundle fails once."""
        state = self.state
        if name not in state.names or name in state.failed or tally == Tally():
            return ""
        total = state.tallies.get(name, Tally()) + tally
        why = self._against(total)
        if total.good + total.out >= self.rule.counted_max:
            total = Tally(total.good // 2, total.out // 2, total.not_finite)
        self._set(tallies={**state.tallies, name: total})
        if why:
            self._set(failed={**state.failed, name: why})
        return why

    def worker_died(self, deaths: int, why: str) -> dict[str, str]:
        """Workers that died since the last look; the bundles that fail by it.

        One worker runs all of them: those that are new in this set are to blame.
        """
        state = self.state
        self._set(deaths=state.deaths + deaths)
        if deaths <= 0 or self.state.deaths <= self.rule.deaths_max:
            return {}
        text = f"the worker died {self.state.deaths} times, at last: {why}"
        fails = {n: text for n in state.fresh or state.names if n not in state.failed}
        self._set(failed={**state.failed, **fails})
        return fails

    def off_block(self, flight: str) -> None:
        """A flight begins, and its beginning was seen: from here on it counts."""
        self._set(flight=flight, tallies={}, deaths=0)

    def ended(self, flight: str, *, flew: bool) -> bool:
        """A period ended; whether the set passed by it."""
        if not flight or flight != self.state.flight:
            return False
        if flew and not self.state.failed and not any(self._lacking()):
            return True
        self._set(flight="", flights=self.state.flights + flew)
        return False

    def waits_for(self) -> str:
        """What a pass still takes, for people."""
        if self.state.failed:
            return "failed: it goes back to the last known good set when the gate is open"
        if not self.state.flight:
            return "the next whole flight"
        lacking = list(self._lacking())
        if not lacking:
            return "the end of this flight"
        more = f" and {len(lacking) - NAMES_SAID} more" if len(lacking) > NAMES_SAID else ""
        return "predictions in range of " + ", ".join(lacking[:NAMES_SAID]) + more

    def _lacking(self) -> Iterator[str]:
        for name in self.state.names:
            good = self.state.tallies.get(name, Tally()).good
            if good < self.rule.predictions_min:
                yield f"{name} ({good} of {self.rule.predictions_min})"

    def _against(self, total: Tally) -> str:
        if total.not_finite > self.rule.not_finite_max:
            return f"no number from good inputs, {total.not_finite} times"
        count, rule = total.good + total.out, self.rule
        limit = rule.out_share_max if count >= rule.judged_min else rule.gross_share_max
        if count >= rule.predictions_min and total.out > limit * count:
            share = total.out / count
            return f"{total.out} of {count} predictions out of range, {share:.1%} over {limit:.0%}"
        return ""

    def _set(self, **changes: object) -> None:
        self.state = msgspec.structs.replace(self.state, **changes)


def tally(step: ModelStep) -> Tally:
    """What one step of a bundle says of it."""
    rows = np.array([not reason for reason in step.reasons])
    not_finite = sum(reason in (NO_NUMBER, RESTARTED) for reason in step.reasons)
    if not rows.any():
        return Tally(not_finite=not_finite)
    predicted = step.predicted[rows]
    within = np.isfinite(predicted).all(axis=1)
    for column, port in enumerate(step.bundle.outputs):
        if not isinstance(port.valid, msgspec.UnsetType):
            low, high = port.valid
            within &= (predicted[:, column] >= low) & (predicted[:, column] <= high)
    good = int(within.sum())
    return Tally(good, len(predicted) - good, not_finite)


def resume(
    kept: ProbationState | None, set_id: str, names: Collection[str], fresh: Collection[str],
    failed: dict[str, str], now_ns: int,
) -> ProbationState:  # fmt: skip
    """The state of a set that is on probation: what was kept of it, or a new one.

    failed: what its slot says is muted, which outlives a lost outbox.
    """
    if kept is None or kept.set_id != set_id:
        kept = ProbationState(
            set_id=set_id, names=tuple(sorted(names)), fresh=tuple(sorted(fresh)), since_ns=now_ns
        )
    return msgspec.structs.replace(kept, failed={**failed, **kept.failed})
