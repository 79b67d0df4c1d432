"""A key in a PKCS#11 token: ECDSA, made in it, not to be taken out of it.

In: an RFC 7512 URI to make one, `{name}.toml` to find it again, a PIN. Out: a signer.
Always holds: a wrong PIN is tried once, for tokens lock themselves; the private object is
sensitive and not extractable, or it is removed at once; what the token signs is verified before
it is handed out.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import pkcs11
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11 import TokenFlag, exceptions
from pkcs11.util.ec import (
    encode_ec_public_key,
    encode_ecdsa_signature,
    encode_named_curve_parameters,
)
from securesystemslib.signer import Key, Signature, SSlibKey

from shared.errors import ConfigError, Rejected, Unreachable
from signing.keys.device import TokenKey, checked
from signing.keys.held import HeldSigner
from signing.keys.pin import Pin

HASHES: Final = {"ecdsa-sha2-nistp256": hashlib.sha256, "ecdsa-sha2-nistp384": hashlib.sha384}
ID_BYTES = 8  # assumption: enough to be one of its own among a token's objects
URI = "pkcs11:token=LABEL?module-path=/usr/lib/…/module.so"


class TokenSigner(HeldSigner):
    """Opens the token for each signature; asks for the PIN once, and forgets a wrong one."""

    def __init__(self, place: TokenKey, public_key: Key, pin: Pin) -> None:
        self.place, self._public, self._ask = place, public_key, pin
        self._pin: str | None = None

    def check(self) -> None:
        """Log in and find the object, as `sign` will."""
        with self._session() as session:
            if public_of(session, self.place).keyval != self._public.keyval:
                raise Rejected("the token holds another key", where(self.place), "right token?")
            private_of(session, self.place)

    def sign(self, payload: bytes) -> Signature:

        digest = HASHES[self._public.scheme](payload).digest()
        with self._session() as session:
            raw = private_of(session, self.place).sign(digest, mechanism=pkcs11.Mechanism.ECDSA)
        der = encode_ecdsa_signature(raw)
        signature = Signature(self._public.keyid, der.hex())
        return checked(self._public, signature, payload, where(self.place))

    def take_back(self) -> None:
        """Remove a key that was made a moment ago and that nobody was told of."""
        with self._session(write=True) as session:
            id_ = {pkcs11.Attribute.ID: bytes.fromhex(self.place.id)}
            for found in list(session.get_objects(id_)):
                found.destroy()

    @contextmanager
    def _session(self, *, write: bool = False) -> Iterator[Any]:
        if self._pin is None:
            self._pin = self._ask(f"the token {self.place.token}")
        pin, self._pin = self._pin, None
        with opened(self.place, pin, write=write) as session:
            self._pin = pin
            yield session


def make(place: TokenKey, pin: Pin) -> tuple[TokenSigner, TokenKey]:
    """A new key pair in the token; Rejected when an object of that label is there."""

    kind = pkcs11.Attribute
    given = pin(f"the token {place.token}")
    with opened(place, given, write=True) as session:
        if next(iter(session.get_objects({kind.LABEL: place.object})), None) is not None:
            raise Rejected("a key is there already", where(place), "use another object= label")
        made = TokenKey(
            place.module, place.token, place.object, place.serial, os.urandom(ID_BYTES).hex()
        )
        curve = session.create_domain_parameters(
            pkcs11.KeyType.EC,
            {kind.EC_PARAMS: encode_named_curve_parameters("secp256r1")},
            local=True,
        )
        public, private = curve.generate_keypair(
            store=True, label=made.object, id=bytes.fromhex(made.id),
            capabilities=pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY,
            private_template={kind.SENSITIVE: True, kind.EXTRACTABLE: False, kind.PRIVATE: True},
        )  # fmt: skip
        if private[kind.EXTRACTABLE] or not private[kind.SENSITIVE]:
            private.destroy()
            public.destroy()
            raise Rejected("the token makes keys that can be taken out", where(made), "use another")
        return TokenSigner(made, public_of(session, made), lambda _: given), made


def adopt(place: TokenKey, pin: Pin) -> tuple[TokenSigner, TokenKey]:
    """The key that somebody made in the token with its vendor's tool."""

    given = pin(f"the token {place.token}")
    with opened(place, given) as session:
        if private_of(session, place)[pkcs11.Attribute.EXTRACTABLE]:
            raise Rejected("this key can be taken out of the token", where(place), "make another")
        return TokenSigner(place, public_of(session, place), lambda _: given), place


