"""A composite key: both components verify, of one key, over what names the scheme; or nothing does."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from hypothesis import example, given
from hypothesis import strategies as st
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner, Key, Signature, SSlibKey
from tuf.api.metadata import Root

from shared.errors import Rejected
from signing.keys.composite import CompositeSigner
from signing.verify.composite import (
    LABEL,
    MLDSA_SIGNATURE_BYTES,
    SIGNATURE_BYTES,
    CompositeKey,
    components,
    register,
    representative,
)
from signing.verify.roots import check_root

SIGNER = CompositeSigner.generate()
SIGNED = SIGNER.signature(b"root")
GOLDEN = Path(__file__).parents[3] / "golden" / "composite_mldsa65_ed25519.json"
MLDSA_PUBLIC_BYTES = 1952


@pytest.fixture(scope="module")
def vector() -> dict[str, bytes]:
    """The draft's own, of its authors' implementation."""
    given = json.loads(GOLDEN.read_text())
    return {name: b64decode(text) for name, text in given.items() if name != "source"}


@pytest.fixture(scope="module")
def signer() -> CompositeSigner:
    return SIGNER


@pytest.fixture(scope="module")
def other() -> CompositeSigner:
    return CompositeSigner.generate()


def test_the_drafts_vectors_verify_with_and_without_a_context(vector: dict[str, bytes]) -> None:
    key = CompositeKey.of(vector["pk"][:MLDSA_PUBLIC_BYTES], vector["pk"][MLDSA_PUBLIC_BYTES:])
    key.verify(vector["s"], vector["m"])
    key.verify(vector["sWithContext"], vector["m"], vector["ctx"])
    key.verify_signature(Signature(key.keyid, vector["s"].hex()), vector["m"])
    with pytest.raises(InvalidSignature):
        key.verify(vector["sWithContext"], vector["m"])
    with pytest.raises(InvalidSignature):
        key.verify(vector["s"], vector["m"] + b".")


def test_the_drafts_private_key_makes_its_public_one_and_its_ed25519_half(
    vector: dict[str, bytes],
) -> None:
    """Ed25519 has one signature of a message; ML-DSA's is hedged by randomness, so it differs."""
    signer = CompositeSigner(
        MLDSA65PrivateKey.from_seed_bytes(vector["sk"][:32]),
        Ed25519PrivateKey.from_private_bytes(vector["sk"][32:]),
    )
    assert signer.public_key.mldsa + signer.public_key.ed25519 == vector["pk"]
    made = signer.signature(vector["m"], vector["ctx"])
    assert len(made) == len(vector["sWithContext"])
    assert made[MLDSA_SIGNATURE_BYTES:] == vector["sWithContext"][MLDSA_SIGNATURE_BYTES:]


def test_both_components_verify_by_themselves_over_what_names_the_scheme(
    signer: CompositeSigner,
) -> None:
    made, key = signer.signature(b"root"), signer.public_key
    signed = representative(b"root")
    assert signed.startswith(b"CompositeAlgorithmSignatures2025COMPSIG-MLDSA65-Ed25519-SHA512\0")
    MLDSA65PublicKey.from_public_bytes(key.mldsa).verify(made[:3309], signed, LABEL)
    Ed25519PublicKey.from_public_bytes(key.ed25519).verify(made[3309:], signed)


def refused(key: CompositeKey, signature: str, data: bytes = b"root") -> None:
    with pytest.raises(UnverifiedSignatureError):
        key.verify_signature(Signature(key.keyid, signature), data)


def test_a_component_that_is_stripped_swapped_or_mixed_fails(
    signer: CompositeSigner, other: CompositeSigner
) -> None:
    key, made, theirs = signer.public_key, signer.signature(b"root"), other.signature(b"root")
    key.verify_signature(Signature(key.keyid, made.hex()), b"root")
    mldsa, ed25519 = made[:3309], made[3309:]
    earlier = signer.signature(b"older root")
    for forged in (
        mldsa, ed25519, b"", ed25519 + mldsa, mldsa + bytes(64), bytes(3309) + ed25519,
        mldsa + theirs[3309:], theirs[:3309] + ed25519, theirs,
        mldsa + earlier[3309:], earlier[:3309] + ed25519, made + b"\0", made[:-1],
    ):  # fmt: skip
        refused(key, forged.hex())
    refused(key, made.hex(), b"toor")
    mixed = CompositeKey.of(key.mldsa, other.public_key.ed25519)
    refused(mixed, made.hex())
    refused(mixed, (mldsa + theirs[3309:])[:-1].hex())


