"""Who attests how a bundle was built, and whether that is enough for this aircraft.

In: a bundle's files, the attestors that the image root names, the profile's policy. Out: its
`Provenance`, or Rejected.
Always holds: a signature counts once for one public key, whatever ids it has; only attestors whom
root keys named count, never a key of another role; a bundle without an attestation, or from a
builder that the policy does not name, is refused. Envelope: DSSE v1.

Imports securesystemslib: for a child aboard or a signer, never the recorder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import Key, Signature

from shared.bundle import BundleFiles
from shared.bundletar import ATTESTATION_BYTES_MAX
from shared.errors import Rejected
from signing.verify.declared import ATTESTORS_FIELD, ATTESTORS_MAX, AttestationPolicy
from signing.verify.roots import counted_once, public_values
from signing.verify.statement import PAYLOAD_TYPE, Claims, claims_of

if TYPE_CHECKING:
    from tuf.api.metadata import Root

SIGNATURES_MAX = ATTESTORS_MAX
ATTEST = "attest this bundle with tailtwin-sign attest"


@dataclass(frozen=True)
class Attestors:
    """Whom the image root names, and how many of them it asks for."""

    keys: tuple[Key, ...]
    threshold: int


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """What holds of a bundle that was attested. attested_by: keyids of those who signed."""

    claims: Claims
    attested_by: tuple[str, ...]


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyid: str
    sig: str


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: tuple[_Signature, ...]


class _Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`x-tailtwin-attestors`."""

    keys: Annotated[dict[str, dict[str, Any]], Meta(min_length=1, max_length=ATTESTORS_MAX)]
    threshold: Annotated[int, Meta(ge=1, le=ATTESTORS_MAX)]


def attestors_of(root: Root) -> Attestors:
    """Those whom the signed part of an image root names; Rejected when it names none, one twice,
    or a key that has a role already."""
    where, remedy = f"image root {root.version}", "the root holders name attestors of their own"
    raw = root.unrecognized_fields.get(ATTESTORS_FIELD)
    if raw is None:
        raise Rejected("it names no attestors", where, remedy)
    try:
        field = msgspec.convert(raw, _Field)
        keys = tuple(Key.from_dict(keyid, dict(key)) for keyid, key in field.keys.items())
    except (msgspec.ValidationError, ValueError, KeyError, TypeError) as error:
        raise Rejected(f"{ATTESTORS_FIELD}: {error}", where, remedy) from None
    counted_once(ATTESTORS_FIELD, list(keys), field.threshold, where)
    if public_values(keys) & public_values(root.keys.values()):
        raise Rejected("an attestor's key has a role of the root as well", where, remedy)
    return Attestors(keys, field.threshold)


def check_attestation(
    files: BundleFiles, attestors: Attestors, policy: AttestationPolicy, parent: str = ""
) -> Provenance:
    """Rejected unless enough attestors say that a builder of the policy built these members.

    parent: sha-256 of the bundle that a calibration is published as made from; it must be attested.
    """
    found = read_attestation(files, attestors, parent, policy.threshold)
    if found.claims.builder not in policy.builders:
        taken = ", ".join(policy.builders) or "nobody"
        raise Rejected(
            f"built by {found.claims.builder}; taken are builds by {taken}", _where(files),
            "build it there, or name the builder in the profile: [update.attestation] builders",
        )  # fmt: skip
    return found


def read_attestation(
    files: BundleFiles, attestors: Attestors, parent: str = "", threshold: int = 1
) -> Provenance:
    """The same whoever the builder is, for those who publish. threshold: if the root asks for
    fewer."""
    where = _where(files)
    envelope = parse_envelope(files.attestation, where)
    signed = signed_by(envelope, attestors, where)
    wanted = max(attestors.threshold, threshold)
    if len(signed) < wanted:
        raise Rejected(
            f"{len(signed)} of {wanted} attestors signed it", where,
            f"have {wanted - len(signed)} more of those that the image root names attest it",
        )  # fmt: skip
    claims = claims_of(envelope.payload, files)
    if claims.parent != parent:
        raise Rejected(
            f"made from {claims.parent[:12] or 'no bundle'}, published as made from "
            f"{parent[:12] or 'none'}", where, "attest it with the parent that it is published with",
        )  # fmt: skip
    return Provenance(claims=claims, attested_by=signed)


def parse_envelope(data: bytes, where: str) -> Envelope:
    """A DSSE envelope of an in-toto statement, in the one encoding that `encode_envelope` writes."""
    if not data:
        raise Rejected("the bundle has none", where, ATTEST)
    if len(data) > ATTESTATION_BYTES_MAX:
        raise Rejected(f"over {ATTESTATION_BYTES_MAX} bytes", where, ATTEST)
    try:
        raw = msgspec.json.decode(data, type=_Envelope)
        envelope = Envelope.from_dict(msgspec.to_builtins(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Rejected(f"no DSSE envelope: {error}", where, ATTEST) from None
    if not 0 < len(envelope.signatures) <= SIGNATURES_MAX:
        raise Rejected(f"{len(envelope.signatures)} signatures", where, f"1 to {SIGNATURES_MAX}")
    if envelope.payload_type != PAYLOAD_TYPE:
        raise Rejected(f"payload type is {envelope.payload_type[:80]!r}, not {PAYLOAD_TYPE!r}",
                       where, ATTEST)  # fmt: skip
    if encode_envelope(envelope) != data:
        raise Rejected("not the one encoding of this envelope", where, ATTEST)
    return envelope


def encode_envelope(envelope: Envelope) -> bytes:
    """Canonical: signatures by keyid."""
    raw = envelope.to_dict()
    raw["signatures"].sort(key=lambda x: x["keyid"])
    return msgspec.json.encode(raw, order="sorted")


def signed_by(envelope: Envelope, attestors: Attestors, where: str) -> tuple[str, ...]:
    """Keyids of the attestors who signed, each public key once.

    A signature of somebody whom the root does not name is nobody's: an attestor may have left. One
    that an attestor's key does not verify is refused.
    """
    return tuple(key.keyid for key in _verified(envelope, attestors, where))


def _verified(envelope: Envelope, attestors: Attestors, where: str) -> Iterator[Key]:
    keys = {key.keyid: key for key in attestors.keys}
    message, counted = envelope.pae(), set[str]()
    for keyid, signature in sorted(envelope.signatures.items()):
        key = keys.get(keyid)
        if key is None:
            continue
        _verify(key, signature, message, where)
        if not public_values([key]) & counted:
            counted |= public_values([key])
            yield key


def _verify(key: Key, signature: Signature, message: bytes, where: str) -> None:
    try:
        key.verify_signature(signature, message)
    except (UnverifiedSignatureError, VerificationError) as error:
        raise Rejected(f"the signature of attestor {key.keyid[:12]} does not verify: {error}",
                       where, "fetch the bundle again; do not use this one") from None  # fmt: skip


def _where(files: BundleFiles) -> str:
    return f"attestation of {files.bundle.name} {files.bundle.version}"
