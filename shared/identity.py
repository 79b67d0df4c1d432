"""Ed25519 identities of tails and grounds, and what they sign.

In: bytes and a domain. Out: `Signed` (body, key id, signature) and the way back.
Always holds: a signature made for one domain (manifest, ack, closure, export, version) verifies in no other.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.errors import ConfigError, Rejected

Domain = Literal["manifest", "ack", "closure", "export", "version"]
SIGNED_BYTES_MAX = 512 * 1024


class Signed(msgspec.Struct, frozen=True, array_like=True):
    """Bytes with a detached Ed25519 signature over `tailtwin-{domain}-v1\\0` + body."""

    body: bytes
    key_id: str
    signature: bytes


_DECODER = msgspec.msgpack.Decoder(Signed)


def key_id(public: bytes) -> str:
    """First 16 hex digits of the sha-256 of a raw 32-byte public key."""
    return hashlib.sha256(public).hexdigest()[:16]


class Signer:
    """Signs under one private key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()
        self.key_id = key_id(self.public)

    def sign(self, domain: Domain, body: bytes) -> bytes:
        """MessagePack of a `Signed`."""
        return msgspec.msgpack.encode(Signed(body, self.key_id, self.signature(domain, body)))

    def signature(self, domain: Domain, body: bytes) -> bytes:
        """Of the body alone, 64 bytes, for a message that carries both by itself."""
        return self._private.sign(_message(domain, body))

    @staticmethod
    def create(path: Path) -> Signer:
        """Make a key and keep it at `path` (PKCS#8 PEM, mode 0600); refuses to overwrite."""
        private = Ed25519PrivateKey.generate()
        pem = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise ConfigError("a key is already there", str(path), "use it, or move it") from None
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        return Signer(private)

    @staticmethod
    def load(path: Path) -> Signer:
        """The key at `path`; ConfigError when there is none or it is not Ed25519."""
        try:
            private = serialization.load_pem_private_key(path.read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"no usable key: {error}", str(path), "run init again") from None
        if not isinstance(private, Ed25519PrivateKey):
            raise ConfigError("not an Ed25519 key", str(path), "run init again")
        return Signer(private)


def verify(domain: Domain, data: bytes, public: bytes, where: str) -> bytes:
    """The body of a `Signed` made for `domain` by the holder of `public`; else Rejected."""
    if len(data) > SIGNED_BYTES_MAX:
        raise Rejected(f"{len(data)} bytes, over the cap of {SIGNED_BYTES_MAX}", where)
    try:
        signed = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(f"not a signed message: {error}", where) from None
    verify_signature(domain, signed.body, signed.signature, public, where)
    return signed.body


def verify_signature(
    domain: Domain, body: bytes, signature: bytes, public: bytes, where: str
) -> None:
    """Rejected unless `signature` was made for `domain` and `body` by the holder of `public`."""
    try:
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(signature, _message(domain, body))
    except (InvalidSignature, ValueError):
        raise Rejected(
            f"signature does not verify as a {domain}", where, "check that the key is enrolled"
        ) from None


def _message(domain: str, body: bytes) -> bytes:
    return b"tailtwin-" + domain.encode() + b"-v1\0" + body
