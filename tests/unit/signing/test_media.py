"""A media folder, and what expires before long."""

from __future__ import annotations

import errno
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata

from shared.errors import Expired, Rejected, Unreachable
from signing.__main__ import main
from signing.expiry import expiring
from signing.image import Delegation
from signing.keyring import Keyring
from signing.media import export
from signing.verify.resets import check_reset
from tests.unit.signing.desk import NOW, Desk, Reader

EGT = "egt/egt-1.tar.zst"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.publish(1)
    desk.publish(1, "vib")
    parent = next(b.sha256 for b in desk.image.inspect().bundles if b.name == "egt")
    for tail in ("N1", "N2"):
        desk.publish(1, role="calibration", parent=parent, tail=tail)
    desk.direct("N1", "cal/N1/egt/egt-1.tar.zst")
    desk.direct("N2", "vib/vib-1.tar.zst")
    return desk


def version(path: Path) -> tuple[int, datetime]:
    signed = Metadata.from_file(str(path)).signed
    return signed.version, signed.expires


def exported(desk: Desk, *tails: str) -> Path:
    out = desk.folder / "medium"
    export(desk.repositories, Keyring(desk.keys), out, tails, 30)
    return out


def test_a_medium_is_read_by_a_client_and_lives_a_month(desk: Desk, tmp_path: Path) -> None:
    out = exported(desk)
    read = Desk.__new__(Desk)
    read.folder, read.at, read.keys = tmp_path / "at-the-aircraft", NOW, desk.keys
    read.folder.mkdir()
    out.rename(read.folder / "repo")
    reader = Reader(tmp_path / "aboard", read)
    client = reader.client("image")
    info = client.get_targetinfo("cal/N1/egt/egt-1.tar.zst")
    assert info is not None and Path(client.download_target(info)).exists()
    assert reader.directed("N1", "cal/N1/egt/egt-1.tar.zst")
    for name in ("image", "director"):
        for path in read.metadata(name, "x").parent.glob("*.json"):
            assert version(path)[1] >= NOW + timedelta(days=30), path


def test_no_two_timestamps_share_a_version(desk: Desk) -> None:
    before, _ = version(desk.metadata("image", "timestamp.json"))
    out = exported(desk)
    for name in ("image", "director"):
        medium, _ = version(out / name / "metadata/timestamp.json")
        online, _ = version(desk.metadata(name, "timestamp.json"))
        assert online == medium + 1
        assert not desk.metadata(name, f"{medium}.snapshot.json").exists()
    assert version(out / "image/metadata/timestamp.json")[0] == before + 1
    assert desk.image.inspect() and desk.director.inspect()
    desk.refresh()
    reader = Reader(desk.folder / "aboard", desk)
    assert reader.image(EGT), "an aircraft that is online goes on as before"


def test_a_medium_for_one_tail_has_its_files_and_no_others(desk: Desk) -> None:
    out = exported(desk, "N1")
    names = {path.name.partition(".")[2] for path in out.rglob("*") if path.is_file()}
    assert {"tail-N1.json", "calibration-N1.json", "egt-1.tar.zst"} <= names
    assert not {"tail-N2.json", "calibration-N2.json", "vib-1.tar.zst"} & names
    parents = list((out / "image/targets/egt").iterdir())
    assert len(parents) == 1, "what the calibration was made from goes along"


def test_what_ends_before_the_medium_is_said_and_nothing_is_exported(desk: Desk) -> None:
    desk.later(350)
    desk.refresh()
    with pytest.raises(Expired, match="image root ends on"):
        exported(desk)
    assert not (desk.folder / "medium").exists()


def test_a_full_stick_leaves_nothing_half_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("signing.media.write_durably", full)
    with pytest.raises(Unreachable, match="No space left on device"):
        exported(desk)
    assert not list((desk.folder / "medium").iterdir())
    monkeypatch.undo()
    assert exported(desk).is_dir()


