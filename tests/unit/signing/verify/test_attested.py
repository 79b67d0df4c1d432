"""Only the word of attestors whom the root names, about this very bundle, by a known builder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.signer import Key
from tuf.api.metadata import Root

from shared.bundle import BundleFiles, unpack
from shared.bundletar import ATTESTATION_BYTES_MAX
from shared.errors import Rejected
from shared.profile import ModelBounds
from signing.attest import attest
from signing.verify import ATTESTORS_FIELD
from signing.verify.attested import (
    Attestors,
    attestors_of,
    check_attestation,
    encode_envelope,
    read_attestation,
)
from signing.verify.declared import AttestationPolicy
from signing.verify.statement import PAYLOAD_TYPE, Claims, statement_of
from tests.fakes.attested import BUILDER, CLAIMS, POLICY, attestor, attestors, packed_attested
from tests.fakes.bundles import packed

FILES = unpack(packed_attested()[1], ModelBounds())
PLAIN = unpack(packed()[1], ModelBounds())
OTHER = unpack(packed(2)[1], ModelBounds())
STATEMENT = statement_of(PLAIN, CLAIMS)
PARENT = "ab" * 32


def signed(
    payload: bytes = STATEMENT, kind: str = PAYLOAD_TYPE, by: tuple[int, ...] = (1,)
) -> bytes:
    envelope = Envelope(payload, kind, {})
    for number in by:
        envelope.sign(attestor(number))
    return encode_envelope(envelope)


def with_(attestation: bytes, files: BundleFiles = PLAIN) -> BundleFiles:
    return msgspec.structs.replace(files, attestation=attestation)


def said(change: Callable[[Any], object], files: BundleFiles = PLAIN) -> BundleFiles:
    """The statement with a change in it, signed by an attestor whom the root names."""
    statement = msgspec.json.decode(STATEMENT)
    change(statement)
    return with_(signed(msgspec.json.encode(statement, order="sorted")), files)


def test_attested_bundle_says_who_built_it_from_what() -> None:
    found = check_attestation(FILES, attestors(), POLICY)
    assert found.claims == CLAIMS
    assert found.attested_by == (attestor().public_key.keyid,)


def definition(statement: Any) -> Any:
    return statement["predicate"]["buildDefinition"]


REFUSED = {
    "the bundle has none": PLAIN,
    f"over {ATTESTATION_BYTES_MAX} bytes": with_(b"x" * (ATTESTATION_BYTES_MAX + 1)),
    "no DSSE envelope": with_(b'{"payload":"","payloadType":"x"}'),
    "0 signatures": with_(signed(by=())),
    "9 signatures": with_(signed(by=tuple(range(1, 10)))),
    "payload type is 'application/json'": with_(signed(kind="application/json")),
    "not the one encoding": with_(signed() + b"\n"),
    "statement type": said(lambda s: s.update(_type="https://in-toto.io/Statement/v0.1")),
    "predicate type": said(lambda s: s.update(predicateType="https://slsa.dev/provenance/v0.2")),
    "build type": said(lambda s: definition(s).update(buildType="https://other.example/v1")),
    "no provenance of ours": said(lambda s: s.update(extra=1)),
    "missing required field `runDetails`": said(lambda s: s["predicate"].pop("runDetails")),
    "a commit that is none": said(
        lambda s: definition(s)["resolvedDependencies"][0]["digest"].update(gitCommit="main")
    ),
    "does not say": said(lambda s: definition(s)["externalParameters"].update(release=7)),
    "another bundle.json": with_(signed(), OTHER),
    "another model.onnx": with_(signed(), msgspec.structs.replace(PLAIN, model=b"other")),
    "another selftest.msgpack": with_(signed(), msgspec.structs.replace(PLAIN, selftest=b"other")),
    "0 of 1 attestors": with_(signed(by=(5,))),
    "4th subject": said(lambda s: s["subject"].append({"name": "x", "digest": {"sha256": PARENT}})),
    "a second source": said(lambda s: definition(s)["resolvedDependencies"].append(
        {"name": "source", "digest": {"gitCommit": "0" * 40}})),
}  # fmt: skip
WORDS = {
    "a commit that is none": "provenance: Expected `str` matching",
    "4th subject": "what the bundle does not say",
    "a second source": "what the bundle does not say",
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_anything_else_is_refused_by_name(what: str) -> None:
    with pytest.raises(Rejected, match=WORDS.get(what, what)) as caught:
        check_attestation(REFUSED[what], attestors(), POLICY)
    assert "attestation of egt_rom" in str(caught.value) and caught.value.remedy


def test_foreign_builder_is_refused_and_an_empty_policy_takes_nobody() -> None:
    for builders, what in ((("https://other.example/",), "other.example"), ((), "nobody")):
        with pytest.raises(Rejected, match=f"built by {BUILDER}; taken are builds by .*{what}"):
            check_attestation(FILES, attestors(), AttestationPolicy(builders=builders))
    assert read_attestation(FILES, attestors()).claims.builder == BUILDER  # for those who publish


def test_one_key_is_counted_once_under_whatever_ids() -> None:
    twice = msgspec.json.decode(signed())
    twice["signatures"] *= 2
    with pytest.raises(Rejected, match="no DSSE envelope: Multiple signatures"):
        check_attestation(with_(msgspec.json.encode(twice, order="sorted")), attestors(), POLICY)
    # the same key under a second id, both of them known
    key = attestor().public_key
    alias = Key.from_dict("f" * 64, key.to_dict())
    envelope = Envelope(STATEMENT, PAYLOAD_TYPE, {})
    signature = envelope.sign(attestor())
    envelope.signatures["f" * 64] = type(signature)("f" * 64, signature.signature)
    with pytest.raises(Rejected, match="1 of 2 attestors"):
        check_attestation(with_(encode_envelope(envelope)), Attestors((key, alias), 2), POLICY)


def test_thresholds_of_root_and_profile_both_hold() -> None:
    both = with_(signed(by=(1, 2)))
    check_attestation(both, attestors(2, 2), POLICY)
    strict = AttestationPolicy(threshold=2, builders=(BUILDER,))
    check_attestation(both, attestors(2), strict)
    for who, policy in ((attestors(2, 2), POLICY), (attestors(2), strict)):
        with pytest.raises(Rejected, match="1 of 2 attestors signed it"):
            check_attestation(FILES, who, policy)


def test_signature_of_somebody_who_left_is_nobodys_and_a_forged_one_is_refused() -> None:
    check_attestation(with_(signed(by=(1, 7))), attestors(), POLICY)
    forged = msgspec.json.decode(signed(by=(1, 2)))
    forged["signatures"][1]["sig"] = forged["signatures"][0]["sig"]
    with pytest.raises(Rejected, match="does not verify"):
        check_attestation(with_(msgspec.json.encode(forged, order="sorted")), attestors(2), POLICY)


def test_calibration_is_attested_with_the_parent_that_it_is_published_with() -> None:
    claims = msgspec.structs.replace(CLAIMS, parent=PARENT)
    made = unpack(attest(packed()[1], claims, [attestor()])[1], ModelBounds())
    assert check_attestation(made, attestors(), POLICY, PARENT).claims.parent == PARENT
    for parent in ("", "cd" * 32):
        with pytest.raises(Rejected, match="made from abababababab, published as made from"):
            check_attestation(made, attestors(), POLICY, parent)
    with pytest.raises(Rejected, match="made from no bundle"):
        check_attestation(FILES, attestors(), POLICY, PARENT)


@pytest.mark.parametrize(
    "change",
    [{"builder": "no uri"}, {"commit": "abc"}, {"data": {"x": "ff"}}, {"parent": "ff"},
     {"parameters": {"": "x"}}, {"parameters": {"x": "y" * 300}},
     {"parameters": {f"p{i}": "" for i in range(65)}}],
)  # fmt: skip
def test_claim_that_is_malformed_is_not_stated(change: dict[str, object]) -> None:
    with pytest.raises(Rejected, match="provenance: "):
        statement_of(PLAIN, msgspec.structs.replace(CLAIMS, **change))


def test_statement_is_bounded() -> None:
    many = {f"p{i}": "é" * 200 for i in range(64)}
    data = {"d" * 90 + str(i): PARENT for i in range(64)}
    with pytest.raises(Rejected, match="statement of"):
        statement_of(PLAIN, Claims(builder=BUILDER, commit="0" * 64, parameters=many, data=data))


# -- whom the root names


def root_with(field: object, *others: Key) -> Root:
    root = Root()
    for key in others:
        root.add_key(key, "targets")
    if field is not None:
        root.unrecognized_fields[ATTESTORS_FIELD] = field
    return root


def named(*numbers: int, threshold: object = 1) -> dict[str, object]:
    keys = [attestor(n).public_key for n in numbers]
    return {"keys": {key.keyid: key.to_dict() for key in keys}, "threshold": threshold}


def test_attestors_are_those_of_the_root() -> None:
    found = attestors_of(root_with(named(1, 2, threshold=2)))
    assert {x.keyid for x in found.keys} == {x.keyid for x in attestors(2).keys}
    assert found.threshold == 2
    check_attestation(with_(signed(by=(1, 2))), found, POLICY)


KEY = attestor().public_key.to_dict()
BAD_ROOTS = {
    "names no attestors": root_with(None),
    "it is no object": root_with([1]),
    "nobody": root_with({"keys": {}, "threshold": 1}),
    "too many": root_with(named(*range(1, 10))),
    "threshold of none": root_with(named(1, threshold=0)),
    "threshold of text": root_with(named(1, threshold="1")),
    "2, as its threshold": root_with(named(1, threshold=2)),
    "no key": root_with({"keys": {"a" * 64: {"keytype": "ed25519"}}, "threshold": 1}),
    "lists one key twice": root_with({"keys": {"a" * 64: KEY, "b" * 64: KEY}, "threshold": 1}),
    "has a role of the root": root_with(named(1), attestor(1).public_key),
}


@pytest.mark.parametrize("what", sorted(BAD_ROOTS))
def test_root_that_names_attestors_badly_is_refused(what: str) -> None:
    words = what if what in ("names no attestors", "2, as its threshold", "lists one key twice",
                             "has a role of the root") else ATTESTORS_FIELD  # fmt: skip
    with pytest.raises(Rejected, match=words):
        attestors_of(BAD_ROOTS[what])
