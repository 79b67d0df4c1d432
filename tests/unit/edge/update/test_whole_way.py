"""A real bundle, by the real signer, child, admission and slots: nothing faked but the aircraft."""

from __future__ import annotations

import asyncio
from pathlib import Path

from edge.models.admission import AdmissionResult, admit
from edge.update.child import FetchChild
from edge.update.client import provision
from edge.update.decisions import UpdateDecision
from edge.update.slots import BundleSet, Slots
from edge.update.updates import UpdateClient
from edge.update.verified import VerifiedBundle
from shared.clock import SystemClock
from shared.profile import ModelBounds
from signing.__main__ import main
from signing.verify import Aircraft
from tests.fakes.bundles import packed
from tests.unit.edge.update.stand import OPEN, serving, settle


def publish(tmp_path: Path, release: int) -> str:
    name, data = packed(release)
    (tmp_path / name).write_bytes(data)
    keys = ["--repo", str(tmp_path / "repo"), "--keys", str(tmp_path / "keys")]
    if release == 1:
        assert main(["init", *keys]) == 0
    assert main(["publish", *keys, str(tmp_path / name)]) == 0
    return f"egt_rom/{name}"


def test_a_signed_model_is_fetched_admitted_self_tested_and_live(tmp_path: Path) -> None:
    state, bounds = tmp_path / "state", ModelBounds()
    first = publish(tmp_path, 1)
    provision(state / "tuf" / "image", (tmp_path / "repo/metadata/1.root.json").read_bytes())
    decisions: list[UpdateDecision] = []
    slots = Slots(state)

    async def judge(bundle: VerifiedBundle) -> AdmissionResult:
        return await admit(bundle.file, bounds)

    async def load(live: BundleSet) -> list[str]:
        return []

    async def drive(url: str) -> None:
        aircraft = Aircraft(tail="N1", type="B737", esns=("ESN1", "ESN2"))
        fetch = FetchChild(state / "tuf" / "image", url, aircraft)
        answer = await fetch(first, {})
        assert isinstance(answer, VerifiedBundle), answer
        slots.install_first([answer])
        client = UpdateClient(
            slots=slots, fetch=fetch, admit=judge, load=load, ask=lambda: OPEN,
            record=decisions.append, clock=SystemClock(),
        )  # fmt: skip
        client.offer(publish(tmp_path, 2))
        await settle(client, lambda: len(decisions) == 2, 60.0)

    with serving(tmp_path / "repo") as server:
        asyncio.run(drive(server.url))
    assert [(d.step, d.decision, d.texts()) for d in decisions] == [
        ("download", "fetched", []), ("swap", "activated", []),
    ]  # fmt: skip
    live = slots.live()
    assert live is not None and live.bundles[0].release == 2
