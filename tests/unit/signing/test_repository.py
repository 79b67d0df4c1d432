"""A repository: what it refuses, in which order it writes, and who may sign."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from shared.errors import Corrupt, Expired, Rejected, Unreachable
from shared.files import write_durably
from signing.image import Delegation, ImageRepository
from signing.keys import KeyFolder
from signing.repositories import Repositories
from signing.rolekeys import KeyChange
from signing.verify import ATTESTORS_FIELD, Applicability
from tests.unit.signing.desk import FITS, NOW, Desk, declared


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def versions(desk: Desk) -> dict[str, int]:
    return {role.role: role.version for role in desk.image.inspect().roles}


def test_new_repositories_need_two_of_three_for_a_new_root(desk: Desk) -> None:
    for name in ("image", "director"):
        metadata: Metadata[Root] = Metadata.from_file(str(desk.metadata(name, "1.root.json")))
        role = metadata.signed.roles["root"]
        assert (role.threshold, len(role.keyids), len(metadata.signatures)) == (2, 3, 3)
        assert metadata.signed.consistent_snapshot
    both = [set(r.chain().root.signed.keys) for r in (desk.image, desk.director)]
    assert not both[0] & both[1], "a key is of one repository"


def test_the_attestors_are_named_by_the_image_root(desk: Desk) -> None:
    root = desk.image.chain().root.signed
    field = root.unrecognized_fields[ATTESTORS_FIELD]
    assert field["threshold"] == 1
    assert list(field["keys"]) == [desk.keys.public("attestor-1").keyid]
    key = desk.keys.create("attestor-2").public_key
    desk.repositories.change_keys(desk.keys, KeyChange("attestor", add=key, threshold=2))
    field = desk.image.chain().root.signed.unrecognized_fields[ATTESTORS_FIELD]
    assert (field["threshold"], len(field["keys"])) == (2, 2)


def test_repositories_are_made_once(desk: Desk) -> None:
    with pytest.raises(Rejected, match="there already"):
        desk.repositories.create(desk.keys)


def test_published_bundles_carry_what_was_declared(desk: Desk) -> None:
    desk.image.publish(desk.keys, [declared(1), declared(7, "vib")])
    view = desk.image.inspect()
    assert [(b.target, b.release, b.applicability) for b in view.bundles] == [
        ("egt/egt-1.tar.zst", 1, FITS), ("vib/vib-7.tar.zst", 7, FITS),
    ]  # fmt: skip
    assert versions(desk) == {"root": 1, "targets": 2, "snapshot": 2, "timestamp": 2}
    served = desk.image.bundles / "egt" / f"{view.bundles[0].sha256}.egt-1.tar.zst"
    assert served.read_bytes() == declared(1).data


@pytest.mark.parametrize("release", [0, 1, 2])
def test_a_release_counter_that_does_not_grow_is_refused(desk: Desk, release: int) -> None:
    desk.publish(2)
    before = desk.image.inspect()
    with pytest.raises(Rejected):
        desk.image.publish(desk.keys, [declared(5), declared(release)])
    assert desk.image.inspect() == before, "nothing of a refused publish is seen"
    assert desk.publish(1, "vib")


def test_two_releases_of_a_name_at_once_have_to_grow_too(desk: Desk) -> None:
    with pytest.raises(Rejected, match="does not grow"):
        desk.image.publish(desk.keys, [declared(3), declared(2)])


def test_a_withdrawn_release_is_not_published_again(desk: Desk) -> None:
    desk.publish(1)
    desk.image.withdraw(desk.keys, desk.publish(2))
    assert [b.release for b in desk.image.inspect().bundles] == [1]
    with pytest.raises(Rejected, match="does not grow; 2 was published"):
        desk.publish(2)
    assert desk.publish(3)


def test_a_calibrations_counter_is_of_its_tail_and_it_has_a_parent(desk: Desk) -> None:
    desk.publish(5)
    parent = desk.image.inspect().bundles[0].sha256
    for tail in ("N1", "N2"):
        path = desk.publish(1, role="calibration", parent=parent, tail=tail)
        assert path == f"cal/{tail}/egt/egt-1.tar.zst"
    with pytest.raises(Rejected, match="does not grow; 1 was published for N1"):
        desk.publish(1, role="calibration", parent=parent, tail="N1")
    with pytest.raises(Rejected, match="is not published here"):
        desk.publish(2, role="calibration", parent="0" * 64, tail="N1")
    with pytest.raises(Rejected, match="calibration without a parent"):
        desk.publish(2, role="calibration", tail="N1")
    with pytest.raises(Rejected, match="a parent of no calibration"):
        desk.publish(6, parent=parent)
    numbers = [b for b in desk.image.inspect().bundles if b.role == "calibration-N1"]
    calibrated = hashlib.sha256(declared(1, tail="N1").data).hexdigest()
    assert [b.sha256 for b in numbers] == [calibrated]
    with pytest.raises(Rejected, match="is not published here"):
        desk.publish(2, role="calibration", parent=calibrated, tail="N1")


def test_a_delegate_signs_what_was_delegated_and_nothing_else(desk: Desk) -> None:
    key = desk.keys.create("maker").public_key
    within = Applicability(types=("B737-800",), tails=("N1", "N2"))
    until = NOW + timedelta(days=30)
    desk.image.delegate(
        desk.keys,
        Delegation(name="maker", keys=(key,), paths=("vib_*/*",), until=until, within=within),
    )
    narrow = Applicability(types=("B737-800",), tails=("N2",))
    desk.image.publish(desk.keys, [declared(1, "vib_fan", narrow)], "maker")
    with pytest.raises(Rejected, match="not maker's to sign"):
        desk.image.publish(desk.keys, [declared(9, "egt", narrow)], "maker")
    with pytest.raises(Rejected, match="beyond what maker may: tails not limited"):
        desk.image.publish(desk.keys, [declared(2, "vib_fan")], "maker")
    with pytest.raises(Rejected, match="does not grow"):
        desk.image.publish(desk.keys, [declared(1, "vib_fan", narrow)])
    desk.later(31)
    with pytest.raises(Expired, match="ended on"):
        desk.image.publish(desk.keys, [declared(2, "vib_fan", narrow)], "maker")


@pytest.mark.parametrize(
    ("name", "paths", "says"),
    [("maker", ("*/*",), "no pattern of names"), ("maker", ("cal/*/*/*",), "no pattern of names"),
     ("maker", ("egt",), "no pattern of names"), ("maker", (), "names no bundles"),
     ("other", ("vib_f*/*",), "share names"), ("calibration-N1", ("x/*",), "no role is named"),
     ("tail-N1", ("x/*",), "no role is named")],
)  # fmt: skip
def test_a_delegation_that_reaches_too_far_is_refused(
    desk: Desk, name: str, paths: tuple[str, ...], says: str
) -> None:
    key = desk.keys.create("maker").public_key
    until = NOW + timedelta(days=30)
    desk.image.delegate(
        desk.keys, Delegation(name="maker", keys=(key,), paths=("vib_*/*",), until=until)
    )
    with pytest.raises(Rejected, match=says):
        desk.image.delegate(desk.keys, Delegation(name=name, keys=(key,), paths=paths, until=until))


@pytest.mark.parametrize("role", ["targets", "calibration", "calibration-N1"])
def test_nothing_is_signed_on_top_of_metadata_that_does_not_verify(desk: Desk, role: str) -> None:
    desk.publish(1)
    parent = desk.image.inspect().bundles[0].sha256
    desk.publish(1, role="calibration", parent=parent, tail="N1")
    (path,) = desk.metadata("image", "x").parent.glob(
        f"[{'2' if role == 'targets' else '1'}].{role}.json"
    )
    path.write_bytes(path.read_bytes().replace(b"2", b"3"))
    with pytest.raises(Corrupt, match="does not verify"):
        desk.image.inspect()
    with pytest.raises(Corrupt, match="does not verify"):
        desk.publish(2, role="calibration", parent=parent, tail="N1")


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff", b'{"signed": 1}'])
@pytest.mark.parametrize("name", ["timestamp.json", "1.root.json"])
def test_damaged_metadata_is_said_and_not_traced(desk: Desk, name: str, content: bytes) -> None:
    desk.metadata("image", name).write_bytes(content)
    with pytest.raises(Corrupt, match="does not verify"):
        desk.publish(1)


def test_keys_of_another_repository_do_not_sign(tmp_path: Path, desk: Desk) -> None:
    other = KeyFolder(tmp_path / "other-keys")
    Repositories(tmp_path / "other", NOW).create(other)
    with pytest.raises(Rejected, match="0 of 1 keys of targets are at hand"):
        desk.image.publish(other, [declared(1)])
    with pytest.raises(Rejected, match="0 of 1 keys of snapshot are at hand"):
        desk.image.refresh(other)


def test_refresh_needs_the_online_keys_only_and_moves_the_expiry(desk: Desk) -> None:
    desk.publish(1)
    for name in ("image-root-1", "image-root-2", "image-root-3", "image-targets"):
        desk.keys.path(name).unlink()
    desk.later(3)
    assert [r.is_expired for r in desk.image.inspect().roles] == [False, False, False, True]
    desk.image.refresh(desk.keys)
    assert not any(r.is_expired for r in desk.image.inspect().roles)
    assert versions(desk) == {"root": 1, "targets": 2, "snapshot": 3, "timestamp": 3}
    with pytest.raises(Rejected, match="no such key"):
        desk.publish(2)


def _publish(desk: Desk) -> None:
    desk.publish(2)


def _rotate(desk: Desk) -> None:
    for file in desk.keys.folder.glob("new.*"):
        file.unlink()
    desk.rotate("image-timestamp", "image-timestamp", "new")


@pytest.mark.parametrize(("act", "writes"), [(_publish, 4), (_rotate, 4)])
def test_a_change_cut_short_anywhere_is_as_if_it_had_not_begun_or_as_if_it_were_done(
    desk: Desk, act: Callable[[Desk], None], writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new root is seen the moment it is written; the timestamp for it lies there already."""
    desk.publish(1)
    before = desk.image.inspect()
    for cut_at in range(1, writes + 1):
        calls = 0

        def cut(path: Path, data: bytes, at: int = cut_at) -> None:
            nonlocal calls
            calls += 1
            if calls == at:
                raise KeyboardInterrupt
            write_durably(path, data)

        monkeypatch.setattr("signing.repository.write_durably", cut)
        with pytest.raises(KeyboardInterrupt):
            act(desk)
        monkeypatch.setattr("signing.repository.write_durably", write_durably)
        seen = desk.image.inspect()
        if act is _publish or cut_at <= 3:
            assert seen == before, f"cut at write {cut_at}"
        else:
            assert seen.roles[0].version == 2
            desk.publish(3)
            return
    act(desk)
    assert desk.image.inspect() != before


