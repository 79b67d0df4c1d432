"""What every key store promises: files, composite files, PKCS#11 tokens, TPMs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.exceptions import UnverifiedSignatureError
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Snapshot

from shared.errors import Rejected, TailTwinError
from signing.keys import KeyFolder
from signing.repositories import Repositories
from tests.fakes.softhsm import PIN, tokens
from tests.fakes.swtpm import boards

PASSPHRASE = b"correct horse"


@dataclass
class Store:
    """kind: for KeyFolder.create. file: what `{name}` ends in beside its public half."""

    kind: str
    file: str
    others_kind: str = "ed25519"

    def folder(self, path: Path, right: bool = True) -> KeyFolder:
        if self.file == "toml":
            return KeyFolder(path, pin=lambda _: PIN if right else "000000")
        return KeyFolder(path, PASSPHRASE if right else b"battery staple")


@pytest.fixture(autouse=True)
def cheap_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real cost is measured by its own test."""
    monkeypatch.setattr("signing.keys.passphrase.SCRYPT_N", 1 << 10)


@contextmanager
def in_token(folder: Path) -> Iterator[Store]:
    with tokens(folder, ["fleet"]) as module:
        yield Store(f"pkcs11:token=fleet?module-path={module}", "toml")


@contextmanager
def in_tpm(folder: Path) -> Iterator[Store]:
    with boards(folder) as power_up:
        yield Store(f"tpm:{power_up('desk')}", "toml")


@contextmanager
def in_file(folder: Path) -> Iterator[Store]:
    yield Store("ed25519", "pem", "composite")


@contextmanager
def in_composite_file(folder: Path) -> Iterator[Store]:
    yield Store("composite", "pem")


@pytest.fixture(params=[in_file, in_composite_file, in_token, in_tpm], ids=lambda f: f.__name__)
def store(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Store]:
    monkeypatch.setenv("TSS2_LOG", "all+none")
    made: Callable[[Path], Any] = request.param
    with made(tmp_path_factory.mktemp("store")) as one:
        yield one


def test_a_key_is_made_once_and_signs_when_loaded_again(store: Store, tmp_path: Path) -> None:
    made = store.folder(tmp_path).create("root-1", store.kind)
    signer = store.folder(tmp_path).load("root-1")
    assert signer.public_key == made.public_key
    for one in (made, signer):
        signature = one.sign(b"metadata")
        made.public_key.verify_signature(signature, b"metadata")
        with pytest.raises(UnverifiedSignatureError):
            made.public_key.verify_signature(signature, b"metadatA")
    with pytest.raises(Rejected, match="a key is there already"):
        store.folder(tmp_path).create("root-1", store.kind)
    assert store.folder(tmp_path).load("root-1").public_key == made.public_key


def test_the_public_half_is_there_for_everybody_without_a_secret(
    store: Store, tmp_path: Path
) -> None:
    made = store.folder(tmp_path).create("root-1", store.kind)
    bare = KeyFolder(tmp_path)
    assert bare.public("root-1") == made.public_key
    assert bare.kind("root-1") == store.kind.partition(":")[0]
    assert json.loads((tmp_path / "root-1.pub.json").read_text())["keyid"] == made.public_key.keyid
    for file in tmp_path.iterdir():
        assert PIN.encode() not in file.read_bytes() and PASSPHRASE not in file.read_bytes()


def test_a_wrong_secret_is_said_and_not_traced_and_the_right_one_works_after_it(
    store: Store, tmp_path: Path
) -> None:
    store.folder(tmp_path).create("root-1", store.kind)
    for wrong in (store.folder(tmp_path, right=False), KeyFolder(tmp_path)):
        with pytest.raises(Rejected, match=r"wrong|PIN|[Pp]assword"):
            wrong.load("root-1").sign(b"metadata")
    store.folder(tmp_path).load("root-1").sign(b"metadata")


def test_a_file_that_others_may_read_is_refused(store: Store, tmp_path: Path) -> None:
    store.folder(tmp_path).create("root-1", store.kind)
    path = tmp_path / f"root-1.{store.file}"
    assert path.stat().st_mode & 0o777 == 0o600
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(Rejected, match="others may read"):
            store.folder(tmp_path).load("root-1")


