"""Version reports: what runs aboard, said under the device key whenever it changed.

In: the slots, the trusted metadata, what was refused. Out: records of class report, schema
`version/1`. Always holds: the counter only grows, also where the outbox was lost: it is durable
beside the outbox before the report exists; a report is made from the files, not from memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

import msgspec

from edge.config import Settings
from edge.logbook import Now
from edge.update.decisions import REFUSALS, UpdateDecision
from edge.update.disk import PosixDisk, write_durably
from edge.update.keptroles import kept_roles, versions
from edge.update.slots import BundleSet, Slots
from shared.clock import Clock
from shared.envelope import TIME_BUS, TIME_NONE
from shared.errors import Corrupt, TailTwinError
from shared.log import event
from shared.messages import VersionBundle, VersionEngine, VersionRefusal, VersionReport
from shared.version import sign_version

REFUSALS_MAX = 16
COUNTER_BYTES_MAX = 64
COUNTER_FILE = "version.count"
_TEXT_MAX, _CODE_MAX = 160, 40


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What is muted now, beyond what the slot says already."""

    why_muted: str = ""
    muted: Mapping[str, str] = {}


class Versions:
    """keep, kept: a second copy of the counter and the refusals, in the outbox. emit: takes the
    payload. running: see `Running`. now: of the recorder."""

    def __init__(
        self,
        settings: Settings,
        slots: Slots,
        clock: Clock,
        *,
        boot: int,
        now: Callable[[], Now],
        emit: Callable[[bytes], object],
        keep: Callable[[bytes], None],
        kept: Callable[[], bytes | None],
        running: Callable[[], Running],
    ) -> None:
        self._settings, self._slots, self._clock, self._boot = settings, slots, clock, boot
        self._now, self._emit, self._keep, self._running = now, emit, keep, running
        self._kept = _recall(kept())
        self._turn = asyncio.Lock()

    def note(self, told: UpdateDecision) -> None:
        """An update decision; refusals are remembered, the last few."""
        if told.decision not in REFUSALS:
            return
        refusal = VersionRefusal(
            t_ns=told.t_ns, bundle=(told.bundle or told.name)[:_TEXT_MAX], step=told.step,
            decision=told.decision, codes=[r.code[:_CODE_MAX] for r in told.reasons][:REFUSALS_MAX],
            set_id=told.set_id,
        )  # fmt: skip
        refusals = [*self._kept.refusals, refusal][-REFUSALS_MAX:]
        self._kept = msgspec.structs.replace(self._kept, refusals=refusals)
        self._keep(msgspec.msgpack.encode(self._kept))

    async def send(self, why: str) -> None:
        """Make a report of this moment and hand it to the outbox."""
        async with self._turn:
            try:
                report = await asyncio.to_thread(self._make, why)
            except (TailTwinError, OSError) as error:
                event("version.unsaid", why=str(error), level=logging.ERROR)
                return
            self._kept = msgspec.structs.replace(self._kept, counter=report.counter)
            self._keep(msgspec.msgpack.encode(self._kept))
            self._emit(sign_version(report, self._settings.device))

    def _make(self, why: str) -> VersionReport:
        settings, now = self._settings, self._now()
        try:
            live = self._slots.live()
        except Corrupt:
            live = None  # its files are not what was verified: nothing is claimed
        view, running = self._slots.view(), self._running()
        return VersionReport(
            operator=settings.tail.operator, tail=settings.tail.tail, boot=self._boot,
            counter=self._count(), t_ns=self._clock.wall_ns(), t_event_ns=now.t_event_ns,
            t_quality=TIME_BUS if now.t_event_ns else TIME_NONE, why=why,
            slot=live.slot if live else "", set_id=live.id if live else "",
            bundles=_bundles(live, running) if live else [],
            probation=live is not None and live.probation, last_good=view.last_good,
            left=list(view.left), floors=self._slots.releases(),
            tuf=versions(kept_roles(settings.state_dir / "tuf")),
            engines=[
                VersionEngine(position=e.position, esn=e.esn, part_number=e.part_number)
                for e in settings.tail.engines
            ],
            refusals=list(self._kept.refusals),
        )  # fmt: skip

    def _count(self) -> int:
        """The next number, durable before it is used."""
        disk, path = PosixDisk(), self._settings.state_dir / COUNTER_FILE
        try:
            held = int(disk.read(path, COUNTER_BYTES_MAX) or b"0")
        except (Corrupt, ValueError):
            held = 0  # the copy in the outbox goes on
        count = max(held, self._kept.counter) + 1
        write_durably(disk, path, b"%d\n" % count)
        return count


class _Kept(msgspec.Struct, frozen=True):
    counter: int = 0
    refusals: list[VersionRefusal] = []


def _recall(data: bytes | None) -> _Kept:
    try:
        return msgspec.msgpack.decode(data, type=_Kept) if data else _Kept()
    except msgspec.DecodeError:
        return _Kept()


def _bundles(live: BundleSet, running: Running) -> list[VersionBundle]:
    muted = {**live.muted_bundles, **running.muted}
    return [
        VersionBundle(
            name=b.name, release=b.release, sha256=b.sha256, probation=live.probation,
            muted=(live.muted or running.why_muted or muted.get(b.name, ""))[:_TEXT_MAX],
        )
        for b in live.bundles
    ]  # fmt: skip
