"""Attested bundles for tests, and the attestor whom a root would name."""

from __future__ import annotations

from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, Signer

from signing.attest import attest
from signing.verify.attested import Attestors
from signing.verify.declared import AttestationPolicy
from signing.verify.statement import Claims
from tests.fakes.bundles import packed

BUILDER = "https://builder.example/tests"
POLICY = AttestationPolicy(builders=(BUILDER,))
CLAIMS = Claims(builder=BUILDER, commit="c0ffee" * 6 + "beef")


@cache
def attestor(number: int = 1) -> Signer:
    """The same key each time: `attestor-{number}`."""
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)))


def attestors(count: int = 1, threshold: int = 1) -> Attestors:
    return Attestors(tuple(attestor(n).public_key for n in range(1, count + 1)), threshold)


def attested(data: bytes, parent: str = "") -> tuple[str, bytes]:
    """(file name, bytes) of a bundle file, attested by the first attestor."""
    claims = Claims(builder=BUILDER, commit=CLAIMS.commit, parent=parent)
    return attest(data, claims, [attestor()])


def packed_attested(release: int = 1) -> tuple[str, bytes]:
    """`packed`, attested."""
    return attested(packed(release)[1])
