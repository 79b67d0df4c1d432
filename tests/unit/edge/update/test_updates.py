"""The update session: the gate at every step, pending offers, whole sets and the way back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edge.models.admission import AdmissionResult
from edge.update.decisions import UpdateDecision
from edge.update.gate import GateDecision, GateReason
from edge.update.memory import BackDue, UpdateMemory, recall
from edge.update.offers import ATTEMPTS_MAX, PENDING_MAX, KeptOffer
from edge.update.slots import BundleSet
from edge.update.updates import UpdateClient
from edge.update.verified import FetchFailure, VerifiedBundle
from edge.update.watch import GateWatch
from shared.clock import ManualClock
from shared.phases import Phase
from tests.unit.edge.update.bay import OPEN, SHUT, Bay, fit, settle, target

EGT_2, VIB_1 = target("egt", 2), target("vib", 1)
DWELL = GateDecision(False, (GateReason("dwell", "29 s left"),), 0, 29.0, Phase.PARKED)


@pytest.fixture
def bay(tmp_path: Path) -> Bay:
    return Bay(tmp_path)


def offered(bay: Bay, wanted: str = EGT_2, **changes: object) -> list[UpdateDecision]:
    """Offer it at the open gate, until there was an answer."""

    async def drive() -> None:
        client = bay.client(**changes)
        client.offer(wanted)
        await settle(client, lambda: not client.pending)

    asyncio.run(drive())
    return bay.decisions


def test_refused_in_cruise_with_reasons_and_taken_at_the_stand(bay: Bay) -> None:
    bay.direct(egt=2, vib=1)

    async def fly() -> None:
        bay.gate = SHUT
        client = bay.client()
        decision = client.offer(EGT_2, by="fleet desk")
        assert decision is not None and decision.texts() == ["phase: phase is cruise"]
        assert (decision.decision, decision.phase, decision.is_pending) == (
            "refused", "cruise", True,
        )  # fmt: skip
        assert (decision.origin, decision.by, decision.gate) == ("notice", "fleet desk", "shut")
        assert bay.fetches == 0, "fetched behind a shut gate"
        bay.gate = OPEN
        client.on_gate(OPEN)
        await settle(client, lambda: not client.pending and not any(bay.folder.iterdir()))

    asyncio.run(fly())
    assert bay.live() == {"egt": 2, "vib": 1} and bay.good() == {"egt": 1, "vib": 1}
    assert bay.said() == [("offer", "refused"), ("download", "fetched"), ("swap", "activated")]
    last = bay.decisions[-1]
    assert (last.name, last.release, last.phase, last.by) == ("egt", 2, "parked", "fleet desk")
    assert last.set_id == bay.answer().id and last.bundles == ("egt 2", "vib 1")
    assert bay.loaded == [("egt 2", "vib 1")]


def test_the_whole_set_is_replaced_by_what_is_directed(bay: Bay) -> None:
    bay.update(oil=1, vib=2)
    assert bay.live() == {"oil": 1, "vib": 2}


def test_only_what_is_new_here_is_judged(bay: Bay) -> None:
    judged = []

    def judge(bundle: VerifiedBundle) -> AdmissionResult:
        judged.append(bundle.name)
        return fit(bundle)

    bay.judged = judge
    bay.update(egt=2, vib=1)
    assert judged == ["egt"]


@pytest.mark.parametrize("step", ["download", "admission"])
def test_a_gate_that_shuts_meanwhile_ends_the_attempt_and_the_offer_waits(
    bay: Bay, step: str
) -> None:
    bay.direct(egt=2, vib=1)

    async def drive() -> None:
        client = bay.client()

        def shut(at: str) -> None:
            if at == step:
                bay.gate = SHUT
                client.on_gate(SHUT)

        bay.on_step = shut
        client.offer(EGT_2)
        await settle(client, lambda: "deferred" in [d for _, d in bay.said()])
        assert client.pending == (EGT_2,)
        assert bay.live()["egt"] == 1
        bay.on_step = lambda step: None
        bay.gate = OPEN
        client.on_gate(OPEN)
        await settle(client, lambda: bay.live()["egt"] == 2)

    asyncio.run(drive())
    assert (step, "deferred") in bay.said()
    assert bay.said()[-1] == ("swap", "activated")


def test_the_gate_is_asked_at_offer_download_activation_and_inside_the_swap(bay: Bay) -> None:
    """Shut it at the n-th time of asking: every n before the last leaves release 1 live."""
    bay.direct(egt=2, vib=1)
    outcomes = []

    async def drive(shut_at: int) -> bool:
        bay.decisions.clear()
        asked = 0

        def ask() -> GateDecision:
            nonlocal asked
            asked += 1
            return SHUT if asked >= shut_at else OPEN

        client = bay.client(ask=ask)
        client.offer(EGT_2)
        last = ("refused", "deferred", "activated")
        await settle(client, lambda: any(d.decision in last for d in bay.decisions))
        outcomes.append(bay.said()[-1])
        return bay.live()["egt"] == 2

    for shut_at in range(1, 7):
        if asyncio.run(drive(shut_at)):
            break
    assert outcomes == [
        ("offer", "refused"), ("download", "deferred"), ("activation", "deferred"),
        ("activation", "deferred"), ("swap", "deferred"), ("swap", "activated"),
    ]  # fmt: skip


def test_a_swap_is_told_with_the_gate_that_let_it_through(bay: Bay) -> None:
    bay.direct(egt=2, vib=1)
    asked = 0

    async def drive() -> None:

        def ask() -> GateDecision:
            nonlocal asked
            asked += 1
            if asked == 5:  # inside the swap; shut before anybody can tell
                asyncio.get_running_loop().call_soon(lambda: client.on_gate(SHUT))
            return OPEN

        client = bay.client(ask=ask)
        client.offer(EGT_2)
        await settle(client, lambda: bay.said()[-1:] == [("swap", "activated")])

    asyncio.run(drive())
    assert bay.decisions[-1].gate == "open"


@pytest.mark.parametrize("after", [DWELL, OPEN])
def test_what_shut_the_gate_is_in_the_record_though_it_was_over_when_told(
    bay: Bay, after: GateDecision
) -> None:
    """A brake that is released for one look leaves a dwell behind, or nothing at all."""
    bay.direct(egt=2, vib=1)

    async def drive() -> None:
        client = bay.client()

        def shut(at: str) -> None:
            if at == "download" and bay.fetches == 1:
                client.on_gate(SHUT)
                bay.gate = after

        bay.on_step = shut
        client.offer(EGT_2)
        await settle(client, lambda: "deferred" in [d for _, d in bay.said()])

    asyncio.run(drive())
    told = next(d for d in bay.decisions if d.decision == "deferred")
    assert told.texts() == ["phase: phase is cruise"]
    assert (told.gate, told.phase) == ("shut", "cruise")


def test_what_the_aircraft_decides_by_itself_is_said_to_be_its_own(bay: Bay) -> None:
    bay.update(egt=2, vib=1)
    client = bay.client()
    client.passed_probation(bay.answer().id, "flight F1")
    client.failed_probation(bay.answer().id, "egt", "out of range")
    assert [d.decision for d in bay.decisions[-3:]] == ["passed", "muted", "due"]
    assert {d.origin for d in bay.decisions[-3:]} == {"aircraft"}


def test_a_loop_that_does_not_answer_in_the_swap_is_a_shut_gate(
    bay: Bay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.update.watch.ASK_S_MAX", 0.05)

    async def drive() -> bool:
        slot = bay.slots.stage(bay.direct(egt=2).bundles)
        loop = asyncio.new_event_loop()  # never runs
        try:
            return await asyncio.to_thread(
                bay.slots.activate, slot, GateWatch(lambda: OPEN).asker(loop)
            )
        finally:
            loop.close()

    assert asyncio.run(drive()) is False
    assert bay.live()["egt"] == 1


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"ok": False, "reasons": ["operator Loop"]}, "admission: egt: operator Loop"),
        ({"ok": False, "reasons": []}, "admission: egt: refused"),
        ({"release": 7}, "'egt', 7"),
        ({"sha256": "00" * 32}, "its signers say"),
    ],
)
def test_what_admission_refuses_or_did_not_judge_is_not_activated(
    bay: Bay, changes: dict[str, object], text: str
) -> None:
    bay.judged = lambda bundle: msgspec.structs.replace(fit(bundle), **changes)
    bay.update(egt=2, vib=1)
    assert bay.said() == [("download", "fetched"), ("admission", "failed")]
    assert text in bay.decisions[-1].texts()[0]
    assert bay.live()["egt"] == 1


def test_a_set_that_the_worker_cannot_load_is_muted_and_goes_back_at_the_open_gate(
    bay: Bay,
) -> None:
    bay.against = ["the worker did not start"]

    async def drive() -> None:
        client = bay.client()
        bay.direct(egt=2, vib=1)
        client.offer(EGT_2)
        await settle(client, lambda: ("load", "muted") in bay.said())
        bay.against = []
        await settle(client, lambda: ("rollback", "rolled_back") in bay.said())

    asyncio.run(drive())
    assert bay.said()[1:5] == [
        ("swap", "activated"), ("load", "muted"), ("rollback", "due"), ("rollback", "rolled_back"),
    ]  # fmt: skip
    assert bay.live()["egt"] == 1 and bay.slots.left() == (bay.answer().id,)


def test_a_set_that_the_worker_cannot_load_is_muted_and_not_swapped_back(bay: Bay) -> None:
    """Not while the gate is shut: it shuts here before the worker has answered."""
    bay.direct(egt=2, vib=1)

    async def load(live: BundleSet) -> list[str]:
        bay.gate = SHUT
        return ["the worker did not start"]

    async def drive() -> None:
        client = bay.client(load=load)
        client.offer(EGT_2)
        await settle(client, lambda: ("rollback", "due") in bay.said())
        with pytest.raises(TimeoutError):
            await settle(client, lambda: bay.live()["egt"] == 1, 0.05)

    asyncio.run(drive())
    live = bay.slots.live()
    assert live is not None and live.muted == "the worker did not start"
    assert bay.live()["egt"] == 2 and bay.good()["egt"] == 1


def test_a_muted_set_waits_for_the_gate_to_go_back(bay: Bay) -> None:
    bay.update(egt=2, vib=1)
    failed = bay.answer().id

    async def drive() -> None:
        client = bay.client()
        bay.gate = SHUT
        client.go_back(BackDue(set_id=failed, code="probation", why="egt: out of range"))
        with pytest.raises(TimeoutError):
            await settle(client, lambda: bay.live()["egt"] == 1, 0.1)
        assert bay.said()[-1] == ("rollback", "due") and bay.decisions[-1].is_pending
        assert bay.decisions[-1].texts() == [
            "probation: egt: out of range", "phase: phase is cruise",
        ]  # fmt: skip
        kept = client.memory
        again = bay.client()  # a restart
        again.resume(msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=UpdateMemory))
        bay.gate = OPEN
        again.on_gate(OPEN)
        await settle(again, lambda: bay.live()["egt"] == 1)
        assert again.memory.back is None

    asyncio.run(drive())
    assert bay.slots.left() == (failed,)
    bay.update(egt=2, vib=1)
    assert bay.decisions[-1].reasons[0].code == "set_left"
    assert bay.live()["egt"] == 1
    bay.update(egt=3, vib=1)
    assert bay.live()["egt"] == 3


def test_the_gate_is_asked_inside_the_swap_back_as_well(bay: Bay) -> None:
    bay.update(egt=2, vib=1)
    asked = 0

    def ask() -> GateDecision:
        nonlocal asked
        asked += 1
        return OPEN if asked < 3 else SHUT

    async def drive() -> None:
        client = bay.client(ask=ask)
        client.go_back(BackDue(set_id=bay.answer().id, code="operator", why="vibration"))
        await settle(client, lambda: asked >= 3)
        assert client.memory.back is not None

    asyncio.run(drive())
    assert bay.live()["egt"] == 2 and bay.said()[-1] == ("rollback", "deferred")


def test_a_swap_back_is_told_with_what_shut_the_gate_or_with_where_it_led(bay: Bay) -> None:
    first = bay.answer().id
    bay.update(egt=2, vib=1)
    answers = iter([OPEN, OPEN, SHUT, DWELL])

    async def drive() -> None:
        client = bay.client(ask=lambda: next(answers, OPEN))
        client.go_back(BackDue(set_id=bay.answer().id, code="operator", why="vibration"))
        await settle(client, lambda: bay.said()[-1] == ("rollback", "deferred"))
        told = bay.decisions[-1]
        assert told.texts() == ["operator: vibration", "phase: phase is cruise"]
        assert (told.gate, told.phase) == ("shut", "cruise")
        client.on_gate(OPEN)
        await settle(client, lambda: bay.said()[-1] == ("rollback", "rolled_back"))

    asyncio.run(drive())
    assert bay.decisions[-1].detail()["to"] == first


def test_what_is_due_to_go_back_and_is_live_no_more_is_forgotten(bay: Bay) -> None:
    async def drive() -> None:
        client = bay.client()
        client.go_back(BackDue(set_id="of another time", code="operator", why="x"))
        await settle(client, lambda: client.memory.back is None)

    asyncio.run(drive())
    assert bay.live()["egt"] == 1


def test_without_a_set_to_go_back_to_the_swap_back_fails_and_says_so(bay: Bay) -> None:
    live = bay.slots.live()
    assert live is not None

    async def drive() -> None:
        client = bay.client()
        client.go_back(BackDue(set_id=live.id, code="operator", why="x", by="ops"))
        await settle(client, lambda: client.memory.back is None)

    asyncio.run(drive())
    assert bay.said() == [("rollback", "due"), ("rollback", "failed")]
    assert "no set to go back to" in bay.decisions[-1].texts()[1]
    assert bay.decisions[-1].by == "ops"


def test_a_new_set_over_one_on_probation_goes_by_way_of_the_last_good_one(bay: Bay) -> None:
    bay.update(egt=2, vib=1)
    overtaken = bay.answer().id
    bay.decisions.clear()
    bay.update(egt=3, vib=1)
    assert bay.live()["egt"] == 3 and bay.good()["egt"] == 1
    assert bay.said() == [
        ("download", "fetched"), ("rollback", "rolled_back"), ("swap", "activated"),
    ]  # fmt: skip
    assert bay.decisions[1].set_id == overtaken and bay.decisions[1].reasons[0].code == "overtaken"
    assert bay.loaded[-2:] == [("egt 1", "vib 1"), ("egt 3", "vib 1")]
    assert bay.slots.left() == (), "it may come again"


def test_a_damaged_live_set_gives_way_to_a_new_one(bay: Bay) -> None:
    bay.update(egt=2, vib=1)
    bay.slots.prove()
    (bay.state / "slots/b/egt-2.0.0.tar.zst").write_bytes(b"rot")
    bay.update(egt=3, vib=1)
    assert bay.live()["egt"] == 3 and bay.good()["egt"] == 1


@pytest.mark.parametrize("release", [1, 2])
def test_the_only_set_when_damaged_gives_way_to_whatever_is_directed(
    bay: Bay, release: int
) -> None:
    (bay.state / "slots/a/egt-1.0.0.tar.zst").write_bytes(b"rot")
    bay.update(egt=release, vib=1)
    assert bay.live() == {"egt": release, "vib": 1}
    assert bay.said()[-1] == ("swap", "activated")


def test_failures_of_other_days_are_forgotten_once_a_look_went_well(bay: Bay) -> None:
    cut = FetchFailure(kind="unreachable", code="network", text="cut", may_pass=True)
    client = bay.client(retry_s=0.001)

    async def look(failure: FetchFailure | None, until: tuple[str, str]) -> None:
        bay.failure, told = failure, len(bay.decisions)
        client.offer("", "director")
        await settle(client, lambda: until in bay.said()[told:])

    async def days() -> None:
        for _ in range(ATTEMPTS_MAX):
            await look(cut, ("download", "failed"))
        assert client.pending == ()
        await look(None, ("activation", "unchanged"))
        await look(cut, ("download", "failed"))

    asyncio.run(days())
    assert client.pending == ("",), "one cut link is no reason to give up"


def test_the_director_takes_a_set_back(bay: Bay) -> None:
    bay.update(egt=2, vib=1)
    bay.rollback_of = bay.answer().id
    bay.decisions.clear()
    bay.update(egt=1, vib=1)
    assert bay.live() == {"egt": 1, "vib": 1}
    assert bay.said() == [
        ("download", "fetched"), ("rollback", "rolled_back"), ("activation", "unchanged"),
    ]  # fmt: skip
    assert bay.slots.left() == ()


def test_the_director_takes_a_set_back_for_another_than_the_last_good_one(bay: Bay) -> None:
    bay.update(egt=2, vib=1)
    bay.rollback_of = bay.answer().id
    bay.update(egt=1, vib=2)
    assert bay.live() == {"egt": 1, "vib": 2} and bay.good() == {"egt": 1, "vib": 1}


def test_taking_back_a_set_that_is_not_live_changes_nothing(bay: Bay) -> None:
    bay.rollback_of = "0123456789abcdef"
    bay.update(egt=2, vib=1)
    assert bay.live()["egt"] == 2 and bay.slots.left() == ()


def test_a_set_waits_for_a_technician_where_the_profile_says_so(bay: Bay) -> None:
    bay.must_accept = True
    wanted = bay.direct(egt=2, vib=1).id

    async def drive() -> None:
        client = bay.client()
        client.offer(EGT_2)
        await settle(client, lambda: ("acceptance", "deferred") in bay.said())
        assert client.memory.awaited is not None and client.memory.awaited.set_id == wanted
        client.accept("fedcba9876543210", "J-17")
        await settle(client, lambda: bay.fetches == 2)
        assert bay.live()["egt"] == 1, "another set was accepted"
        kept = client.memory
        again = bay.client()  # a restart between the two
        again.resume(msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=UpdateMemory))
        again.accept(wanted, "J-17")
        await settle(again, lambda: bay.live()["egt"] == 2)
        assert again.memory.accepted == {"fedcba9876543210": "J-17"}
        assert again.memory.awaited is None and not again.memory.offers

    asyncio.run(drive())
    accepted = next(d for d in bay.decisions if d.decision == "accepted" and d.set_id == wanted)
    assert (accepted.by, accepted.bundles, accepted.reasons) == ("J-17", ("egt 2", "vib 1"), ())
    mistyped = next(d for d in bay.decisions if d.set_id == "fedcba9876543210")
    assert "no set fedcba9876543210 waits now" in str(mistyped.reasons)
    assert bay.said().count(("acceptance", "deferred")) == 1, "told once"


def test_what_is_live_already_is_said_to_be_unchanged(bay: Bay) -> None:
    offered(bay, VIB_1)
    assert bay.said() == [("download", "fetched"), ("activation", "unchanged")]


def test_an_offer_of_what_has_gone_live_meanwhile_is_no_offer_any_more(bay: Bay) -> None:
    bay.direct(egt=2, vib=2)

    async def drive() -> None:
        client = bay.client()
        bay.gate = SHUT
        client.offer(EGT_2)
        client.offer(target("vib", 2))
        bay.gate = OPEN
        client.on_gate(OPEN)
        await settle(client, lambda: bay.live()["egt"] == 2)
        assert client.pending == () and bay.fetches == 1
        bay.gate = SHUT
        decision = client.offer(EGT_2)
        assert decision is not None and decision.decision == "unchanged"
        assert client.pending == ()

    asyncio.run(drive())


def test_a_mistyped_offer_does_not_displace_a_good_one_for_ever(bay: Bay) -> None:
    bay.direct(egt=2, vib=1)

    async def drive() -> None:
        client = bay.client()
        bay.gate = SHUT
        client.offer(EGT_2)
        client.offer("egt/egt-2-typo.tar.zst")
        bay.gate = OPEN
        client.on_gate(OPEN)
        await settle(client, lambda: bay.live()["egt"] == 2)

    asyncio.run(drive())
    assert bay.said()[1:] == [
        ("download", "failed"), ("download", "fetched"), ("swap", "activated"),
    ]  # fmt: skip
    assert bay.decisions[1].reasons[0].code == "not_directed"
    assert bay.decisions[-1].origin == "director"


def test_a_withdrawn_bundle_is_muted_at_once_and_its_set_goes_back(bay: Bay) -> None:
    bay.update(egt=2, vib=1)
    withdrawn = (bay.directed[0].sha256,)
    bay.failure = FetchFailure(kind="rejected", code="no_target", text="x", withdrawn=withdrawn)

    async def drive() -> None:
        client = bay.client()
        client.offer(target("egt", 3))
        await settle(client, lambda: ("rollback", "rolled_back") in bay.said())

    asyncio.run(drive())
    assert ("download", "muted") in bay.said() and bay.live()["egt"] == 1


def test_what_was_withdrawn_is_not_gone_back_to(bay: Bay) -> None:
    first = bay.directed[0].sha256
    bay.update(egt=2, vib=1)
    bay.withdrawn = (first,)
    bay.update(egt=3, vib=1)
    assert bay.live()["egt"] == 3 and ("rollback", "rolled_back") not in bay.said()
    assert bay.slots.fallback() is None and bay.slots.view().last_good == ""
    assert [r.code for r in bay.decisions[-1].reasons] == ["no_fallback"]


def test_what_a_technician_accepted_is_void_once_something_else_is_directed(bay: Bay) -> None:
    bay.must_accept = True
    first = bay.direct(egt=2, vib=1).id

    async def drive() -> None:
        client = bay.client()
        client.offer(EGT_2)
        await settle(client, lambda: client.memory.awaited is not None)
        client.accept("00" * 8, "J-17")
        bay.direct(egt=3, vib=1)
        client.offer("", "director")
        await settle(client, lambda: client.memory.awaited.set_id != first)  # type: ignore[union-attr]
        assert client.memory.accepted == {}

    asyncio.run(drive())
    assert bay.live()["egt"] == 1


def test_a_set_that_goes_live_again_is_looked_at_as_at_a_start(bay: Bay) -> None:
    bay.update(egt=2, vib=1)
    looked = []

    async def reload(live: BundleSet) -> list[str]:
        looked.append(live.id)
        return ["withdrawn"]

    async def drive() -> None:
        client = bay.client(reload=reload)
        client.go_back(BackDue(set_id=bay.answer().id, code="operator", why="x"))
        await settle(client, lambda: ("load", "failed") in bay.said())

    asyncio.run(drive())
    assert len(looked) == 1


def test_a_release_that_is_live_with_other_bytes_is_not_taken(bay: Bay) -> None:
    bay.direct(egt=1, vib=2)
    forged = msgspec.structs.replace(bay.directed[0], sha256="00" * 32)
    bay.directed = (forged, bay.directed[1])
    offered(bay, target("vib", 2))
    assert bay.decisions[-1].reasons[0].code == "release_same"


def test_a_network_that_fails_is_tried_again_and_not_for_ever(bay: Bay) -> None:
    bay.failure = FetchFailure(kind="unreachable", code="http", text="503")
    bay.direct(egt=2, vib=1)

    async def drive() -> None:
        client = bay.client(retry_s=0.001)
        client.offer(EGT_2)
        await settle(client, lambda: len(bay.decisions) == 3)
        bay.failure = None
        await settle(client, lambda: bay.live()["egt"] == 2)
        bay.decisions.clear()
        bay.failure = FetchFailure(kind="rejected", code="signature", text="x", may_pass=True)
        client.offer(target("egt", 3))
        await settle(client, lambda: not client.pending)

    asyncio.run(drive())
    assert bay.said() == [("download", "failed")] * 8
    assert [d.is_pending for d in bay.decisions] == [True] * 7 + [False]


def test_offers_are_bounded_and_a_later_one_of_a_name_replaces_the_earlier(bay: Bay) -> None:
    async def drive() -> None:
        bay.gate = SHUT
        bay.clock = clock = ManualClock()
        client = bay.client()
        for n in range(PENDING_MAX):
            client.offer(f"model{n}/m-1.tar.zst")
        clock.advance_s(60)
        client.offer("model3/m-2.tar.zst")
        assert len(client.pending) == PENDING_MAX and "model3/m-2.tar.zst" in client.pending
        decision = client.offer("one-more/m-1.tar.zst")
        assert decision is not None and decision.reasons[0].code == "pending_full"
        assert len(client.pending) == PENDING_MAX

    asyncio.run(drive())


def test_offers_outlive_a_restart_with_who_brought_them(bay: Bay) -> None:
    async def drive() -> None:
        bay.gate = SHUT
        client = bay.client()
        client.offer(EGT_2, "media", "stick 4")
        assert client.memory.offers == (KeptOffer(EGT_2, "media", "stick 4"),)
        again = bay.client()
        again.resume(client.memory)
        assert again.memory.offers == (KeptOffer(EGT_2, "restart", "stick 4"),)

    asyncio.run(drive())


def test_a_calibration_is_offered_under_its_own_path(bay: Bay) -> None:
    async def drive() -> None:
        bay.gate = SHUT
        client = bay.client()
        decision = client.offer("cal/T-1/egt/egt-2.tar.zst")
        assert decision is not None and (decision.decision, decision.name) == ("refused", "egt")
        client.offer("egt/egt-3.tar.zst")
        assert client.pending == ("egt/egt-3.tar.zst",), "one offer a name, wherever it lies"

    asyncio.run(drive())


def test_the_same_refusal_of_the_same_offer_is_not_told_again_and_again(bay: Bay) -> None:
    async def drive() -> None:
        bay.gate = SHUT
        client = bay.client()
        for n in range(1000):
            client.offer("egt/egt-2.tar.zst")
            client.offer(f"../{n}")

    asyncio.run(drive())
    assert [d.reasons[0].code for d in bay.decisions] == ["phase", "target_path"]


def test_a_flood_of_notices_costs_a_few_records_and_says_how_many_it_was(bay: Bay) -> None:
    async def drive() -> None:
        bay.gate = SHUT
        bay.clock = clock = ManualClock()
        client = bay.client()
        for n in range(6000):  # ten minutes of ten a second
            clock.advance_s(0.1)
            client.offer(f"egt/v{n}.tar.zst")
            client.offer(f"name{n}/v1.tar.zst")
            client.on_gate(SHUT)
        assert len(client.pending) <= PENDING_MAX

    asyncio.run(drive())
    assert 10 <= len(bay.decisions) <= 66
    codes = [d.reasons[0].code for d in bay.decisions]
    assert codes.count("too_many") == 9
    assert sum(int(d.reasons[0].text.split()[0]) for d in bay.decisions
               if d.reasons[0].code == "too_many") > 4000  # fmt: skip


def test_notices_of_a_name_do_not_start_its_attempts_over(bay: Bay) -> None:
    bay.failure = FetchFailure(kind="unreachable", code="http", text="503")

    async def drive() -> None:
        client = bay.client()  # 60 s between attempts
        client.offer("egt/v0.tar.zst")
        task = asyncio.create_task(client.run())
        for n in range(50):
            client.offer(f"egt/v{n % 5}.tar.zst")
            await asyncio.sleep(0.002)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(drive())
    assert bay.said().count(("download", "failed")) == 1


def test_a_refused_name_that_is_offered_over_and_over_is_fetched_at_a_pace(bay: Bay) -> None:
    """With the gate open, names that the director does not have."""

    async def drive() -> None:
        client = bay.client()
        task = asyncio.create_task(client.run())
        for n in range(100):
            client.offer(f"name{n}/v1.tar.zst")
            await asyncio.sleep(0.002)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(drive())
    assert 1 <= len(bay.said()) <= 8 + 1


def test_a_full_disk_while_staging_leaves_the_live_set_and_is_tried_again(
    bay: Bay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bay.slots, "_fill", _full)
    bay.direct(egt=2, vib=1)

    async def drive() -> None:
        client = bay.client()
        client.offer(EGT_2)
        await settle(client, lambda: bay.said()[-1:] == [("activation", "failed")])
        assert client.pending == (EGT_2,)

    asyncio.run(drive())
    assert bay.decisions[-1].is_pending
    assert bay.live()["egt"] == 1


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_an_answer_that_fails_to_come_is_not_an_update(bay: Bay) -> None:
    async def broken(target: str, view: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    async def drive() -> None:
        client = bay.client(fetch=broken)
        client.offer(EGT_2)
        await settle(client, lambda: bool(bay.decisions))

    asyncio.run(drive())
    assert bay.said() == [("activation", "failed")]


@pytest.mark.parametrize("which", ["activate", "rollback"])
def test_a_swap_that_has_begun_is_recorded_even_when_the_recorder_stops(
    bay: Bay, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if which == "rollback":
        bay.update(egt=2, vib=1)
    live = bay.answer().id
    bay.direct(egt=2, vib=1)

    async def drive() -> None:
        client = bay.client()
        if which == "rollback":
            client.go_back(BackDue(set_id=live, code="operator", why="x"))
        else:
            client.offer(EGT_2)
        task = asyncio.create_task(client.run())
        real: Callable[..., bool] = getattr(bay.slots, which)

        def stopping(*arguments: object, **named: object) -> bool:
            loop.call_soon_threadsafe(task.cancel)
            return real(*arguments, **named)

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(bay.slots, which, stopping)
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(drive())
    done = {"activate": (2, ("swap", "activated")), "rollback": (1, ("rollback", "rolled_back"))}
    assert (bay.live()["egt"], bay.said()[-1]) == done[which]


def test_what_an_earlier_version_kept_is_understood_and_nonsense_is_nothing() -> None:
    old = msgspec.msgpack.encode([EGT_2])
    assert recall(old).offers == (KeptOffer(EGT_2, "restart"),)
    assert recall(None) == recall(b"\xc1") == UpdateMemory()


def test_what_is_kept_is_bounded(bay: Bay) -> None:
    async def drive() -> UpdateMemory:
        client: UpdateClient = bay.client()
        for n in range(100):
            client.accept(f"{n:016x}", "J-17")
        return client.memory

    assert len(asyncio.run(drive()).accepted) == 8


def test_it_looks_unasked_once_a_day_at_an_open_gate(bay: Bay) -> None:
    """A withdrawal, or what is directed, is learned although nobody says so."""
    day_s = 86_400.0
    bay.clock = ManualClock(0, 1_800_000_000_000_000_000)
    client = bay.client(look_s=day_s)

    async def after(seconds: float) -> int:
        bay.clock.advance_s(seconds)
        client.on_gate(SHUT)
        client.on_gate(bay.gate)
        rounds = 0

        def enough() -> bool:
            nonlocal rounds
            rounds += 1
            return rounds > 5 and not client.pending

        await settle(client, enough)
        return bay.fetches

    async def days() -> None:
        assert await after(30.0) == 0, "notices come first"
        bay.gate = SHUT
        assert await after(3600.0) == 0 and not bay.decisions
        bay.gate = OPEN
        assert await after(1.0) == 1 and bay.decisions[-1].origin == "aircraft"
        assert await after(2 * 3600.0) == 1
        assert client.memory.looked_ns
        bay.failure = FetchFailure(kind="rejected", code="signature", text="nobody signed it")
        assert await after(day_s) == 2
        assert await after(60.0) == 2, "and what fails is not looked at again and again"

    asyncio.run(days())
