"""Tells what was decided: one record a decision, with what the gate saw.

In: steps of offers and of the live set. Out: `UpdateDecision`s. Always holds: no step is told
before the gate was looked at.
"""

from __future__ import annotations

from collections.abc import Callable

from edge.update.decisions import (
    Decision,
    Origin,
    Step,
    UpdateDecision,
    UpdateReason,
    gate_reasons,
    named,
    seen_by,
)
from edge.update.gate import GateDecision
from edge.update.offers import Offer
from edge.update.verified import VerifiedSet
from edge.update.watch import GateWatch
from shared.clock import Clock

SWAPS = ("activated", "rolled_back")
"""Told with the gate that let them through: it may have shut before they could be told."""


class Teller:
    """record: takes each decision. wake: the gate opened again while a step was put off."""

    def __init__(
        self,
        gate: GateWatch,
        clock: Clock,
        record: Callable[[UpdateDecision], None],
        wake: Callable[[], None],
    ) -> None:
        self._gate, self._clock, self._record, self._wake = gate, clock, record, wake

    def stopped(self, offer: Offer, step: Step, answer: VerifiedSet | None = None) -> bool:
        """Whether the gate is shut now; if so the offer is deferred, and that is recorded."""
        return not self._gate.look().open and self.defer(offer, step, answer)

    def defer(self, offer: Offer, step: Step, answer: VerifiedSet | None = None) -> bool:
        by = self.stopped_by()
        reasons = gate_reasons(by) or (UpdateReason("gate", "the gate shut for a moment"),)
        self.tell(offer, step, "deferred", reasons, of=answer, is_pending=True, gate=by)
        if not self._gate.is_shut:
            self._wake()
        return True

    def stopped_by(self) -> GateDecision:
        """What keeps the gate shut; where that is over already, what shut it."""
        gate = self._gate.look()
        is_over = all(reason.code == "dwell" for reason in gate.reasons)
        return (self._gate.shut_by if is_over else None) or gate

    def tell(
        self,
        offer: Offer,
        step: Step,
        decision: Decision,
        reasons: tuple[UpdateReason, ...] = (),
        *,
        of: VerifiedSet | None = None,
        is_pending: bool = False,
        gate: GateDecision | None = None,
    ) -> UpdateDecision:
        bundles = () if of is None else of.bundles
        one = next(
            (b for b in bundles if b.target == offer.target), bundles[0] if bundles else None
        )
        return self.say(
            step, decision, reasons, origin=offer.origin, by=offer.by, bundle=offer.target,
            name=one.name if one else offer.target.rpartition("/")[0].rpartition("/")[2],
            release=one.release if one else 0, set_id=of.id if of else "", bundles=named(bundles),
            is_pending=is_pending, gate=gate,
        )  # fmt: skip

    def say(
        self,
        step: Step,
        decision: Decision,
        reasons: tuple[UpdateReason, ...] = (),
        *,
        bundle: str = "",
        name: str = "",
        release: int = 0,
        is_pending: bool = False,
        origin: Origin,
        by: str = "",
        set_id: str = "",
        to_set_id: str = "",
        bundles: tuple[str, ...] = (),
        gate: GateDecision | None = None,
    ) -> UpdateDecision:
        """gate: what it was decided on, where that is not the last look."""
        gate = gate or (self._gate.at_swap if decision in SWAPS else self._gate.last)
        assert gate is not None, "every step looks at the gate first"
        told = UpdateDecision(
            bundle=bundle, phase=gate.phase.value, step=step, decision=decision, reasons=reasons,
            is_pending=is_pending, name=name, release=release, t_ns=self._clock.wall_ns(),
            origin=origin, by=by, set_id=set_id, to_set_id=to_set_id, bundles=bundles,
            gate="open" if gate.open else "shut", inputs=seen_by(gate),
        )  # fmt: skip
        self._record(told)
        return told
