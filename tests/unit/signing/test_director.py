"""What the director may say: the whole set of a tail, chosen among what the image has for it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from shared.errors import Expired, Rejected
from signing.image import Delegation
from signing.verify import ROLLBACK_FIELD, TAIL_FIELD, Applicability, agree
from tests.unit.signing.desk import NOW, Desk, declared

EGT, VIB = "egt/egt-1.tar.zst", "vib/vib-1.tar.zst"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.image.publish(desk.keys, [declared(1), declared(2), declared(1, "vib")])
    desk.director.add_tails(desk.keys, ["N1", "N2"])
    return desk


def assigned(desk: Desk, tail: str = "N1") -> tuple[str, ...]:
    return desk.director.assigned(desk.director.chain(), tail)


def test_entries_are_copied_from_the_image_and_agree_with_it(desk: Desk) -> None:
    desk.direct("N1", EGT, VIB)
    targets = desk.director.chain().targets("tail-N1")
    assert targets.unrecognized_fields[TAIL_FIELD] == "N1"
    for path, entry in targets.targets.items():
        found = desk.image.find(desk.image.chain(), path.partition("/")[2])
        assert found is not None and agree(entry, found.target) == ()


def test_a_set_replaces_the_one_before_whole(desk: Desk) -> None:
    desk.direct("N1", EGT, VIB)
    desk.direct("N1", "egt/egt-2.tar.zst")
    assert assigned(desk) == ("egt/egt-2.tar.zst",)
    assert assigned(desk, "N2") == ()


@pytest.mark.parametrize(
    ("targets", "says"),
    [((), "one bundle or more"), ((EGT, "egt/egt-2.tar.zst"), "two bundles are named 'egt'"),
     (("egt/egt-9.tar.zst",), "has no"), (("../egt",), "not a target path"),
     (("cal/N2/egt/egt-1.tar.zst",), "was not made for this tail"),
     (("pin/pin-1.tar.zst",), "was not made for this tail")],
)  # fmt: skip
def test_a_set_that_cannot_be_is_refused_and_the_one_before_stands(
    desk: Desk, targets: tuple[str, ...], says: str
) -> None:
    parent = desk.image.inspect().bundles[0].sha256
    desk.publish(1, role="calibration", parent=parent, tail="N2")
    who = Applicability(types=("B737-800",), tails=("N2",))
    desk.image.publish(desk.keys, [declared(1, "pin", who)])
    desk.direct("N1", VIB)
    with pytest.raises(Rejected, match=says):
        desk.direct("N1", *targets)
    assert assigned(desk) == (VIB,)


def test_what_an_expired_delegate_signed_is_directed_no_more(desk: Desk) -> None:
    key = desk.keys.create("maker").public_key
    until = NOW + timedelta(days=5)
    desk.image.delegate(
        desk.keys, Delegation(name="maker", keys=(key,), paths=("oil/*",), until=until)
    )
    made = desk.publish(1, "oil", "maker")
    desk.direct("N1", made)
    desk.later(6)
    with pytest.raises(Expired, match="maker ended"):
        desk.direct("N2", made)


def test_a_rollback_names_the_set_to_leave_and_is_gone_with_the_next_set(desk: Desk) -> None:
    desk.director.assign(desk.keys, "N1", [EGT], desk.image, rollback_of="0123456789abcdef")
    field = desk.director.chain().targets("tail-N1").unrecognized_fields
    assert field[ROLLBACK_FIELD] == "0123456789abcdef"
    desk.direct("N1", EGT)
    assert ROLLBACK_FIELD not in desk.director.chain().targets("tail-N1").unrecognized_fields


def test_assigning_needs_the_online_keys_only(desk: Desk) -> None:
    for name in ("director-root-1", "director-root-2", "director-root-3", "director-targets",
                 "image-targets", "image-snapshot", "image-timestamp"):  # fmt: skip
        desk.keys.path(name).unlink()
    desk.direct("N1", EGT)
    with pytest.raises(Rejected, match="no such key"):
        desk.director.add_tail(desk.keys, "N3")


def test_a_tail_may_have_a_key_of_its_own(desk: Desk) -> None:
    desk.keys.create("tail-N3")
    desk.director.add_tail(desk.keys, "N3")
    desk.keys.path("director-tails").unlink()
    desk.direct("N3", EGT)
    with pytest.raises(Rejected, match="no such key"):
        desk.direct("N1", EGT)


def test_refresh_signs_tails_again_when_half_of_their_life_is_over(desk: Desk) -> None:
    desk.direct("N1", EGT)
    desk.later(29)
    desk.direct("N2", EGT)
    desk.later(2)
    desk.director.refresh(desk.keys)
    roles = {r.role: r for r in desk.director.inspect().roles}
    assert (roles["tail-N1"].version, roles["tail-N2"].version) == (2, 1)
    assert not any(r.is_expired for r in roles.values())
    assert assigned(desk) == (EGT,)


def test_a_tail_is_added_once_and_only_by_a_name_of_a_tail(desk: Desk) -> None:
    with pytest.raises(Rejected, match="has a role already"):
        desk.director.add_tail(desk.keys, "N1")
    for tail in ("", "N/1", "*", "..", "N 1", "x" * 99):
        with pytest.raises(Rejected, match="not a target path"):
            desk.director.add_tail(desk.keys, tail)
    with pytest.raises(Rejected, match="no role for 'N9'"):
        desk.director.assign(desk.keys, "N9", [EGT], desk.image)
