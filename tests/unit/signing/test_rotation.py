"""Rotation, revocation and recovery of every role reach an aircraft, however long it was away.

The aircraft is python-tuf's own client; what ours adds is tested in tests/tamper.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.exceptions import BadVersionNumberError, DownloadHTTPError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Timestamp

from shared.errors import Rejected
from signing.image import Delegation
from signing.rolekeys import KeyChange
from tests.unit.signing.desk import FITS, NOW, Desk, Reader, declared

TAIL = "N1"
BUNDLE = "egt/egt-1.tar.zst"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.publish(1)
    desk.direct(TAIL, BUNDLE)
    return desk


@pytest.fixture
def reader(tmp_path: Path, desk: Desk) -> Reader:
    reader = Reader(tmp_path / "aboard", desk)
    assert reader.image(BUNDLE) and reader.directed(TAIL, BUNDLE)
    return reader


def delegation(desk: Desk, name: str, until: datetime, paths: tuple[str, ...]) -> Delegation:
    return Delegation(
        name=name, keys=(desk.keys.create(name).public_key,), paths=paths, until=until
    )


@pytest.mark.parametrize(
    "role",
    ["image-root-1", "image-targets", "image-snapshot", "image-timestamp", "director-root-1",
     "director-targets", "director-snapshot", "director-timestamp", "director-tails"],
)  # fmt: skip
def test_a_rotated_key_reaches_the_aircraft_and_the_old_one_signs_no_more(
    desk: Desk, reader: Reader, role: str
) -> None:
    of = role.removesuffix("-1")
    desk.rotate(of, role, f"{role}-new")
    desk.keys.path(role).unlink()
    second = desk.publish(2)
    desk.direct(TAIL, second)
    assert reader.image(second) and reader.directed(TAIL, second)
    assert reader.directed(TAIL, BUNDLE) is None
    names = {n for v in (desk.image, desk.director) for r in v.inspect().roles for n in r.key_names}
    assert f"{role}-new" in names and role not in names


def test_the_calibration_key_is_rotated_for_every_tail_below_it(desk: Desk, reader: Reader) -> None:
    parent = desk.image.inspect().bundles[0].sha256
    paths = [desk.publish(1, role="calibration", parent=parent, tail=f"N{n}") for n in (1, 2, 3)]
    assert all(reader.image(path) for path in paths)
    desk.rotate("calibration", "calibration", "calibration-2")
    desk.keys.path("calibration").unlink()
    paths.append(desk.publish(2, role="calibration", parent=parent, tail="N4"))
    assert all(reader.image(path) for path in paths)
    old = {r.role: r.key_names for r in desk.image.inspect().roles if r.role.startswith("cal")}
    assert set(old.values()) == {("calibration-2",)} and len(old) == 5


def test_an_aircraft_away_for_a_year_steps_through_every_root(tmp_path: Path) -> None:
    desk = Desk(tmp_path, NOW - timedelta(days=400))
    desk.publish(1)
    desk.direct(TAIL, BUNDLE)
    reader = Reader(tmp_path / "aboard", desk)
    for month in range(1, 13):
        desk.later(33)
        for name in ("image", "director"):
            n = (month - 1) % 3 + 1  # by the end no key of the first root is left
            old = f"{name}-root-{n}" if month <= 3 else f"{name}-root-{n}-{month - 3}"
            desk.rotate(f"{name}-root", old, f"{name}-root-{n}-{month}")
            desk.keys.path(old).unlink()
    desk.rotate("image-timestamp", "image-timestamp", "image-timestamp-2")
    desk.at = NOW
    desk.rotate("director-tails", "director-tails", "director-tails-2")
    second = desk.publish(2)
    desk.direct(TAIL, second)
    assert desk.image.inspect().roles[0].version == 14
    assert reader.image(second) and reader.directed(TAIL, second)


def test_a_timestamp_key_stolen_to_fast_forward_is_recovered_from_by_rotating_it(
    desk: Desk, reader: Reader
) -> None:
    """The thief's timestamp has a version that ours would never reach."""
    path = desk.metadata("image", "timestamp.json")
    honest = path.read_bytes()
    stolen = Metadata.from_bytes(honest)
    stolen.signed.version = 2**31
    stolen.sign(desk.keys.load("image-timestamp"))
    path.write_bytes(stolen.to_bytes())
    assert reader.image(BUNDLE)
    path.write_bytes(honest)
    desk.image.refresh(desk.keys)
    with pytest.raises(BadVersionNumberError):
        reader.image(BUNDLE)
    desk.rotate("image-timestamp", "image-timestamp", "image-timestamp-2")
    assert reader.image(desk.publish(2))


def test_snapshot_and_timestamp_keys_stolen_together_are_recovered_from(
    desk: Desk, reader: Reader
) -> None:
    """The thief lists targets and a tail role at versions that ours would never reach."""
    folder = desk.metadata("director", "timestamp.json").parent
    timestamp: Metadata[Timestamp] = Metadata.from_file(str(folder / "timestamp.json"))
    honest = timestamp.to_bytes()
    now = timestamp.signed.snapshot_meta.version
    snapshot: Metadata[Snapshot] = Metadata.from_file(str(folder / f"{now}.snapshot.json"))
    snapshot.signed.version = 2**31
    for meta in snapshot.signed.meta.values():
        meta.version = 2**31
    snapshot.sign(desk.keys.load("director-snapshot"))
    (folder / f"{2**31}.snapshot.json").write_bytes(snapshot.to_bytes())
    timestamp.signed.version = 2**31
    timestamp.signed.snapshot_meta = MetaFile(2**31)
    timestamp.sign(desk.keys.load("director-timestamp"))
    (folder / "timestamp.json").write_bytes(timestamp.to_bytes())
    with pytest.raises(DownloadHTTPError):
        reader.directed(TAIL, BUNDLE)
    (folder / "timestamp.json").write_bytes(honest)
    desk.rotate("director-snapshot", "director-snapshot", "director-snapshot-2")
    desk.rotate("director-timestamp", "director-timestamp", "director-timestamp-2")
    assert reader.directed(TAIL, BUNDLE)


