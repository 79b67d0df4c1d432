"""A key in a device, `{name}.toml`: where it is and what the device needs to find it; no secret.

In: the file, or what to keep. Out: the same. Always holds: never written over, for its owner
only, no key that it does not know. The PIN is not in it.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import msgspec
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature

from shared.errors import Corrupt, Rejected
from signing.keys.keyfile import read_private
from signing.keys.public import taken, write_new


class TokenKey(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="pkcs11"
):
    """module: the vendor's library. token, serial: of the token. object, id: CKA_LABEL, CKA_ID."""

    module: str
    token: str
    object: str
    serial: str = ""
    id: str = ""


class TpmKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="tpm"):
    """tcti: how the TPM is reached. public, private: the object, hex; only that TPM opens it."""

    tcti: str
    public: str
    private: str


DeviceKey = TokenKey | TpmKey


def write_device(path: Path, key: DeviceKey) -> None:
    fields = msgspec.to_builtins(key)
    text = "".join(f"{name} = {json.dumps(fields[name], ensure_ascii=False)}\n" for name in fields)
    try:
        write_new(path, text.encode(), 0o600)
    except FileExistsError:
        raise taken(path) from None


def read_device(path: Path) -> DeviceKey:
    data = read_private(path)
    try:
        key: DeviceKey = msgspec.convert(tomllib.loads(data.decode()), DeviceKey)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Rejected(f"not a device's key: {error}", str(path), "see key-stores.md") from None
    return key


def checked(key: Key, signature: Signature, payload: bytes, where: str) -> Signature:
    """The signature, if it is of this key: a device may have been swapped for another."""
    try:
        key.verify_signature(signature, payload)
    except UnverifiedSignatureError:
        raise Corrupt("the device signed with another key", where, "is it the right one?") from None
    return signature