@given(st.integers(0, 8 * SIGNATURE_BYTES - 1))
@example(0)
@example(8 * MLDSA_SIGNATURE_BYTES)
@example(8 * SIGNATURE_BYTES - 1)
def test_any_bit_of_a_signature_that_flips_is_noticed(bit: int) -> None:
    forged = bytearray(SIGNED)
    forged[bit // 8] ^= 1 << bit % 8
    refused(SIGNER.public_key, forged.hex())


def test_a_component_signature_is_none_of_a_key_of_that_component_alone(
    signer: CompositeSigner,
) -> None:
    """What a thief of one half signs with plain Ed25519 or ML-DSA is no composite signature, and
    the halves of a composite signature are none by the plain schemes over the same metadata."""
    ed25519 = SSlibKey.from_crypto(signer.ed25519.public_key())
    mldsa = SSlibKey.from_crypto(signer.mldsa.public_key())
    made = signer.signature(b"root")
    for key, half in ((ed25519, made[3309:]), (mldsa, made[:3309])):
        with pytest.raises(UnverifiedSignatureError):
            key.verify_signature(Signature(key.keyid, half.hex()), b"root")
    plain = signer.mldsa.sign(b"root", LABEL) + signer.ed25519.sign(b"root")
    refused(signer.public_key, plain.hex())


@pytest.mark.parametrize("spelling", [str.upper, lambda text: f" {text}", lambda text: text[:-1],
                                      lambda text: "", lambda text: "g" + text[1:]])  # fmt: skip
def test_a_signature_has_one_spelling(signer: CompositeSigner, spelling: Any) -> None:
    refused(signer.public_key, spelling(signer.signature(b"root").hex()))


def test_a_signature_of_another_keyid_fails(
    signer: CompositeSigner, other: CompositeSigner
) -> None:
    made = Signature(other.public_key.keyid, signer.signature(b"root").hex())
    with pytest.raises(UnverifiedSignatureError):
        signer.public_key.verify_signature(made, b"root")


def test_registered_it_is_parsed_out_of_metadata_and_back(signer: CompositeSigner) -> None:
    register()
    key = signer.public_key
    again = Key.from_dict(key.keyid, {**key.to_dict(), "x-tailtwin-name": "root-1"})
    assert isinstance(again, CompositeKey) and components(again) == (key.mldsa, key.ed25519)
    assert again.to_dict() == {**key.to_dict(), "x-tailtwin-name": "root-1"}


@pytest.mark.parametrize(
    "damage",
    [
        {"keyval": {"public": "00"}},
        {"keyval": {"ed25519": "00" * 32}},
        {"keyval": {"ed25519": "00" * 32, "mldsa65": "00" * 1951}},
        {"keyval": {"ed25519": "00" * 33, "mldsa65": "00" * 1952}},
        {"keyval": {"ed25519": "AA" * 32, "mldsa65": "00" * 1952}},
        {"keyval": {"ed25519": 5, "mldsa65": "00" * 1952}},
        {"keyval": {"ed25519": "00" * 32, "mldsa65": "00" * 1952, "rsa": "00"}},
        {"keyval": ["00"]},
        {"scheme": "mldsa65-ed25519-sha256"},
        {"keytype": "ed25519"},
    ],
)
def test_a_key_of_another_form_is_not_parsed(
    signer: CompositeSigner, damage: dict[str, Any]
) -> None:
    register()
    with pytest.raises(ValueError):  # noqa: PT011 - tuf makes a DeserializationError of it
        Key.from_dict("k", {**signer.public_key.to_dict(), **damage})


def test_a_component_of_two_keys_is_seen_whatever_its_spelling(
    signer: CompositeSigner, other: CompositeSigner
) -> None:
    shared = CompositeKey.of(other.public_key.mldsa, signer.public_key.ed25519)
    assert set(components(signer.public_key)) & set(components(shared))
    assert not set(components(signer.public_key)) & set(components(other.public_key))
    for half in (signer.ed25519, signer.mldsa):
        alone = CryptoSigner(half).public_key
        assert set(components(alone)) < set(components(signer.public_key))
    ecdsa = SSlibKey.from_crypto(generate_private_key(SECP256R1()).public_key())
    respelled = SSlibKey(
        "other id", ecdsa.keytype, ecdsa.scheme, {"public": "\n" + ecdsa.keyval["public"] + "\n"}
    )
    assert components(respelled) == components(ecdsa)


def test_our_policy_refuses_a_root_whose_people_share_a_component(
    signer: CompositeSigner, other: CompositeSigner
) -> None:
    """Two of three who between them hold two Ed25519 keys would not be three people."""
    for third, allowed in (
        (CompositeSigner.generate().public_key, True),
        (CompositeKey.of(other.public_key.mldsa, signer.public_key.ed25519), False),
        (CryptoSigner(signer.ed25519).public_key, False),
    ):
        root = Root(expires=datetime(2036, 1, 1, tzinfo=UTC))
        for key in (signer.public_key, other.public_key, third):
            root.add_key(key, "root")
        root.roles["root"].threshold = 2
        for role in ("targets", "snapshot", "timestamp"):
            root.add_key(CryptoSigner.generate_ed25519().public_key, role)
        if allowed:
            check_root(root, "root.json")
        else:
            with pytest.raises(Rejected, match="one key twice"):
                check_root(root, "root.json")