def parse(uri: str, name: str) -> TokenKey:
    """The place that an RFC 7512 URI names; its object is `name` unless the URI says."""
    path, _, query = uri.removeprefix("pkcs11:").partition("?")
    fields: dict[str, bytes] = {}
    for part in (*filter(None, path.split(";")), *filter(None, query.split("&"))):
        field, _, value = part.partition("=")
        if field in ("pin-value", "pin-source"):
            raise Rejected("a PIN does not belong into a URI", uri.split("?")[0], "see --pin-file")
        if field not in ("token", "serial", "object", "id", "module-path") or field in fields:
            raise Rejected(f"the URI says {field!r}", uri, URI)
        fields[field] = unquote_to_bytes(value)
    text = {field: value.decode("utf-8", "replace") for field, value in fields.items()}
    if not text.get("token") or not text.get("module-path", "").startswith("/"):
        raise Rejected("the URI names no token, or no module by its whole path", uri, URI)
    return TokenKey(
        text["module-path"], text["token"], text.get("object", name), text.get("serial", ""),
        fields.get("id", b"").hex(),
    )  # fmt: skip


@contextmanager
def opened(place: TokenKey, pin: str, *, write: bool = False) -> Iterator[Any]:
    """A session of the token, logged in; every failure is typed."""

    token = _token(place)
    try:
        session = token.open(user_pin=pin, rw=write)
    except (exceptions.PinIncorrect, exceptions.PinLenRange, exceptions.PinInvalid):
        raise wrong_pin(_token(place).flags, where(place)) from None
    except exceptions.PinLocked:
        raise wrong_pin(TokenFlag.USER_PIN_LOCKED, where(place)) from None
    except exceptions.UserPinNotInitialized:
        raise Rejected("the token has no user PIN yet", where(place), "set one") from None
    except exceptions.PKCS11Error as error:
        raise _failed(error, place) from None
    try:
        with session:
            yield session
    except exceptions.PKCS11Error as error:
        raise _failed(error, place) from None


def wrong_pin(flags: Any, place: str) -> Rejected:
    """What a refused PIN means, by what the token says of its tries."""

    if flags & TokenFlag.USER_PIN_LOCKED:
        return Rejected(
            "the token is locked", place, "its security officer sets a new PIN; or use another key"
        )
    if flags & TokenFlag.USER_PIN_FINAL_TRY:
        return Rejected("wrong PIN; one try is left", place, "be sure before the next try")
    if flags & TokenFlag.USER_PIN_COUNT_LOW:
        return Rejected("wrong PIN; the token counts tries, and does not say how many are left",
                        place, "be sure before the next try")  # fmt: skip
    return Rejected("wrong PIN; the token says nothing of tries", place, "check the PIN")


def public_of(session: Any, place: TokenKey) -> SSlibKey:
    """The public half as the token has it."""

    found = _object(session, place, pkcs11.ObjectClass.PUBLIC_KEY)
    try:
        key = SSlibKey.from_crypto(load_der_public_key(encode_ec_public_key(found)))
    except ValueError as error:
        raise Rejected(f"not a key of ours: {error}", where(place), "P-256 or P-384") from None
    if key.scheme not in HASHES:
        raise Rejected(f"a key for {key.scheme}", where(place), "P-256 or P-384")
    return key


def private_of(session: Any, place: TokenKey) -> Any:

    return _object(session, place, pkcs11.ObjectClass.PRIVATE_KEY)


def where(place: TokenKey) -> str:
    return f"pkcs11:token={place.token};object={place.object}"


def _object(session: Any, place: TokenKey, class_: Any) -> Any:

    wanted = {"label": place.object} | ({"id": bytes.fromhex(place.id)} if place.id else {})
    try:
        return session.get_key(class_, pkcs11.KeyType.EC, **wanted)
    except exceptions.NoSuchKey:
        raise Rejected(
            f"no such object ({class_.name.lower().replace('_', ' ')}, EC)", where(place),
            "is it the right token?",
        ) from None  # fmt: skip
    except exceptions.MultipleObjectsReturned:
        raise Rejected("several objects of that label", where(place), "say id= too") from None


def _token(place: TokenKey) -> Any:

    if not os.path.isfile(place.module):  # noqa: PTH113 - a text from a file, not yet a path
        raise ConfigError("no such PKCS#11 module", place.module, "install the token's driver")
    try:
        tokens = list(pkcs11.lib(place.module).get_tokens(token_flags=TokenFlag.TOKEN_INITIALIZED))
    except exceptions.PKCS11Error as error:
        raise ConfigError(f"not a PKCS#11 module: {error}", place.module, "check it") from None
    found = [t for t in tokens if t.label == place.token
             and place.serial in ("", t.serial.decode("ascii", "replace").strip())]  # fmt: skip
    if not found:
        there = ", ".join(sorted({t.label for t in tokens})) or "none"
        raise Unreachable("no such token", where(place), f"plug it in; there are: {there}")
    if len(found) > 1:
        raise Rejected("several tokens of that label", where(place), "say serial= too")
    return found[0]


def _failed(error: Exception, place: TokenKey) -> Unreachable:
    what = f"{type(error).__name__} {error}".strip()
    return Unreachable(f"the token fails: {what}", where(place), "plug it in again")
