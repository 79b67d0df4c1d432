"""A TPM 2.0: keeps 32 bytes so that only this board gives them back.

In: a TCTI (`device:/dev/tpmrm0`), bytes. Out: the object that holds them, to be kept in a file,
and the bytes again. Always holds: the object is bound to this TPM and its owner hierarchy
(fixedTPM, fixedParent); what crosses the bus is encrypted in a session salted with the storage
key. No PCR policy: a new boot loader must not lock an aircraft out of its records. Waits are
bounded: three tries in two seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from shared.errors import ConfigError, Unreachable

TRIES, PAUSE_S = 3, 1.0
RC_INTEGRITY = 0x1F  # TPM_RC_INTEGRITY: the object's parent is of another TPM, or was cleared
_OBJECT = msgspec.msgpack.Decoder(tuple[bytes, bytes])


class Foreign(Exception):
    """The object is not one of this TPM."""


@contextmanager
def connect(tcti: str) -> Iterator[Any]:
    """An ESAPI context of tpm2-pytss; Unreachable when the TPM does not answer."""
    try:
        import tpm2_pytss
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"no TPM library: {error}", "seal.kind", "install the extra `tpm`, and libtss2-esys"
        ) from None
    context: Any = None
    for attempt in range(TRIES):
        try:
            context = tpm2_pytss.ESAPI(tcti)
            context.get_random(1)  # it answers
            break
        except (tpm2_pytss.TSS2_Exception, RuntimeError) as error:
            if attempt == TRIES - 1:
                raise _unreachable(tcti, error) from None
            time.sleep(PAUSE_S)
    try:
        yield context
    except tpm2_pytss.TSS2_Exception as error:
        raise _unreachable(tcti, error) from None
    finally:
        context.close()


def seal(device: Any, secret: bytes) -> bytes:
    """The object that holds the secret, for `unseal` on the same TPM."""
    import tpm2_pytss as t

    flags = t.TPMA_OBJECT
    public = t.TPM2B_PUBLIC.parse(
        alg="keyedhash",
        objectAttributes=flags.FIXEDTPM | flags.FIXEDPARENT | flags.USERWITHAUTH | flags.NODA,
    )
    with _storage_key(device) as (parent, session):
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
    with _storage_key(device) as (parent, session):
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


@contextmanager
def _storage_key(device: Any) -> Iterator[tuple[Any, Any]]:
    """The owner's storage key (ECC, made again from the seed each time), and a session salted
    with it that encrypts what goes to and fro."""
    import tpm2_pytss as t

    parent, *_ = device.create_primary(None, "ecc")
    try:
        session = device.start_auth_session(
            tpm_key=parent, bind=t.ESYS_TR.NONE, session_type=t.TPM2_SE.HMAC,
            symmetric=t.TPMT_SYM_DEF(
                algorithm=t.TPM2_ALG.AES, keyBits=t.TPMU_SYM_KEY_BITS(sym=128),
                mode=t.TPMU_SYM_MODE(sym=t.TPM2_ALG.CFB),
            ),
            auth_hash=t.TPM2_ALG.SHA256,
        )  # fmt: skip
        try:
            kind = t.TPMA_SESSION
            device.trsess_set_attributes(
                session, kind.ENCRYPT | kind.DECRYPT | kind.CONTINUESESSION
            )
            yield parent, session
        finally:
            device.flush_context(session)
    finally:
        device.flush_context(parent)


def _unreachable(tcti: str, error: Exception) -> Unreachable:
    return Unreachable(f"the TPM does not answer: {error}", tcti, "check the board; see the TCTI")
