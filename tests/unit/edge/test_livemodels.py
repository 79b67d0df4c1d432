"""Live models: what is muted says nothing from that moment, the rest goes on, and a set earns it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge.livemodels import LiveModels
from edge.models.child import FailureKind
from edge.models.host import HostStatus
from edge.models.step import NO_NUMBER, Binding, ModelStep
from edge.update.slots import BundleSet
from shared.bundle import Bundle
from tests.fakes.bundles import bundle as declared
from tests.unit.edge.update.bay import Bay

FLIGHT = "T-1-0-F00001"


class FakeHost:
    bindings: tuple[object, ...] = ()

    def __init__(self) -> None:
        self.loaded: list[list[str]] = []
        self.why = ""

    async def load(self, bundles: list[tuple[Path, str]]) -> str:
        self.loaded.append([path.name.partition(".")[0] for path, _ in bundles])
        return self.why


class Scene:
    """Live models on real slots. Judged by itself: `verdicts`."""

    def __init__(self, folder: Path) -> None:
        self.bay, self.host = Bay(folder), FakeHost()
        self.kept: dict[str, bytes] = {}
        self.verdicts: list[tuple[str, str, str]] = []
        self.audits: list[tuple[str, str, list[str]]] = []
        self.spawned: list[Coroutine[Any, Any, None]] = []
        self.against: list[str] = []
        self.models = self.boot()

    def boot(self) -> LiveModels:
        async def trusted(live: BundleSet) -> list[str]:
            return self.against

        host: Any = self.host
        return LiveModels(
            host, self.bay.slots, trusted=trusted,
            audit=lambda *one: self.audits.append(one),
            keep=lambda data: self.kept.update(probation=data),
            kept=lambda: self.kept.get("probation"), changed=lambda: None, is_shed=lambda: False,
            spawn=self.spawned.append, wall_ns=lambda: 5, judged=self,
        )  # fmt: skip

    def muted(self, set_id: str, name: str, why: str) -> None:
        self.verdicts.append(("muted", name, why))

    def passed(self, set_id: str, why: str) -> None:
        self.verdicts.append(("passed", set_id, why))

    def damaged(self, set_id: str, why: str) -> None:
        self.verdicts.append(("damaged", set_id, why))

    def faulty(self, set_id: str, why: str) -> None:
        self.verdicts.append(("faulty", set_id, why))

    def settle(self) -> None:
        while self.spawned:
            asyncio.run(self.spawned.pop(0))

    def start(self) -> None:
        asyncio.run(self.models.start())

    def fly(self, flight: str = FLIGHT, *, flew: bool = True, good: int = 60) -> None:
        self.models.turned("G", flew=False, opened=flight, at_off_block=True)
        for name in ("egt", "vib"):
            for _ in range(good // 2):
                self.models.takes(step(self, name, [1.0, 2.0]))
        self.models.turned(flight, flew=flew, opened="G2", at_off_block=False)
        self.settle()


def step(scene: Scene, name: str, predicted: list[float], reason: str = "") -> ModelStep:
    bundle: Bundle = msgspec.structs.replace(declared(), name=name)
    column = np.array(predicted)[:, None]
    label = next((x for x in scene.models.labels if x.startswith(name)), name)
    return ModelStep(bundle, label, 0, column, column, column, (reason,) * len(predicted))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path)
    scene.bay.update(egt=2, vib=1)
    scene.start()
    return scene


def test_the_shops_set_is_on_no_probation(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.start()
    assert scene.models.probation is None and scene.models.waits_for() == ""
    assert scene.models.takes(step(scene, "egt", [np.nan], NO_NUMBER))
    assert scene.host.loaded == [["egt-1", "vib-1"]]


def test_an_engine_that_a_bundle_was_not_made_for_is_said_when_it_is_loaded(scene: Scene) -> None:
    """After an engine change; the other engine's predictions go on."""
    scene.host.bindings = (
        Binding(declared(), "egt-2", {1: "ESN1", 2: "ESN9"}),
        Binding(declared(), "vib-1", {1: "ESN1", 2: "ESN2"}),
    )
    scene.audits.clear()
    scene.start()
    assert scene.audits == [("unfit", "egt-2", ["ESN ESN9 at position 2, made for ESN2"])]


