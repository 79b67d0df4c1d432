"""The private half of a composite key: two private keys of one person, always used together.

In: both, or neither (then they are made). Out: a signer. Always holds: both are made at once,
of fresh randomness, and belong to no other key (the draft's rule: a component is never shared).
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from securesystemslib.signer import Signature

from signing.keys.held import HeldSigner
from signing.verify.composite import LABEL, CompositeKey, representative


class CompositeSigner(HeldSigner):
    """Signs with both components."""

    _public: CompositeKey

    def __init__(self, mldsa: MLDSA65PrivateKey, ed25519: Ed25519PrivateKey) -> None:
        self.mldsa, self.ed25519 = mldsa, ed25519
        self._public = CompositeKey.of(
            mldsa.public_key().public_bytes_raw(), ed25519.public_key().public_bytes_raw()
        )

    @classmethod
    def generate(cls) -> CompositeSigner:
        return cls(MLDSA65PrivateKey.generate(), Ed25519PrivateKey.generate())

    @property
    def public_key(self) -> CompositeKey:
        return self._public

    def sign(self, payload: bytes) -> Signature:
        return Signature(self._public.keyid, self.signature(payload).hex())

    def signature(self, message: bytes, context: bytes = b"") -> bytes:
        """The draft's Sign: ML-DSA's signature, then Ed25519's, of one representative."""
        signed = representative(message, context)
        return self.mldsa.sign(signed, LABEL) + self.ed25519.sign(signed)
