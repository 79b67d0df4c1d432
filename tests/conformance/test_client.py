"""The conformance client on a small repository of our own, so that CI sees when it breaks.

The whole suite is run by tests/conformance/run.sh from a checkout of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from shared.clock import ManualClock
from signing.verify import ISSUED_FIELD
from tests.conformance import client
from tests.conformance.client import main
from tests.contract.update_places import HttpPlace

NAME = "dir/file one.txt"
DAY = timedelta(days=1)


class Repository:
    """All roles by one key; what it says is served at once."""

    def __init__(self, folder: Path) -> None:
        self.place = HttpPlace(folder)
        self.key = CryptoSigner.generate_ed25519()
        self.expires = datetime.now(UTC).replace(microsecond=0) + DAY
        self.root = Root(expires=self.expires)
        for role in ("root", "timestamp", "snapshot", "targets"):
            self.root.add_key(self.key.public_key, role)
        self.targets, self.snapshot = Targets(expires=self.expires), Snapshot(expires=self.expires)
        self.timestamp = Timestamp(expires=self.expires)
        self.root_bytes = self._put("1.root", self.root)

    def publish(self, name: str, data: bytes) -> None:
        """A new version of everything but root, with this target."""
        target = TargetFile.from_data(name, data, ["sha256"])
        self.targets.targets[name] = target
        folder, slash, file = name.rpartition("/")
        self.place.put(f"image/targets/{folder}{slash}{target.hashes['sha256']}.{file}", data)
        for signed in (self.targets, self.snapshot, self.timestamp):
            signed.version += 1
        self.snapshot.meta["targets.json"] = MetaFile(self.targets.version)
        self.timestamp.snapshot_meta = MetaFile(self.snapshot.version)
        self._put(f"{self.targets.version}.targets", self.targets)
        self._put(f"{self.snapshot.version}.snapshot", self.snapshot)
        self._put("timestamp", self.timestamp)

    def rotate_root(self) -> None:
        self.root.version += 1
        self._put(f"{self.root.version}.root", self.root)

    def _put(self, name: str, signed: Signed) -> bytes:
        metadata = Metadata(signed)
        metadata.sign(self.key)
        data: bytes = metadata.to_bytes()
        self.place.put(f"image/metadata/{name}.json", data)
        return data


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    folder = tmp_path / "repo"
    folder.mkdir()
    one = Repository(folder)
    one.publish(NAME, b"one")
    yield one
    one.place.close()


class Aboard:
    """The folders of one client, and its commands."""

    def __init__(self, folder: Path, repository: Repository) -> None:
        self.metadata, self.targets = folder / "metadata", folder / "targets"
        self._place = repository.place
        self.targets.mkdir()
        root = folder / "initial.json"
        root.write_bytes(repository.root_bytes)
        assert main(["--metadata-dir", str(self.metadata), "init", str(root)]) == 0

    def arguments(self, command: str, *names: str) -> list[str]:
        at = [] if command == "refresh" else [
            "--target-dir", str(self.targets), "--target-base-url", f"{self._place.url}/image/targets",
            *(part for name in names for part in ("--target-name", name)),
        ]  # fmt: skip
        return ["--metadata-url", f"{self._place.url}/image/metadata/",
                "--metadata-dir", str(self.metadata), *at, command]  # fmt: skip

    def run(self, command: str, *names: str) -> int:
        self._place.reads.clear()
        return main(self.arguments(command, *names))

    @property
    def asked(self) -> list[str]:
        return [path for path, _ in self._place.reads]

    def trusted(self, role: str) -> int:
        version: int = Metadata.from_file(str(self.metadata / f"{role}.json")).signed.version
        return version


@pytest.fixture
def aboard(tmp_path: Path, repository: Repository) -> Aboard:
    return Aboard(tmp_path, repository)


def test_init_asks_nobody_and_refresh_keeps_what_is_trusted_by_unversioned_names(
    aboard: Aboard, repository: Repository
) -> None:
    assert aboard.asked == []
    repository.rotate_root()
    assert aboard.run("refresh") == 0
    assert {role: aboard.trusted(role) for role in ("root", "timestamp", "snapshot", "targets")} == {
        "root": 2, "timestamp": 2, "snapshot": 2, "targets": 2,
    }  # fmt: skip
    assert aboard.asked == [
        f"image/metadata/{name}.json"
        for name in ("2.root", "3.root", "timestamp", "2.snapshot", "2.targets")
    ]


def test_a_target_that_is_there_is_not_fetched_again_until_it_changes(
    aboard: Aboard, repository: Repository
) -> None:
    (file,) = _downloaded(aboard, b"one")
    assert aboard.run("download", NAME) == 0
    assert aboard.asked == ["image/metadata/2.root.json", "image/metadata/timestamp.json"]
    repository.publish(NAME, b"two")
    assert _downloaded(aboard, b"two") == [file]


def _downloaded(aboard: Aboard, data: bytes) -> list[Path]:
    assert aboard.run("download", NAME) == 0
    assert any(path.endswith("file%20one.txt") for path in aboard.asked)
    files = list(aboard.targets.iterdir())
    assert [file.read_bytes() for file in files] == [data]
    return files


def test_the_first_target_that_fails_ends_the_command(
    aboard: Aboard, repository: Repository
) -> None:
    repository.publish("other", b"other")
    assert aboard.run("download", "none", "other") == 1
    assert list(aboard.targets.iterdir()) == []
    repository.place.behave("other_bytes")
    assert aboard.run("download", "other") == 1
    assert list(aboard.targets.iterdir()) == []


def test_expired_metadata_is_refused(aboard: Aboard, repository: Repository) -> None:
    repository.timestamp.expires -= 2 * DAY
    repository.publish(NAME, b"late")
    assert aboard.run("refresh") == 1
    repository.timestamp.expires += 2 * DAY
    repository.publish(NAME, b"late")
    assert aboard.run("refresh") == 0


def test_a_clock_that_was_turned_back_is_not_believed_once_signers_told_the_time(
    aboard: Aboard, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """python-tuf alone would take metadata that expired before the time that was proved."""
    issued = datetime.now(UTC).replace(microsecond=0)
    for signed in (repository.root, repository.targets):
        signed.unrecognized_fields[ISSUED_FIELD] = f"{issued:%Y-%m-%dT%H:%M:%SZ}"
        signed.expires = issued + 30 * DAY
    repository.rotate_root()
    repository.publish(NAME, b"now")
    back = ManualClock(0, int((issued - 3 * DAY).timestamp()) * 10**9)
    monkeypatch.setattr(client, "SystemClock", lambda: back)
    assert aboard.run("refresh") == 0  # a clock that is wrong from the beginning
    assert aboard.run("refresh") == 1
    assert aboard.asked == []
    monkeypatch.undo()
    assert aboard.run("refresh") == 0


def test_a_repository_that_is_not_there_is_exit_code_1(
    aboard: Aboard, repository: Repository
) -> None:
    repository.place.close()
    assert aboard.run("refresh") == 1


def test_the_executable_is_this_client(aboard: Aboard) -> None:
    program = Path(__file__).parent / "tuf-client"
    command = [program, *aboard.arguments("download", NAME)]
    environment = {**os.environ, "TAILTWIN_PYTHON": sys.executable}
    done = subprocess.run(command, timeout=60, check=False, env=environment)
    assert done.returncode == 0
    assert [file.read_bytes() for file in aboard.targets.iterdir()] == [b"one"]
