"""Slots: one rename decides, a power cut leaves old or new, and a shut gate leaves everything."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from edge.update.active import LEFT_MAX, Active, went_back
from edge.update.disk import Disk, PosixDisk
from edge.update.slots import SET_BYTES_MAX, BundleSet, Slots
from edge.update.verified import VerifiedBundle
from shared.errors import Corrupt, Rejected
from tests.unit.edge.update.powercut import CutDisk, PowerCut

Make = Callable[..., VerifiedBundle]


def yes() -> bool:
    return True


def no() -> bool:
    return False


def fetched(folder: Path, release: int, name: str = "egt") -> VerifiedBundle:
    data = f"{name} {release}".encode() * 20
    path = folder / f"{name}-{release}.fetched"
    if not path.exists():
        path.write_bytes(data)
    return VerifiedBundle(
        target=f"{name}/{name}-{release}.tar.zst", name=name, release=release,
        sha256=hashlib.sha256(data).hexdigest(), length=len(data), path=str(path),
    )  # fmt: skip


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return partial(fetched, tmp_path)


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


def test_a_set_replaces_the_whole_set_and_is_on_probation(slots: Slots, make: Make) -> None:
    slot = slots.stage([make(2), make(1, "oil")])
    assert releases(slots.live()) == {"egt": 1, "vib": 1}
    assert slots.activate(slot, yes)
    live = slots.live()
    assert releases(live) == {"egt": 2, "oil": 1}
    assert live is not None and live.slot == "b" and live.labels() == ["egt-2", "oil-1"]
    assert live.probation and live.path(live.bundles[0]).read_bytes() == b"egt 2" * 20
    assert releases(slots.last_good()) == releases(slots.fallback()) == {"egt": 1, "vib": 1}


def test_what_is_live_is_taken_from_its_slot_and_not_from_the_fetch(
    slots: Slots, make: Make
) -> None:
    kept = make(1, "vib")
    kept.file.unlink()
    assert slots.activate(slots.stage([make(2), kept]), yes)
    assert releases(slots.live()) == {"egt": 2, "vib": 1}


def test_the_first_set_counts_as_good_and_a_new_one_once_it_passed(
    tmp_path: Path, slots: Slots, make: Make
) -> None:
    assert releases(slots.last_good()) == {"egt": 1, "vib": 1}
    slots.activate(slots.stage([make(2)]), yes)
    assert releases(Slots(tmp_path / "state").last_good()) == {"egt": 1, "vib": 1}
    slots.prove()
    again = Slots(tmp_path / "state")
    live = again.live()
    assert live is not None and not live.probation
    assert releases(again.last_good()) == {"egt": 2}
    assert releases(again.fallback()) == {"egt": 1, "vib": 1}, "an operator may still go back"


def test_nothing_is_staged_over_the_last_good_set_while_the_live_one_is_on_probation(
    slots: Slots, make: Make
) -> None:
    slots.activate(slots.stage([make(2)]), yes)
    with pytest.raises(Rejected, match="on probation"):
        slots.stage([make(3)])
    assert slots.rollback(yes, leave=False)
    assert slots.left() == ()
    assert slots.activate(slots.stage([make(3)]), yes)
    assert releases(slots.last_good()) == {"egt": 1, "vib": 1}
    assert slots.rollback(yes, leave=False) and slots.activate(slots.stage([make(3)]), yes)


def test_a_damaged_last_good_set_does_not_keep_a_new_one_out(
    tmp_path: Path, slots: Slots, make: Make
) -> None:
    slots.activate(slots.stage([make(2)]), yes)
    (tmp_path / "state/slots/a/egt-1.tar.zst").write_bytes(b"rot")
    with pytest.raises(Corrupt):
        slots.rollback(yes)
    assert slots.activate(slots.stage([make(3)]), yes)
    assert releases(slots.live()) == {"egt": 3} and slots.fallback() is None


@pytest.mark.parametrize("what", ["egt-1.tar.zst", "set.json"])
def test_the_only_set_is_replaced_when_it_is_damaged_and_is_not_gone_back_to(
    tmp_path: Path, slots: Slots, make: Make, what: str
) -> None:
    (tmp_path / "state/slots/a" / what).write_bytes(b"rot")
    with pytest.raises(Corrupt):
        slots.live()
    assert slots.activate(slots.stage([make(1), make(1, "vib")]), yes)
    assert releases(slots.live()) == {"egt": 1, "vib": 1} and slots.fallback() is None


def test_a_disk_without_room_for_a_set_leaves_the_one_behind_the_live_one(
    slots: Slots, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots.activate(slots.stage([make(2)]), yes)
    slots.prove()

    def full(disk: PosixDisk, path: Path, data: bytes) -> None:
        if ".tar.zst" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr(PosixDisk, "write", full)
    with pytest.raises(OSError, match="No space"):
        slots.stage([make(3)])
    assert releases(slots.live()) == {"egt": 2}
    assert releases(slots.fallback()) == {"egt": 1, "vib": 1}, "an operator may still go back"


def test_a_set_that_was_left_is_not_staged_again_and_one_with_another_bundle_is(
    tmp_path: Path, slots: Slots, make: Make
) -> None:
    bad = [make(2), make(1, "vib")]
    slots.activate(slots.stage(bad), yes)
    failed = slots.live()
    assert failed is not None and slots.rollback(yes)
    assert Slots(tmp_path / "state").left() == (failed.id,) == slots.view().left
    with pytest.raises(Rejected, match="set_left"):
        slots.stage(list(reversed(bad)))
    assert slots.activate(slots.stage([make(2), make(2, "vib")]), yes)


def test_sets_that_were_left_are_bounded_and_the_oldest_is_forgotten() -> None:
    active = Active("b", "a")
    for n in range(LEFT_MAX + 3):
        active = msgspec.structs.replace(went_back(active, f"{n:016x}"), last_good="a")
    assert len(active.left) == LEFT_MAX and active.left[-1] == f"{LEFT_MAX + 2:016x}"
    assert went_back(active, "").left == active.left


def test_counters_that_could_not_be_read_again_are_not_written(
    tmp_path: Path, slots: Slots, make: Make
) -> None:
    path = tmp_path / "state" / "active"
    active = json.loads(path.read_text())
    full = SET_BYTES_MAX - len(path.read_bytes()) - 40
    active["releases"] |= {f"{n:030}": 1 for n in range(full // len(f'"{0:030}":1,'))}
    path.write_text(json.dumps(active, separators=(",", ":")))
    slot = slots.stage([make(1, "x" * 30), make(1, "y" * 30), make(1, "z" * 30)])
    before = path.read_bytes()
    with pytest.raises(Rejected, match="do not fit"):
        slots.activate(slot, yes)
    assert path.read_bytes() == before and releases(slots.live()) == {"egt": 1, "vib": 1}


def test_one_bundle_is_muted_and_the_others_go_on(tmp_path: Path, slots: Slots, make: Make) -> None:
    slots.activate(slots.stage([make(2), make(2, "vib")]), yes)
    slots.mute_bundle("egt", "x" * 1000)
    live = Slots(tmp_path / "state").live()
    assert live is not None and live.muted_bundles == {"egt": "x" * 200} and not live.muted
    slots.rollback(yes, leave=False)
    back = slots.live()
    assert back is not None and back.muted_bundles == {}
    assert slots.left() == (live.id,), "one that failed is left, whatever it made way for"


def test_files_of_an_earlier_version_are_read(tmp_path: Path, slots: Slots, make: Make) -> None:
    slots.activate(slots.stage([make(2)]), yes)
    state = tmp_path / "state"
    (state / "active").write_text(
        '{"live":"b","last_good":"a","muted":{},"releases":{"egt":2,"vib":1}}'
    )
    for slot in "ab":
        path = state / "slots" / slot / "set.json"
        content = json.loads(path.read_text())
        for bundle in content["bundles"]:
            del bundle["target"]
        path.write_text(json.dumps(content))
    live = Slots(state).live()
    assert live is not None and not live.probation
    assert live.bundles[0].path == "egt/egt-2.tar.zst"
    assert Slots(state).rollback(yes)


def test_the_view_names_what_is_held_and_what_nothing_may_fall_behind(
    tmp_path: Path, slots: Slots, make: Make
) -> None:
    assert Slots(tmp_path / "none").view().live == ""
    slots.activate(slots.stage([make(3)]), yes)
    view = slots.view()
    live, good = slots.live(), slots.last_good()
    assert live is not None and good is not None
    assert (view.live, view.last_good) == (live.id, good.id)
    assert view.releases == {"egt": 3, "vib": 1}
    assert {Path(p).name for p in view.held.values()} == {
        "egt-3.tar.zst", "egt-1.tar.zst", "vib-1.tar.zst",
    }  # fmt: skip
    assert all(Path(p).is_file() for p in view.held.values())
    slots.rollback(yes)
    assert slots.view().releases == {"egt": 1, "vib": 1}, "what runs may be directed"
    assert slots.releases() == {"egt": 3, "vib": 1}
    with pytest.raises(Rejected, match=r"release 2 .*behind 3"):
        slots.stage([make(2)])
    assert slots.activate(slots.stage([make(1), make(2, "vib")]), yes), "what is live may stay"


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
    with pytest.raises(Rejected, match="no set to go back to"):
        slots.rollback(yes)


def test_the_release_floor_is_not_lowered_by_a_rollback(slots: Slots, make: Make) -> None:
    slots.activate(slots.stage([make(3)]), yes)
    slots.rollback(yes)
    assert slots.releases() == {"egt": 3, "vib": 1}
    with pytest.raises(Rejected, match=r"release 2 .*behind 3"):
        slots.stage([make(2)])


def test_a_set_that_was_never_live_is_never_rolled_back_to(slots: Slots, make: Make) -> None:
    slots.activate(slots.stage([make(2)]), yes)
    slots.prove()
    slots.stage([make(3)])
    assert slots.fallback() is None and releases(slots.last_good()) == {"egt": 2}
    with pytest.raises(Rejected, match="no set to go back to"):
        slots.rollback(yes)


def test_a_slot_is_activated_only_after_it_was_staged(slots: Slots, make: Make) -> None:
    for slot in ("a", "b"):
        with pytest.raises((Rejected, Corrupt)):
            slots.activate(slot, yes)
    slots.activate(slots.stage([make(2)]), yes)
    with pytest.raises(Rejected, match="not staged"):
        slots.activate("a", yes)


def test_a_muted_set_stays_muted_over_restarts_and_is_not_called_good(
    tmp_path: Path, slots: Slots, make: Make
) -> None:
    slots.activate(slots.stage([make(2)]), yes)
    slots.mute("b", "no prediction within range")
    again = Slots(tmp_path / "state")
    live = again.live()
    assert live is not None and live.muted == "no prediction within range"
    assert releases(again.last_good())["egt"] == 1
    assert again.rollback(yes) and again.left() == (live.id,)
    live = again.live()
    assert live is not None and live.slot == "a" and not live.muted


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
    with pytest.raises(Rejected, match="one name"):
        slots.stage([one, make(3)])
    with pytest.raises(Rejected, match="0 bundles"):
        slots.stage([])


SEEDS = int(os.environ.get("TAILTWIN_SLOT_SEEDS", "3"))
"""Draws of what survives each cut; `make prove` takes more."""
STEPS: tuple[tuple[int, str], ...] = (
    (0, ""), (1, "good"), (2, "probation"), (2, "good"), (3, "probation"), (3, "muted egt"),
    (2, "good"), (4, "probation"), (4, "muted"), (2, "good"), (5, "probation"), (2, "good"),
)  # fmt: skip


def story(disk: Disk, state: Path, make: Make, told: list[int]) -> None:
    """Everything that touches the slots; `told` grows when a step of `STEPS` returned."""
    slots = Slots(state, disk)
    slots.install_first([make(1), make(1, "vib")])
    told.append(1)

    def update(release: int) -> None:
        assert slots.activate(slots.stage([make(release), make(1, "vib")]), yes)
        told.append(release)

    def then(act: object, *arguments: object) -> None:
        assert callable(act)
        act(*arguments)
        told.append(0)

    update(2)
    then(slots.prove)
    update(3)
    then(slots.mute_bundle, "egt", "out of range")
    then(slots.rollback, yes)
    update(4)
    then(slots.mute, _live(slots).slot, "died")
    then(slots.rollback, yes)
    update(5)
    then(lambda: slots.rollback(yes, leave=False))


def _live(slots: Slots) -> BundleSet:
    live = slots.live()
    assert live is not None
    return live


def now(slots: Slots) -> tuple[int, str]:
    live = slots.live()
    if live is None:
        return 0, ""
    how = "probation" if live.probation else "good"
    how = "muted egt" if live.muted_bundles else "muted" if live.muted else how
    return releases(live)["egt"], how


def test_power_cut_at_any_step_leaves_the_old_set_or_the_new_one(
    tmp_path: Path, make: Make
) -> None:
    whole = CutDisk(random.Random(0))
    told: list[int] = []
    story(whole, tmp_path, make, told)
    assert len(told) == len(STEPS) - 1 and whole.calls == 100
    survived = set()
    for cut_at in range(1, whole.calls + 1):
        for seed in range(SEEDS):
            disk = CutDisk(random.Random(seed))
            disk.cut_at = cut_at
            told.clear()
            with pytest.raises(PowerCut):
                story(disk, tmp_path, make, told)
            disk.power_cut()
            slots = Slots(tmp_path, disk)
            found = now(slots)
            step = len(told)
            assert found in STEPS[step : step + 2], f"cut {cut_at}, seed {seed}: {found}"
            survived.add((step, found))
            if found[0]:
                proven = found[0] if found[1] == "good" else {2: 1}.get(found[0], 2)
                assert releases(slots.last_good())["egt"] == proven
    assert len(survived) == 2 * (len(STEPS) - 1), "each step was seen to end both ways"


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
