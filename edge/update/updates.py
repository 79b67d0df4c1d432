"""The update session: from an offer to a live set, one step after another, gate at each.

In: offers (target paths of notices) and gate decisions. Out: an `UpdateDecision` for every
attempt, for the audit and the report; and, when all agree, a new live slot.
Always holds: the gate is asked at the offer, before the download, before the activation and
inside the swap; its closing stops an attempt at any step with the live slot untouched; an offer
that only the gate or the network stands against stays pending, at most 16 of them.

Notices are unsigned, so anybody at a broker can make any number of them. What they cost is
bounded: decisions at the offer, changes of what is pending and attempts each have an allowance,
and what was tried and told is remembered by the bundle's name, whatever file of it is named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec

from edge.allowance import Allowance
from edge.models.admission import AdmissionResult
from edge.update.active import SlotName
from edge.update.gate import GateDecision
from edge.update.slots import BundleSet, Slots
from edge.update.verified import FetchAnswer, FetchFailure, VerifiedBundle
from shared.clock import Clock
from shared.errors import Rejected, TailTwinError
from shared.phases import Phase
from signing.verify import check_target_path

PENDING_MAX = 16
ATTEMPTS_MAX = 8
RETRY_S = 15.0  # doubled at each attempt; assumption: the stand's link is back within minutes
REPEAT_S = 60.0  # the same refusal of the same offer is told once in this time
TOLD_BURST, TOLD_EVERY_S = 6, 10.0  # decisions at the offer: 6 a minute, then their number
NAMES_MAX = 64  # remembered with their attempts; assumption: far more than an aircraft has models
BEAT_S = 30.0  # an idle client looks up this often
ASK_S_MAX = 2.0  # no answer of the recorder's loop in this time is a shut gate

T = TypeVar("T")
Step = Literal["offer", "download", "admission", "activation", "swap", "load"]
Decision = Literal["refused", "deferred", "fetched", "unchanged", "failed", "activated", "muted"]


class UpdateReason(msgspec.Struct, frozen=True):
    """code: for machines. text: with figures, for people."""

    code: str
    text: str


class UpdateDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided of one bundle at one step.

    `refused` and `deferred` stay pending, `failed` too when `is_pending`. t_ns: wall clock.
    """

    bundle: str
    phase: str
    step: Step
    decision: Decision
    reasons: tuple[UpdateReason, ...] = ()
    is_pending: bool = False
    name: str = ""
    release: int = 0
    t_ns: int = 0

    def texts(self) -> list[str]:
        return [f"{r.code}: {r.text}" for r in self.reasons]


Fetch = Callable[[str, Mapping[str, int]], Awaitable[FetchAnswer]]
Admit = Callable[[VerifiedBundle], Awaitable[AdmissionResult]]
Load = Callable[[BundleSet], Awaitable[Sequence[str]]]


@dataclass
class _Past:
    """What is remembered of a bundle's name. told: target and codes of the last refusal."""

    attempts: int = 0
    due_ns: int = 0
    told: tuple[str, ...] = ()
    told_ns: int = 0


@dataclass
class _Offer:
    target: str
    past: _Past


