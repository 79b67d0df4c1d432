"""Attesting: an attestor's signature over how a bundle was built, put into the bundle.

In: a bundle file's bytes, what its builder claims, the attestors' signers. Out: the attested
bundle's name and bytes.
Always holds: the same bundle and claims give the same statement, and with Ed25519 keys the same
bytes (ML-DSA and ECDSA signatures are drawn anew; one that is there is kept); an attestor joins a
statement that is there and never changes it; what the bundle says of itself is read from it. An
attestor says what was built from what, and nothing about who may fly it: that is the word of
whoever publishes.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import Key, Signer

from shared.bundle import BundleFiles, attach, filename, unpack
from shared.calibration import against
from shared.errors import Rejected, Unreachable
from shared.profile import ModelBounds
from signing.verify.attested import (
    Provenance,
    attestors_of,
    encode_envelope,
    parse_envelope,
    read_attestation,
)
from signing.verify.statement import PAYLOAD_TYPE, Claims, claims_of, statement_of

if TYPE_CHECKING:
    from tuf.api.metadata import Root

GIT_DEADLINE_S = 30.0


def attest(data: bytes, claims: Claims, signers: Sequence[Signer]) -> tuple[str, bytes]:
    """(file name, bytes) of the bundle with an attestation by all signers.

    Rejected when the bundle has another statement already.
    """
    files = unpack(data, ModelBounds())
    statement = statement_of(files, claims)
    envelope = Envelope(statement, PAYLOAD_TYPE, {})
    if files.attestation:
        envelope = _joined(files, statement)
    for signer in signers:
        if not _has_signed(envelope, signer.public_key):
            envelope.sign(signer)
    attested = attach(files, encode_envelope(envelope))
    return filename(files.bundle, hashlib.sha256(attested).hexdigest()), attested


def claims_in(files: BundleFiles) -> Claims:
    """What an attestation that is there claims, so that another attestor can join; nothing is
    verified."""
    return claims_of(parse_envelope(files.attestation, files.filename).payload, files)


def commit_of(folder: Path) -> tuple[str, bool]:
    """(commit, whether the tree has changes that it lacks, new files included) of a work tree."""
    head = _git(folder, "rev-parse", "HEAD").strip()
    return head, bool(_git(folder, "status", "--porcelain", "--untracked-files=normal").strip())


def _joined(files: BundleFiles, statement: bytes) -> Envelope:
    envelope = parse_envelope(files.attestation, files.filename)
    if envelope.payload != statement:
        raise Rejected(
            "it is attested already, with another statement", files.filename,
            "say what the first attestor said (tailtwin-sign attest --show), or attest the bundle "
            "as it was built",
        )  # fmt: skip
    return envelope


def _has_signed(envelope: Envelope, key: Key) -> bool:
    """A good signature stays: one of ML-DSA would be another each time."""
    signature = envelope.signatures.get(key.keyid)
    try:
        if signature is not None:
            key.verify_signature(signature, envelope.pae())
    except (UnverifiedSignatureError, VerificationError):
        return False
    return signature is not None


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False,
            timeout=GIT_DEADLINE_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(f"git: {error}", str(folder), "give --source-commit") from None
    if done.returncode:
        raise Rejected(f"no git work tree: {done.stderr.strip()[:200]}", str(folder),
                       "give --source-commit")  # fmt: skip
    return done.stdout


def fit_to_publish(data: bytes, root: Root, parent: bytes = b"") -> Provenance:
    """How a bundle that is to be published was built, by the word of the attestors of `root`.

    parent: the published bundle file whose numbers a calibration changes. Rejected when the
    attestors do not vouch for it, or when more than numbers within the parent's bounds differ.
    """
    bounds = ModelBounds()
    files = unpack(data, bounds)
    of = unpack(parent, bounds, "parent") if parent else None
    found = read_attestation(files, attestors_of(root), of.sha256 if of else "")
    reasons = against(files, of) if of else []
    if reasons:
        raise Rejected("; ".join(reasons[:4]), files.filename,
                       "no calibration can be that: a release of its own, signed offline, can")  # fmt: skip
    return found
