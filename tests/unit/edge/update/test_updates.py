"""The update session: the gate at every step, pending offers, and a trace of each attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.update.gate import GateDecision
from edge.update.updates import PENDING_MAX, UpdateClient
from edge.update.verified import FetchAnswer
from shared.clock import ManualClock
from tests.unit.edge.update.stand import OPEN, SHUT, Aboard, Server, Shop, serving, settle


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def server(shop: Shop) -> Iterator[Server]:
    with serving(shop.folder) as server:
        yield server


@pytest.fixture
def aboard(tmp_path: Path, shop: Shop, server: Server) -> Aboard:
    return Aboard(tmp_path, shop, server)


def test_refused_in_cruise_with_reasons_and_taken_at_the_stand(aboard: Aboard, shop: Shop) -> None:
    target = shop.publish(2)
    asked_before = len(aboard.server.asked)

    async def fly() -> None:
        aboard.gate = SHUT
        client = aboard.client()
        decision = client.offer(target)
        assert decision is not None and decision.texts() == ["phase: phase is cruise"]
        assert (decision.decision, decision.phase, decision.is_pending) == (
            "refused", "cruise", True,
        )  # fmt: skip
        assert len(aboard.server.asked) == asked_before, "fetched behind a shut gate"
        aboard.gate = OPEN
        client.on_gate(OPEN)
        await settle(client, lambda: not client.pending)
        assert aboard.live_release() == 2

    asyncio.run(fly())
    assert aboard.said() == [("offer", "refused"), ("download", "fetched"), ("swap", "activated")]
    assert aboard.decisions[-1].release == 2 and aboard.decisions[-1].phase == "parked"
    assert not list((aboard.trust / "targets").glob("*.zst"))


@pytest.mark.parametrize("step", ["download", "admission"])
def test_a_gate_that_shuts_meanwhile_ends_the_attempt_and_the_offer_waits(
    aboard: Aboard, shop: Shop, step: str
) -> None:
    target = shop.publish(2)

    async def drive() -> None:
        client = aboard.client()

        def shut(at: str) -> None:
            if at == step:
                aboard.gate = SHUT
                client.on_gate(SHUT)

        aboard.on_step = shut
        client.offer(target)
        await settle(client, lambda: "deferred" in [d for _, d in aboard.said()])
        assert client.pending == (target,)
        assert aboard.live_release() == 1
        aboard.on_step = lambda step: None
        aboard.gate = OPEN
        client.on_gate(OPEN)
        await settle(client, lambda: aboard.live_release() == 2)

    asyncio.run(drive())
    assert (step, "deferred") in aboard.said()
    assert aboard.said()[-1] == ("swap", "activated")


def test_the_gate_is_asked_at_offer_download_activation_and_inside_the_swap(
    aboard: Aboard, shop: Shop
) -> None:
    """Shut it at the n-th time of asking: every n before the last leaves release 1 live."""
    target = shop.publish(2)
    outcomes = []

    async def drive(shut_at: int) -> bool:
        aboard.decisions.clear()
        asked = 0

        def ask() -> GateDecision:
            nonlocal asked
            asked += 1
            return SHUT if asked >= shut_at else OPEN

        client = UpdateClient(
            slots=aboard.slots, fetch=aboard._fetch, admit=aboard._admit, load=aboard._load,
            ask=ask, record=aboard.decisions.append, clock=aboard.clock,
        )  # fmt: skip
        client.offer(target)
        last = ("refused", "deferred", "activated")
        await settle(client, lambda: any(d.decision in last for d in aboard.decisions))
        outcomes.append(aboard.said()[-1])
        return aboard.live_release() == 2

    for shut_at in range(1, 7):
        if asyncio.run(drive(shut_at)):
            break
    assert outcomes == [
        ("offer", "refused"), ("download", "deferred"), ("activation", "deferred"),
        ("activation", "deferred"), ("swap", "deferred"), ("swap", "activated"),
    ]  # fmt: skip


def test_a_loop_that_does_not_answer_in_the_swap_is_a_shut_gate(
    aboard: Aboard, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.update.updates.ASK_S_MAX", 0.05)
    client_slots = aboard.slots

    async def drive() -> bool:
        bundle = aboard.fetch(shop.publish(2))
        slot = client_slots.stage([bundle])  # type: ignore[list-item]
        client = aboard.client()
        loop = asyncio.new_event_loop()  # never runs
        try:
            return await asyncio.to_thread(
                client_slots.activate, slot, lambda: client._is_open(loop)
            )
        finally:
            loop.close()

    assert asyncio.run(drive()) is False
    assert aboard.live_release() == 1


def test_what_admission_refuses_is_not_activated(aboard: Aboard, shop: Shop) -> None:
    aboard.admits = False
    _offer_once(aboard, shop.publish(2))
    assert aboard.said() == [("download", "fetched"), ("admission", "failed")]
    assert aboard.decisions[-1].texts() == ["admission: operator Loop"]
    assert aboard.live_release() == 1


def test_a_bundle_that_says_another_release_than_its_signers_is_not_activated(
    aboard: Aboard, shop: Shop
) -> None:
    aboard.judged_release = 7
    _offer_once(aboard, shop.publish(2))
    assert aboard.said() == [("download", "fetched"), ("admission", "failed")]
    assert "'egt', 7" in aboard.decisions[-1].texts()[0]
    assert aboard.live_release() == 1


def test_a_set_that_the_worker_cannot_load_is_muted_and_not_swapped_back(
    aboard: Aboard, shop: Shop
) -> None:
    aboard.loads = False
    _offer_once(aboard, shop.publish(2))
    assert aboard.said()[-2:] == [("swap", "activated"), ("load", "muted")]
    live = aboard.slots.live()
    assert live is not None and live.muted == "the worker did not start"
    assert aboard.live_release() == 2


def test_what_is_live_already_is_said_to_be_unchanged(aboard: Aboard) -> None:
    _offer_once(aboard, "egt/egt-1.0.0.tar.zst")
    assert aboard.said() == [("download", "fetched"), ("activation", "unchanged")]


def test_a_network_that_fails_is_tried_again_and_not_for_ever(
    aboard: Aboard, shop: Shop, server: Server
) -> None:
    target = shop.publish(2)
    server.lies["metadata/timestamp.json"] = 503

    async def drive() -> None:
        client = aboard.client(retry_s=0.001)
        client.offer(target)
        await settle(client, lambda: len(aboard.decisions) == 3)
        del server.lies["metadata/timestamp.json"]
        await settle(client, lambda: aboard.live_release() == 2)
        aboard.decisions.clear()
        server.lies["metadata/timestamp.json"] = 503
        client.offer("egt/egt-3.0.0.tar.zst")
        await settle(client, lambda: not client.pending)

    asyncio.run(drive())
    assert aboard.said() == [("download", "failed")] * 8
    assert [d.is_pending for d in aboard.decisions] == [True] * 7 + [False]


def test_offers_are_bounded_and_a_later_one_of_a_name_replaces_the_earlier(aboard: Aboard) -> None:
    async def drive() -> None:
        aboard.gate = SHUT
        aboard.clock = clock = ManualClock()
        client = aboard.client()
        for n in range(PENDING_MAX):
            client.offer(f"model{n}/m-1.tar.zst")
        clock.advance_s(60)
        client.offer("model3/m-2.tar.zst")
        assert len(client.pending) == PENDING_MAX and "model3/m-2.tar.zst" in client.pending
        decision = client.offer("one-more/m-1.tar.zst")
        assert decision is not None and decision.reasons[0].code == "pending_full"
        assert len(client.pending) == PENDING_MAX

    asyncio.run(drive())


def test_the_same_refusal_of_the_same_offer_is_not_told_again_and_again(aboard: Aboard) -> None:
    async def drive() -> None:
        aboard.gate = SHUT
        client = aboard.client()
        for n in range(1000):
            client.offer("egt/egt-2.tar.zst")
            client.offer(f"../{n}")

    asyncio.run(drive())
    assert [d.reasons[0].code for d in aboard.decisions] == ["phase", "target_path"]


def test_a_flood_of_notices_costs_a_few_records_and_says_how_many_it_was(aboard: Aboard) -> None:
    async def drive() -> None:
        aboard.gate = SHUT
        aboard.clock = clock = ManualClock()
        client = aboard.client()
        for n in range(6000):  # ten minutes of ten a second
            clock.advance_s(0.1)
            client.offer(f"egt/v{n}.tar.zst")
            client.offer(f"name{n}/v1.tar.zst")
            client.on_gate(SHUT)
        assert len(client.pending) <= PENDING_MAX

    asyncio.run(drive())
    assert 10 <= len(aboard.decisions) <= 66
    codes = [d.reasons[0].code for d in aboard.decisions]
    assert codes.count("too_many") == 9
    assert sum(int(d.reasons[0].text.split()[0]) for d in aboard.decisions
               if d.reasons[0].code == "too_many") > 4000  # fmt: skip


def test_notices_of_a_name_do_not_start_its_attempts_over(aboard: Aboard, server: Server) -> None:
    server.lies["metadata/timestamp.json"] = 503

    async def drive() -> None:
        client = aboard.client()  # 60 s between attempts
        client.offer("egt/v0.tar.zst")
        task = asyncio.create_task(client.run())
        for n in range(50):
            client.offer(f"egt/v{n % 5}.tar.zst")
            await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(drive())
    assert aboard.said().count(("download", "failed")) == 1


def test_a_refused_name_that_is_offered_over_and_over_is_fetched_at_a_pace(
    aboard: Aboard, server: Server
) -> None:
    """With the gate open, names that the repository does not have."""

    async def drive() -> None:
        client = aboard.client()
        task = asyncio.create_task(client.run())
        for n in range(100):
            client.offer(f"name{n}/v1.tar.zst")
            await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(drive())
    assert 1 <= len(aboard.said()) <= 8 + 1


def test_fetching_does_not_hold_up_the_loop(aboard: Aboard, shop: Shop, server: Server) -> None:
    target = shop.publish(2)
    server.drips, server.drip_s, aboard.deadline_s = "targets/", 0.01, 0.5

    async def drive() -> float:
        client = aboard.client()
        client.offer(target)
        task = asyncio.create_task(client.run())
        loop = asyncio.get_running_loop()
        worst = 0.0
        while not aboard.decisions:
            start = loop.time()
            await asyncio.sleep(0.01)
            worst = max(worst, loop.time() - start - 0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return worst

    assert asyncio.run(drive()) < 0.2  # a blocked loop would show the whole deadline


def test_a_full_disk_while_staging_leaves_the_live_set_and_is_tried_again(
    aboard: Aboard, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = shop.publish(2)
    monkeypatch.setattr(aboard.slots, "_fill", _full)
    _offer_once(aboard, target)
    assert aboard.said()[-1] == ("activation", "failed")
    assert aboard.decisions[-1].is_pending
    assert aboard.live_release() == 1


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def _offer_once(aboard: Aboard, target: str) -> None:
    async def drive() -> None:
        client = aboard.client()
        client.offer(target)
        final = {"failed", "muted", "unchanged", "activated"}
        if not aboard.loads:
            final.remove("activated")
        await settle(client, lambda: any(d.decision in final for d in aboard.decisions))

    asyncio.run(drive())


def test_an_answer_that_fails_to_come_is_not_an_update(aboard: Aboard) -> None:
    async def broken(target: str, releases: object) -> FetchAnswer:
        raise OSError(11, "Resource temporarily unavailable")

    async def drive() -> None:
        client = UpdateClient(
            slots=aboard.slots, fetch=broken, admit=aboard._admit, load=aboard._load,
            ask=lambda: OPEN, record=aboard.decisions.append, clock=aboard.clock,
        )  # fmt: skip
        client.offer("egt/egt-2.0.0.tar.zst")
        await settle(client, lambda: bool(aboard.decisions))

    asyncio.run(drive())
    assert aboard.said() == [("activation", "failed")]


def test_a_swap_that_has_begun_is_recorded_even_when_the_recorder_stops(
    aboard: Aboard, shop: Shop
) -> None:
    target = shop.publish(2)

    async def drive() -> None:
        client = aboard.client()
        client.offer(target)
        task = asyncio.create_task(client.run())
        activate = aboard.slots.activate

        def stopping(*arguments: object) -> bool:
            loop.call_soon_threadsafe(task.cancel)
            return activate(*arguments)  # type: ignore[arg-type]

        loop = asyncio.get_running_loop()
        aboard.slots.activate = stopping  # type: ignore[method-assign, assignment]
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(drive())
    assert aboard.live_release() == 2
    assert aboard.said()[-1] == ("swap", "activated")