def test_a_set_that_flew_within_range_is_the_last_known_good_one(scene: Scene) -> None:
    assert scene.models.waits_for() == "the next whole flight"
    scene.fly()
    assert [v[0] for v in scene.verdicts] == ["passed"] and FLIGHT in scene.verdicts[0][2]
    assert scene.bay.good()["egt"] == 2 and scene.models.probation is None


@pytest.mark.parametrize("how", ["tow", "too few", "end not seen"])
def test_less_than_a_whole_flight_within_range_proves_nothing(scene: Scene, how: str) -> None:
    if how == "end not seen":
        scene.models.turned("G", flew=False, opened=FLIGHT, at_off_block=False)
        scene.models.turned(FLIGHT, flew=True, opened="G2", at_off_block=False)
    else:
        scene.fly(flew=how != "tow", good=10 if how == "too few" else 60)
    scene.settle()
    assert scene.verdicts == [] and scene.bay.good()["egt"] == 1


def test_a_failing_bundle_is_muted_at_once_and_the_others_go_on(scene: Scene) -> None:
    models = scene.models
    assert not models.takes(step(scene, "egt", [np.nan], NO_NUMBER)), "this very step is not used"
    assert not models.takes(step(scene, "egt", [1.0])) and models.takes(step(scene, "vib", [1.0]))
    assert models.muted == {"egt": "no number from good inputs, 1 times"}
    assert [v[:2] for v in scene.verdicts] == [("muted", "egt")]
    assert scene.bay.slots.live() is not None and scene.host.loaded[-1] == ["egt-2", "vib-1"]
    scene.settle()
    live = scene.bay.slots.live()
    assert live is not None and "egt" in live.muted_bundles
    assert scene.host.loaded[-1] == ["vib-1"], "the worker is not asked for it any more"
    scene.fly()
    assert [v[0] for v in scene.verdicts] == ["muted"]


@pytest.mark.parametrize("lost", ["nothing", "outbox", "slot"])
def test_what_is_muted_stays_muted_over_a_restart(scene: Scene, lost: str) -> None:
    scene.models.takes(step(scene, "egt", [np.nan], NO_NUMBER))
    if lost == "slot":
        for one in scene.spawned:
            one.close()  # the power fails before a thread wrote it
        scene.spawned.clear()
    scene.settle()
    if lost == "outbox":
        scene.kept.clear()
    scene.models = scene.boot()
    scene.start()
    assert "egt" in scene.models.muted and scene.host.loaded[-1] == ["vib-1"]
    assert scene.verdicts[-1][:2] == ("faulty", scene.bay.answer().id), "it has to be left"


def test_the_flight_goes_on_over_a_restart(scene: Scene) -> None:
    models = scene.models
    models.turned("G", flew=False, opened=FLIGHT, at_off_block=True)
    for name in ("egt", "vib"):
        for _ in range(30):
            models.takes(step(scene, name, [1.0, 2.0]))
    models.look(status(), 61_000_000_000)  # once a minute it is kept
    scene.models = scene.boot()
    scene.start()
    scene.models.turned(FLIGHT, flew=True, opened="G2", at_off_block=False)
    scene.settle()
    assert [v[0] for v in scene.verdicts] == ["passed"]


def test_a_worker_that_dies_again_and_again_blames_what_is_new(scene: Scene) -> None:
    for failures in range(1, 4):
        scene.models.look(status(failures), 0)
    scene.settle()
    assert [v[:2] for v in scene.verdicts] == [("muted", "egt")]
    assert scene.host.loaded[-1] == ["vib-1"]


