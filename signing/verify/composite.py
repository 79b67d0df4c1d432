"""The composite key of one person: ML-DSA-65 and Ed25519, of which both must verify.

In: TUF metadata's key or signature. Out: a securesystemslib Key, or the refusal. Always holds:
the signature is that of the IETF LAMPS draft "Composite ML-DSA", id-MLDSA65-Ed25519-SHA512,
with an empty context; both components sign the same message representative, which names the
scheme, so a component taken out of a signature is valid for nothing else; lengths are exact and
hex is lower case, so a key has one form. One keyid is one person.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import KEY_FOR_TYPE_AND_SCHEME, Key, Signature

KEYTYPE: Final = "composite"
SCHEME: Final = "mldsa65-ed25519-sha512"
PREFIX: Final = b"CompositeAlgorithmSignatures2025"  # section 2.2 of the draft
LABEL: Final = b"COMPSIG-MLDSA65-Ed25519-SHA512"  # section 6
MLDSA_PUBLIC_BYTES, MLDSA_SIGNATURE_BYTES = 1952, 3309  # FIPS 204, table 2
ED25519_PUBLIC_BYTES, ED25519_SIGNATURE_BYTES = 32, 64  # RFC 8032
SIGNATURE_BYTES: Final = MLDSA_SIGNATURE_BYTES + ED25519_SIGNATURE_BYTES
_HEX = re.compile(r"[0-9a-f]*")


class CompositeKey(Key):
    """The public half. keyval: {"ed25519": hex, "mldsa65": hex}, each by itself, so that whoever
    compares values sees a component that two keys share."""

    def __init__(
        self,
        keyid: str,
        keytype: str,
        scheme: str,
        keyval: dict[str, Any],
        unrecognized_fields: dict[str, Any] | None = None,
    ) -> None:
        """ValueError where it is not a composite key of exactly this form."""
        if (keytype, scheme) != (KEYTYPE, SCHEME):
            raise ValueError(f"not a composite key: {keytype}/{scheme}")
        if not isinstance(keyval, dict) or keyval.keys() != {"ed25519", "mldsa65"}:
            raise ValueError("a composite key has the values `ed25519` and `mldsa65`, no other")
        self.mldsa = _bytes(keyval["mldsa65"], MLDSA_PUBLIC_BYTES)
        self.ed25519 = _bytes(keyval["ed25519"], ED25519_PUBLIC_BYTES)
        super().__init__(keyid, keytype, scheme, keyval, unrecognized_fields)

    @classmethod
    def of(cls, mldsa: bytes, ed25519: bytes) -> CompositeKey:
        """The key of two components, its keyid made as securesystemslib makes one."""
        named: dict[str, Any] = {
            "keytype": KEYTYPE,
            "scheme": SCHEME,
            "keyval": {"ed25519": ed25519.hex(), "mldsa65": mldsa.hex()},
        }
        canonical = encode_canonical(named)
        assert isinstance(canonical, str)
        return cls(hashlib.sha256(canonical.encode()).hexdigest(), **named)

    @classmethod
    def from_dict(cls, keyid: str, key_dict: dict[str, Any]) -> CompositeKey:
        keytype, scheme, keyval = cls._from_dict(key_dict)
        return cls(keyid, keytype, scheme, keyval, key_dict)

    def to_dict(self) -> dict[str, Any]:
        return self._to_dict()

    def verify_signature(self, signature: Signature, data: bytes) -> None:
        """UnverifiedSignatureError unless both components verify."""
        try:
            if signature.keyid != self.keyid:
                raise ValueError(f"the signature is by {signature.keyid}")
            self.verify(_bytes(signature.signature, SIGNATURE_BYTES), data)
        except InvalidSignature:
            raise UnverifiedSignatureError(f"Failed to verify signature by {self.keyid}") from None
        except ValueError as error:
            raise VerificationError(f"no composite signature: {error}") from None

    def verify(self, signature: bytes, message: bytes, context: bytes = b"") -> None:
        """The draft's Verify: InvalidSignature unless both hold, their lengths included."""
        mldsa, ed25519 = signature[:MLDSA_SIGNATURE_BYTES], signature[MLDSA_SIGNATURE_BYTES:]
        signed = representative(message, context)
        MLDSA65PublicKey.from_public_bytes(self.mldsa).verify(mldsa, signed, LABEL)
        Ed25519PublicKey.from_public_bytes(self.ed25519).verify(ed25519, signed)


def representative(message: bytes, context: bytes = b"") -> bytes:
    """What both components sign: M' of the draft. ValueError for a context over 255 bytes."""
    if len(context) > 255:
        raise ValueError("the context is over 255 bytes")
    return PREFIX + LABEL + bytes([len(context)]) + context + hashlib.sha512(message).digest()


def components(key: Key) -> tuple[bytes, ...]:
    """The raw public values of a key, one form each whatever its file's spelling, so that two
    keys which share one are seen to. ValueError where the value is not one.

    A composite key has two; Ed25519 and ML-DSA are raw, others as DER SubjectPublicKeyInfo.
    """
    if isinstance(key, CompositeKey):
        return key.mldsa, key.ed25519
    public = str(key.keyval.get("public", ""))
    if key.keytype == "ed25519":
        return (bytes.fromhex(public),)
    loaded = load_pem_public_key(public.encode())
    if isinstance(loaded, MLDSA65PublicKey):
        return (loaded.public_bytes_raw(),)
    return (loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),)


def register() -> None:
    """Make tuf and securesystemslib know composite keys. Before metadata is parsed."""
    KEY_FOR_TYPE_AND_SCHEME[(KEYTYPE, SCHEME)] = CompositeKey


def _bytes(text: object, length: int) -> bytes:
    if not isinstance(text, str) or len(text) != 2 * length or not _HEX.fullmatch(text):
        raise ValueError(f"not {length} bytes as lower-case hex")
    return bytes.fromhex(text)
