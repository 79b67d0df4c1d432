"""A private key in a file: PKCS8 PEM, readable by its owner only, under a passphrase or none.

In: a path, a passphrase. Out: the key. Always holds: a key file is never written over, and one
that others may read is not used.
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

from shared.errors import Rejected, Unreachable
from signing.keys.public import taken, write_new

KEY_BYTES_MAX = 16 * 1024


def write_key(path: Path, key: Ed25519PrivateKey, passphrase: bytes | None) -> None:
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        encryption = BestAvailableEncryption(passphrase)
    try:
        write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), 0o600)
    except FileExistsError:
        raise taken(path) from None


def read_key(path: Path, passphrase: bytes | None) -> Ed25519PrivateKey:
    """The key of a file; Rejected names the file and what to do."""
    where = str(path)
    pem = read_private(path)
    try:
        key = load_pem_private_key(pem, passphrase)
    except TypeError as error:  # a passphrase is missing, or given where none is used
        raise Rejected(str(error), where, "see --passphrase-file") from None
    except ValueError:
        raise Rejected("not a key, or the wrong passphrase", where, "check both") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise Rejected("not an Ed25519 key", where, "make it with tailtwin-sign init")
    return key


def read_private(path: Path) -> bytes:
    """The bytes of a file that its owner alone may read."""
    where = str(path)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            data = file.read(KEY_BYTES_MAX + 1)
    except FileNotFoundError:
        raise Rejected("no such key", where, "fetch it from where it is kept") from None
    except OSError as error:
        raise Unreachable(f"cannot read the key: {error.strerror}", where) from None
    if mode & 0o077:
        raise Rejected(f"others may read this key (mode {mode:o})", where, "chmod 600 it")
    if len(data) > KEY_BYTES_MAX:
        raise Rejected("not a key", where, "fetch it from where it is kept")
    return data
