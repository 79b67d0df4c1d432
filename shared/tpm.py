"""A TPM 2.0, reached: what sealing aboard and signing on the ground have in common.

In: a TCTI (`device:/dev/tpmrm0`). Out: an ESAPI context of tpm2-pytss, and the owner's storage
key with a session that encrypts what crosses the bus. Always holds: waits are bounded, three
tries in two seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shared.errors import ConfigError, Unreachable

TRIES, PAUSE_S = 3, 1.0


@contextmanager
def connect(tcti: str, asked_by: str) -> Iterator[Any]:
    """An ESAPI context; Unreachable when the TPM does not answer. asked_by: the setting."""
    try:
        import tpm2_pytss
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"no TPM library: {error}", asked_by, "install the extra `tpm`, and libtss2-esys"
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


@contextmanager
def storage_key(device: Any) -> Iterator[tuple[Any, Any]]:
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
