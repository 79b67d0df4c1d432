"""The live models: which set the worker runs, what of it is muted, and whether it may stay.

In: live sets, model steps, the worker's status, periods that begin and end. Out: what is loaded,
and verdicts of the probation.
Always holds: what is muted predicts nothing from that moment on, before anything is written; the
other bundles go on; what a muted bundle or set would have said is not used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from edge.models.host import HostStatus, ModelHost
from edge.models.step import ModelStep
from edge.update.probation import Probation, ProbationState, resume, tally
from edge.update.slots import BundleSet, Slots
from shared.errors import TailTwinError
from shared.log import event

KEEP_S = 60.0
"""Counts of a probation that a power cut may lose, flight seconds; assumption: of a flight."""


class Judged(Protocol):
    """Told of what a probation decided."""

    def muted(self, set_id: str, name: str, why: str) -> None:
        """This bundle failed; it predicts no more, and the set is to be left."""

    def passed(self, set_id: str, why: str) -> None:
        """The set is the last known good one now."""

    def damaged(self, set_id: str, why: str) -> None:
        """At a start: the live set cannot be read; or it is on probation, and nothing aboard
        vouches for it."""

    def faulty(self, set_id: str, why: str) -> None:
        """At a start: the set on probation is muted, wholly or in part, and has to be left."""


class LiveModels:
    """trusted: what stands against a set by the metadata aboard. audit: of the slot, (decision,
    subject, reasons). keep, kept: the probation over restarts. changed: the worker reads other
    signals now. is_shed: the governor leaves only what can raise an alert."""

    def __init__(
        self,
        host: ModelHost,
        slots: Slots,
        *,
        trusted: Callable[[BundleSet], Awaitable[list[str]]],
        audit: Callable[[str, str, list[str]], None],
        keep: Callable[[bytes], None],
        kept: Callable[[], bytes | None],
        changed: Callable[[], None],
        is_shed: Callable[[], bool],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        wall_ns: Callable[[], int],
        judged: Judged,
    ) -> None:
        self.host, self._slots = host, slots
        self._trusted, self._audit, self._keep, self._kept = trusted, audit, keep, kept
        self._changed, self._is_shed, self._spawn = changed, is_shed, spawn
        self._wall_ns, self._judged = wall_ns, judged
        self.live: BundleSet | None = None
        self.slot, self.set_id, self.labels = "", "", list[str]()
        self.why_muted = ""
        """Why nothing of the set predicts, or empty."""
        self.muted: dict[str, str] = {}
        """Name of a bundle to why it does not predict."""
        self.optional: frozenset[str] = frozenset()
        """Bundles of the live set that can raise no alert, by label."""
        self.probation: Probation | None = None
        self._saved: ProbationState | None = None
        self._saved_ns = 0
        self._failures = 0
        self._loading = asyncio.Lock()
        """Whoever gives the worker a set has said which one is live before the next one asks."""

    @property
    def silent(self) -> dict[str, str]:
        """Name of every bundle of the set that does not predict, to why."""
        if self.why_muted and self.live is not None:
            return {b.name: self.why_muted for b in self.live.bundles}
        return self.muted

    async def start(self) -> None:
        """Give the worker what the slots say is live and offline keys still vouch for; without a
        good set nothing predicts. Beside the recorder, which does not wait for it."""
        try:
            live = await asyncio.to_thread(self._slots.live)
        except TailTwinError as error:
            self._audit("refused", "", [str(error)])
            self.why_muted = str(error).partition("\n")[0]
            with suppress(TailTwinError):  # which set it was is unreadable as well
                view = await asyncio.to_thread(self._slots.view)
                self._judged.damaged(view.live, self.why_muted)
            return
        if live is None:
            event("slots.empty", level=logging.WARNING)
            return
        against = await self._trusted(live)
        if against:
            self._audit("refused", live.slot, against)
            self.why_muted = "; ".join(against)
            if live.probation:  # a proven set is behind it, which may be vouched for
                self._judged.damaged(live.id, self.why_muted)
            return
        against = await self.load(live)
        if against:
            self._audit("muted", live.slot, against)
        said = [live.muted] if live.muted else [f"{n}: {why}" for n, why in self.muted.items()]
        if live.probation and said:  # the power may have failed before the way back was kept
            self._judged.faulty(live.id, "; ".join(said))

    async def reload(self, live: BundleSet) -> list[str]:
        """As `load`, of a set that was live before: its signers may have taken it back since."""
        against = await self._trusted(live)
        if against:
            await self.load(msgspec.structs.replace(live, muted="; ".join(against)))
            return against
        return await self.load(live)

    async def load(self, live: BundleSet) -> list[str]:
        """Make the worker use a set; what stands against it."""
        async with self._loading:
            return await self._load(live)

    async def _load(self, live: BundleSet) -> list[str]:
        probation = await asyncio.to_thread(self._begin, live) if live.probation else None
        muted = {**live.muted_bundles, **(probation.state.failed if probation else {})}
        kept = [] if live.muted else [b for b in live.bundles if b.name not in muted]
        why = await self.host.load([(live.path(b), b.sha256) for b in kept])
        self.live, self.slot, self.set_id, self.labels = live, live.slot, live.id, live.labels()
        self.why_muted, self.muted = live.muted or why, muted
        self.probation, self._saved = probation, None
        self.optional = frozenset(
            binding.label for binding in self.host.bindings if not binding.bundle.monitors
        )
        for binding in self.host.bindings:
            if binding.misfits:
                self._audit("unfit", binding.label, binding.misfits)
        if self._is_shed():
            await self._fit()
        self._changed()
        return [why] if why else []

    async def fit(self) -> None:
        """Give the worker the live set again: what is not muted, nor left out by the governor."""
        async with self._loading:
            await self._fit()

    async def _fit(self) -> None:
        live = self.live
        if live is None or self.why_muted:
            return
        gone = self.optional if self._is_shed() else frozenset()
        kept = [
            b
            for b, label in zip(live.bundles, live.labels(), strict=True)
            if label not in gone and b.name not in self.muted
        ]
        why = await self.host.load([(live.path(b), b.sha256) for b in kept])
        if why:
            event("models.not_fitted", why=why, level=logging.ERROR)
        self._changed()

    # -- probation

    def takes(self, step: ModelStep) -> bool:
        """Whether a step may be used; on probation it is counted first."""
        name = step.bundle.name
        if self.why_muted or name in self.muted:
            return False
        if self.probation is None or step.label not in self.labels:
            return True
        why = self.probation.took(name, tally(step))
        if why:
            self._mute({name: why})
        return not why

    def look(self, status: HostStatus, now_ns: int) -> None:
        """Workers that died, and counts to keep. now_ns: flight clock."""
        died, self._failures = status.failures - self._failures, status.failures
        if self.probation is None:
            return
        if died > 0 and status.last_kind != "start":  # no process to be had: the machine's fault
            self._mute(self.probation.worker_died(died, status.last_failure))
        if now_ns - self._saved_ns >= KEEP_S * 1e9:
            self._save(now_ns)

    def turned(self, closed: str, *, flew: bool, opened: str, at_off_block: bool) -> None:
        """A period ended and the next one is open."""
        if self.probation is None or self.live is None:
            return
        if self.probation.ended(closed, flew=flew):
            self._spawn(self._pass(self.live, closed))
        if at_off_block:
            self.probation.off_block(opened)
        self._save(self._saved_ns)

    def waits_for(self) -> str:
        """What the set on probation still needs; empty when none is."""
        return self.probation.waits_for() if self.probation else ""

    def _begin(self, live: BundleSet) -> Probation:
        try:
            good = self._slots.fallback()
        except TailTwinError:
            good = None
        proven = {b.sha256 for b in good.bundles} if good else set()
        data, kept = self._kept(), None
        try:
            kept = msgspec.msgpack.decode(data, type=ProbationState) if data else None
        except msgspec.DecodeError:
            pass  # an older form: the next whole flight counts
        state = resume(
            kept, live.id, [b.name for b in live.bundles],
            [b.name for b in live.bundles if b.sha256 not in proven],
            live.muted_bundles, self._wall_ns(),
        )  # fmt: skip
        return Probation(state)

    def _mute(self, fails: dict[str, str]) -> None:
        """At once, and durably as soon as a thread has done it."""
        if not fails or self.live is None:
            return
        self.muted = {**self.muted, **fails}
        self._save(self._saved_ns)
        for name, why in fails.items():
            self._judged.muted(self.live.id, name, why)
        self._spawn(self._write_mutes(self.live, fails))

    async def _write_mutes(self, live: BundleSet, fails: dict[str, str]) -> None:
        await self.fit()
        for name, why in fails.items():
            try:
                await asyncio.to_thread(self._slots.mute_bundle, name, why, live.id)
            except (TailTwinError, OSError) as error:
                # the probation's own state says it as well
                event("slot.not_muted", name=name, why=str(error), level=logging.ERROR)

    async def _pass(self, live: BundleSet, flight: str) -> None:
        try:
            is_done = await asyncio.to_thread(self._slots.prove, live.id)
        except (TailTwinError, OSError) as error:
            event("slot.not_proven", why=str(error), level=logging.ERROR)
            return
        if is_done and self.live is live:
            self.probation = None
            self.live = msgspec.structs.replace(live, probation=False)
            self._judged.passed(live.id, f"flight {flight}, within range")

    def _save(self, now_ns: int) -> None:
        self._saved_ns = now_ns
        if self.probation is not None and self.probation.state != self._saved:
            self._saved = self.probation.state
            self._keep(msgspec.msgpack.encode(self._saved))
