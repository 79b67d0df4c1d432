"""What is live at boot, held against the metadata that verified before."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path

import msgspec
import pytest
from tuf.api.metadata import Metadata

from edge.update.child import still_trusted
from edge.update.recheck import recheck
from edge.update.verified import RecheckBundle, RecheckRequest
from signing.verify import AttestationPolicy
from tests.fakes.attested import POLICY
from tests.unit.edge.update.stand import MODEL, MODEL_AIRCRAFT, NOW, Aboard, Shop, later


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def aboard(tmp_path: Path, shop: Shop) -> Aboard:
    return Aboard(tmp_path, shop)


def request(aboard: Aboard, **changes: object) -> RecheckRequest:
    live = aboard.slots.live()
    assert live is not None
    bundles = tuple(
        msgspec.structs.replace(
            RecheckBundle(
                target=b.path, release=b.release, sha256=b.sha256, path=str(live.path(b))
            ),
            **changes,
        )
        for b in live.bundles
    )
    return RecheckRequest(folder=str(aboard.trust), bundles=bundles, attestation=POLICY)


def against(aboard: Aboard, **changes: object) -> list[str]:
    return recheck(request(aboard, **changes), judge_contents=aboard.judges)


def lose_evidence(aboard: Aboard) -> None:
    shutil.rmtree(aboard.trust / "evidence")


def test_what_was_signed_is_trusted_long_after_its_metadata_expired(aboard: Aboard) -> None:
    assert against(aboard) == []  # the stand's metadata is of another year than this machine's


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sha256": "0" * 64}, "not the file that was signed"),
        ({"release": 7}, "said to be release 7, signed as 1"),
        ({"target": "egt/other-1.tar.zst"}, "not among the signed"),
    ],
)
def test_a_set_that_was_put_there_by_hand_is_not_trusted(
    aboard: Aboard, changes: dict[str, object], why: str
) -> None:
    (text,) = against(aboard, **changes)
    assert why in text


def test_without_evidence_metadata_that_was_changed_or_is_missing_is_not_trusted(
    aboard: Aboard,
) -> None:
    path = aboard.trust / "image" / "metadata" / "targets.json"
    signed = json.loads(path.read_bytes())
    signed["signed"]["version"] += 1
    path.write_text(json.dumps(signed))
    assert against(aboard) == []  # it was vouched for when it came aboard
    lose_evidence(aboard)
    assert "no trusted targets" in against(aboard)[0]
    path.write_text("[" * 100_000)
    assert "no trusted targets" in against(aboard)[0]
    path.unlink()
    assert "is missing" in against(aboard)[0]


def test_evidence_that_nobody_signed_vouches_for_nothing(aboard: Aboard) -> None:
    (aboard.trust / "image" / "metadata" / "targets.json").unlink()
    (path,) = (aboard.trust / "evidence").glob("*/targets.json")
    metadata = Metadata.from_file(str(path))
    metadata.signatures.clear()
    metadata.to_file(str(path))
    assert "no trusted targets" in against(aboard)[0]


def test_a_root_that_its_own_keys_did_not_sign_is_not_trusted(aboard: Aboard) -> None:
    path = aboard.trust / "image" / "root.json"
    metadata = Metadata.from_file(str(path))
    metadata.signatures.clear()
    metadata.to_file(str(path))
    assert "no trusted root" in against(aboard)[0]


def test_a_withdrawn_bundle_is_not_used_after_the_next_start(aboard: Aboard, shop: Shop) -> None:
    other = shop.publish(2)
    shop.assign(other)
    shop.at(NOW).image.withdraw(shop.keys, "egt/egt-1.0.0.tar.zst")
    live = aboard.slots.live()
    assert live is not None
    assert aboard.taken().withdrawn == (live.bundles[0].sha256,)
    assert "not among the signed targets" in against(aboard)[0]


def test_a_root_without_the_metadata_below_it_takes_nothing_from_what_runs(
    aboard: Aboard, shop: Shop
) -> None:
    """A rotation of the targets key, and a link that is cut right after the new root."""
    rotate_targets(shop)
    for path in shop.metadata("timestamp.json").parent.glob("[0-9]*.snapshot.json"):
        path.unlink()
    assert aboard.refused().code == "http"
    assert (aboard.trust / "image/metadata/root_history/2.root.json").exists()
    assert against(aboard) == []
    lose_evidence(aboard)
    assert "no trusted targets" in against(aboard)[0]


def rotate_targets(shop: Shop) -> None:
    """By hand: the targets key is replaced, root 2 is signed by two of three."""
    shop.keys.create("image-targets-2")
    repository = shop.at(later(0.1)).image
    with repository.changing() as change:
        root = change.root()
        root.revoke_key(root.roles["targets"].keyids[0], "targets")
        root.add_key(shop.keys.public("image-targets-2"), "targets")
        repository.commit(change, shop.keys)


def test_an_attestation_is_held_against_the_profile_again(tmp_path: Path, shop: Shop) -> None:
    aboard = Aboard(tmp_path, shop)
    aboard.aircraft, aboard.judges = MODEL_AIRCRAFT, True
    shop.assigned.clear()
    shop.offer(1, name="egt_rom", who=MODEL, content=shop.model())
    staged = aboard.slots.stage(aboard.taken().bundles)
    assert aboard.slots.activate(staged, lambda: True)
    assert against(aboard) == []
    elsewhere = AttestationPolicy(builders=("https://elsewhere.example/shop",))
    (text,) = recheck(msgspec.structs.replace(request(aboard), attestation=elsewhere))
    assert "attestation: built by" in text


def test_the_child_says_the_same_and_one_that_dies_trusts_nothing(
    aboard: Aboard, shop: Shop
) -> None:
    live = aboard.slots.live()
    assert live is not None
    (text,) = asyncio.run(still_trusted(aboard.trust, live, POLICY))
    assert "egt/egt-1.0.0.tar.zst" in text  # what is in the stand's bundles is none
    command = (sys.executable, "-c", "raise SystemExit(3)")
    assert asyncio.run(still_trusted(aboard.trust, live, POLICY, command, 0.0)) == [
        "the child that checks the live set ended with 3"
    ]
    silent = (sys.executable, "-c", "pass")
    assert "no answer" in asyncio.run(still_trusted(aboard.trust, live, POLICY, silent, 0.0))[0]
    shop.offer(2)
    aboard.taken()
    assert against(aboard) == []  # release 1 is still signed


def test_one_bundle_that_was_withdrawn_and_muted_grounds_no_other(
    aboard: Aboard, shop: Shop
) -> None:
    shop.offer(1, name="vib")
    assert aboard.slots.activate(aboard.slots.stage(aboard.taken().bundles), lambda: True)
    shop.assign(shop.assigned["vib"])
    shop.at(NOW).image.withdraw(shop.keys, "egt/egt-1.0.0.tar.zst")
    assert len(aboard.taken().withdrawn) == 1
    aboard.slots.mute_bundle("egt", "withdrawn")
    said = request(aboard)
    egt, vib = said.bundles
    (text,) = recheck(said, judge_contents=False)
    assert "egt/egt-1.0.0.tar.zst is not among" in text
    muted = (msgspec.structs.replace(egt, is_muted=True), vib)
    assert recheck(msgspec.structs.replace(said, bundles=muted), judge_contents=False) == []
    live = aboard.slots.live()
    assert live is not None
    (text,) = asyncio.run(still_trusted(aboard.trust, live, POLICY))
    assert "vib/vib-1.0.0.tar.zst" in text  # what is in the stand's bundles is none


def test_a_child_that_fails_once_is_asked_again(tmp_path: Path, aboard: Aboard) -> None:
    live = aboard.slots.live()
    assert live is not None
    code = f"""
import pathlib
mark = pathlib.Path({str(tmp_path / "mark")!r})
if not mark.exists():
    mark.touch()
    raise SystemExit(9)
print("[]", end="")
"""
    command = (sys.executable, "-c", code)
    assert asyncio.run(still_trusted(aboard.trust, live, POLICY, command, 0.0)) == []
