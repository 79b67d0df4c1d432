"""A private key in a file: PKCS8 PEM, readable by its owner only, under a passphrase or none.

In: a path, a passphrase. Out: the signer of what lies there. Always holds: a key file is never
written over, and one that others may read is not used. A composite key is two PEM blocks.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner, Signer

from shared.errors import Rejected, Unreachable
from signing.keys.composite import CompositeSigner
from signing.keys.passphrase import lock
from signing.keys.public import taken, write_new

KINDS: Final = ("ed25519", "composite")
KEY_BYTES_MAX = 16 * 1024
Private = Ed25519PrivateKey | MLDSA65PrivateKey
_BLOCK = re.compile(rb"-----BEGIN [A-Z ]+-----.+?-----END [A-Z ]+-----\s*", re.DOTALL)


def make_key(kind: str) -> tuple[Signer, tuple[Private, ...]]:
    """A new key, and what of it goes into the file."""
    if kind == "composite":
        composite = CompositeSigner.generate()
        return composite, (composite.mldsa, composite.ed25519)
    key = Ed25519PrivateKey.generate()
    return CryptoSigner(key), (key,)


def write_key(path: Path, keys: tuple[Private, ...], passphrase: bytes | None) -> None:
    pem = b"".join(_pem(key, passphrase) for key in keys)
    try:
        write_new(path, pem, 0o600)
    except FileExistsError:
        raise taken(path) from None


def read_key(path: Path, passphrase: bytes | None) -> Signer:
    """The signer of a file; Rejected names the file and what to do."""
    where = str(path)
    blocks = _BLOCK.findall(read_private(path)) or [b""]
    try:
        keys = [load_pem_private_key(block, passphrase) for block in blocks[:3]]
    except TypeError as error:  # a passphrase is missing, or given where none is used
        raise Rejected(str(error), where, "see --passphrase-file") from None
    except (ValueError, UnsupportedAlgorithm):
        raise Rejected("not a key, or the wrong passphrase", where, "check both") from None
    match keys:
        case [Ed25519PrivateKey() as key]:
            return CryptoSigner(key)
        case [MLDSA65PrivateKey() as mldsa, Ed25519PrivateKey() as ed25519]:
            return CompositeSigner(mldsa, ed25519)
    raise Rejected("not an Ed25519 or composite key", where, "make it with tailtwin-sign")


def read_private(path: Path) -> bytes:
    """The bytes of a file that its owner alone may read."""
    where = str(path)
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(KEY_BYTES_MAX + 1)
    except FileNotFoundError:
        raise Rejected("no such key", where, "fetch it from where it is kept") from None
    except OSError as error:
        raise Unreachable(f"cannot read the key: {error.strerror}", where) from None
    if mode & 0o077:
        raise Rejected(
            f"others may read this key (mode {mode:o})", where,
            "chmod 600 it; on a FAT stick, mount that with umask=077",
        )  # fmt: skip
    if len(data) > KEY_BYTES_MAX:
        raise Rejected("not a key", where, "fetch it from where it is kept")
    return data


def _pem(key: Private, passphrase: bytes | None) -> bytes:
    if passphrase is None:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return lock(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), passphrase)
