"""The update session: from an offer to a live set and back, one step after another.

In: offers, gate decisions, acceptances of a technician, and what is due to go back. Out: an
`UpdateDecision` for every step that decided something; and, when all agree, a new live slot.
Always holds: the gate is asked at the offer, before the download, before the activation and
inside the swap; its closing stops an attempt at any step with the live slot untouched. A swap back
waits for the gate like any other, and comes before anything new; a set on probation is left for the
last known good one before a slot is filled, so that a proven set is always in one of them. An offer
that only the gate, the network or a technician stands against stays pending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from edge.models.admission import AdmissionResult
from edge.update.active import SlotName
from edge.update.decisions import (
    Decision,
    Origin,
    Step,
    UpdateDecision,
    UpdateReason,
    gate_reasons,
    named,
)
from edge.update.gate import GateDecision
from edge.update.memory import Awaited, BackDue, UpdateMemory
from edge.update.offers import WHATEVER, Offer, Offers
from edge.update.slots import BundleSet, Slots, SlotsView
from edge.update.teller import Teller
from edge.update.verified import FetchAnswer, FetchFailure, VerifiedBundle, VerifiedSet
from edge.update.watch import GateWatch
from edge.update.wayback import Load, WayBack, to_its_end
from shared.clock import Clock
from shared.errors import Corrupt, Rejected, TailTwinError

RETRY_S = 15.0  # doubled at each attempt; assumption: the stand's link is back within minutes
BEAT_S = 30.0  # an idle client looks up this often
ACCEPTED_MAX = 8
LOOK_START_S, LOOK_AGAIN_S = 60.0, 3600.0
"""Unasked looks begin so long after the start, for notices come first, and are so far apart."""

Fetch = Callable[[str, SlotsView], Awaitable[FetchAnswer]]
Admit = Callable[[VerifiedBundle], Awaitable[AdmissionResult]]


class UpdateClient:
    """Drives updates beside the recorder's loop; nothing here blocks it.

    fetch: see `FetchChild`. admit: judges a verified file in a child. load: makes the worker use
    a live set, and says what stands against it, or nothing. ask: looks at the gate now, with
    fresh inputs; called on the loop only. record: takes each decision, durable before it returns
    or soon after. must_accept: a set waits for a technician. reload: as load, of a set that was live
    before, and that its signers may have taken back since. look_s: so long after the last look that
    was answered, by the wall clock, it looks unasked at an open gate; 0: never.
    """

    def __init__(
        self,
        *,
        slots: Slots,
        fetch: Fetch,
        admit: Admit,
        load: Load,
        ask: Callable[[], GateDecision],
        record: Callable[[UpdateDecision], None],
        clock: Clock,
        retry_s: float = RETRY_S,
        beat: Callable[[], None] = lambda: None,
        must_accept: bool = False,
        reload: Load | None = None,
        look_s: float = 0.0,
    ) -> None:
        self._beat, self._must_accept = beat, must_accept
        self._slots, self._fetch, self._admit, self._load = slots, fetch, admit, load
        self._clock = clock
        self._gate, self._offers = GateWatch(ask), Offers(retry_s)
        self._wake = asyncio.Event()
        self._teller = Teller(self._gate, clock, record, self._wake.set)
        self._way = WayBack(
            slots, self._gate, self._teller, clock, reload=reload or load, on_live=self.on_live,
            retry_s=retry_s,
        )  # fmt: skip
        self._accepted: dict[str, str] = {}
        self._awaited: Awaited | None = None
        self._live_targets: frozenset[str] = frozenset()
        self._look_s, self._looked_ns = look_s, 0
        self._look_from_ns = clock.mono_ns() + round(LOOK_START_S * 1e9)

    @property
    def pending(self) -> tuple[str, ...]:
        """Targets that wait for the gate, the network or a technician; empty: any directed one."""
        return self._offers.targets

    @property
    def memory(self) -> UpdateMemory:
        """To be kept whenever it changed."""
        return UpdateMemory(
            offers=self._offers.kept(), accepted=dict(self._accepted), awaited=self._awaited,
            back=self._way.back, looked_ns=self._looked_ns,
        )  # fmt: skip

    def resume(self, memory: UpdateMemory) -> None:
        """What was kept before a restart, at the start."""
        self._accepted, self._awaited = dict(memory.accepted), memory.awaited
        self._looked_ns = memory.looked_ns
        for offer in memory.offers:
            self.offer(offer.target, "restart", offer.by)
        if memory.back is not None:
            self.go_back(memory.back)

    # -- what others want of it; on the loop

    def offer(self, target: str, origin: Origin = "notice", by: str = "") -> UpdateDecision | None:
        """Somebody names a bundle; empty: look at whatever is directed. Returns (and records) the
        refusal; None when it is tried, or when the same refusal was told a moment ago or there
        were too many offers.
        """
        now_ns = self._clock.mono_ns()
        gate = self._gate.look()
        if not gate.open and target in self._live_targets:
            return self._turn_away(target, UpdateReason("live", "it is live already"), origin, by)
        offer = self._offers.put(target, origin, by, now_ns)
        if isinstance(offer, UpdateReason):
            return self._turn_away(str(target)[:80], offer, origin, by)
        if offer is None:
            return None
        if gate.open:
            self._wake.set()
            return None
        if not self._offers.may_refuse(offer, [r.code for r in gate.reasons], now_ns):
            return None
        return self._teller.tell(offer, "offer", "refused", gate_reasons(gate), is_pending=True)

    def accept(self, set_id: str, by: str) -> None:
        """A technician accepts a set; it goes on once the gate is open."""
        self._accepted.pop(set_id, None)
        self._accepted[set_id] = by
        self._gate.look()
        while len(self._accepted) > ACCEPTED_MAX:
            del self._accepted[next(iter(self._accepted))]
        awaited = self._awaited
        waits = awaited is not None and awaited.set_id == set_id
        text = f"no set {set_id} waits now; it counts if that is the one that comes next"
        self._teller.say(
            "acceptance", "accepted", () if waits else (UpdateReason("acceptance", text),),
            origin="technician", by=by, set_id=set_id,
            bundles=awaited.bundles if awaited is not None and waits else (),
        )  # fmt: skip
        self._offers.wake(self._clock.mono_ns())
        self._wake.set()

    def go_back(self, back: BackDue) -> None:
        """The live set is to be left; at once when the gate is open, else when it opens."""
        self._way.due(back)
        self._wake.set()

    def failed_probation(self, set_id: str, name: str, why: str) -> None:
        """A bundle of the live set predicts no more; the set goes back at the next open gate."""
        self._gate.look()
        self._teller.say("probation", "muted", (UpdateReason("probation", why),), name=name,
                  origin="aircraft", set_id=set_id)  # fmt: skip
        if self._way.back is None or self._way.back.set_id != set_id:
            self.go_back(BackDue(set_id=set_id, code="probation", why=f"{name}: {why}"))

    def passed_probation(self, set_id: str, why: str) -> None:
        """The live set is the last known good one."""
        self._gate.look()
        self._teller.say("probation", "passed", (UpdateReason("probation", why),), origin="aircraft",
                  set_id=set_id)  # fmt: skip

    def on_gate(self, decision: GateDecision) -> None:
        """The gate, each time the recorder has looked."""
        if self._gate.saw(decision):
            self._wake.set()
        untold = self._offers.take_untold(self._clock.mono_ns())
        if untold:
            text = f"{untold} further offers not recorded"
            self._teller.say("offer", "refused", (UpdateReason("too_many", text),), origin="notice")

    def on_live(self, live: BundleSet) -> None:
        """What is live now, whoever found out."""
        self._live_targets = frozenset(b.path for b in live.bundles)
        self._offers.is_live(self._live_targets)

    async def run(self) -> None:
        """Try what is pending whenever the gate is open; until cancelled."""
        while True:
            self._beat()
            await self._sleep()
            await self._way.try_due()
            self._look_unasked()
            for offer in self._offers.all():
                if offer.past.due_ns > self._clock.mono_ns() or self._gate.is_shut:
                    continue
                if not self._offers.waits(offer):
                    continue  # replaced while another one was tried
                if not self._offers.take_try(self._clock.mono_ns()):
                    break
                self._beat()
                if not await self._attempt(offer):
                    self._offers.done(offer, self._clock.mono_ns())

    def _look_unasked(self) -> None:
        """What was withdrawn, or directed in a notice that somebody dropped, is learned all the
        same. A wall clock that went back makes it look more often, once an hour at most."""
        now_ns = self._clock.mono_ns()
        since_s = (self._clock.wall_ns() - self._looked_ns) / 1e9
        if not self._look_s or 0 <= since_s < self._look_s:
            return
        if now_ns < self._look_from_ns or self._gate.is_shut:
            return
        self._look_from_ns = now_ns + round(LOOK_AGAIN_S * 1e9)
        self.offer(WHATEVER, "aircraft")

    # -- one attempt; each step returns whether the offer stays pending

    async def _attempt(self, offer: Offer) -> bool:
        if self._teller.stopped(offer, "download"):
            return True
        try:
            answer = await self._gate.while_open(self._fetched(offer.target))
            if answer is None:
                return self._teller.defer(offer, "download")
            if answer.withdrawn:
                await asyncio.to_thread(self._slots.disown, answer.withdrawn)
            if isinstance(answer, FetchFailure):
                stays = self._not_fetched(offer, answer)
                await self._withdraw(offer, answer.withdrawn)
                return stays
            self._looked_ns = self._clock.wall_ns()
            self._teller.tell(offer, "download", "fetched", of=answer)
            stays = await self._install(offer, answer)
            await self._withdraw(offer, answer.withdrawn)
            if not stays:
                await asyncio.to_thread(self._forget, answer)
            return stays
        except (TailTwinError, OSError) as error:  # this machine: its disk, its processes
            return self._fail(offer, "activation", UpdateReason("machine", str(error)), retry=True)

    async def _fetched(self, target: str) -> FetchAnswer:
        view = await asyncio.to_thread(self._slots.view)
        return await self._fetch(target, view)

    async def _withdraw(self, offer: Offer, withdrawn: Sequence[str]) -> None:
        """What is live and was taken back by its signers predicts no more, gate or no gate."""
        if not withdrawn:
            return
        view = await asyncio.to_thread(self._slots.view)
        gone = [b for b in view.bundles if b.sha256 in withdrawn]
        for bundle in gone:
            await asyncio.to_thread(self._slots.mute_bundle, bundle.name, "withdrawn")
            reason = UpdateReason("withdrawn", f"{bundle.path} is not signed any more")
            self._teller.say("download", "muted", (reason,), origin=offer.origin, by=offer.by,
                      bundle=bundle.path, name=bundle.name, release=bundle.release,
                      set_id=view.live)  # fmt: skip
        if gone:
            await self._way.load_live(self._load)
            if view.last_good not in ("", view.live):
                why = ", ".join(b.name for b in gone)
                self.go_back(BackDue(set_id=view.live, code="withdrawn", why=why))

    def _not_fetched(self, offer: Offer, failure: FetchFailure) -> bool:
        reason = UpdateReason(failure.code, failure.text)
        may_pass = failure.may_pass or failure.kind in ("unreachable", "expired")
        stays = self._fail(offer, "download", reason, retry=may_pass)
        if not stays and offer.has_displaced and failure.code in ("not_directed", "no_target"):
            # it took the place of one that may have been right: the director knows
            self._offers.put(WHATEVER, "director", "", self._clock.mono_ns())
            self._wake.set()
        return stays

    async def _install(self, offer: Offer, answer: VerifiedSet) -> bool:
        view = await asyncio.to_thread(self._slots.view)
        if answer.rollback_of and answer.rollback_of == view.live:
            if not await self._swap_back(offer, answer):
                return True
            view = await asyncio.to_thread(self._slots.view)
        if answer.id == view.live and await self._refresh():
            self._teller.tell(offer, "activation", "unchanged", of=answer)
            self._offers.went_well(offer)
            return False
        if answer.id in view.left:
            text = f"set {answer.id} was taken back; a new release or another set is needed"
            return self._fail(offer, "activation", UpdateReason("set_left", text), of=answer)
        same = _same_release(answer, view)
        if same:
            return self._fail(offer, "activation", UpdateReason("release_same", same), of=answer)
        is_fit = await self._admitted(offer, answer, view)
        if not is_fit:
            return is_fit is None
        if not self._is_accepted(offer, answer):
            return True
        if self._teller.stopped(offer, "activation", answer):
            return True
        return await self._swap(offer, answer)

    async def _admitted(self, offer: Offer, answer: VerifiedSet, view: SlotsView) -> bool | None:
        """Whether every bundle that is new here was judged fit; None when the gate shut first."""
        for bundle in answer.bundles:
            if bundle.sha256 in view.held:
                continue
            result = await self._gate.while_open(self._admit(bundle))
            if result is None:
                self._teller.defer(offer, "admission", answer)
                return None
            against = _against(result, bundle)
            if against:
                reasons = tuple(UpdateReason("admission", f"{bundle.name}: {x}") for x in against)
                self._teller.tell(offer, "admission", "failed", reasons, of=answer)
                return False
        return True

    def _is_accepted(self, offer: Offer, answer: VerifiedSet) -> bool:
        if not self._must_accept or answer.id in self._accepted:
            return True
        if self._awaited is not None and self._awaited.set_id != answer.id:
            self._accepted.clear()  # what was accepted was of another assignment
        self._awaited = Awaited(set_id=answer.id, bundles=named(answer.bundles))
        text = f"a technician has to accept set {answer.id}: tailtwin-edge accept"
        now_ns = self._clock.mono_ns()
        if self._offers.may_refuse(offer, ["acceptance", answer.id], now_ns):
            self._teller.tell(offer, "acceptance", "deferred", (UpdateReason("acceptance", text),),
                       of=answer, is_pending=True)  # fmt: skip
        self._offers.failed(offer, now_ns, retry=True)
        return False

    # -- swaps

    async def _swap(self, offer: Offer, answer: VerifiedSet) -> bool:
        if not await self._make_room(offer, answer):
            return True
        slot = await asyncio.to_thread(self._slots.stage, answer.bundles)
        view = await asyncio.to_thread(self._slots.view)
        if self._teller.stopped(offer, "activation", answer):
            return True
        lone = UpdateReason("no_fallback", "no set that passed is behind it")
        reasons = () if view.last_good else (lone,)
        return not await to_its_end(self._activate(offer, answer, slot, reasons))

    async def _make_room(self, offer: Offer, answer: VerifiedSet) -> bool:
        """A live set on probation, or damaged, is left first: what is behind it has passed."""
        if not await asyncio.to_thread(self._way.is_in_the_way):
            return True
        if self._teller.stopped(offer, "activation", answer):
            return False
        text = f"set {answer.id} takes the place of one that had not passed"
        reason = UpdateReason("overtaken", text)
        return await to_its_end(self._way.make_way(offer, reason, answer))

    async def _activate(
        self, offer: Offer, answer: VerifiedSet, slot: SlotName, reasons: tuple[UpdateReason, ...]
    ) -> bool:
        is_open = self._gate.asker(asyncio.get_running_loop())
        if not await asyncio.to_thread(self._slots.activate, slot, is_open):
            self._teller.defer(offer, "swap", answer)
            return False
        self._offers.went_well(offer)
        self._accepted.pop(answer.id, None)
        self._awaited = None
        self._way.back = None  # that set is not live any more
        self._offers.is_live([b.target for b in answer.bundles])
        self._teller.tell(offer, "swap", "activated", reasons, of=answer)
        against = await self._way.load_live(self._load)
        if against:
            await self._mute(offer, answer, slot, "; ".join(against))
        return True

    async def _mute(self, offer: Offer, answer: VerifiedSet, slot: SlotName, why: str) -> None:
        """What the worker cannot load does not predict, and goes back at the next open gate."""
        await asyncio.to_thread(self._slots.mute, slot, why)
        self._teller.tell(offer, "load", "muted", (UpdateReason("load", why),), of=answer)
        self.go_back(BackDue(set_id=answer.id, code="load", why=why, origin=offer.origin))

    async def _swap_back(self, offer: Offer, answer: VerifiedSet) -> bool:
        """The director wants the live set left. False when the gate shut. It may direct that set
        again: who stole its online keys must not be able to bar a good one for good."""
        if self._teller.stopped(offer, "activation", answer):
            return False
        reason = UpdateReason("director", f"the director takes set {answer.rollback_of} back")
        try:
            return await to_its_end(self._way.make_way(offer, reason, answer))
        except (Rejected, Corrupt) as error:  # nothing to go back to: the directed set is the way
            self._teller.tell(
                offer, "rollback", "failed", (reason, UpdateReason("machine", str(error)))
            )
            return True

    async def _refresh(self) -> bool:
        """Whether what is live is whole; if not, the same set is put in its place."""
        try:
            live = await asyncio.to_thread(self._slots.live)
        except Corrupt:
            return False
        if live is not None:
            self.on_live(live)
        return True

    def _forget(self, answer: VerifiedSet) -> None:
        """What was fetched and is not waited for any more; what the slots hold stays."""
        held = set(self._slots.view().held.values())
        for bundle in answer.bundles:
            if str(bundle.file) not in held:
                bundle.file.unlink(missing_ok=True)

    # -- the gate

    async def _sleep(self) -> None:
        """Until something changed or, with the gate open, the first offer is due."""
        timeout_s, now_ns = BEAT_S, self._clock.mono_ns()
        if not self._gate.is_shut:
            wait_ns = self._offers.wait_ns(now_ns)
            if wait_ns is not None:
                timeout_s = min(timeout_s, wait_ns / 1e9)
            back_ns = self._way.wait_ns(now_ns)
            if back_ns is not None:
                timeout_s = min(timeout_s, back_ns / 1e9)
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    # -- telling

    def _turn_away(
        self, target: str, reason: UpdateReason, origin: Origin, by: str
    ) -> UpdateDecision | None:
        """An offer that does not even stay pending."""
        if not self._offers.may_turn_away(reason.code, self._clock.mono_ns()):
            return None
        decision: Decision = "unchanged" if reason.code == "live" else "refused"
        return self._teller.say("offer", decision, (reason,), origin=origin, by=by, bundle=target)

    def _fail(
        self, offer: Offer, step: Step, reason: UpdateReason, retry: bool = False,
        of: VerifiedSet | None = None,
    ) -> bool:  # fmt: skip
        stays = self._offers.failed(offer, self._clock.mono_ns(), retry=retry)
        self._teller.tell(offer, step, "failed", (reason,), of=of, is_pending=stays)
        return stays


def _against(admitted: AdmissionResult, bundle: VerifiedBundle) -> list[str]:
    """What stands against a bundle: admission's reasons, or that it judged another one than TUF
    verified. Empty when nothing does."""
    if not admitted.ok:
        return admitted.reasons or ["refused"]
    judged = (admitted.sha256, admitted.name, admitted.release)
    signed = (bundle.sha256, bundle.name, bundle.release)
    return [] if judged == signed else [f"the bundle says {judged}, its signers say {signed}"]


def _same_release(answer: VerifiedSet, view: SlotsView) -> str:
    """A release that is live with other bytes, in words; empty when there is none."""
    live = {(b.name, b.release, b.parent): b.sha256 for b in view.bundles}
    for bundle in answer.bundles:
        one = (bundle.name, bundle.release, bundle.parent_sha256)
        if live.get(one, bundle.sha256) != bundle.sha256:
            return f"release {bundle.release} of {bundle.name} is live with other bytes"
    return ""
