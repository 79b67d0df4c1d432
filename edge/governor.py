"""The governor: what the edge gives up, and in which order, to stay in its computer's budget.

In: what all processes aboard used over a window, and the budget of the profile. Out: at most one
step shed or restored, with its reason. Always holds: steps go in the order of LADDER, those that
help against what is exceeded; alerts, and the recording of groups that a gate, a monitor or an
alert rests on, are no step of it; a measure is over budget for `enter_s` before a step goes and
below `calm_ratio` of it for `leave_s` before one comes back; what is not measured neither sheds
nor restores. Pure: no I/O, no clock of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from shared.profile import ComputeProfile

Measure = Literal["cpu", "memory", "storage", "lag"]
Step = Literal["models", "bulk_2", "bulk_5", "kpis"]

LAG_MS_MAX = 40.0
"""Mean lateness of the tick over a window. An alert may take 100 ms from reading to durable;
this leaves more than half of it (assumption)."""


class Rung(msgspec.Struct, frozen=True):
    """One step, and the measures that it relieves: nothing is given up where it does not help."""

    step: Step
    relieves: frozenset[Measure]


LADDER: tuple[Rung, ...] = (
    Rung("models", frozenset({"cpu", "memory", "lag"})),
    Rung("bulk_2", frozenset({"cpu", "storage", "lag"})),
    Rung("bulk_5", frozenset({"cpu", "storage", "lag"})),
    Rung("kpis", frozenset({"cpu", "storage", "lag"})),
)
"""Bundles that can raise no alert; every 2nd, then every 5th reading of bulk groups; KPIs."""

STEPS: tuple[Step, ...] = tuple(rung.step for rung in LADDER)
UNITS: Mapping[Measure, str] = {
    "cpu": "% of one core", "memory": "MB", "storage": "MB", "lag": "ms",
}  # fmt: skip

Figures = Mapping[Measure, float]
"""By measure; one that is absent was not measured, or has no bound."""


class Hysteresis(msgspec.Struct, frozen=True, kw_only=True):
    """s of wall time; assumptions: longer than a child that checks a bundle lives (a few s), and
    than a burst of the link; shorter than what fills a memory or a disk."""

    enter_s: float = 15.0
    leave_s: float = 60.0
    calm_ratio: float = 0.8
    patience_max: int = 16
    """A step that had to go again soon after it came back waits 2, 4, … 16 times `leave_s`."""


RULE = Hysteresis()


@dataclass(frozen=True, slots=True)
class GovernorState:
    """shed: in the order of LADDER. The times are of the monotonic clock, ns."""

    shed: tuple[Step, ...] = ()
    over_since_ns: Mapping[Measure, int] = field(default_factory=dict)
    calm_since_ns: Mapping[Measure, int] = field(default_factory=dict)
    changed_ns: int | None = None
    restored_ns: Mapping[Step, int] = field(default_factory=dict)
    patience: Mapping[Step, int] = field(default_factory=dict)
    is_exhausted: bool = False
    """Over budget with nothing left to shed."""
    exhausted_ns: int | None = None
    """When that was told last."""


class Action(msgspec.Struct, frozen=True):
    """What changed. `exhausted`: over budget, and nothing that helps is left; step is empty."""

    decision: Literal["shed", "restored", "exhausted"]
    step: Step | Literal[""]
    reasons: tuple[str, ...]


def budget_of(compute: ComputeProfile, *, is_paced: bool) -> dict[Measure, float]:
    """The bounds of a profile. is_paced: the flight clock runs at a rate of its own, on a bench;
    what that costs says nothing of an aircraft, so CPU and lag are not judged then."""
    budget: dict[Measure, float] = {
        "memory": compute.memory_mb_max, "storage": compute.storage_mb_max,
    }  # fmt: skip
    return budget if is_paced else budget | {"cpu": compute.cpu_percent_max, "lag": LAG_MS_MAX}


def decide(
    measured: Figures, budget: Figures, state: GovernorState, now_ns: int,
    rule: Hysteresis = RULE, able: Collection[Step] = STEPS,
) -> tuple[GovernorState, Action | None]:  # fmt: skip
    """One look. able: the steps that have something to shed here."""
    state = _watch(measured, budget, state, now_ns, rule)
    if state.changed_ns is not None and now_ns - state.changed_ns < rule.enter_s * 1e9:
        return state, None  # what the last step changed has to show first
    pressing = [
        m for m, since in state.over_since_ns.items() if now_ns - since >= rule.enter_s * 1e9
    ]
    if pressing:
        return _shed(pressing, measured, budget, state, now_ns, rule, able)
    if not state.over_since_ns:
        return _restore(budget, state, now_ns, rule)
    return state, None


def _watch(
    measured: Figures, budget: Figures, state: GovernorState, now_ns: int, rule: Hysteresis
) -> GovernorState:
    """Since when each measure is over its bound, and since when it is calm."""
    over, calm = dict(state.over_since_ns), dict(state.calm_since_ns)
    for measure, bound in budget.items():
        value = measured.get(measure)
        if value is None or value <= bound:
            over.pop(measure, None)
        else:
            over.setdefault(measure, now_ns)
        if value is None or value >= rule.calm_ratio * bound:
            calm.pop(measure, None)
        else:
            calm.setdefault(measure, now_ns)
    return replace(state, over_since_ns=over, calm_since_ns=calm)


def _shed(
    pressing: Collection[Measure], measured: Figures, budget: Figures, state: GovernorState,
    now_ns: int, rule: Hysteresis, able: Collection[Step],
) -> tuple[GovernorState, Action | None]:  # fmt: skip
    reasons = tuple(
        f"{m} is {measured[m]:.4g} {UNITS[m]}, at most {budget[m]:.4g}, "
        f"for {(now_ns - state.over_since_ns[m]) / 1e9:.0f} s"
        for m in pressing
    )
    soon_ns = rule.patience_max * rule.leave_s * 1e9
    for rung in LADDER:
        step = rung.step
        if step not in able or step in state.shed or rung.relieves.isdisjoint(pressing):
            continue
        came_back_ns = state.restored_ns.get(step)
        soon = came_back_ns is not None and now_ns - came_back_ns < soon_ns
        patience = min(rule.patience_max, 2 * state.patience.get(step, 1)) if soon else 1
        shed = tuple(s for s in STEPS if s in state.shed or s == step)
        patience_by_step = {**state.patience, step: patience}
        state = replace(state, shed=shed, changed_ns=now_ns, patience=patience_by_step)
        return state, Action("shed", step, reasons)
    told_ns = state.exhausted_ns
    if told_ns is not None and now_ns - told_ns < soon_ns:
        return replace(state, is_exhausted=True), None
    state = replace(state, is_exhausted=True, exhausted_ns=now_ns)
    return state, Action("exhausted", "", reasons)


def _restore(
    budget: Figures, state: GovernorState, now_ns: int, rule: Hysteresis
) -> tuple[GovernorState, Action | None]:
    """The last step of the ladder whose measures have all been calm for long enough."""
    state = replace(state, is_exhausted=False)
    for rung in reversed(LADDER):
        if rung.step not in state.shed:
            continue
        wait_ns = rule.leave_s * state.patience.get(rung.step, 1) * 1e9
        since = [state.calm_since_ns.get(m, now_ns) for m in rung.relieves if m in budget]
        since.append(state.changed_ns or 0)
        if now_ns - max(since) >= wait_ns:
            return replace(
                state, shed=tuple(s for s in state.shed if s != rung.step), changed_ns=now_ns,
                restored_ns={**state.restored_ns, rung.step: now_ns},
            ), Action("restored", rung.step, (_calm(rung, budget, rule),))  # fmt: skip
    return state, None


def _calm(rung: Rung, budget: Figures, rule: Hysteresis) -> str:
    names = ", ".join(sorted(m for m in rung.relieves if m in budget))
    return f"{names} below {100 * rule.calm_ratio:g} % of the budget for {rule.leave_s:g} s or more"


def bulk_factor(shed: Collection[Step]) -> int:
    """Every which reading of a bulk group is recorded."""
    return 5 if "bulk_5" in shed else 2 if "bulk_2" in shed else 1
