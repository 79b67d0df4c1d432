"""What is live at boot, held against the metadata that verified before."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata

from edge.update.child import still_trusted
from edge.update.recheck import recheck
from edge.update.slots import BundleSet
from edge.update.verified import RecheckRequest, VerifiedBundle
from tests.unit.edge.update.stand import Aboard, Shop, serving


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def aboard(tmp_path: Path, shop: Shop) -> Iterator[Aboard]:
    with serving(shop.folder) as server:
        yield Aboard(tmp_path, shop, server)


def against(aboard: Aboard, **changes: object) -> list[str]:
    live = aboard.slots.live()
    assert live is not None
    (bundle,) = live.bundles
    fields = {"target": f"egt/{bundle.file}", "release": bundle.release, "sha256": bundle.sha256}
    target, release, sha256 = (fields | changes).values()
    bundles = ((str(target), int(str(release)), str(sha256)),)
    return recheck(RecheckRequest(folder=str(aboard.trust), bundles=bundles))


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


def test_metadata_that_was_changed_or_is_missing_is_not_trusted(aboard: Aboard) -> None:
    path = aboard.trust / "metadata" / "targets.json"
    signed = json.loads(path.read_bytes())
    signed["signed"]["version"] += 1
    path.write_text(json.dumps(signed))
    assert "no trusted targets" in against(aboard)[0]
    path.write_text("[" * 100_000)
    assert "no trusted targets" in against(aboard)[0]
    path.unlink()
    assert "is missing" in against(aboard)[0]


def test_a_root_that_its_own_keys_did_not_sign_is_not_trusted(aboard: Aboard) -> None:
    path = aboard.trust / "root.json"
    metadata = Metadata.from_file(str(path))
    metadata.signatures.clear()
    metadata.to_file(str(path))
    assert "no trusted targets" in against(aboard)[0]


def test_the_child_says_the_same_and_one_that_dies_trusts_nothing(
    aboard: Aboard, shop: Shop
) -> None:
    live = aboard.slots.live()
    assert isinstance(live, BundleSet)
    assert asyncio.run(still_trusted(aboard.trust, live)) == []
    command = (sys.executable, "-c", "raise SystemExit(3)")
    assert asyncio.run(still_trusted(aboard.trust, live, command)) == [
        "the child that checks the live set ended with 3"
    ]
    silent = (sys.executable, "-c", "pass")
    assert "no answer" in asyncio.run(still_trusted(aboard.trust, live, silent))[0]
    bundle = aboard.fetch(shop.publish(2))
    assert isinstance(bundle, VerifiedBundle)
    assert asyncio.run(still_trusted(aboard.trust, live)) == []  # release 1 is still signed
