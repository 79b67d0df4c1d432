"""Key files: what a guess at the passphrase costs, and what else opens them."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from shared.errors import Corrupt, Rejected, Unreachable
from signing.keys import KeyFolder, passphrase, pin_of, read_passphrase
from signing.keys.composite import CompositeSigner

PASSPHRASE = b"correct horse"


def test_a_guess_at_the_passphrase_costs_memory_and_time(tmp_path: Path) -> None:
    """The file itself says so: scrypt with 128 * N * r = 128 MiB, which the KDF cannot do without."""
    assert 128 * passphrase.SCRYPT_N * passphrase.SCRYPT_R == 128 << 20
    KeyFolder(tmp_path, PASSPHRASE).create("root-1")
    pem = (tmp_path / "root-1.pem").read_bytes()
    began = time.process_time()
    with pytest.raises(ValueError, match="password"):
        load_pem_private_key(pem, b"battery staple")
    assert time.process_time() - began > 0.1  # PBKDF2 of the library's own writer: 0.0004


def test_openssl_reads_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another implementation. It allows scrypt 32 MiB, so with less than we use."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    monkeypatch.setattr(passphrase, "SCRYPT_N", 1 << 14)
    signer = KeyFolder(tmp_path, PASSPHRASE).create("root-1")
    (tmp_path / "data").write_bytes(b"metadata")
    signed = subprocess.run(
        ["openssl", "pkeyutl", "-sign", "-rawin", "-in", tmp_path / "data",
         "-inkey", tmp_path / "root-1.pem", "-passin", f"pass:{PASSPHRASE.decode()}"],
        check=True, capture_output=True, timeout=30,
    ).stdout  # fmt: skip
    assert signed.hex() == signer.sign(b"metadata").signature


def test_a_disk_that_is_full_leaves_no_half_of_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, synced = KeyFolder(tmp_path), list[int]()

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) % 2 == 0:  # the first is the public half's
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("signing.keys.public.os.fsync", full)
        patch.setattr("signing.keys.public.sync_folder", lambda _: None)
        with pytest.raises(OSError, match="No space"):
            keys.create("root-1")
    assert not list(tmp_path.iterdir())
    keys.create("root-1")


def test_halves_of_two_composite_keys_in_one_file_are_noticed(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path)
    for name in ("root-1", "root-2"):
        assert isinstance(keys.create(name, "composite"), CompositeSigner)
    mine, theirs = ((tmp_path / f"root-{n}.pem").read_bytes().split(b"-----BEGIN") for n in (1, 2))
    path = tmp_path / "root-1.pem"
    path.write_bytes(b"-----BEGIN".join([mine[0], mine[1], theirs[2]]))
    with pytest.raises(Corrupt, match="not of its public file"):
        keys.load("root-1")
    for blocks in ([mine[0], mine[1]], [*mine, mine[2]], [mine[0], mine[2], mine[1]]):
        path.write_bytes(b"-----BEGIN".join(blocks))
        with pytest.raises(Rejected, match="not an Ed25519 or composite key"):
            keys.load("root-1")


def test_a_public_file_that_names_itself_wrongly_is_refused(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path)
    keys.create("root-1")
    path = tmp_path / "root-1.pub.json"
    whole = path.read_text()
    keyid = keys.public("root-1").keyid
    for damaged in (whole.replace(keyid, "0" * 64), "{}", "", "[]", whole.replace("ed25519", "dsa"),
                    whole.replace('"public": "', '"public": "00')):  # fmt: skip
        path.write_text(damaged)
        with pytest.raises(Rejected, match="not a public key"):
            keys.public("root-1")
    path.unlink()
    with pytest.raises(Rejected, match="no such public key"):
        keys.public("root-1")


def test_pins_come_from_a_file_of_their_own_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "pin"
    path.write_bytes(b"7391\nsecond line\n")
    path.chmod(0o644)
    with pytest.raises(Rejected, match="others may read"):
        pin_of(path)("the token root")
    path.chmod(0o600)
    assert pin_of(path)("the token root") == "7391"
    for bad in (b"", b"\n7391", b"\xff\n"):
        path.write_bytes(bad)
        with pytest.raises(Rejected, match=r"no PIN|not a PIN"):
            pin_of(path)("the token root")
    with pytest.raises(Rejected, match="asks for a PIN"):
        pin_of(None)("the token root")  # no terminal here
    with pytest.raises(Unreachable):
        read_passphrase(tmp_path / "none")
