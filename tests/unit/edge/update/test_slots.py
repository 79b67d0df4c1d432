"""Slots: one rename decides, a power cut leaves old or new, and a shut gate leaves everything."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.update.disk import Disk, PosixDisk
from edge.update.slots import BundleSet, Slots
from edge.update.verified import VerifiedBundle
from shared.errors import Corrupt, Rejected
from signing.verify import Applicability
from tests.unit.edge.update.powercut import CutDisk, PowerCut

Make = Callable[..., VerifiedBundle]


def yes() -> bool:
    return True


def no() -> bool:
    return False


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def verified(release: int, name: str = "egt") -> VerifiedBundle:
        data = f"{name} {release}".encode() * 20
        path = tmp_path / f"{name}-{release}.fetched"
        path.write_bytes(data)
        return VerifiedBundle(
            target=f"{name}/{name}-{release}.tar.zst", name=name, release=release,
            sha256=hashlib.sha256(data).hexdigest(), length=len(data), path=str(path),
            applicability=Applicability(types=("B737-800",)),
        )  # fmt: skip

    return verified


@pytest.fixture
def slots(tmp_path: Path, make: Make) -> Slots:
    (tmp_path / "state").mkdir()
    slots = Slots(tmp_path / "state")
    slots.install_first([make(1), make(1, "vib")])
    return slots


def releases(of: BundleSet | None) -> dict[str, int]:
    assert of is not None
    return {b.name: b.release for b in of.bundles}


def test_a_new_aircraft_has_no_set(tmp_path: Path) -> None:
    assert Slots(tmp_path).live() is None
    assert Slots(tmp_path).releases() == {}


def test_the_first_set_is_installed_once(slots: Slots, make: Make) -> None:
    assert releases(slots.live()) == {"egt": 1, "vib": 1}
    with pytest.raises(Rejected, match="has a set already"):
        slots.install_first([make(2)])


def test_a_new_bundle_replaces_its_namesake_and_keeps_the_others(slots: Slots, make: Make) -> None:
    slot = slots.stage([make(2)])
    assert releases(slots.live()) == {"egt": 1, "vib": 1}
    assert slots.activate(slot, yes)
    live = slots.live()
    assert releases(live) == {"egt": 2, "vib": 1}
    assert live is not None and live.slot == "b" and live.labels() == ["egt-2", "vib-1"]
    assert live.path(live.bundles[0]).read_bytes() == b"egt 2" * 20
    assert releases(slots.last_good()) == {"egt": 1, "vib": 1}


def test_a_gate_that_shuts_before_the_rename_leaves_the_live_set(slots: Slots, make: Make) -> None:
    slot = slots.stage([make(2)])
    assert not slots.activate(slot, no)
    assert releases(slots.live()) == {"egt": 1, "vib": 1}
    assert slots.releases()["egt"] == 1


def test_the_gate_is_asked_after_everything_slow_and_right_before_the_rename(
    tmp_path: Path, slots: Slots, make: Make
) -> None:
    order: list[str] = []

    class Told(PosixDisk):
        def write(self, path: Path, data: bytes) -> None:
            order.append("write")
            super().write(path, data)

        def rename(self, old: Path, new: Path) -> None:
            order.append("rename")
            super().rename(old, new)

        def read(self, path: Path, bytes_max: int) -> bytes | None:
            order.append("read")
            return super().read(path, bytes_max)

    slot = slots.stage([make(2)])
    assert Slots(tmp_path / "state", Told()).activate(slot, lambda: not order.append("gate"))  # type: ignore[func-returns-value]
    assert order[-3:] == ["write", "gate", "rename"]


def test_a_rollback_goes_to_the_set_before_and_only_with_the_gate(slots: Slots, make: Make) -> None:
    slots.activate(slots.stage([make(2)]), yes)
    assert not slots.rollback(no)
    assert releases(slots.live())["egt"] == 2
    assert slots.rollback(yes)
    assert releases(slots.live())["egt"] == 1
    with pytest.raises(Rejected, match="no set is known to be good"):
        slots.rollback(yes)


def test_the_release_floor_is_not_lowered_by_a_rollback(slots: Slots, make: Make) -> None:
    slots.activate(slots.stage([make(3)]), yes)
    slots.rollback(yes)
    assert slots.releases() == {"egt": 3, "vib": 1}
    with pytest.raises(Rejected, match="release 2 is behind 3"):
        slots.stage([make(2)])


def test_a_set_that_was_never_live_is_never_rolled_back_to(slots: Slots, make: Make) -> None:
    slots.activate(slots.stage([make(2)]), yes)
    slots.stage([make(3)])
    assert slots.last_good() is None
    with pytest.raises(Rejected, match="no set is known to be good"):
        slots.rollback(yes)


def test_a_muted_set_stays_muted_over_restarts_and_is_not_called_good(
    tmp_path: Path, slots: Slots, make: Make
) -> None:
    slots.activate(slots.stage([make(2)]), yes)
    slots.mute("b", "no prediction within range")
    again = Slots(tmp_path / "state")
    live = again.live()
    assert live is not None and live.muted == "no prediction within range"
    assert releases(again.last_good())["egt"] == 1
    assert again.activate(again.stage([make(3)]), yes)
    live = again.live()
    assert live is not None and live.slot == "a" and not live.muted
    assert again.last_good() is None


def test_bytes_other_than_the_verified_ones_are_not_staged(slots: Slots, make: Make) -> None:
    bundle = make(2)
    bundle.file.write_bytes(b"something else")
    with pytest.raises(Corrupt, match="not the bytes that were verified"):
        slots.stage([bundle])
    assert releases(slots.live())["egt"] == 1


@pytest.mark.parametrize("damage", [b"", b"{", b'{"live":"c"}', b'{"live":"a","x":1}', b"\xff"])
def test_a_damaged_active_file_is_said_to_be_corrupt(
    tmp_path: Path, slots: Slots, damage: bytes
) -> None:
    (tmp_path / "state" / "active").write_bytes(damage)
    with pytest.raises(Corrupt):
        slots.live()


def test_two_bundles_with_one_file_name_are_refused(slots: Slots, make: Make) -> None:
    one, two = make(2), make(2, "oil")
    clash = VerifiedBundle(
        **{n: getattr(two, n) for n in two.__struct_fields__ if n != "target"},
        target="oil/egt-2.tar.zst",
    )
    with pytest.raises(Rejected, match="one file name"):
        slots.stage([one, clash])


def story(disk: Disk, state: Path, make: Make, told: list[int]) -> None:
    """install 1, update to 2, update to 3, roll back; `told` grows when a step returned."""
    slots = Slots(state, disk)
    slots.install_first([make(1)])
    told.append(1)
    for release in (2, 3):
        assert slots.activate(slots.stage([make(release)]), yes)
        told.append(release)
    assert slots.rollback(yes)
    told.append(2)


def test_power_cut_at_any_step_leaves_the_old_set_or_the_new_one(
    tmp_path: Path, make: Make
) -> None:
    whole = CutDisk(random.Random(0))
    story(whole, tmp_path, make, [])
    steps = [0, 1, 2, 3, 2]
    survived = set()
    for cut_at in range(1, whole.calls + 1):
        for seed in range(12):
            disk = CutDisk(random.Random(seed))
            disk.cut_at = cut_at
            told: list[int] = []
            with pytest.raises(PowerCut):
                story(disk, tmp_path, make, told)
            disk.power_cut()
            live = Slots(tmp_path, disk).live()
            release = releases(live)["egt"] if live else 0
            old, new = steps[len(told)], steps[len(told) + 1]
            assert release in (old, new), f"cut {cut_at}, seed {seed}: {release}, not {old}|{new}"
            survived.add((old, new, release))
            good = Slots(tmp_path, disk).last_good() if live else None
            assert good is None or releases(good)["egt"] == release - 1
    assert len(survived) == 8, "each step was seen to end both ways"


def test_after_a_power_cut_the_same_update_can_be_done_again(tmp_path: Path, make: Make) -> None:
    for cut_at in range(1, 40):
        disk = CutDisk(random.Random(cut_at))
        slots = Slots(tmp_path, disk)
        slots.install_first([make(1)])
        disk.calls, disk.cut_at = 0, cut_at
        try:
            slots.activate(slots.stage([make(2)]), yes)
        except PowerCut:
            disk.power_cut()
        again = Slots(tmp_path, disk)
        if releases(again.live())["egt"] == 1:
            assert again.activate(again.stage([make(2)]), yes)
        assert releases(again.live())["egt"] == 2