def test_a_name_is_of_one_store(store: Store, tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path, PASSPHRASE, lambda _: PIN)
    first = keys.create("root-1", store.kind)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(Rejected, match="a key is there already"):
        keys.create("root-1", store.others_kind)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    foreign = KeyFolder(tmp_path / "foreign", PASSPHRASE)
    foreign.create("root-1", store.others_kind)
    (tmp_path / "root-1.pub.json").write_bytes((foreign.folder / "root-1.pub.json").read_bytes())
    with pytest.raises(TailTwinError):
        keys.load("root-1").sign(b"metadata")
    assert first.public_key.keyid != foreign.public("root-1").keyid


def test_a_private_half_of_two_stores_under_one_name_is_refused(
    store: Store, tmp_path: Path
) -> None:
    keys = KeyFolder(tmp_path, PASSPHRASE, lambda _: PIN)
    keys.create("root-1", store.kind)
    (tmp_path / f"root-1.{'pem' if store.file == 'toml' else 'toml'}").write_text("")
    with pytest.raises(Rejected, match="two keys of one name"):
        keys.load("root-1")


def test_a_role_of_two_counts_two_people_and_no_key_twice(store: Store, tmp_path: Path) -> None:
    """By python-tuf: root of three keys, one of them in this store, two of which must sign."""
    keys = store.folder(tmp_path / "mine")
    theirs = KeyFolder(tmp_path / "theirs")
    mine = keys.create("root-1", store.kind)
    root = Root(expires=datetime(2036, 1, 1, tzinfo=UTC))
    for key in (mine.public_key, theirs.create("root-2").public_key,
                theirs.create("root-3", "composite").public_key):  # fmt: skip
        root.add_key(key, "root")
    root.roles["root"].threshold = 2
    metadata = Metadata(root)
    metadata.sign(keys.load("root-1"))
    metadata.sign(keys.load("root-1"), append=True)
    metadata = Metadata[Root].from_bytes(metadata.to_bytes())
    with pytest.raises(UnsignedMetadataError):
        metadata.verify_delegate("root", metadata)
    metadata.sign(theirs.load("root-3"), append=True)
    metadata = Metadata[Root].from_bytes(metadata.to_bytes())
    metadata.verify_delegate("root", metadata)
    metadata.signed.version += 1
    with pytest.raises(UnsignedMetadataError):
        metadata.verify_delegate("root", metadata)


def test_a_name_that_is_no_file_name_is_refused(store: Store, tmp_path: Path) -> None:
    for name in ("", "../root", "a/b", ".hidden", "ä", "a" * 101):
        with pytest.raises(Rejected, match="not a key's name"):
            store.folder(tmp_path / "keys").create(name, store.kind)
    assert not (tmp_path / "keys").exists()


def test_a_damaged_file_is_said(store: Store, tmp_path: Path) -> None:
    store.folder(tmp_path).create("root-1", store.kind)
    path = tmp_path / f"root-1.{store.file}"
    whole = path.read_bytes()
    for damaged in (b"", b"hello", whole[: len(whole) // 2], b"\xff" * 99, b"x" * 99_999):
        path.write_bytes(damaged)
        with pytest.raises(TailTwinError):
            store.folder(tmp_path).load("root-1")


def test_both_repositories_are_made_and_refreshed_with_keys_in_this_store(
    store: Store, tmp_path: Path
) -> None:
    keys = KeyFolder(tmp_path / "keys", PASSPHRASE, lambda _: PIN)
    keys.create("image-root-2", store.kind)
    if store.kind != "composite":  # online keys sign daily, in milliseconds and a few bytes
        keys.create("director-snapshot", store.kind)
    repositories = Repositories(tmp_path / "repo", datetime(2026, 1, 1, tzinfo=UTC))
    repositories.create(keys)
    repositories.director.refresh(keys)
    for name in ("image", "director"):
        folder = tmp_path / "repo" / name / "metadata"
        root = Metadata[Root].from_file(str(folder / "1.root.json"))
        root.verify_delegate("root", root)
        snapshot = Metadata[Snapshot].from_file(str(max(folder.glob("*.snapshot.json"))))
        root.verify_delegate("snapshot", snapshot)
        assert snapshot.signed.version == (2 if name == "director" else 1)
