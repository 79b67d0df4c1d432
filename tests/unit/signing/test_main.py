"""`tailtwin-sign`, from its arguments to what a person reads."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from signing.__main__ import PASSPHRASE_VARIABLE, main
from signing.declare import declare
from signing.publish import Declared
from signing.verify import Applicability
from tests.fakes.bundles import packed


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    return ["--repo", str(tmp_path / "repo"), "--keys", str(tmp_path / "keys")]


def bundle_file(folder: Path, release: int) -> Path:
    name, data = packed(release)
    (folder / name).write_bytes(data)
    return folder / name


def test_the_whole_way_from_nothing_to_a_published_bundle(
    tmp_path: Path, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", *folders]) == 0
    assert "2 of 3" in capsys.readouterr().out
    file = bundle_file(tmp_path, 1)
    assert main(["publish", *folders, str(file)]) == 0
    assert f"egt_rom/{file.name}" in capsys.readouterr().out
    assert main(["refresh", *folders]) == 0
    capsys.readouterr()
    assert main(["inspect", "--json", *folders[:2]]) == 0
    view = json.loads(capsys.readouterr().out)
    assert [r["version"] for r in view["roles"]] == [1, 2, 3, 3]
    assert view["bundles"][0]["release"] == 1
    assert view["bundles"][0]["applicability"]["esns"] == ["ESN1", "ESN2"]


def test_what_is_signed_is_what_was_judged_though_the_file_changes_behind_it(
    tmp_path: Path, folders: list[str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    file = bundle_file(tmp_path, 1)
    judged = hashlib.sha256(file.read_bytes()).hexdigest()

    def raced(one: Path, who: Applicability | None) -> Declared:
        found = declare(one, who)
        one.write_bytes(packed(2)[1])
        return found

    monkeypatch.setattr("signing.__main__.declare", raced)
    main(["init", *folders])
    assert main(["publish", *folders, str(file)]) == 0
    capsys.readouterr()
    main(["inspect", "--json", *folders[:2]])
    assert json.loads(capsys.readouterr().out)["bundles"][0]["sha256"] == judged


def test_an_applicability_file_narrows_the_bundles_own(
    tmp_path: Path, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["init", *folders])
    who = tmp_path / "who.json"
    who.write_text('{"types": ["B737"], "tails": ["N1"]}')
    file = str(bundle_file(tmp_path, 1))
    assert main(["publish", *folders, "--applicability", str(who), file]) == 0
    capsys.readouterr()
    main(["inspect", "--json", *folders[:2]])
    assert json.loads(capsys.readouterr().out)["bundles"][0]["applicability"]["tails"] == ["N1"]


def test_mistakes_are_one_line_with_a_remedy_and_no_trace(
    tmp_path: Path, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = bundle_file(tmp_path, 1)
    wrong_name = tmp_path / "other-1.0.0.tar.zst"
    wrong_name.write_bytes(file.read_bytes())
    no_bundle = tmp_path / "x.tar.zst"
    no_bundle.write_bytes(b"hello")
    main(["init", *folders])
    main(["publish", *folders, str(file)])
    capsys.readouterr()
    for arguments, says in (
        (["init", *folders], "is there already"),
        (["publish", *folders, str(file)], "does not grow"),
        (["publish", *folders, str(wrong_name)], "not the name of this bundle"),
        (["publish", *folders, str(no_bundle)], "not one zstd frame"),
        (["publish", *folders, str(tmp_path / "gone.tar.zst")], "cannot read"),
        (["refresh", *folders, "--expires", "timestamp=never"], "is not an expiry"),
        (["refresh", *folders, "--passphrase-file", str(tmp_path / "gone")], "cannot read"),
        (["inspect", "--repo", str(tmp_path / "gone")], "no TUF repository here"),
    ):
        assert main(arguments) in (65, 69), arguments
        error = capsys.readouterr().err
        assert says in error and "Traceback" not in error, arguments


def test_keys_are_encrypted_when_a_passphrase_is_given(
    tmp_path: Path,
    folders: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse battery\n")
    assert main(["init", *folders, "--passphrase-file", str(secret)]) == 0
    assert b"ENCRYPTED" in (tmp_path / "keys" / "root-1.pem").read_bytes()
    assert main(["refresh", *folders]) == 65
    assert "see --passphrase-file" in capsys.readouterr().err
    monkeypatch.setenv(PASSPHRASE_VARIABLE, str(secret))
    assert main(["refresh", *folders]) == 0


@pytest.mark.parametrize("command", [[], ["init"], ["publish"], ["refresh"], ["inspect"]])
def test_help_is_there_for_every_command(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "--repo" in text
    assert command or "examples:" in text
