"""Targets: how a bundle was built, whether one is a calibration, and what the ground asks to sign."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import msgspec
from securesystemslib.dsse import Envelope
from tuf.api.metadata import Root

from shared.bundle import BundleFiles, unpack
from shared.bundlefile import pack_declared
from shared.calibration import against
from shared.errors import Rejected
from shared.profile import ModelBounds
from shared.request import FILE, load_request
from signing.verify import ATTESTORS_FIELD
from signing.verify.attested import attestors_of, check_attestation, encode_envelope
from signing.verify.statement import PAYLOAD_TYPE, statement_of
from tests.fakes.attested import CLAIMS, POLICY, attestor, attestors, packed_attested
from tests.fakes.calibrated import TYPE, files, request_files, scaled


@cache
def _attested() -> BundleFiles:
    return unpack(packed_attested()[1], ModelBounds())


@cache
def _pair() -> tuple[BundleFiles, BundleFiles]:
    return files(scaled(1.01)), files(TYPE)


def envelope(data: bytes) -> object:
    """As it lies in a bundle."""
    return check_attestation(
        msgspec.structs.replace(_attested(), attestation=data), attestors(), POLICY
    )


def envelopes() -> list[bytes]:
    return [_attested().attestation]


def statement(data: bytes) -> object:
    """Signed by an attestor, whatever it says."""
    signed = Envelope(data, PAYLOAD_TYPE, {})
    signed.sign(attestor())
    return envelope(encode_envelope(signed))


def statements() -> list[bytes]:
    return [statement_of(_attested(), CLAIMS)]


def attestors_field(data: bytes) -> object:
    """In the signed part of an image root."""
    root = Root()
    try:
        root.unrecognized_fields[ATTESTORS_FIELD] = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(str(error), "fuzz") from None
    return attestors_of(root)


def attestors_fields() -> list[bytes]:
    keys = {key.keyid: key.to_dict() for key in attestors(2).keys}
    return [msgspec.json.encode({"keys": keys, "threshold": 2})]


def numbers(data: bytes) -> object:
    """The graph of a calibration."""
    child, parent = _pair()
    return against(msgspec.structs.replace(child, model=data), parent)


def graphs() -> list[bytes]:
    return [bundle.model for bundle in _pair()]


def request(data: bytes) -> object:
    """`request.json`, beside the files that a good one names."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {**_request(), FILE: data}.items():
            (Path(folder) / name).write_bytes(content)
        return load_request(Path(folder))[0]


def requests() -> list[bytes]:
    return [_request()[FILE]]


@cache
def _request() -> dict[str, bytes]:
    return request_files(pack_declared(TYPE)[1])