def test_a_machine_that_cannot_start_a_worker_blames_no_model(scene: Scene) -> None:
    for failures in range(1, 9):
        scene.models.look(status(failures, "start"), 0)
    scene.settle()
    assert scene.verdicts == [] and scene.models.muted == {}
    for failures in range(9, 12):
        scene.models.look(status(failures), 0)
    scene.settle()
    assert [v[:2] for v in scene.verdicts] == [("muted", "egt")]


def test_a_set_that_is_muted_whole_is_not_given_to_the_worker(scene: Scene) -> None:
    live = scene.bay.slots.live()
    assert live is not None
    scene.bay.slots.mute(live.slot, "it ended the worker")
    scene.models = scene.boot()
    scene.start()
    assert scene.host.loaded[-1] == [] and not scene.models.takes(step(scene, "egt", [1.0]))
    assert scene.verdicts == [("faulty", live.id, "it ended the worker")]


def test_a_set_that_nobody_vouches_for_is_not_loaded_and_goes_back_as_a_damaged_one_does(
    scene: Scene,
) -> None:
    loads = len(scene.host.loaded)
    scene.against, scene.models = ["withdrawn"], scene.boot()
    scene.start()
    assert len(scene.host.loaded) == loads and scene.models.why_muted == "withdrawn"
    assert scene.audits == [("refused", "b", ["withdrawn"])]
    assert scene.verdicts == [("damaged", scene.bay.answer().id, "withdrawn")]
    scene.verdicts.clear()
    (scene.bay.state / "slots/b/egt-2.0.0.tar.zst").unlink()
    scene.models = scene.boot()
    scene.start()
    assert [v[0] for v in scene.verdicts] == ["damaged"]
    assert scene.verdicts[0][1] == scene.bay.answer().id


def test_a_mute_that_cannot_be_written_mutes_nevertheless(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scene.bay.slots, "mute_bundle", full)
    scene.models.takes(step(scene, "egt", [np.nan], NO_NUMBER))
    scene.settle()
    assert not scene.models.takes(step(scene, "egt", [1.0]))


def test_the_worker_has_the_set_that_is_said_to_be_live_whoever_gives_it_one_meanwhile(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path)
    scene.start()
    scene.bay.update(egt=2, vib=1)
    live = scene.bay.slots.live()
    assert live is not None
    begun, go_on = asyncio.Event(), asyncio.Event()
    given: list[list[str]] = []

    async def load(bundles: list[tuple[Path, str]]) -> str:
        begun.set()
        await go_on.wait()
        given.append([path.name for path, _ in bundles])
        return ""

    async def race() -> None:
        scene.host.load = load  # type: ignore[method-assign]  # a worker that takes its time
        swap = asyncio.create_task(scene.models.load(live))
        await begun.wait()
        shed = asyncio.create_task(scene.models.fit())  # the governor, of the set before
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(swap, shed)

    asyncio.run(race())
    assert given == [["egt-2.0.0.tar.zst", "vib-1.0.0.tar.zst"]] * 2
    assert scene.models.labels == ["egt-2.0.0", "vib-1.0.0"]


@pytest.mark.parametrize("verdict", ["muted", "passed"])
def test_a_verdict_that_comes_during_a_swap_back_is_not_written_to_the_other_set(
    scene: Scene, verdict: str
) -> None:
    slots, models = scene.bay.slots, scene.models
    assert models.live is not None
    with slots._lock:  # a swap back has begun, in another thread
        if verdict == "muted":
            models.takes(step(scene, "egt", [np.nan], NO_NUMBER))
        else:
            scene.spawned.append(models._pass(models.live, FLIGHT))
        writing = threading.Thread(target=scene.settle)
        writing.start()
        writing.join(0.1)
        assert slots.rollback(lambda: True)
    writing.join()
    live = slots.live()
    assert live is not None and live.muted_bundles == {}
    assert ("passed" in [v[0] for v in scene.verdicts]) is False


def status(failures: int = 0, kind: FailureKind = "hang") -> HostStatus:
    return HostStatus(
        state="running", pid=1, restarts=0, steps=0, late=0, last_failure="hangs", bundles=(),
        failures=failures, last_kind=kind,
    )  # fmt: skip
