"""An aircraft at its stand: real slots and a real update client; what is directed, the gate and the
worker are the test's.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from edge.models.admission import AdmissionResult
from edge.update.decisions import UpdateDecision
from edge.update.gate import GateDecision, GateReason
from edge.update.slots import BundleSet, Slots, SlotsView
from edge.update.updates import UpdateClient
from edge.update.verified import FetchAnswer, FetchFailure, VerifiedBundle, VerifiedSet
from shared.clock import ManualClock
from shared.phases import Phase

OPEN = GateDecision(True, (), 0, 0.0, Phase.PARKED)
SHUT = GateDecision(False, (GateReason("phase", "phase is cruise"),), 0, 30.0, Phase.CRUISE)


class RealMono(ManualClock):
    """A wall clock that a test sets, and the machine's own monotonic one."""

    def mono_ns(self) -> int:
        return time.monotonic_ns()


class Bay:
    """With `egt 1` and `vib 1` of the shop. on_step: called at each step, before it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder / "fetched", folder / "state"
        self.folder.mkdir()
        self.state.mkdir()
        self.gate = OPEN
        self.clock: ManualClock = RealMono(0, 1_800_000_000_000_000_000)
        self.decisions: list[UpdateDecision] = []
        self.loaded: list[tuple[str, ...]] = []
        self.against: list[str] = []
        self.judged: Callable[[VerifiedBundle], AdmissionResult] = fit
        self.failure: FetchFailure | None = None
        self.rollback_of = ""
        self.withdrawn: tuple[str, ...] = ()
        self.fetches = 0
        self.on_step: Callable[[str], None] = lambda step: None
        self.must_accept = False
        self.slots = Slots(self.state)
        self.direct(egt=1, vib=1)
        self.slots.install_first(self.directed)
        for bundle in self.directed:
            bundle.file.unlink()

    def direct(self, **releases: int) -> VerifiedSet:
        """What the director says from now on."""
        self.directed = tuple(self.bundle(name, release) for name, release in releases.items())
        return self.answer()

    def bundle(self, name: str, release: int) -> VerifiedBundle:
        data = f"{name} {release}".encode() * 20
        path = self.folder / f"{name}-{release}.fetched"
        path.write_bytes(data)
        return VerifiedBundle(
            target=target(name, release), name=name, release=release,
            sha256=hashlib.sha256(data).hexdigest(), length=len(data), path=str(path),
            )  # fmt: skip

    def answer(self) -> VerifiedSet:
        return VerifiedSet(
            bundles=self.directed, rollback_of=self.rollback_of, source="test",
            withdrawn=self.withdrawn,
        )  # fmt: skip

    async def fetch(self, wanted: str, view: SlotsView) -> FetchAnswer:
        self.fetches += 1
        self.on_step("download")
        await asyncio.sleep(0.002)
        if self.failure is not None:
            return self.failure
        if wanted and wanted not in [b.target for b in self.directed]:
            return FetchFailure(kind="rejected", code="not_directed", text=f"{wanted} is not")
        for bundle in self.directed:
            self.bundle(bundle.name, bundle.release)
        return self.answer()

    async def admit(self, bundle: VerifiedBundle) -> AdmissionResult:
        self.on_step("admission")
        await asyncio.sleep(0.002)
        return self.judged(bundle)

    async def load(self, live: BundleSet) -> list[str]:
        self.loaded.append(tuple(f"{b.name} {b.release}" for b in live.bundles))
        return self.against

    def client(self, **changes: object) -> UpdateClient:
        arguments: dict[str, object] = {
            "slots": self.slots, "fetch": self.fetch, "admit": self.admit, "load": self.load,
            "ask": lambda: self.gate, "record": self.decisions.append, "clock": self.clock,
            "retry_s": 60.0, "must_accept": self.must_accept,
        }  # fmt: skip
        return UpdateClient(**{**arguments, **changes})  # type: ignore[arg-type]

    def live(self) -> dict[str, int]:
        live = self.slots.live()
        assert live is not None
        return {b.name: b.release for b in live.bundles}

    def good(self) -> dict[str, int]:
        good = self.slots.last_good()
        assert good is not None
        return {b.name: b.release for b in good.bundles}

    def said(self) -> list[tuple[str, str]]:
        return [(d.step, d.decision) for d in self.decisions]

    def update(self, client: UpdateClient | None = None, **releases: int) -> None:
        """Direct a set, look at it, and be done with it."""
        self.direct(**releases)
        told = len(self.decisions)

        async def drive() -> None:
            aboard = client or self.client()
            aboard.offer("", "director")
            await settle(aboard, lambda: len(self.decisions) > told and not aboard.pending)

        asyncio.run(drive())


def fit(bundle: VerifiedBundle) -> AdmissionResult:
    return AdmissionResult(True, [], bundle.sha256, bundle.name, "", bundle.release)


def target(name: str, release: int) -> str:
    return f"{name}/{name}-{release}.0.0.tar.zst"


async def settle(client: UpdateClient, done: Callable[[], bool], seconds: float = 10.0) -> None:
    """Run the client until `done`, then stop it."""
    task = asyncio.create_task(client.run())
    try:
        async with asyncio.timeout(seconds):
            while not done():
                await asyncio.sleep(0.002)
                assert not task.done() or task.exception() is None, task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
