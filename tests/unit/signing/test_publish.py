"""The image repository: what it refuses, in which order it writes, and who may sign."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

import signing.publish
from shared.errors import Corrupt, Rejected, Unreachable
from signing.keys import KeyFolder
from signing.publish import Declared, Repository
from signing.verify import Applicability

NOW = datetime(2027, 3, 1, tzinfo=UTC)
FITS = Applicability(types=("B737-800",))


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path / "keys")


@pytest.fixture
def repository(tmp_path: Path, keys: KeyFolder) -> Repository:
    repository = Repository(tmp_path / "repo", NOW)
    repository.create(keys)
    return repository


def declared(tmp_path: Path, release: int, name: str = "egt") -> Declared:
    file = tmp_path / f"{name}-{release}.tar.zst"
    file.write_bytes(f"{name} {release}".encode())
    return Declared(
        file=file, data=file.read_bytes(), name=name, release=release, applicability=FITS
    )


def test_a_new_repository_needs_two_of_three_for_a_new_root(
    tmp_path: Path, repository: Repository
) -> None:
    metadata: Metadata[Root] = Metadata.from_file(str(tmp_path / "repo/metadata/1.root.json"))
    role = metadata.signed.roles["root"]
    assert (role.threshold, len(role.keyids)) == (2, 3)
    assert metadata.signed.consistent_snapshot
    assert metadata.signed.get_root_verification_result(
        None, metadata.signed_bytes, metadata.signatures
    )
    assert [(r.role, r.version, r.threshold, r.keys) for r in repository.inspect().roles] == [
        ("root", 1, 2, 3), ("targets", 1, 1, 1), ("snapshot", 1, 1, 1), ("timestamp", 1, 1, 1),
    ]  # fmt: skip


def test_a_repository_is_made_once(repository: Repository, keys: KeyFolder) -> None:
    with pytest.raises(Rejected, match="there already"):
        repository.create(keys)


@pytest.mark.parametrize(("n", "threshold"), [(3, 1), (2, 3), (1, 1), (10, 2)])
def test_a_root_that_one_key_could_replace_is_not_made(
    tmp_path: Path, keys: KeyFolder, n: int, threshold: int
) -> None:
    with pytest.raises(Rejected, match="2 <= threshold"):
        Repository(tmp_path / "repo", NOW).create(keys, n, threshold)
    assert not keys.folder.exists()


def test_published_bundles_carry_what_was_declared(
    tmp_path: Path, repository: Repository, keys: KeyFolder
) -> None:
    view = repository.publish(keys, [declared(tmp_path, 1), declared(tmp_path, 7, "vib")])
    assert [(b.target, b.release, b.applicability) for b in view.bundles] == [
        ("egt/egt-1.tar.zst", 1, FITS), ("vib/vib-7.tar.zst", 7, FITS),
    ]  # fmt: skip
    assert [r.version for r in view.roles] == [1, 2, 2, 2]
    sha256 = view.bundles[0].sha256
    served = tmp_path / "repo" / "targets" / "egt" / f"{sha256}.egt-1.tar.zst"
    assert served.read_bytes() == b"egt 1"


@pytest.mark.parametrize("release", [0, 1, 2])
def test_a_release_counter_that_does_not_grow_is_refused(
    tmp_path: Path, repository: Repository, keys: KeyFolder, release: int
) -> None:
    before = repository.publish(keys, [declared(tmp_path, 2)])
    with pytest.raises(Rejected):
        repository.publish(keys, [declared(tmp_path, 5), declared(tmp_path, release)])
    assert repository.inspect() == before, "nothing of a refused publish is seen"
    assert repository.publish(keys, [declared(tmp_path, 1, "vib")])


def test_two_releases_of_a_name_at_once_have_to_grow_too(
    tmp_path: Path, repository: Repository, keys: KeyFolder
) -> None:
    with pytest.raises(Rejected, match="does not grow"):
        repository.publish(keys, [declared(tmp_path, 3), declared(tmp_path, 2)])


def test_nothing_is_signed_on_top_of_metadata_that_does_not_verify(
    tmp_path: Path, repository: Repository, keys: KeyFolder
) -> None:
    repository.publish(keys, [declared(tmp_path, 1)])
    path = tmp_path / "repo" / "metadata" / "2.targets.json"
    path.write_bytes(path.read_bytes().replace(b"B737-800", b"A320-200"))
    for action in (
        lambda: repository.publish(keys, [declared(tmp_path, 2)]),
        lambda: repository.refresh(keys),
        repository.inspect,
    ):
        with pytest.raises(Corrupt, match="does not verify"):
            action()


def test_a_key_of_another_repository_does_not_sign(
    tmp_path: Path, repository: Repository, keys: KeyFolder
) -> None:
    other = KeyFolder(tmp_path / "other-keys")
    Repository(tmp_path / "other", NOW).create(other)
    with pytest.raises(Rejected, match="not the targets key"):
        repository.publish(other, [declared(tmp_path, 1)])
    with pytest.raises(Rejected, match="not the snapshot key"):
        repository.refresh(other)


def test_refresh_needs_the_online_keys_only_and_moves_the_expiry(
    tmp_path: Path, repository: Repository, keys: KeyFolder
) -> None:
    repository.publish(keys, [declared(tmp_path, 1)])
    for name in ("root-1", "root-2", "root-3", "targets"):
        keys.path(name).unlink()
    late = Repository(tmp_path / "repo", NOW + timedelta(days=3))
    assert [r.is_expired for r in late.inspect().roles] == [False, False, False, True]
    view = late.refresh(keys)
    assert [r.is_expired for r in view.roles] == [False] * 4
    assert [r.version for r in view.roles] == [1, 2, 3, 3]
    with pytest.raises(Rejected, match="no such key"):
        late.publish(keys, [declared(tmp_path, 2)])


def test_a_publish_cut_short_anywhere_is_as_if_it_had_not_begun(
    tmp_path: Path, repository: Repository, keys: KeyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = repository.publish(keys, [declared(tmp_path, 1)])
    write = signing.publish.write_durably
    for cut_at in range(1, 5):
        calls = 0

        def cut(path: Path, data: bytes, at: int = cut_at) -> None:
            nonlocal calls
            calls += 1
            if calls == at:
                raise KeyboardInterrupt
            write(path, data)

        monkeypatch.setattr(signing.publish, "write_durably", cut)
        with pytest.raises(KeyboardInterrupt):
            repository.publish(keys, [declared(tmp_path, 2)])
        monkeypatch.setattr(signing.publish, "write_durably", write)
        assert repository.inspect() == before, f"cut at write {cut_at}"
    assert repository.publish(keys, [declared(tmp_path, 2)]).bundles[-1].release == 2


def test_a_second_signer_at_work_is_told_so(
    tmp_path: Path, repository: Repository, keys: KeyFolder
) -> None:
    with repository._locked(), pytest.raises(Unreachable, match="another signer"):
        repository.publish(keys, [declared(tmp_path, 1)])


@pytest.mark.parametrize("action", ["publish", "refresh", "inspect"])
def test_a_folder_without_a_repository_is_named(
    tmp_path: Path, keys: KeyFolder, action: str
) -> None:
    repository = Repository(tmp_path / "nothing", NOW)
    with pytest.raises(Rejected, match="repository here"):
        {
            "publish": lambda: repository.publish(keys, [declared(tmp_path, 1)]),
            "refresh": lambda: repository.refresh(keys),
            "inspect": repository.inspect,
        }[action]()


@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_key_files_are_for_their_owner_only(tmp_path: Path, passphrase: bytes | None) -> None:
    keys = KeyFolder(tmp_path / "k", passphrase)
    signer = keys.create("targets")
    assert keys.path("targets").stat().st_mode & 0o777 == 0o600
    encrypted = b"ENCRYPTED PRIVATE KEY" in keys.path("targets").read_bytes()
    assert encrypted is (passphrase is not None)
    assert keys.load("targets").public_key == signer.public_key
    with pytest.raises(Rejected, match="a key is there"):
        keys.create("targets")
    keys.path("targets").chmod(0o640)
    with pytest.raises(Rejected, match="others may read"):
        keys.load("targets")


@pytest.mark.parametrize(
    ("made", "given"), [(b"right one", b"wrong one"), (b"right one", None), (None, b"not needed")]
)
def test_a_wrong_passphrase_is_said_and_not_traced(
    tmp_path: Path, made: bytes | None, given: bytes | None
) -> None:
    KeyFolder(tmp_path, made).create("targets")
    with pytest.raises(Rejected):
        KeyFolder(tmp_path, given).load("targets")


def test_a_file_that_is_no_key_is_said(tmp_path: Path) -> None:
    path = tmp_path / "targets.pem"
    path.write_bytes(b"hello")
    path.chmod(0o600)
    with pytest.raises(Rejected, match="not a key"):
        KeyFolder(tmp_path).load("targets")