def test_a_full_disk_leaves_what_was_there(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.publish(1)
    before = desk.image.inspect()

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("signing.repository.write_durably", full)
    with pytest.raises(Unreachable, match="No space left on device; what was there before counts"):
        desk.publish(2)
    assert desk.image.inspect() == before


def test_a_second_signer_at_work_is_told_so(desk: Desk) -> None:
    with desk.image.locked(), pytest.raises(Unreachable, match="another signer"):
        desk.publish(1)


def test_a_folder_without_a_repository_is_named(tmp_path: Path) -> None:
    nothing = ImageRepository(tmp_path / "nothing", NOW)
    keys = KeyFolder(tmp_path / "keys")
    for action in (
        lambda: nothing.publish(keys, [declared(1)]), lambda: nothing.refresh(keys), nothing.inspect,
    ):  # fmt: skip
        with pytest.raises(Rejected, match="repository here"):
            action()


def test_metadata_that_readers_would_not_take_is_not_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signing.repository.METADATA_BYTES_MAX", 500)
    with pytest.raises(Rejected, match="readers take 500"):
        desk.publish(1)
    assert versions(desk)["targets"] == 1


def test_one_key_for_two_roles_is_refused(desk: Desk) -> None:
    online = desk.keys.public("image-timestamp")
    with pytest.raises(Rejected, match="online key is an offline key too"):
        desk.repositories.change_keys(
            desk.keys, KeyChange("image-targets", add=online, remove="image-targets")
        )
    with pytest.raises(Rejected, match="has that key already"):
        desk.repositories.change_keys(
            desk.keys, KeyChange("image-root", add=desk.keys.public("image-root-1"))
        )