def test_a_makers_bundles_are_gone_when_its_delegation_is_revoked(
    desk: Desk, reader: Reader
) -> None:
    desk.image.delegate(
        desk.keys, delegation(desk, "maker", NOW + timedelta(days=90), ("vib_*/*",))
    )
    made = desk.publish(4, "vib_fan", "maker")
    assert reader.image(made)
    desk.image.revoke_delegate(desk.keys, "maker")
    assert reader.image(made) is None and reader.image(BUNDLE)
    desk.keys.path("maker").unlink()
    with pytest.raises(Rejected, match="does not grow; 4 was published"):
        desk.publish(4, "vib_fan")
    assert reader.image(desk.publish(5, "vib_fan"))


def test_a_name_that_was_revoked_can_be_delegated_again_with_another_key(
    desk: Desk, reader: Reader
) -> None:
    until = NOW + timedelta(days=90)
    desk.image.delegate(desk.keys, delegation(desk, "maker", until, ("vib/*",)))
    desk.publish(1, "vib", "maker")
    desk.image.revoke_delegate(desk.keys, "maker")
    for file in desk.keys.folder.glob("maker.*"):
        file.unlink()
    desk.image.delegate(desk.keys, delegation(desk, "maker", until, ("vib/*",)))
    assert desk.image.inspect(), "nothing of the new maker's is there yet"
    assert reader.image(desk.publish(2, "vib", "maker"))
    versions = {r.role: r.version for r in desk.image.inspect().roles}
    assert versions["maker"] == 2


def test_a_makers_key_is_rotated_with_what_it_has_signed(desk: Desk, reader: Reader) -> None:
    until = NOW + timedelta(days=90)
    desk.image.delegate(desk.keys, delegation(desk, "maker", until, ("vib/*",)))
    made = desk.publish(1, "vib", "maker")
    desk.rotate("maker", desk.keys.public("maker").keyid[:12], "maker-2")
    assert reader.image(made)
    desk.keys.path("maker").unlink()
    assert reader.image(desk.publish(2, "vib", "maker"))


def test_a_revoked_root_key_is_replaced_by_two_of_those_who_are_left(
    desk: Desk, reader: Reader
) -> None:
    desk.repositories.change_keys(desk.keys, KeyChange("image-root", remove="image-root-2"))
    role = desk.image.inspect().roles[0]
    assert (role.threshold, role.keys) == (2, 2)
    assert reader.image(desk.publish(2))
    with pytest.raises(Rejected, match="1 keys would be left"):
        desk.repositories.change_keys(desk.keys, KeyChange("image-root", remove="image-root-1"))


def test_the_key_of_a_thousand_tails_is_rotated_in_one_go(
    desk: Desk, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.files.os.fsync", lambda descriptor: None)  # a test of figures
    tails = [f"T{n:04}" for n in range(1000)]
    desk.director.add_tails(desk.keys, tails)
    desk.director.assign_all(desk.keys, {tail: [BUNDLE] for tail in tails}, desk.image)
    start = time.monotonic()
    desk.rotate("director-tails", "director-tails", "director-tails-2")
    assert time.monotonic() - start < 60
    desk.keys.path("director-tails").unlink()
    assert reader.directed("T0000", BUNDLE) and reader.directed("T0999", BUNDLE)
    names = {r.key_names for r in desk.director.inspect().roles if r.role.startswith("tail-")}
    assert names == {("director-tails-2",)}
    desk.direct("T0500", BUNDLE)


def test_a_tail_that_leaves_the_fleet_and_comes_back_goes_on_counting(
    desk: Desk, reader: Reader
) -> None:
    with desk.director.changing() as change:
        desk.director.dismiss(change, f"tail-{TAIL}")
        desk.director.commit(change, desk.keys)
    assert reader.directed(TAIL, BUNDLE) is None
    desk.direct(TAIL, BUNDLE)
    assert reader.directed(TAIL, BUNDLE)
    assert {r.role: r.version for r in desk.director.inspect().roles}[f"tail-{TAIL}"] == 2


def test_a_root_that_its_old_keys_have_not_signed_is_followed_by_nobody(
    desk: Desk, reader: Reader
) -> None:
    """The commit refuses it; written all the same, the aircraft does."""
    one = desk.keys.create("image-root-9").public_key
    for n in (2, 3):
        desk.keys.path(f"image-root-{n}").unlink()
    with pytest.raises(Rejected, match="no such key"):
        desk.repositories.change_keys(desk.keys, KeyChange("image-root", one, "image-root-1"))
    root = Metadata.from_file(str(desk.metadata("image", "1.root.json")))
    root.signed.version = 2
    root.sign(desk.keys.load("image-root-1"))
    root.to_file(str(desk.metadata("image", "2.root.json")))
    with pytest.raises(UnsignedMetadataError):
        reader.image(BUNDLE)


def test_several_changes_are_one_publication(desk: Desk, reader: Reader) -> None:
    desk.image.publish(desk.keys, [declared(2), declared(1, "vib"), declared(3)])
    assert [reader.image(f"egt/egt-{n}.tar.zst") is not None for n in (1, 2, 3)] == [True] * 3
    assert desk.image.inspect().bundles[0].applicability == FITS
