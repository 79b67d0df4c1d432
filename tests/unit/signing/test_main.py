"""`tailtwin-sign`, from its arguments to what a person reads."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import signing.declare
from shared.bundlefile import pack_declared
from signing.__main__ import _parser, main
from signing.commands import PASSPHRASE_VARIABLE
from signing.declare import Declared, declare
from signing.verify import Applicability
from tests.fakes.bundles import packed
from tests.fakes.calibrated import TYPE, scaled


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    return ["--repo", str(tmp_path / "repo"), "--keys", str(tmp_path / "keys")]


def bundle_file(folder: Path, release: int) -> Path:
    name, data = packed(release)
    (folder / name).write_bytes(data)
    return folder / name


def inspected(folders: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["inspect", "--json", *folders[:2]]) == 0
    view: dict[str, Any] = json.loads(capsys.readouterr().out)
    return view


def test_the_whole_way_from_nothing_to_a_tail_with_its_set(
    tmp_path: Path, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", *folders]) == 0
    file = bundle_file(tmp_path, 1)
    target = f"egt_rom/{file.name}"
    capsys.readouterr()
    assert main(["publish", "--unattested", *folders, str(file)]) == 0
    shown = capsys.readouterr().out
    assert f"+ target {target}: release 1" in shown and "image-targets (" in shown
    assert main(["add-tail", *folders, "N1", "N2"]) == 0
    assert main(["assign", *folders, "--tail", "N1", target]) == 0
    assert main(["refresh", *folders]) == 0
    view = inspected(folders, capsys)
    versions = {role["role"]: role["version"] for role in view["image"]["roles"]}
    assert versions == {"root": 1, "targets": 2, "snapshot": 3, "timestamp": 3}
    assert view["image"]["bundles"][0]["applicability"]["esns"] == ["ESN1", "ESN2"]
    assert [b["target"] for b in view["director"]["bundles"]] == [f"N1/{target}"]
    assert main(["inspect", *folders[:2]]) == 0
    table = capsys.readouterr().out
    assert "2 of 3: image-root-1, image-root-2, image-root-3" in table and f"N1/{target}" in table
    assert main(["withdraw", *folders, target]) == 0
    assert "assign another set to N1" in capsys.readouterr().out


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_dry_run_shows_what_would_be_signed_and_signs_nothing(
    tmp_path: Path, folders: list[str], capsys: pytest.CaptureFixture[str], as_json: list[str]
) -> None:
    main(["init", *folders])
    file = str(bundle_file(tmp_path, 1))
    before = inspected(folders, capsys)
    assert main(["publish", "--unattested", *folders, "--dry-run", *as_json, file]) == 0
    shown = capsys.readouterr().out
    if as_json:
        signs = json.loads(shown)["signs"]
        assert [(s["role"], s["version"]) for s in signs] == [
            ("targets", 2), ("snapshot", 2), ("timestamp", 2),
        ]  # fmt: skip
    else:
        assert "signs image targets: version 1 -> 2" in shown
    assert inspected(folders, capsys) == before
    assert main(["init", "--repo", str(tmp_path / "other"), *folders[2:], "--dry-run"]) == 0
    assert not (tmp_path / "other" / "image").exists()


def test_what_is_signed_is_what_was_judged_though_the_file_changes_behind_it(
    tmp_path: Path, folders: list[str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    file = bundle_file(tmp_path, 1)
    judged = hashlib.sha256(file.read_bytes()).hexdigest()

    def raced(one: Path, who: Applicability | None, tail: str, parent: str) -> Declared:
        found = declare(one, who, tail, parent)
        one.write_bytes(packed(2)[1])
        return found

    monkeypatch.setattr(signing.declare, "declare", raced)
    main(["init", *folders])
    assert main(["publish", "--unattested", *folders, str(file)]) == 0
    assert inspected(folders, capsys)["image"]["bundles"][0]["sha256"] == judged


def test_an_applicability_file_narrows_the_bundles_own(
    tmp_path: Path, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["init", *folders])
    who = tmp_path / "who.json"
    who.write_text('{"types": ["B737"], "tails": ["N1"]}')
    file = bundle_file(tmp_path, 1)
    assert main(["publish", "--unattested", *folders, "--applicability", str(who), str(file)]) == 0
    bundles = inspected(folders, capsys)["image"]["bundles"]
    assert bundles[0]["applicability"]["tails"] == ["N1"]
    main(["add-tail", *folders, "N2"])
    capsys.readouterr()
    assert main(["assign", *folders, "--tail", "N2", f"egt_rom/{file.name}"]) == 65
    assert "was not made for this tail" in capsys.readouterr().err


def test_a_calibration_is_published_when_it_is_one_and_an_attestor_vouches_for_it(
    tmp_path: Path, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["init", *folders])
    claims = ["--builder", "https://b.example", "--source-commit", "0" * 40]
    attestor = ["attest", *folders[2:], "--key", "attestor-1", *claims]
    files: list[str] = []
    for made in (TYPE, scaled(1.02), scaled(2.0)):
        name, data = pack_declared(made)
        (tmp_path / name).write_bytes(data)
        capsys.readouterr()
        parent = ["--parent", files[0]] if files else []
        assert main([*attestor, *parent, str(tmp_path / name)]) == 0
        files.append(capsys.readouterr().out.splitlines()[-1])
    assert main(["publish", *folders, str(tmp_path / name)]) == 65, "not the attested one"
    assert main(["publish", *folders, files[0]]) == 0
    own = ["publish", *folders, "--role", "calibration", "--tail", "N1", "--parent", files[0]]
    capsys.readouterr()
    assert main([*own, files[2]]) == 65
    assert "beyond 0.9 to 1.1 times" in capsys.readouterr().err
    assert main([*own, files[1]]) == 0
    entry = inspected(folders, capsys)["image"]["bundles"][1]
    assert entry["target"] == f"cal/N1/egt_rom/{Path(files[1]).name}"
    assert entry["parent"] == hashlib.sha256(Path(files[0]).read_bytes()).hexdigest()


def test_mistakes_are_one_line_with_a_remedy_and_no_trace(
    tmp_path: Path, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = bundle_file(tmp_path, 1)
    wrong_name = tmp_path / "other-1.0.0.tar.zst"
    wrong_name.write_bytes(file.read_bytes())
    no_bundle = tmp_path / "x.tar.zst"
    no_bundle.write_bytes(b"hello")
    main(["init", *folders])
    main(["publish", "--unattested", *folders, str(file)])
    main(["add-tail", *folders, "N1"])
    capsys.readouterr()
    target = f"egt_rom/{file.name}"
    for arguments, says in (
        (["init", *folders], "is there already"),
        (["publish", "--unattested", *folders], "bundles, a request or drafts"),
        (["publish", "--unattested", *folders, str(file)], "does not grow"),
        (["publish", "--unattested", *folders, str(wrong_name)], "not the name of this bundle"),
        (["publish", "--unattested", *folders, str(no_bundle)], "not one zstd frame"),
        (["publish", "--unattested", *folders, str(tmp_path / "gone.tar.zst")], "cannot read"),
        (
            ["publish", "--unattested", *folders, "--role", "calibration", str(file)],
            "a tail and a parent",
        ),
        (["publish", "--unattested", *folders, "--role", "nobody", str(file)], "no role 'nobody'"),
        (["publish", "--unattested", *folders, "--draft", str(file)], "not the name of a draft"),
        (["refresh", *folders, "--expires", "timestamp=never"], "is not an expiry"),
        (["refresh", *folders, "--passphrase-file", str(tmp_path / "gone")], "cannot read"),
        (["refresh", "--repo", str(tmp_path / "repo")], "the online keys sign it"),
        (["refresh", *folders, "--role", "nobody"], "no role 'nobody'"),
        (["refresh", *folders, "--role", "image-snapshot"], "is online"),
        (["inspect", "--repo", str(tmp_path / "gone")], "no TUF repository here"),
        (["assign", *folders, "--tail", "N9", target], "no role for 'N9'"),
        (["assign", *folders, "--tail", "N1", "egt/none.tar.zst"], "has no 'egt/none.tar.zst'"),
        (["assign", *folders, "--tail", "N1", target, target], "two bundles are named"),
        (["assign", *folders, "--tail", "N1", "../x"], "is not a target path"),
        (["add-tail", *folders, "N1"], "has a role already"),
        (["add-tail", *folders, "../N1"], "not a target path"),
        (["withdraw", *folders, "egt/none.tar.zst"], "no target"),
        (["media", *folders, "--out", str(tmp_path)], "not an empty folder"),
        (["media", *folders, "--out", str(tmp_path / "m"), "--days", "3"], "3 days"),
        (["media", *folders, "--out", str(tmp_path / "m"), "--tail", "N1"], "has no set"),
        (["revoke", *folders[:2], "--role", "image-root"], "cannot be without a key"),
        (["revoke", *folders[:2], "--role", "nobody"], "no delegation 'nobody'"),
        (["expire-soon", *folders[:2], "--days", "-1"], "not a number of days"),
    ):
        assert main(arguments) in (65, 69), arguments
        error = capsys.readouterr().err
        assert says in error and "Traceback" not in error, (arguments, error)


def test_foreign_text_in_an_error_moves_no_cursor(
    tmp_path: Path, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["init", *folders])
    metadata = tmp_path / "repo/image/metadata/1.targets.json"
    metadata.write_bytes(b'{"signed": {"_type": "\\u001b[2J"}}')
    timestamp = tmp_path / "repo/image/metadata/timestamp.json"
    timestamp.write_bytes(b'{"signed": {"_type": "\\u001b[2J"}}')
    draft = tmp_path / "image-2.root.json"
    draft.write_bytes(b'{"signatures": [], "signed": {"_type": "\\u001b[2J"}}')
    capsys.readouterr()
    for arguments in (
        ["inspect", *folders[:2]],
        ["sign", "--draft", str(draft), "--key", "image-root-1", *folders[2:]],
    ):
        assert main(arguments) in (65, 74)
        assert "\x1b" not in capsys.readouterr().err


def test_keys_are_encrypted_when_a_passphrase_is_given(
    tmp_path: Path,
    folders: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse battery\n")
    monkeypatch.setattr("signing.keys.passphrase.SCRYPT_N", 1 << 10)
    assert main(["init", *folders, "--passphrase-file", str(secret)]) == 0
    assert b"ENCRYPTED" in (tmp_path / "keys" / "image-root-1.pem").read_bytes()
    assert main(["refresh", *folders]) == 65
    assert "see --passphrase-file" in capsys.readouterr().err
    monkeypatch.setenv(PASSPHRASE_VARIABLE, str(secret))
    assert main(["refresh", *folders]) == 0


COMMANDS = sorted(
    name for action in _parser()._actions for name in (getattr(action, "choices", None) or ())
)


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_is_there_for_every_command(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    assert "examples:\n  tailtwin-sign" in capsys.readouterr().out


def test_nothing_is_signed_when_nobody_reads_what_it_is(folders: list[str]) -> None:
    """A pipe into a pager that is left, for one."""
    main(["init", *folders])
    before = (Path(folders[1]) / "image/metadata/timestamp.json").read_bytes()
    command = [sys.executable, "-m", "signing", "refresh", *folders]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False, text=True)
    os.close(write)
    assert done.returncode == 65 and done.stderr.startswith("tailtwin-sign: stdout: nobody reads")
    assert "Traceback" not in done.stderr and "ignored" not in done.stderr
    assert (Path(folders[1]) / "image/metadata/timestamp.json").read_bytes() == before


def test_a_stick_that_is_not_there_or_read_only_is_one_line(
    tmp_path: Path, folders: list[str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    main(["init", *folders])

    def read_only(*_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr("signing.repository.os.open", read_only)
        assert main(["refresh", *folders]) == 69
    assert "cannot write: Read-only file system" in capsys.readouterr().err
    (tmp_path / "stick").write_text("no folder")
    assert main(["new-key", "--keys", str(tmp_path / "stick/keys"), "--name", "a"]) == 69
    assert capsys.readouterr().err.startswith("tailtwin-sign: ")


def test_what_is_attested_is_shown_before_a_passphrase_is_asked_for(
    tmp_path: Path, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret").write_text("correct horse battery")
    keys = ["--keys", folders[3]]
    main(["new-key", *keys, "--name", "attestor-1", "--passphrase-file", str(tmp_path / "secret")])
    name, data = pack_declared(TYPE)
    (tmp_path / name).write_bytes(data)
    arguments = ["attest", *keys, "--key", "attestor-1", "--builder", "https://b.example",
                 "--source-commit", "0" * 40, str(tmp_path / name)]  # fmt: skip
    capsys.readouterr()
    assert main([*arguments, "--dry-run"]) == 0
    assert "built by" in capsys.readouterr().out
    assert main(arguments) == 65
    said = capsys.readouterr()
    assert "built by" in said.out and "passphrase" in said.err


def test_a_time_reset_says_how_many_have_signed_it(
    tmp_path: Path, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["init", *folders])
    root, reset = str(tmp_path / "repo/image/metadata/1.root.json"), str(tmp_path / "N1.json")
    people = []
    for n in (1, 2):
        person = tmp_path / f"stick-{n}"
        person.mkdir()
        for file in (tmp_path / "keys").glob(f"image-root-{n}.*"):
            file.rename(person / file.name)
        people.append(["time-reset", "--root", root, "--keys", str(person), "--out", reset])
    capsys.readouterr()
    assert main([*people[0], "--tail", "N1", "--nonce", "0011"]) == 0
    assert f"signed by 1, 2 are needed: {reset}" in capsys.readouterr().out
    assert main([*people[1], "--add", reset]) == 0
    assert f"signed by 2, 2 are needed: {reset}" in capsys.readouterr().out
