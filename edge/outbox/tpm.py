"""A TPM 2.0: keeps 32 bytes so that only this board gives them back.

In: a TCTI (`device:/dev/tpmrm0`), bytes. Out: the object that holds them, to be kept in a file,
and the bytes again. Always holds: the object is bound to this TPM and its owner hierarchy
(fixedTPM, fixedParent); what crosses the bus is encrypted in a session salted with the storage
key. No PCR policy: a new boot loader must not lock an aircraft out of its records.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import msgspec

import shared.tpm

RC_INTEGRITY = 0x1F  # TPM_RC_INTEGRITY: the object's parent is of another TPM, or was cleared
_OBJECT = msgspec.msgpack.Decoder(tuple[bytes, bytes])


class Foreign(Exception):
    """The object is not one of this TPM."""


def connect(tcti: str) -> AbstractContextManager[Any]:
    """An ESAPI context of tpm2-pytss; Unreachable when the TPM does not answer."""
    return shared.tpm.connect(tcti, "seal.kind")


def seal(device: Any, secret: bytes) -> bytes:
    """The object that holds the secret, for `unseal` on the same TPM."""
    import tpm2_pytss as t

    flags = t.TPMA_OBJECT
    public = t.TPM2B_PUBLIC.parse(
        alg="keyedhash",
        objectAttributes=flags.FIXEDTPM | flags.FIXEDPARENT | flags.USERWITHAUTH | flags.NODA,
    )
    with shared.tpm.storage_key(device) as (parent, session):
        sensitive = t.TPMS_SENSITIVE_CREATE(data=t.TPM2B_SENSITIVE_DATA(secret))
        private, public, *_ = device.create(
            parent, t.TPM2B_SENSITIVE_CREATE(sensitive), public, session2=session
        )
    return msgspec.msgpack.encode((bytes(private.marshal()), bytes(public.marshal())))


def unseal(device: Any, data: bytes) -> bytes:
    """The secret; Foreign when another TPM sealed it."""
    import tpm2_pytss as t

    try:
        private, public = _OBJECT.decode(data)
        loaded = (t.TPM2B_PRIVATE.unmarshal(private)[0], t.TPM2B_PUBLIC.unmarshal(public)[0])
    except (msgspec.DecodeError, t.TSS2_Exception) as error:
        raise Foreign(f"no sealed object: {error}") from None
    with shared.tpm.storage_key(device) as (parent, session):
        try:
            handle = device.load(parent, *loaded)
        except t.TSS2_Exception as error:
            if error.rc & 0x3F == RC_INTEGRITY:
                raise Foreign(str(error)) from None
            raise
        try:
            return bytes(device.unseal(handle, session2=session))
        finally:
            device.flush_context(handle)
