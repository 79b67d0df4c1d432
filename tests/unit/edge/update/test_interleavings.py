"""Every order in which the gate can open and shut around the steps of an update.

The gate is looked at wherever the update asks, wherever it waits, and by the recorder while nothing
goes on. At each look it is open or shut, so the sequences are 2 to the number of looks: all of them
are gone through, for each kind of reason, with the real gate on real inputs and the real slots on a
disk in memory. What is live may change only behind a look inside the swap that found the gate open,
in an attempt that found it open throughout.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edge.models.admission import AdmissionResult
from edge.update.decisions import UpdateDecision
from edge.update.gate import Gate, GateDecision, GateInputs, GateRule, Observation
from edge.update.slots import BundleSet, Slots, SlotsView
from edge.update.updates import UpdateClient
from edge.update.verified import FetchAnswer, VerifiedBundle, VerifiedSet
from shared.clock import ManualClock
from shared.phases import Confidence, Phase
from tests.unit.edge.update.bay import fit
from tests.unit.edge.update.powercut import CutDisk
from tests.unit.edge.update.test_slots import fetched

LOOKS = 9
"""An update takes so many: eight of its own, and one of the recorder that wakes it."""
KINDS = ("brake", "power", "contradiction")
SEQUENCES = len(KINDS) * 2**LOOKS
LOOKS_OVERTAKING = 11
"""Two more: before the last known good set is gone back to, and inside that swap."""
_ON, _OFF = Observation(1.0, 0, 0), Observation(0.0, 0, 0)
GOOD = GateInputs(
    wow_left=_ON, wow_right=_ON, ground_speed_kt=_OFF, parking_brake=_ON, external_power=_ON,
    apu_power=_OFF, battery_only=_OFF, fuel_cutoff_1=_ON, fuel_cutoff_2=_ON, n2_1=_OFF, n2_2=_OFF,
    oil_pressure_1=_OFF, oil_pressure_2=_OFF, altitude_ft=Observation(100.0, 0, 0),
    airspeed_kt=Observation(30.0, 0, 0),
)  # fmt: skip
SHUT: dict[str, dict[str, Observation]] = {
    "brake": {"parking_brake": _OFF},
    "power": {"external_power": _OFF, "battery_only": _ON},
    "contradiction": {"airspeed_kt": Observation(150.0, 0, 0)},
}


class Over(BaseException):
    """The sequence has no look left."""


class Told(CutDisk):
    """Notes each rename that makes another set live."""

    def __init__(self, trace: list[tuple[str, bool]]) -> None:
        super().__init__(random.Random(0))
        self._trace, self._live = trace, ""

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        if new.name == "active":
            live = msgspec.json.decode(self.names[new])["live"]
            if live != self._live:
                self._trace.append(("live", True))
            self._live = live


class Story:
    """One sequence. trace: what looked, and what it saw, in order."""

    def __init__(self, folder: Path, looks: tuple[bool, ...], kind: str) -> None:
        self.trace: list[tuple[str, bool]] = []
        self._looks, self._kind = iter(looks), kind
        self._gate, self._now_ns = Gate(GateRule(dwell_s=0.5)), 0
        self.disk = Told(self.trace)
        self.slots = Slots(folder, self.disk)
        self.decisions: list[UpdateDecision] = []
        self._folder = folder
        self.slots.install_first([fetched(folder, 1)])
        self.client = UpdateClient(
            slots=self.slots, fetch=self._fetch, admit=self._admit, load=self._load, ask=self._ask,
            record=self.decisions.append, clock=ManualClock(),
        )  # fmt: skip
        stage = self.slots.stage

        def staged(bundles: tuple[VerifiedBundle, ...]) -> object:
            self._see("stage")
            return stage(bundles)

        self.slots.stage = staged  # type: ignore[method-assign, assignment]
        self.client._sleep = self._idle  # type: ignore[method-assign]

    def _look(self, who: str) -> GateDecision:
        """Time has passed since the last look: enough for the dwell, where all holds."""
        is_open = next(self._looks, None)
        if is_open is None:
            raise Over
        inputs = GOOD if is_open else msgspec.structs.replace(GOOD, **SHUT[self._kind])
        for _ in range(2 if is_open and not self._was_open else 1):
            self._now_ns += 600_000_000
            decision = self._gate.step(self._now_ns, inputs, Phase.PARKED, Confidence.HIGH)
        self._was_open = is_open
        assert decision.open == is_open, decision.reasons
        self.trace.append((who, is_open))
        return decision

    def _ask(self) -> GateDecision:
        try:
            return self._look("ask")
        except Over:
            self._over = True
            inputs = msgspec.structs.replace(GOOD, **SHUT[self._kind])
            return self._gate.step(self._now_ns, inputs, Phase.PARKED, Confidence.HIGH)

    def _see(self, who: str) -> None:
        try:
            self.client.on_gate(self._look(who))
        except Over:
            self._over = True

    _over = _was_open = False

    async def _idle(self) -> None:
        if self._over:
            raise Over
        self.client.on_gate(self._look("idle"))

    async def _fetch(self, target: str, view: SlotsView) -> FetchAnswer:
        self._see("download")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return VerifiedSet(bundles=(fetched(self._folder, 2),))

    async def _admit(self, bundle: VerifiedBundle) -> AdmissionResult:
        self._see("admission")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return fit(bundle)

    async def _load(self, live: BundleSet) -> list[str]:
        return []

    async def live_through(self) -> None:
        self.client.offer("egt/egt-2.tar.zst")
        try:
            await self.client.run()
        except Over:
            pass

    def release(self) -> int:
        live = self.slots.live()
        assert live is not None
        return live.bundles[0].release


LOOP = asyncio.Runner()
THREAD = asyncio.to_thread


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread only for what asks the loop from inside: there are some 30,000 others."""

    async def inline(act: Callable[..., object], *arguments: object) -> object:
        if getattr(act, "__name__", "") in ("activate", "<lambda>"):
            return await THREAD(act, *arguments)
        return act(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", inline)


def attempts(trace: list[tuple[str, bool]]) -> list[list[tuple[str, bool]]]:
    """Each from the look before its download on."""
    starts = [i - 1 for i, (who, _) in enumerate(trace) if who == "download"]
    return [trace[a:b] for a, b in itertools.pairwise([*starts, len(trace)])]


WHOLE = ["ask", "download", "admission", "ask", "stage", "ask", "ask"]


def test_what_is_live_changes_only_behind_an_open_gate_at_every_look(tmp_path: Path) -> None:
    count, activated = 0, 0
    for kind in KINDS:
        for looks in itertools.product((True, False), repeat=LOOKS):
            story = Story(tmp_path, looks, kind)
            LOOP.run(story.live_through())
            count += 1
            changes = [i for i, (who, _) in enumerate(story.trace) if who == "live"][1:]
            for i in changes:
                attempt = attempts(story.trace[:i])[-1]
                assert attempt[-1] == ("ask", True)
                assert all(is_open for who, is_open in attempt if who != "stage"), attempt
            is_due = any(
                [who for who, _ in one[:7]] == WHOLE
                and all(is_open for who, is_open in one[:7] if who != "stage")
                for one in attempts([x for x in story.trace if x[0] != "live"])
            )
            assert bool(changes) == is_due == (story.release() == 2), (looks, story.trace)
            activated += is_due
    assert count == SEQUENCES == 1536
    assert activated == 3 * 2 * 2, "whatever the offer and the staging saw, all else open"


def test_overtaking_a_set_on_probation_never_leaves_the_aircraft_without_a_proven_one(
    tmp_path: Path,
) -> None:
    """The live set is on probation: the last known good one comes first, behind a look of its own."""
    count, ends = 0, set[tuple[int, bool]]()
    for looks in itertools.product((True, False), repeat=LOOKS_OVERTAKING - 1):
        story = Story(tmp_path, (True, *looks), "brake")
        slots = Slots(tmp_path, story.disk)
        assert slots.activate(slots.stage([fetched(tmp_path, 3, "old")]), lambda: True)
        LOOP.run(story.live_through())
        count += 1
        for i in [i for i, (who, _) in enumerate(story.trace) if who == "live"][2:]:
            assert story.trace[i - 1] == ("ask", True), story.trace
        good = slots.last_good()
        assert good is not None and [b.release for b in good.bundles] == [1]
        live = slots.live()
        assert live is not None
        ends.add((live.bundles[0].release, live.probation))
    assert count == 2 ** (LOOKS_OVERTAKING - 1) == 1024
    assert ends == {(3, True), (1, False), (2, True)}