class UpdateClient:
    """Drives updates beside the recorder's loop; nothing here blocks it.

    fetch: see `FetchChild`. admit: judges a verified file in a child. load: makes the worker use
    a live set, and says what stands against it, or nothing. ask: looks at the gate now, with
    fresh inputs; called on the loop only.
    record: takes each decision, durable before it returns or soon after.
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
    ) -> None:
        self._beat = beat
        self._slots, self._fetch, self._admit, self._load = slots, fetch, admit, load
        self._ask, self._record, self._clock, self._retry_s = ask, record, clock, retry_s
        self._offers: dict[str, _Offer] = {}
        self._wake, self._shut = asyncio.Event(), asyncio.Event()
        self._shut.set()
        self._phase = Phase.UNKNOWN
        self._turned_away_ns: dict[str, int] = {}
        self._past: dict[str, _Past] = {}
        every_ns = round(TOLD_EVERY_S * 1e9)
        self._tellings, self._changes = (
            Allowance(TOLD_BURST, every_ns), Allowance(PENDING_MAX, every_ns)
        )  # fmt: skip
        self._tries = Allowance(ATTEMPTS_MAX, round(retry_s * 1e9))
        self._untold, self._untold_due_ns = 0, 0

    @property
    def pending(self) -> tuple[str, ...]:
        """Targets that wait for the gate or the network."""
        return tuple(offer.target for offer in self._offers.values())

    def offer(self, target: str) -> UpdateDecision | None:
        """A notice names a bundle. Returns (and records) the refusal; None when it is tried, or
        when the same refusal was told a moment ago or there were too many offers.

        A later offer of a name replaces an earlier one.
        """
        try:
            name = check_target_path(target).partition("/")[0]
        except Rejected as error:
            reason = UpdateReason("target_path", error.what)
            return self._turn_away(str(target)[:80], reason)
        if name not in self._offers and len(self._offers) >= PENDING_MAX:
            reason = UpdateReason("pending_full", f"{PENDING_MAX} offers wait already")
            return self._turn_away(target, reason)
        offer = self._offers.get(name)
        if offer is None or offer.target != target:
            if not self._changes.take(self._clock.mono_ns()):
                self._leave_untold()
                return None
            offer = self._offers[name] = _Offer(target, self._remember(name))
        gate = self._look()
        if gate.open:
            self._wake.set()
            return None
        return self._refuse(offer, gate)

    def _remember(self, name: str) -> _Past:
        """What is known of a name; the one that was offered longest ago makes room."""
        past = self._past.pop(name, None) or _Past()
        self._past[name] = past
        if len(self._past) > NAMES_MAX:
            del self._past[next(iter(self._past))]
        return past

    def on_gate(self, decision: GateDecision) -> None:
        """The gate, each time the recorder has looked."""
        self._phase = decision.phase
        self._tell_untold()
        if not decision.open:
            self._shut.set()
        elif self._shut.is_set():
            self._shut.clear()
            self._wake.set()

    async def run(self) -> None:
        """Try what is pending whenever the gate is open; until cancelled."""
        while True:
            self._beat()
            await self._sleep()
            for name, offer in list(self._offers.items()):
                if offer.past.due_ns > self._clock.mono_ns() or self._shut.is_set():
                    continue
                if self._offers.get(name) is not offer:
                    continue  # replaced while another one was tried
                if not self._tries.take(self._clock.mono_ns()):
                    break
                self._beat()
                if await self._attempt(offer):
                    continue
                self._retry_after(offer, self._retry_s)
                if self._offers.get(name) is offer:
                    del self._offers[name]

    # -- one attempt; each step returns whether the offer stays pending

    async def _attempt(self, offer: _Offer) -> bool:
        if self._stopped(offer, "download"):
            return True
        try:
            answer = await self._while_open(self._fetched(offer.target))
            if answer is None:
                return self._defer(offer, "download")
            if isinstance(answer, FetchFailure):
                reason = UpdateReason(answer.code, answer.text)
                may_pass = answer.kind in ("unreachable", "expired")
                return self._fail(offer, "download", reason, retry=may_pass)
            self._tell(offer.target, "download", "fetched", bundle=answer)
            stays = await self._install(offer, answer)
            if not stays:
                answer.file.unlink(missing_ok=True)
            return stays
        except (TailTwinError, OSError) as error:  # this machine: its disk, its processes
            return self._fail(offer, "activation", UpdateReason("machine", str(error)), retry=True)

    async def _install(self, offer: _Offer, bundle: VerifiedBundle) -> bool:
        live = await asyncio.to_thread(self._slots.live)
        for present in live.bundles if live else ():
            if present.name == bundle.name and present.sha256 == bundle.sha256:
                self._tell(offer.target, "activation", "unchanged", bundle=bundle)
                return False
            if present.name == bundle.name and present.release == bundle.release:
                text = f"release {bundle.release} is live with other bytes"
                return self._fail(offer, "activation", UpdateReason("release_same", text))
        admitted = await self._while_open(self._admit(bundle))
        if admitted is None:
            return self._defer(offer, "admission")
        against = _against(admitted, bundle)
        if against:
            reasons = tuple(UpdateReason("admission", text) for text in against)
            self._tell(offer.target, "admission", "failed", reasons, bundle=bundle)
            return False
        if self._stopped(offer, "activation"):
            return True
        return await self._swap(offer, bundle)

    async def _swap(self, offer: _Offer, bundle: VerifiedBundle) -> bool:
        whole = await asyncio.to_thread(self._whole, bundle)
        slot = await asyncio.to_thread(self._slots.stage, whole)
        if self._stopped(offer, "activation"):
            return True
        if not await _to_its_end(self._activate(offer, bundle, slot)):
            return True
        against = await self._load_live()
        if against:
            why = "; ".join(against)
            await asyncio.to_thread(self._slots.mute, slot, why)
            self._tell(offer.target, "load", "muted", (UpdateReason("load", why),), bundle=bundle)
        return False

    def _whole(self, bundle: VerifiedBundle) -> list[VerifiedBundle]:
        """The live set with one bundle in the place of its namesake, until sets are fetched."""
        live = self._slots.live()
        if live is not None and live.probation and self._slots.fallback() is not None:
            self._slots.rollback(lambda: self._ask().open, leave=False)
            live = self._slots.live()
        kept = [
            VerifiedBundle(
                target=b.path, name=b.name, release=b.release, sha256=b.sha256, length=0,
                path=str(live.path(b)), applicability=bundle.applicability,
            )
            for b in (live.bundles if live else ())
            if live is not None and b.name != bundle.name
        ]  # fmt: skip
        return [*kept, bundle]

    async def _activate(self, offer: _Offer, bundle: VerifiedBundle, slot: SlotName) -> bool:
        loop = asyncio.get_running_loop()
        if await asyncio.to_thread(self._slots.activate, slot, lambda: self._is_open(loop)):
            self._tell(offer.target, "swap", "activated", bundle=bundle)
            offer.past.attempts = 0
            return True
        self._defer(offer, "swap")
        return False

    async def _load_live(self) -> Sequence[str]:
        """What stands against the set that is live now; empty when the worker uses it."""
        try:
            live = await asyncio.to_thread(self._slots.live)
            assert live is not None
            return await self._load(live)
        except (TailTwinError, OSError) as error:
            return (str(error),)

    # -- the gate

    def _look(self) -> GateDecision:
        decision = self._ask()
        self.on_gate(decision)
        return decision

    def _is_open(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Asked by the thread that swaps: the loop looks, and silence is a shut gate."""
        asked: Future[bool] = Future()

        def look() -> None:
            if asked.set_running_or_notify_cancel():
                asked.set_result(self._look().open)

        try:
            loop.call_soon_threadsafe(look)
            return asked.result(ASK_S_MAX)
        except (TimeoutError, RuntimeError):  # RuntimeError: the loop is closed
            asked.cancel()
            return False

    def _stopped(self, offer: _Offer, step: Step) -> bool:
        """Whether the gate is shut now; if so the offer is deferred, and that is recorded."""
        return not self._look().open and self._defer(offer, step)

    async def _while_open(self, work: Awaitable[T]) -> T | None:
        """The result of `work`, or None when the gate shut first; `work` has ended either way."""
        task = asyncio.ensure_future(work)
        shut = asyncio.ensure_future(self._shut.wait())
        try:
            await asyncio.wait({task, shut}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            return None
        finally:
            for each in (task, shut):
                each.cancel()
            await asyncio.gather(task, shut, return_exceptions=True)

    async def _sleep(self) -> None:
        """Until something changed or, with the gate open, the first offer is due."""
        timeout_s = BEAT_S
        if self._offers and not self._shut.is_set():
            now_ns = self._clock.mono_ns()
            due_ns = min(offer.past.due_ns for offer in self._offers.values())
            wait_ns = max(0, due_ns - now_ns, self._tries.wait_ns(now_ns))
            timeout_s = min(BEAT_S, wait_ns / 1e9)
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _fetched(self, target: str) -> FetchAnswer:
        releases = await asyncio.to_thread(self._slots.releases)
        return await self._fetch(target, releases)

    # -- telling

    def _turn_away(self, target: str, reason: UpdateReason) -> UpdateDecision | None:
        """An offer that does not even stay pending; told once in a while, whoever repeats it."""
        now_ns = self._clock.mono_ns()
        told_ns = self._turned_away_ns.get(reason.code)
        if told_ns is not None and now_ns - told_ns < REPEAT_S * 1e9:
            return None
        self._turned_away_ns[reason.code] = now_ns
        return self._tell_offer(target, (reason,))

    def _refuse(self, offer: _Offer, gate: GateDecision) -> UpdateDecision | None:
        target, *codes = told = (offer.target, *(reason.code for reason in gate.reasons))
        past, now_ns = offer.past, self._clock.mono_ns()
        if list(past.told[1:]) == codes and now_ns - past.told_ns < REPEAT_S * 1e9:
            if past.told[0] != target:
                self._leave_untold()
            return None
        past.told, past.told_ns = told, now_ns
        return self._tell_offer(target, _reasons(gate), is_pending=True)

    def _tell_offer(
        self, target: str, reasons: tuple[UpdateReason, ...], *, is_pending: bool = False
    ) -> UpdateDecision | None:
        if not self._tellings.take(self._clock.mono_ns()):
            self._leave_untold()
            return None
        return self._tell(target, "offer", "refused", reasons, is_pending=is_pending)

    def _leave_untold(self) -> None:
        if self._untold == 0:
            self._untold_due_ns = self._clock.mono_ns() + round(REPEAT_S * 1e9)
        self._untold += 1

    def _tell_untold(self) -> None:
        """How many offers got no record of their own, once a minute."""
        now_ns = self._clock.mono_ns()
        if self._untold and now_ns >= self._untold_due_ns and self._tellings.take(now_ns):
            text = f"{self._untold} further offers not recorded"
            self._untold = 0
            self._tell("", "offer", "refused", (UpdateReason("too_many", text),))

    def _defer(self, offer: _Offer, step: Step) -> bool:
        gate = self._look()
        reasons = _reasons(gate) or (UpdateReason("gate", "the gate shut for a moment"),)
        self._tell(offer.target, step, "deferred", reasons, is_pending=True)
        if gate.open:
            self._wake.set()
        return True

    def _fail(self, offer: _Offer, step: Step, reason: UpdateReason, retry: bool = False) -> bool:
        past = offer.past
        past.attempts = min(past.attempts + 1, ATTEMPTS_MAX)
        stays = retry and past.attempts < ATTEMPTS_MAX
        self._retry_after(offer, self._retry_s * 2 ** (past.attempts - 1))
        self._tell(offer.target, step, "failed", (reason,), is_pending=stays)
        return stays

    def _retry_after(self, offer: _Offer, seconds: float) -> None:
        due_ns = self._clock.mono_ns() + round(seconds * 1e9)
        offer.past.due_ns = max(offer.past.due_ns, due_ns)

    def _tell(
        self,
        target: str,
        step: Step,
        decision: Decision,
        reasons: tuple[UpdateReason, ...] = (),
        *,
        bundle: VerifiedBundle | None = None,
        is_pending: bool = False,
    ) -> UpdateDecision:
        told = UpdateDecision(
            bundle=target, phase=self._phase.value, step=step, decision=decision, reasons=reasons,
            is_pending=is_pending, name=bundle.name if bundle else target.partition("/")[0],
            release=bundle.release if bundle else 0, t_ns=self._clock.wall_ns(),
        )  # fmt: skip
        self._record(told)
        return told


def _reasons(gate: GateDecision) -> tuple[UpdateReason, ...]:
    return tuple(UpdateReason(reason.code, reason.text) for reason in gate.reasons)


async def _to_its_end(work: Coroutine[None, None, T]) -> T:
    """Let a swap that has begun end and be recorded, even when the recorder is stopping."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _against(admitted: AdmissionResult, bundle: VerifiedBundle) -> list[str]:
    """What stands against a bundle: admission's reasons, or that it judged another one than TUF
    verified. Empty when nothing does."""
    if not admitted.ok:
        return admitted.reasons or ["refused"]
    judged = (admitted.sha256, admitted.name, admitted.release)
    signed = (bundle.sha256, bundle.name, bundle.release)
    return [] if judged == signed else [f"the bundle says {judged}, its signers say {signed}"]
