"""An attestor reads what it signs, signs the same bytes each time, and a request goes on from there."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path

import msgspec
import pytest

from shared.bundle import attach, unpack
from shared.bundlefile import pack_declared
from shared.errors import Rejected, Unreachable
from shared.profile import ModelBounds
from shared.request import load_request
from signing.__main__ import main
from signing.attest import attest, claims_in, commit_of, fit_to_publish
from signing.keys import KeyFolder
from signing.repositories import Repositories
from signing.verify.attested import (
    Attestors,
    attestors_of,
    check_attestation,
    encode_envelope,
    parse_envelope,
    read_attestation,
)
from signing.verify.statement import Claims
from tests.fakes.attested import BUILDER, CLAIMS, POLICY, attested, attestor
from tests.fakes.calibrated import TYPE, request_files, scaled
from tests.unit.signing.desk import Desk

COMMIT = "0123456789" * 4
SAID = ("--builder", BUILDER, "--source-commit", COMMIT)
Out = pytest.CaptureFixture[str]
NAME, DATA = pack_declared(TYPE)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    made = Desk(tmp_path_factory.mktemp("desk"))
    made.keys.create("attestor-2")
    return made


def run(desk: Desk, *arguments: object) -> int:
    keys = ("--keys", str(desk.folder / "keys"))
    return main(["attest", *(() if "--show" in arguments else keys), *map(str, arguments)])


def made(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tar.zst"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    path.write_bytes(DATA)
    return path


def test_attested_bundle_lies_beside_under_its_new_name(
    desk: Desk, bundle: Path, capsys: Out
) -> None:
    data = "ab" * 32
    assert run(desk, bundle, "--key", "attestor-1", *SAID, "--data", f"flights={data}",
               "--parameter", "layers=3", "--statement", bundle.with_suffix(".json")) == 0  # fmt: skip
    (other,) = set(made(bundle.parent)) - {bundle}
    assert capsys.readouterr().out.splitlines()[-1] == str(other)
    files = unpack(other.read_bytes(), ModelBounds())
    assert other.name == files.filename and bundle.read_bytes() == DATA
    found = read_attestation(files, attestors_of(desk.image.chain().root.signed))
    assert found.claims == Claims(builder=BUILDER, commit=COMMIT, data={"flights": data},
                                  parameters={"layers": "3"})  # fmt: skip
    statement = msgspec.json.decode(bundle.with_suffix(".json").read_bytes())
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    named = {x["name"]: x["digest"] for x in
             statement["predicate"]["buildDefinition"]["resolvedDependencies"]}  # fmt: skip
    assert named == {"source": {"gitCommit": COMMIT}, "data flights": {"sha256": data}}


def test_statement_takes_from_the_bundle_what_the_bundle_says() -> None:
    made_for = msgspec.structs.replace(
        TYPE, full_fidelity=f"engine sha256:{'c' * 64}",
        calibration=msgspec.structs.replace(
            TYPE.calibration, signal_set_sha256="d" * 64, baselines={"ESN1": "e" * 64}, flights=("F1#2",),
            data={"rows": "f" * 64},
        ),
    )  # fmt: skip
    files = unpack(attested(pack_declared(made_for)[1])[1], ModelBounds())
    statement = base64.b64decode(msgspec.json.decode(files.attestation)["payload"])
    definition = msgspec.json.decode(statement)["predicate"]["buildDefinition"]
    named = {x["name"]: x["digest"].get("sha256") for x in definition["resolvedDependencies"]}
    assert named == {"source": None, "full fidelity": "c" * 64, "signal set": "d" * 64,
                     "baseline ESN1": "e" * 64, "data rows": "f" * 64}  # fmt: skip
    assert claims_in(files) == CLAIMS  # none of it is the builder's claim
    more = msgspec.structs.replace(CLAIMS, data={"rows": "0" * 64})
    with pytest.raises(Rejected, match="data 'rows': the bundle says so already"):
        attest(pack_declared(made_for)[1], more, [attestor()])
    assert definition["internalParameters"]["flights"] == ["F1#2"]
    assert definition["internalParameters"]["seeds"] == [1]


def test_same_inputs_give_the_same_bytes() -> None:
    assert attest(DATA, CLAIMS, [attestor()]) == attest(DATA, CLAIMS, [attestor()])


def test_signature_of_a_composite_key_is_kept_since_a_new_one_would_differ(tmp_path: Path) -> None:
    signer = KeyFolder(tmp_path).create("attestor-1", "composite")
    one, two = (attest(DATA, CLAIMS, [signer]) for _ in range(2))
    first, second = (unpack(data, ModelBounds()) for _, data in (one, two))
    assert one != two and claims_in(first) == claims_in(second)
    assert attest(one[1], CLAIMS, [signer]) == one
    root = Attestors((signer.public_key,), 1)
    for files in (first, second):
        assert check_attestation(files, root, POLICY).attested_by == (signer.public_key.keyid,)


def test_signature_that_is_none_is_made_again() -> None:
    name, data = attest(DATA, CLAIMS, [attestor()])
    files = unpack(data, ModelBounds())
    envelope = parse_envelope(files.attestation, "here")
    envelope.signatures[attestor().public_key.keyid].signature = "00" * 64
    assert attest(attach(files, encode_envelope(envelope)), CLAIMS, [attestor()]) == (name, data)


def test_signers_in_any_order_give_the_same_bytes() -> None:
    one, two = attestor(1), attestor(2)
    first = attest(DATA, CLAIMS, [one])[1]
    assert attest(DATA, CLAIMS, [one, two]) == attest(DATA, CLAIMS, [two, one])
    assert attest(first, CLAIMS, [two]) == attest(DATA, CLAIMS, [one, two])


def test_second_attestor_joins_and_cannot_say_otherwise(
    desk: Desk, bundle: Path, capsys: Out
) -> None:
    assert run(desk, bundle, "--key", "attestor-1", *SAID) == 0
    (first,) = set(made(bundle.parent)) - {bundle}
    assert run(desk, first, "--key", "attestor-2") == 0
    (both,) = set(made(bundle.parent)) - {bundle, first}
    assert msgspec.json.decode(unpack(both.read_bytes(), ModelBounds()).attestation)["signatures"][
        1
    ]
    assert claims_in(unpack(both.read_bytes(), ModelBounds())).commit == COMMIT
    assert run(desk, first, "--key", "attestor-2", "--builder", BUILDER, "--source-commit",
               "f" * 40) == 65  # fmt: skip
    assert "attested already, with another statement" in capsys.readouterr().err


def test_it_is_read_before_it_is_signed_and_a_dry_run_signs_nothing(
    desk: Desk, bundle: Path, capsys: Out
) -> None:
    assert run(desk, bundle, "--key", "attestor-1", *SAID, "--dry-run") == 0
    said = capsys.readouterr().out
    for part in ("egt_rom 1.0.0, release 1", "purpose", "drawn at random", f"built by       {BUILDER}",
                 COMMIT, "nobody yet", "0.9 to 1.1 times each number", "egt 0 to 1500 Cel"):  # fmt: skip
        assert part in said, part
    assert made(bundle.parent) == [bundle]


def test_card_and_provenance_are_shown_and_verified_by_the_root(
    desk: Desk, bundle: Path, capsys: Out
) -> None:
    assert run(desk, bundle, "--key", "attestor-1", *SAID) == 0
    (good,) = set(made(bundle.parent)) - {bundle}
    foreign = bundle.parent / "foreign.tar.zst"
    foreign.write_bytes(attested(DATA)[1])
    capsys.readouterr()
    repo = desk.folder / "repo"
    assert run(desk, "--show", good, bundle) == 0
    said = capsys.readouterr().out
    assert "no: give --repo" in said and "nobody: it has no attestation" in said
    assert run(desk, "--show", "--repo", repo, good) == 0
    assert "yes: attestor-1 of root 1" in capsys.readouterr().out
    assert run(desk, "--show", "--json", "--repo", repo, good) == 0
    (answer,) = msgspec.json.decode(capsys.readouterr().out)
    assert answer["attestation"]["claims"]["commit"] == COMMIT and answer["model_card"]["purpose"]
    assert run(desk, "--show", "--repo", repo, foreign) == 65
    assert "0 of 1 attestors" in capsys.readouterr().err


MISTAKES = {
    "bundles or a request": (),
    "no key": ("x.tar.zst",),
    "no key 'attestor-9'": ("BUNDLE", "--key", "attestor-9", *SAID),
    "who built it": ("BUNDLE", "--key", "attestor-1", "--builder", BUILDER),
    "NAME=VALUE": ("BUNDLE", "--key", "attestor-1", *SAID, "--data", "x"),
    "provenance: ": ("BUNDLE", "--key", "attestor-1", *SAID, "--data", "x=1"),
    "cannot read": ("none.tar.zst", "--key", "attestor-1", *SAID),
    "no git work tree": ("BUNDLE", "--key", "attestor-1", "--builder", BUILDER, "--source", "/"),
}


@pytest.mark.parametrize("what", sorted(MISTAKES))
def test_mistake_is_one_line_that_says_what_to_do(
    desk: Desk, bundle: Path, capsys: Out, what: str
) -> None:
    given = [str(bundle) if x == "BUNDLE" else x for x in MISTAKES[what]]
    assert run(desk, *given) in (65, 69)
    error = capsys.readouterr().err
    assert what in error and "Traceback" not in error
    assert made(bundle.parent) == [bundle]


def test_changes_that_no_commit_has_are_attested_as_such(
    desk: Desk, bundle: Path, tmp_path: Path, capsys: Out
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()

    def git(*arguments: str) -> str:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", "-C", str(tree), *who, *arguments], check=True,
                              capture_output=True, text=True).stdout.strip()  # fmt: skip

    git("init", "-q")
    (tree / "a").write_text("1")
    git("add", "a")
    git("commit", "-q", "-m", "one")
    head = git("rev-parse", "HEAD")
    assert commit_of(tree) == (head, False)
    (tree / "new.py").write_text("")
    assert commit_of(tree) == (head, True)
    (tree / "new.py").unlink()
    (tree / "a").write_text("2")
    assert commit_of(tree) == (head, True)
    assert run(desk, bundle, "--key", "attestor-1", "--builder", BUILDER, "--source", tree) == 0
    assert f"{head} WITH CHANGES" in capsys.readouterr().out
    (other,) = set(made(bundle.parent)) - {bundle}
    assert claims_in(unpack(other.read_bytes(), ModelBounds())).modified


# -- a calibration


@pytest.fixture
def request_folder(tmp_path: Path, desk: Desk) -> Path:
    """As the ground writes it, of a parent that is published."""
    folder = tmp_path / "request"
    folder.mkdir()
    _, parent = attest(DATA, CLAIMS, [desk.keys.load("attestor-1")])
    for name, data in request_files(parent).items():
        (folder / name).write_bytes(data)
    return folder


def test_request_is_attested_with_its_parent_and_then_names_the_attested_file(
    desk: Desk, request_folder: Path
) -> None:
    before, _ = load_request(request_folder)
    assert run(desk, "--request", request_folder, "--key", "attestor-1", *SAID) == 0
    request, files = load_request(request_folder)
    assert request.bundle != before.bundle and files.attestation
    assert msgspec.structs.replace(
        request, bundle=before.bundle, bundle_sha256=before.bundle_sha256
    ) == before  # fmt: skip
    assert not (request_folder / before.bundle).exists()
    root = desk.image.chain().root.signed
    data = (request_folder / request.bundle).read_bytes()
    parent = (request_folder / request.parent).read_bytes()
    assert fit_to_publish(data, root, parent).claims.parent == request.parent_sha256
    with pytest.raises(Rejected, match="published as made from none"):
        fit_to_publish(data, root)


def test_what_is_more_than_numbers_or_not_attested_is_not_fit_to_publish(desk: Desk) -> None:
    root, signer = desk.image.chain().root.signed, desk.keys.load("attestor-1")
    parent = attest(DATA, CLAIMS, [signer])[1]
    claims = msgspec.structs.replace(CLAIMS, parent=hashlib.sha256(parent).hexdigest())
    fit_to_publish(parent, root)
    with pytest.raises(Rejected, match="the bundle has none"):
        fit_to_publish(DATA, root)
    wide = attest(pack_declared(scaled(1.2))[1], claims, [signer])[1]
    with pytest.raises(Rejected, match="elements are beyond"):
        fit_to_publish(wide, root, parent)


def test_calibration_goes_from_its_request_into_the_repository(tmp_path: Path, request_folder: Path,
                                                               desk: Desk) -> None:  # fmt: skip
    repo = ("--repo", str(desk.folder / "repo"), "--keys", str(desk.folder / "keys"))
    request, _ = load_request(request_folder)
    parent = request_folder / request.parent
    assert main(["publish", *repo, str(parent)]) == 0
    assert run(desk, "--request", request_folder, "--key", "attestor-1", *SAID) == 0
    assert main(["publish", *repo, "--role", "calibration", "--request", str(request_folder)]) == 0
    request, _ = load_request(request_folder)
    view = Repositories(desk.folder / "repo", desk.at).image.inspect()
    assert f"cal/T1/egt_rom/{request.bundle}" in [b.target for b in view.bundles]


def test_work_tree_that_git_cannot_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unreachable, match="git: "):
        commit_of(tmp_path)
