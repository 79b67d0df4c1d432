"""One byte of an attested bundle is changed, anywhere: it is refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope

from shared.bundle import BundleFiles, unpack
from shared.errors import Rejected
from shared.profile import ModelBounds
from signing.attest import attest
from signing.verify.attested import check_attestation, encode_envelope, parse_envelope
from signing.verify.statement import claims_of
from tests.fakes.attested import CLAIMS, POLICY, attestor, attestors
from tests.fakes.bundles import packed

FILES = unpack(attest(packed()[1], CLAIMS, [attestor(1), attestor(2)])[1], ModelBounds())
WHO = attestors(2, 2)
MEMBERS = ("attestation", "bundle_json", "model", "selftest")


def changed(data: bytes, at: float, by: int) -> bytes:
    i = int(at * len(data))
    return data[:i] + bytes([data[i] ^ by]) + data[i + 1 :]


def refused(files: BundleFiles) -> None:
    with pytest.raises(Rejected):
        check_attestation(files, WHO, POLICY)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(MEMBERS), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_any_changed_byte_of_a_member_is_refused(member: str, at: float, by: int) -> None:
    check_attestation(FILES, WHO, POLICY)
    other = changed(getattr(FILES, member), at, by)
    refused(msgspec.structs.replace(FILES, **{member: other}))


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_any_changed_byte_of_the_statement_is_refused_even_in_a_proper_envelope(
    at: float, by: int
) -> None:
    envelope = parse_envelope(FILES.attestation, "here")
    payload = changed(envelope.payload, at, by)
    other = Envelope(payload, envelope.payload_type, envelope.signatures)
    refused(msgspec.structs.replace(FILES, attestation=encode_envelope(other)))
    try:  # signed anew by all attestors: still a statement of another bundle, or other claims
        assert claims_of(payload, FILES) != CLAIMS
    except Rejected:
        pass


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_as_an_attestation_are_refused(data: bytes) -> None:
    refused(msgspec.structs.replace(FILES, attestation=data))