def test_what_a_medium_signs_is_shown_of_both_repositories_before_anything_is(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    out = desk.folder / "medium"
    arguments = ["media", "--repo", str(desk.folder / "repo"), "--keys", str(desk.keys.folder),
                 "--out", str(out)]  # fmt: skip
    before = desk.image.chain().timestamp.version
    assert main([*arguments, "--dry-run", "--json"]) == 0
    signs = json.loads(capsys.readouterr().out)["signs"]
    assert not out.exists() and desk.image.chain().timestamp.version == before
    shown = {(one["repository"], one["role"]): one for one in signs}
    assert {repository for repository, _ in shown} == {
        "image", "director", "medium's image", "medium's director",
    }  # fmt: skip
    assert main(arguments) == 0
    of_medium, _ = version(out / "image/metadata/timestamp.json")
    assert shown["medium's image", "timestamp"]["version"] == of_medium
    assert shown["image", "timestamp"]["version"] == desk.image.chain().timestamp.version


def test_what_expires_soon_is_listed_and_is_the_exit_code(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["expire-soon", "--repo", str(desk.folder / "repo")]
    assert main(arguments) == 0
    assert "nothing needs a person within 30 days" in capsys.readouterr().out
    assert main([*arguments, "--days", "366", "--json"]) == 1
    named = [one["what"] for one in json.loads(capsys.readouterr().out)]
    assert {"root", "targets", "calibration"} <= set(named)
    assert not {"snapshot", "timestamp"} & set(named), "refresh renews them"
    old = Desk(desk.folder / "old", NOW - timedelta(days=200))
    arguments = ["expire-soon", "--repo", str(old.folder / "repo"), "--days", "170", "--json"]
    assert main(arguments) == 1
    found = json.loads(capsys.readouterr().out)
    assert {"root", "targets"} <= {one["what"] for one in found}
    assert {one["repository"] for one in found} == {"image", "director"}


def test_short_lives_and_delegations_that_end_are_named_in_time(desk: Desk) -> None:
    key = desk.keys.create("maker").public_key
    until = NOW + timedelta(days=40)
    desk.image.delegate(
        desk.keys, Delegation(name="maker", keys=(key,), paths=("oil/*",), until=until)
    )
    assert expiring(desk.image, 30) == []
    desk.later(0.6)
    assert [e.what for e in expiring(desk.image, 30)] == ["timestamp"]
    desk.later(10.4)
    assert [(e.what, e.days) for e in expiring(desk.image, 30)] == [
        ("timestamp", -10.0), ("snapshot", -4.0), ("delegation to maker", 29.0),
    ]  # fmt: skip
    assert expiring(desk.image, 30)[0].remedy == "refresh"
    desk.later(330)
    assert {e.remedy for e in expiring(desk.image, 30)} == {
        "refresh", "refresh --role image-root", "refresh --role image-targets",
        "refresh --role calibration", "delegate it anew, or revoke it",
    }  # fmt: skip


def test_a_time_reset_is_signed_by_two_people_one_after_the_other(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(desk.folder)
    for n in (1, 2):
        stick = desk.folder / f"stick-{n}"
        stick.mkdir()
        for end in ("pem", "pub.json"):
            (desk.keys.folder / f"image-root-{n}.{end}").rename(stick / f"image-root-{n}.{end}")
    root = "repo/image/metadata/1.root.json"
    first = ["time-reset", "--root", root, "--keys", "stick-1", "--out", "N1.json"]
    assert main([*first, "--tail", "N1", "--nonce", "ab12", "--dry-run"]) == 0
    assert not Path("N1.json").exists()
    assert main([*first, "--tail", "N1", "--nonce", "ab12"]) == 0
    trusted = desk.image.chain().root.signed
    with pytest.raises(Rejected, match="1 of 2 root keys"):
        check_reset(Path("N1.json").read_bytes(), trusted, "N1", "ab12")
    assert main(["time-reset", "--root", root, "--keys", "stick-2", "--out", "N1.json",
                 "--add", "N1.json"]) == 0  # fmt: skip
    reset = check_reset(Path("N1.json").read_bytes(), trusted, "N1", "ab12")
    assert abs(reset.time_ns / 1e9 - NOW.timestamp()) < 600
    capsys.readouterr()
    assert main(first) == 65
    assert "--tail and --nonce, or --add FILE" in capsys.readouterr().err
