"""Signing keys: one Ed25519 key a file, PKCS8 PEM, readable by its owner only.

In: a folder, a key's name, a passphrase or none. Out: a signer.
Always holds: a key file is never written over, and one that others may read is not used.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from shared.errors import Rejected, Unreachable

KEY_BYTES_MAX = 16 * 1024
PASSPHRASE_BYTES_MIN = 8


class KeyFolder:
    """The keys below one folder. Offline and online keys may lie in different folders."""

    def __init__(self, folder: Path, passphrase: bytes | None = None) -> None:
        self.folder, self._passphrase = folder, passphrase

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def create(self, name: str) -> CryptoSigner:
        """A new key; Rejected when a file of that name is there."""
        private_key = Ed25519PrivateKey.generate()
        encryption: KeySerializationEncryption = NoEncryption()
        if self._passphrase is not None:
            encryption = BestAvailableEncryption(self._passphrase)
        pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.path(name)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise Rejected("a key is there already", str(path), "use an empty folder") from None
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        return CryptoSigner(private_key)

    def load(self, name: str) -> CryptoSigner:
        """The signer of a key file; Rejected names the file and what to do."""
        path = self.path(name)
        where = str(path)
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode & 0o777
                pem = file.read(KEY_BYTES_MAX + 1)
        except FileNotFoundError:
            raise Rejected("no such key", where, "fetch it from where it is kept") from None
        except OSError as error:
            raise Unreachable(f"cannot read the key: {error.strerror}", where) from None
        if mode & 0o077:
            raise Rejected(f"others may read this key (mode {mode:o})", where, "chmod 600 it")
        try:
            private_key = load_pem_private_key(pem, self._passphrase)
        except TypeError as error:  # a passphrase is missing, or given where none is used
            raise Rejected(str(error), where, "see --passphrase-file") from None
        except ValueError:
            raise Rejected("not a key, or the wrong passphrase", where, "check both") from None
        if not isinstance(private_key, Ed25519PrivateKey):
            raise Rejected("not an Ed25519 key", where, "make it with tailtwin-sign init")
        return CryptoSigner(private_key)


def read_passphrase(path: Path) -> bytes:
    """The first line of a passphrase file."""
    try:
        with path.open("rb") as file:
            line = file.read(4096).splitlines()[:1]
    except OSError as error:
        raise Unreachable(f"cannot read the passphrase: {error.strerror}", str(path)) from None
    if not line or len(line[0]) < PASSPHRASE_BYTES_MIN:
        raise Rejected(
            "the passphrase is too short", str(path), f"{PASSPHRASE_BYTES_MIN} characters or more"
        )
    return line[0]
