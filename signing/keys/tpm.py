"""A key in a TPM 2.0: ECDSA P-256, made in it; nothing but that TPM uses it, with its PIN.

In: a TCTI, `{name}.toml` with the object, a PIN. Out: a signer. Always holds: the object is
fixedTPM and fixedParent, its PIN goes to the TPM only inside a session that is salted with the
storage key, and wrong PINs count towards the TPM's lockout. Without measured boot this keeps
the key from being copied, no more: whoever runs on the machine and has the PIN signs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import Key, Signature, SSlibKey

from shared.errors import Corrupt, Rejected
from shared.tpm import connect, storage_key
from signing.keys.device import TpmKey, checked
from signing.keys.held import HeldSigner
from signing.keys.pin import Pin

DEVICE = "device:/dev/tpmrm0"
PIN_BYTES_MAX = 32  # of a key whose name algorithm is SHA-256: TPM 2.0 part 1, 19.6.4.2
PIN_BYTES_MIN = 4  # assumption; the TPM's lockout slows down who tries them all
# TPM 2.0 part 2, table 17; the format-one codes without parameter and number.
RC_INTEGRITY, RC_AUTH_FAIL, RC_LOCKOUT = 0x9F, 0x8E, 0x921
FORMAT_ONE, FORMAT_ONE_MASK = 0x80, 0xBF


class TpmSigner(HeldSigner):
    """Loads the object for each signature; asks for the PIN once, and forgets a wrong one."""

    def __init__(self, place: TpmKey, public_key: Key, pin: Pin, name: str) -> None:
        self.place, self._public, self._ask, self.name = place, public_key, pin, name
        self._pin: str | None = None

    def check(self) -> None:
        """Sign something, so that a wrong PIN or another TPM is known before a ceremony begins."""
        self.sign(b"tailtwin key check")

    def sign(self, payload: bytes) -> Signature:
        if self._pin is None:
            self._pin = pin_for(self._ask, self.name)
        pin, self._pin = self._pin, None
        signature = Signature(self._public.keyid, sign(self.place, pin, payload).hex())
        self._pin = pin
        return checked(self._public, signature, payload, self.place.tcti)


def make(tcti: str, pin: Pin, name: str) -> tuple[TpmSigner, TpmKey]:
    """A new key of the TPM at `tcti`."""
    given = pin_for(pin, name)
    with connect(tcti, "tpm:") as device, storage_key(device) as (parent, session):
        import tpm2_pytss as t

        flags = t.TPMA_OBJECT
        template = t.TPM2B_PUBLIC.parse(
            alg="ecc256:ecdsa-sha256",
            objectAttributes=flags.FIXEDTPM | flags.FIXEDPARENT | flags.SENSITIVEDATAORIGIN
            | flags.USERWITHAUTH | flags.SIGN_ENCRYPT,
        )  # fmt: skip
        secret = t.TPMS_SENSITIVE_CREATE(userAuth=t.TPM2B_AUTH(given.encode()))
        private, public, *_ = device.create(
            parent, t.TPM2B_SENSITIVE_CREATE(secret), template, session2=session
        )
        place = TpmKey(tcti, bytes(public.marshal()).hex(), bytes(private.marshal()).hex())
        key = SSlibKey.from_crypto(load_pem_public_key(public.to_pem()))
    return TpmSigner(place, key, lambda _: given, name), place


def sign(place: TpmKey, pin: str, payload: bytes) -> bytes:
    """An ECDSA signature as DER."""
    with connect(place.tcti, "tpm:") as device, storage_key(device) as (parent, session):
        import tpm2_pytss as t

        with _loaded(device, parent, place) as handle:
            device.tr_set_auth(handle, pin.encode())
            scheme = t.TPMT_SIG_SCHEME(scheme=t.TPM2_ALG.NULL)
            ticket = t.TPMT_TK_HASHCHECK(tag=t.TPM2_ST.HASHCHECK, hierarchy=t.TPM2_RH.NULL)
            digest = hashlib.sha256(payload).digest()
            return bytes(device.sign(handle, digest, scheme, ticket, session1=session))


def pin_for(pin: Pin, name: str) -> str:
    given = pin(f"the key {name} in the TPM")
    if not PIN_BYTES_MIN <= len(given.encode()) <= PIN_BYTES_MAX:
        raise Rejected(
            f"the PIN has {len(given.encode())} bytes", name, f"{PIN_BYTES_MIN} to {PIN_BYTES_MAX}"
        )
    return given


@contextmanager
def _loaded(device: Any, parent: Any, place: TpmKey) -> Iterator[Any]:
    """The object, to be used in here; what the TPM refuses of it is typed."""
    import tpm2_pytss as t

    try:
        private = t.TPM2B_PRIVATE.unmarshal(bytes.fromhex(place.private))[0]
        public = t.TPM2B_PUBLIC.unmarshal(bytes.fromhex(place.public))[0]
    except (ValueError, t.TSS2_Exception) as error:
        raise Corrupt(f"no TPM object: {error}", place.tcti, "fetch the file again") from None
    try:
        handle = device.load(parent, private, public)
        try:
            yield handle
        finally:
            device.flush_context(handle)
    except t.TSS2_Exception as error:
        raise _refused(device, error, place) or error from None


def _refused(device: Any, error: Any, place: TpmKey) -> Rejected | None:
    code = _code(error)
    if code == RC_AUTH_FAIL:
        what, remedy = f"wrong PIN; tries left: {tries_left(device)}", "be sure before the next"
    elif code == RC_LOCKOUT:
        what = "the TPM is locked after wrong PINs"
        remedy = "wait (it forgets one after another), or clear it with the lockout password"
    elif code == RC_INTEGRITY:
        what = "the key is of another TPM, or this one was cleared"
        remedy = "use the machine it was made on, or revoke the key"
    else:
        return None
    return Rejected(what, place.tcti, remedy)


def tries_left(device: Any) -> int:
    """Of wrong PINs, before the TPM locks."""
    import tpm2_pytss as t

    def value(what: int) -> int:
        _, data = device.get_capability(t.TPM2_CAP.TPM_PROPERTIES, what, 1)
        return int(data.data.tpmProperties[0].value)

    return max(0, value(t.TPM2_PT.MAX_AUTH_FAIL) - value(t.TPM2_PT.LOCKOUT_COUNTER))


def _code(error: Any) -> int:
    return int(error.rc & FORMAT_ONE_MASK if error.rc & FORMAT_ONE else error.rc & 0xFFF)
