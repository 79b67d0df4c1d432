"""A key in a device, `{name}.toml`: where it is and what the device needs to find it; no secret.

In: the file, or what to keep. Out: the same. Always holds: never written over, for its owner
only, no key that it does not know. The PIN is not in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature

from shared.errors import Corrupt
from shared.settings import parse_settings
from signing.keys.keyfile import read_private
from signing.keys.public import taken, write_new

Hex = Annotated[str, Meta(pattern=r"^([0-9a-f]{2})*\Z")]


class TokenKey(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="pkcs11"
):
    """module: the vendor's library. token, serial: of the token. object, id: CKA_LABEL, CKA_ID."""

    module: str
    token: str
    object: str
    serial: str = ""
    id: Hex = ""


class TpmKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="tpm"):
    """tcti: how the TPM is reached. public, private: the object, hex; only that TPM opens it."""

    tcti: str
    public: Hex
    private: Hex


DeviceKey = TokenKey | TpmKey


def write_device(path: Path, key: DeviceKey) -> None:
    fields = msgspec.to_builtins(key)
    text = "".join(f"{name} = {json.dumps(fields[name], ensure_ascii=False)}\n" for name in fields)
    try:
        write_new(path, text.encode(), 0o600)
    except FileExistsError:
        raise taken(path) from None


def read_device(path: Path) -> DeviceKey:
    """Rejected where the file is not one."""
    either = cast(Any, DeviceKey)  # a union is no type[T] to mypy
    key: DeviceKey = parse_settings(
        either, read_private(path), str(path), "see docs/runbooks/key-stores.md"
    )
    return key


def checked(key: Key, signature: Signature, payload: bytes, where: str) -> Signature:
    """The signature, if it is of this key: a device may have been swapped for another."""
    try:
        key.verify_signature(signature, payload)
    except UnverifiedSignatureError:
        raise Corrupt("the device signed with another key", where, "is it the right one?") from None
    return signature
