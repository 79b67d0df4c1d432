"""The way back: from the live set to the last known good one, at the open gate.

In: what is due to be left, by whom and why. Out: the set before it, live and loaded again.
Always holds: the gate is asked inside the swap; what is due and not live any more is forgotten; a
swap that has begun ends and is recorded even when the recorder is stopping.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TypeVar

from edge.update.decisions import Origin, UpdateReason, gate_reasons
from edge.update.memory import BackDue
from edge.update.offers import Offer
from edge.update.slots import BundleSet, Slots, SlotsView
from edge.update.teller import Teller
from edge.update.verified import VerifiedSet
from edge.update.watch import GateWatch
from shared.clock import Clock
from shared.errors import Corrupt, TailTwinError

BACK_TRIES_MAX = 8

T = TypeVar("T")
Load = Callable[[BundleSet], Awaitable[Sequence[str]]]


class WayBack:
    """reload: makes the worker use a set that was live before, and says what stands against it.
    on_live: told of every set that is live."""

    def __init__(
        self,
        slots: Slots,
        gate: GateWatch,
        teller: Teller,
        clock: Clock,
        *,
        reload: Load,
        on_live: Callable[[BundleSet], None],
        retry_s: float,
    ) -> None:
        self._slots, self._gate, self._teller, self._clock = slots, gate, teller, clock
        self._reload, self._on_live, self._retry_s = reload, on_live, retry_s
        self.back: BackDue | None = None
        """What is due."""
        self._tries, self._due_ns = 0, 0

    def due(self, back: BackDue) -> None:
        """The live set is to be left; at once when the gate is open, else when it opens."""
        gate = self._gate.look()
        self.back, self._tries, self._due_ns = back, 0, 0
        reasons = (UpdateReason(back.code, back.why), *gate_reasons(gate))
        self._teller.say("rollback", "due", reasons, origin=back.origin, by=back.by,
                         set_id=back.set_id, is_pending=True)  # fmt: skip

    def wait_ns(self, now_ns: int) -> int | None:
        """How long until it may be tried again; None when nothing is due."""
        return None if self.back is None else max(0, self._due_ns - now_ns)

    def is_in_the_way(self) -> bool:
        """Whether the live set, on probation or damaged, has a good one behind it, which is to be
        live before a slot is filled. Reads both slots."""
        try:
            live = self._slots.live()
            is_settled = live is not None and not live.probation
        except Corrupt:
            is_settled = False
        if is_settled:
            return False
        try:
            return self._slots.fallback() is not None
        except Corrupt:
            return False

    async def make_way(self, offer: Offer, reason: UpdateReason, answer: VerifiedSet) -> bool:
        """Go back for the sake of a set that is directed. False when the gate shut."""
        is_open = self._gate.asker(asyncio.get_running_loop())
        before = await asyncio.to_thread(self._slots.view)
        if not await asyncio.to_thread(lambda: self._slots.rollback(is_open, leave=False)):
            self._teller.defer(offer, "rollback", answer)
            return False
        self.back = None
        await self._say_back(before, (reason,), offer.origin, offer.by)
        return True

    async def try_due(self) -> None:
        """What is due to go back, if the gate is open."""
        back, now_ns = self.back, self._clock.mono_ns()
        if back is None:
            return
        if self._gate.is_shut or self._due_ns > now_ns or not self._gate.look().open:
            return
        try:
            await to_its_end(self._go_back(back))
        except (TailTwinError, OSError) as error:
            self._tries += 1
            stays = isinstance(error, OSError) and self._tries < BACK_TRIES_MAX
            self.back = back if stays else None
            self._due_ns = now_ns + round(self._retry_s * 2**self._tries * 1e9)
            reasons = (UpdateReason(back.code, back.why), UpdateReason("machine", str(error)))
            self._teller.say("rollback", "failed", reasons, origin=back.origin, by=back.by,
                             set_id=back.set_id, is_pending=stays)  # fmt: skip

    async def _go_back(self, back: BackDue) -> None:
        before = await asyncio.to_thread(self._slots.view)
        if before.live != back.set_id:
            self.back = None
            gone = UpdateReason("not_live", f"set {back.set_id} is not live any more")
            self._teller.say("rollback", "unchanged", (gone,), origin=back.origin, by=back.by,
                             set_id=back.set_id)  # fmt: skip
            return
        is_open = self._gate.asker(asyncio.get_running_loop())
        leave = back.code != "damaged"
        reason = UpdateReason(back.code, back.why)
        if await asyncio.to_thread(lambda: self._slots.rollback(is_open, leave=leave)):
            self.back = None
            await self._say_back(before, (reason,), back.origin, back.by)
            return
        gate = self._teller.stopped_by()
        self._teller.say("rollback", "deferred", (reason, *gate_reasons(gate)), origin=back.origin,
                         by=back.by, set_id=back.set_id, is_pending=True, gate=gate)  # fmt: skip

    async def _say_back(
        self, before: SlotsView, reasons: tuple[UpdateReason, ...], origin: Origin, by: str
    ) -> None:
        self._teller.say(
            "rollback",
            "rolled_back",
            reasons,
            origin=origin,
            by=by,
            set_id=before.live,
            to_set_id=before.behind,
        )
        for text in await self.load_live(self._reload):
            self._teller.say("load", "failed", (UpdateReason("load", text),), origin=origin)

    async def load_live(self, load: Load) -> Sequence[str]:
        """What stands against the set that is live now; empty when the worker uses it."""
        try:
            live = await asyncio.to_thread(self._slots.live)
            assert live is not None
            self._on_live(live)
            return await load(live)
        except (TailTwinError, OSError) as error:
            return (str(error),)


async def to_its_end(work: Coroutine[None, None, T]) -> T:
    """Let a swap that has begun end and be recorded, even when the recorder is stopping."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
