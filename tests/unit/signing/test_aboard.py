"""What ceremonies make is taken by the aircraft's own session: rotations of every role, and media."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edge.update.verified import VerifiedSet
from signing.image import Delegation
from signing.keyring import Keyring, named
from signing.media import export
from signing.rolekeys import KeyChange
from tests.unit.edge.update.stand import FITS, NOW, TAIL, Aboard, Shop, later


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def aboard(tmp_path: Path, shop: Shop) -> Aboard:
    return Aboard(tmp_path, shop)


def rotate(shop: Shop, role: str, old: str, new: str) -> None:
    shop.keys.create(new)
    key = named(shop.keys.public(new), new)
    shop.at(later(1)).change_keys(shop.keys, KeyChange(role, add=key, remove=old))
    for file in shop.keys.folder.glob(f"{old}.*"):
        file.unlink()


def releases(answer: VerifiedSet) -> list[int]:
    return [bundle.release for bundle in answer.bundles]


def away(shop: Shop, aboard: Aboard, days: float = 1) -> None:
    shop.refresh(later(days))
    aboard.clock.advance_s(days * 86_400)


@pytest.mark.parametrize(
    "role",
    ["image-root-1", "image-targets", "image-snapshot", "image-timestamp", "director-root-1",
     "director-targets", "director-snapshot", "director-timestamp", "director-tails",
     "calibration", "attestor-1"],
)  # fmt: skip
def test_the_key_of_every_role_is_rotated_and_the_next_set_is_taken(
    aboard: Aboard, shop: Shop, role: str
) -> None:
    parent = hashlib.sha256(b"egt release 1 " * 50).hexdigest()
    shop.offer(1, role="calibration", parent=parent)
    assert aboard.taken().bundles
    rotate(shop, role.removesuffix("-1"), role, f"{role}-new")
    away(shop, aboard)
    assert aboard.taken().bundles, "what was there before is there still"
    shop.offer(2, role="calibration", parent=parent, now=later(1))
    shop.offer(3, name="vib", now=later(1))
    assert sorted(releases(aboard.taken())) == [2, 3]


def test_every_key_is_rotated_while_the_aircraft_is_away_for_a_year(
    aboard: Aboard, shop: Shop
) -> None:
    for name in ("image", "director"):
        for n in (1, 2, 3):
            rotate(shop, f"{name}-root", f"{name}-root-{n}", f"{name}-root-{n}-new")
        for role in ("targets", "snapshot", "timestamp"):
            rotate(shop, f"{name}-{role}", f"{name}-{role}", f"{name}-{role}-new")
    rotate(shop, "director-tails", "director-tails", "director-tails-new")
    away(shop, aboard, 350)
    shop.offer(2, now=later(350))
    assert releases(aboard.taken()) == [2]
    assert shop.at(later(350)).image.inspect().roles[0].version == 7


def test_a_medium_is_taken_from_a_folder(aboard: Aboard, shop: Shop, tmp_path: Path) -> None:
    shop.offer(2)
    out = tmp_path / "medium"
    export(shop.at(NOW), Keyring(shop.keys), out, [TAIL], 30)
    aboard.sources = (f"file://{out}",)
    aboard.clock.advance_s(29 * 86_400)
    assert releases(aboard.taken()) == [2]


def test_what_a_revoked_maker_signed_is_refused_and_the_offline_keys_go_on(
    aboard: Aboard, shop: Shop
) -> None:
    maker = named(shop.keys.create("maker").public_key, "maker")
    shop.at(NOW).image.delegate(
        shop.keys, Delegation(name="maker", keys=(maker,), paths=("vib/*",), until=later(90),
                              within=FITS),
    )  # fmt: skip
    shop.offer(1, name="vib", role="maker")
    assert len(aboard.taken().bundles) == 2
    shop.at(NOW).image.revoke_delegate(shop.keys, "maker")
    assert aboard.refused().code == "no_target"
    del shop.assigned["vib"]
    shop.offer(2)
    assert releases(aboard.taken()) == [2]


def test_a_maker_that_was_revoked_comes_back_with_another_key(aboard: Aboard, shop: Shop) -> None:
    for release in (1, 2):
        maker = named(shop.keys.create("maker").public_key, "maker")
        image = shop.at(NOW).image
        image.delegate(
            shop.keys, Delegation(name="maker", keys=(maker,), paths=("vib/*",), until=later(90))
        )
        shop.offer(release, name="vib", role="maker")
        assert len(aboard.taken().bundles) == 2
        if release == 1:
            image.revoke_delegate(shop.keys, "maker")
            for file in shop.keys.folder.glob("maker.*"):
                file.unlink()
