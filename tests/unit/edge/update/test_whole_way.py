"""A real bundle, by the real signer, child, admission and slots: nothing faked but the aircraft."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from edge.models.admission import AdmissionResult, admit
from edge.update.child import FetchChild
from edge.update.decisions import UpdateDecision
from edge.update.provision import provision
from edge.update.slots import BundleSet, Slots, SlotsView
from edge.update.updates import UpdateClient
from edge.update.verified import FetchRequest, VerifiedBundle, VerifiedSet
from shared.clock import SystemClock
from shared.profile import ModelBounds
from tests.fakes.attested import POLICY
from tests.unit.edge.update.stand import MODEL, MODEL_AIRCRAFT, OPEN, Shop, serving, settle


def offered(shop: Shop, release: int, now: datetime) -> str:
    return shop.offer(release, now, name="egt_rom", who=MODEL, content=shop.model(release))


def test_a_signed_model_is_fetched_admitted_self_tested_and_live(tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    state, bounds, shop = tmp_path / "state", ModelBounds(), Shop(tmp_path, now)
    provision(state / "tuf", *shop.roots())
    decisions: list[UpdateDecision] = []
    slots = Slots(state)

    async def judge(bundle: VerifiedBundle) -> AdmissionResult:
        return await admit(bundle.file, bounds)

    async def load(live: BundleSet) -> list[str]:
        return []

    async def drive(url: str) -> None:
        fetch = FetchChild(FetchRequest(
            folder=str(state / "tuf"), sources=(url,), aircraft=MODEL_AIRCRAFT, attestation=POLICY,
            staging_may_be_memory=True,
        ))  # fmt: skip
        answer = await fetch(offered(shop, 1, now), SlotsView())
        assert isinstance(answer, VerifiedSet), answer
        slots.install_first(answer.bundles)
        client = UpdateClient(
            slots=slots, fetch=fetch, admit=judge, load=load, ask=lambda: OPEN,
            record=decisions.append, clock=SystemClock(),
        )  # fmt: skip
        client.offer(offered(shop, 2, now))
        await settle(client, lambda: len(decisions) == 2, 60.0)

    with serving(shop.folder) as server:
        asyncio.run(drive(server.url))
    assert [(d.step, d.decision, d.texts()) for d in decisions] == [
        ("download", "fetched", []), ("swap", "activated", []),
    ]  # fmt: skip
    live = slots.live()
    assert live is not None and live.bundles[0].release == 2
