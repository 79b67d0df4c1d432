"""The keys that data keys are wrapped with: this device's, and an offline recovery key.

In: 32 bytes of a device key, an X25519 recovery key. Out: data keys wrapped and unwrapped again.
Always holds: a data key is wrapped for whoever is named and for nobody else; a wrapped key of
another store, or under another id, does not unwrap. Device: AES-256-GCM with a random nonce, one
a boot. Recovery: HPKE (RFC 9180; X25519, HKDF-SHA256, AES-256-GCM), so that the board that
wrapped cannot unwrap.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from shared.errors import ConfigError

KEY_BYTES = 32
NONCE_BYTES = 12
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A row of `data_key`. A key id is empty, and its bytes too, where nothing was wrapped."""

    id: int
    device_key_id: str
    for_device: bytes
    recovery_key_id: str
    for_recovery: bytes


class Keyring:
    """What one process may wrap and unwrap with.

    device: None when the device key cannot be had; then new data keys are for recovery only, and
    what they sealed cannot be read aboard after this boot.
    """

    def __init__(
        self, device: bytes | None, recovery: X25519PublicKey | X25519PrivateKey | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:  # fmt: skip
        assert device is None or len(device) == KEY_BYTES
        self._device, self._random = device, random
        self._private = recovery if isinstance(recovery, X25519PrivateKey) else None
        self._public = recovery.public_key() if isinstance(recovery, X25519PrivateKey) else recovery
        if device is None and recovery is None:
            raise ConfigError(
                "neither a device key nor a recovery key", "seal", "give the tail a recovery key"
            )
        self.device_key_id = _key_id(b"device", device) if device else ""
        self.recovery_key_id = _recovery_id(self._public) if self._public else ""

    @staticmethod
    def from_recovery(path: Path) -> Keyring:
        """What the offline private key (PEM) opens, away from the board that sealed it."""
        return Keyring(None, load_recovery_private(path))

    def fresh(self) -> bytes:
        """A new data key."""
        return self._random(KEY_BYTES)

    def wrap(self, number: int, owner: bytes, data_key: bytes) -> WrappedKey:
        """owner: of the store, `operator/tail`; number: the key's id in it."""
        info, for_device, for_recovery = _info(number, owner), b"", b""
        if self._device is not None:
            nonce = self._random(NONCE_BYTES)
            for_device = nonce + AESGCM(self._device).encrypt(nonce, data_key, info)
        if self._public is not None:
            for_recovery = _SUITE.encrypt(data_key, self._public, info)
        return WrappedKey(
            number, self.device_key_id, for_device, self.recovery_key_id, for_recovery
        )

    def unwrap(self, wrapped: WrappedKey, owner: bytes) -> bytes | None:
        """The data key; None when these keys do not open it."""
        info = _info(wrapped.id, owner)
        try:
            if self._device is not None and wrapped.device_key_id == self.device_key_id:
                nonce, data = wrapped.for_device[:NONCE_BYTES], wrapped.for_device[NONCE_BYTES:]
                return AESGCM(self._device).decrypt(nonce, data, info)
            if self._private is not None and wrapped.recovery_key_id == self.recovery_key_id:
                return _SUITE.decrypt(wrapped.for_recovery, self._private, info)
        except (InvalidTag, ValueError):  # a damaged row
            return None
        return None


def _info(number: int, owner: bytes) -> bytes:
    return b"tailtwin-data-key-v1\0" + owner + b"\0" + number.to_bytes(8)


def _key_id(kind: bytes, key: bytes) -> str:
    return hashlib.sha256(b"tailtwin-" + kind + b"-key-id-v1\0" + key).hexdigest()[:16]


def _recovery_id(public: X25519PublicKey) -> str:
    return _key_id(b"recovery", public.public_bytes_raw())


def load_recovery_public(path: Path) -> X25519PublicKey:
    """The public half at `path`: 64 hex digits."""
    try:
        public = X25519PublicKey.from_public_bytes(bytes.fromhex(path.read_text().strip()))
        _SUITE.encrypt(b"", public, b"")  # a point of low order is no key: ValueError
        return public
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no recovery key: {error}", str(path), "take the .pub file that `recovery-key` made"
        ) from None


def load_recovery_private(path: Path) -> X25519PrivateKey:
    """The private half at `path`: PKCS#8 PEM."""
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"no recovery key: {error}", str(path), "take the .key file that `recovery-key` made"
        ) from None
    if not isinstance(private, X25519PrivateKey):
        raise ConfigError("not an X25519 key", str(path), "take the recovery key, not another one")
    return private


def make_recovery_key() -> tuple[bytes, bytes]:
    """(private as PKCS#8 PEM, public as hex) of a new recovery key."""
    private = X25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem, private.public_key().public_bytes_raw().hex().encode() + b"\n"
