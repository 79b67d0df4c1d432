"""Upkeep: everything around the models that the recorder's loop must not wait for.

In: notices, requests of people aboard, media that appear, gate decisions, verdicts of a probation.
Out: the update client at work, its decisions as audit records, version reports.
Always holds: every decision is recorded before anything else is made of it; what waits for the gate
outlives a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from edge.logbook import Logbook
from edge.update import requests
from edge.update.active import WHY_CHARS_MAX
from edge.update.decisions import CHANGES, UpdateDecision
from edge.update.gate import GateDecision
from edge.update.mediawatch import MediaWatch
from edge.update.memory import BackDue, UpdateMemory, recall
from edge.update.offers import WHATEVER
from edge.update.requests import Accept, Rollback
from edge.update.slots import Slots
from edge.update.updates import UpdateClient
from edge.versions import Versions
from shared.messages import Notice

LOOK_S = 2.0  # wall, between two looks at requests and media


class Upkeep:
    """client: None where the profile has no `[update]`; then only a probation is judged here.

    keep: the client's memory. kick: the link, for what was just recorded.
    """

    def __init__(
        self,
        slots: Slots,
        book: Logbook,
        versions: Versions,
        media: MediaWatch,
        *,
        keep: Callable[[bytes], None],
        kick: Callable[[], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        state_dir: Path,
    ) -> None:
        self._slots, self._book, self._versions, self._media = slots, book, versions, media
        self._keep, self._kick, self._spawn, self._state_dir = keep, kick, spawn, state_dir
        self._memory = UpdateMemory()
        self.client: UpdateClient | None = None

    async def run(self) -> None:
        """Until cancelled."""
        if self.client is None:
            await asyncio.Event().wait()
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self.client.run())
            group.create_task(self._watch(self.client))
            group.create_task(self._watch_media(self.client))

    def resume(self, data: bytes | None) -> None:
        """What was kept before a restart."""
        if self.client is not None:
            self.client.resume(recall(data))
            self._remember()

    def record(self, told: UpdateDecision) -> None:
        """A decision of the update client."""
        self._book.audit(
            "update", told.decision, subject=told.bundle, reasons=told.texts(),
            detail=told.detail(),
        )  # fmt: skip
        self._versions.note(told)
        self._remember()
        if told.decision in CHANGES:
            self._spawn(self._versions.send("update"))
        self._kick()

    def take_notice(self, notice: Notice) -> None:
        if self.client is not None:
            self.client.offer(notice.target, "notice", notice.by)
            self._remember()

    def see_gate(self, decision: GateDecision) -> None:
        if self.client is not None:
            self.client.on_gate(decision)

    @property
    def pending(self) -> list[str]:
        """Targets that wait; empty text: whatever is directed."""
        return list(self.client.pending) if self.client else []

    # -- verdicts of a probation

    def muted(self, set_id: str, name: str, why: str) -> None:
        if self.client is not None:
            self.client.failed_probation(set_id, name, why)
        else:
            self._book.audit("slot", "muted", subject=name, reasons=[why])

    def passed(self, set_id: str, why: str) -> None:
        if self.client is not None:
            self.client.passed_probation(set_id, why)
        else:
            self._book.audit("slot", "passed", subject=set_id, reasons=[why])

    def damaged(self, set_id: str, why: str) -> None:
        if self.client is None:
            return
        if self._slots.view().behind:
            self.client.go_back(BackDue(set_id=set_id, code="damaged", why=why[:WHY_CHARS_MAX]))
        else:  # what is directed takes its place
            self.client.offer(WHATEVER, "aircraft")

    def faulty(self, set_id: str, why: str) -> None:
        if self.client is None or self._slots.view().last_good in ("", set_id):
            return
        back = self.client.memory.back
        if back is None or back.set_id != set_id:
            self.client.go_back(BackDue(set_id=set_id, code="probation", why=why[:WHY_CHARS_MAX]))

    # -- inside

    def _remember(self) -> None:
        if self.client is not None and self.client.memory != self._memory:
            self._memory = self.client.memory
            self._keep(msgspec.msgpack.encode(self._memory))

    async def _watch(self, client: UpdateClient) -> None:
        """Requests, looked for in a thread. What cannot be taken is there again at the next look:
        it is told once."""
        told = list[str]()
        while True:
            found, faults = await asyncio.to_thread(requests.take, self._state_dir)
            for fault in faults:
                if fault not in told:
                    self._book.audit("request", "refused", reasons=[fault])
            told = faults
            for request in found:
                self._act(client, request)
            self._remember()
            await asyncio.sleep(LOOK_S)

    async def _watch_media(self, client: UpdateClient) -> None:
        """By itself: a stick that does not answer keeps no request of a technician waiting."""
        while self._media:
            for folder in await asyncio.to_thread(self._media.appeared):
                client.offer(WHATEVER, "media", folder)
            self._remember()
            await asyncio.sleep(LOOK_S)

    def _act(self, client: UpdateClient, request: requests.Request) -> None:
        if isinstance(request, Accept):
            client.accept(request.set_id, request.by)
        elif isinstance(request, Rollback):
            client.go_back(
                BackDue(set_id=request.set_id, code="operator", why=request.reason, by=request.by,
                        origin="technician")
            )  # fmt: skip
        else:
            client.offer(WHATEVER, "technician", request.by)
