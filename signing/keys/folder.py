"""The keys below one folder, each under a name and in a store of its own kind.

In: a folder, a key's name, its kind, a passphrase or a PIN. Out: a signer, or the public half.
Always holds: a name is of one store, and its key is never written over; a signer's public half
is the one that others were given.
"""

from __future__ import annotations

import re
from pathlib import Path

from securesystemslib.signer import Key, Signer

from shared.errors import ConfigError, Corrupt, Rejected
from signing.keys import keyfile, public, tpm
from signing.keys.device import DeviceKey, TokenKey, read_device, write_device
from signing.keys.pin import Pin, no_pin
from signing.verify.composite import register

register()  # public halves of composite keys are read here
KINDS = "ed25519 | composite | pkcs11:… | tpm:…"


class KeyFolder:
    """The keys below one folder. Offline and online keys may lie in different folders."""

    def __init__(self, folder: Path, passphrase: bytes | None = None, pin: Pin = no_pin) -> None:
        self.folder, self._passphrase, self._pin = folder, passphrase, pin

    def path(self, name: str) -> Path:
        """Where the private half lies, or what leads to it."""
        device = self.folder / f"{name}.toml"
        return device if device.exists() else self.folder / f"{name}.pem"

    def create(self, name: str, kind: str = "ed25519") -> Signer:
        """A new key; Rejected when one of that name is there, in whatever store.

        kind: `ed25519` | `composite` (in a file, under the passphrase) |
        `pkcs11:token=LABEL?module-path=/…/module.so` (RFC 7512) | `tpm:` and a TCTI or nothing.
        """
        self._need_free(name)
        store, _, place = kind.partition(":")
        signer: Signer
        if kind in keyfile.KINDS:
            signer, private = keyfile.make_key(kind)
            with public.reserved(self.folder, name, kind, signer.public_key):
                keyfile.write_key(self.path(name), private, self._passphrase)
        elif store == "pkcs11":
            signer = self._in_token(name, kind)
        elif store == "tpm":
            signer, in_tpm = tpm.make(place or tpm.DEVICE, self._pin, name)
            self._keep(name, store, in_tpm, signer.public_key)
        else:
            raise Rejected(f"no such kind of key: {kind}", remedy=KINDS)
        return signer

    def adopt(self, name: str, kind: str) -> Signer:
        """A key that is in a PKCS#11 token already, made with its vendor's tool."""
        self._need_free(name)
        if not kind.startswith("pkcs11:"):
            raise Rejected(f"cannot take over a key of kind {kind}", remedy="pkcs11:…")
        _need_pkcs11(kind)
        from signing.keys import token

        signer, at = token.adopt(token.parse(kind, name), self._pin)
        self._keep(name, "pkcs11", at, signer.public_key)
        return signer

    def load(self, name: str) -> Signer:
        """The signer of that name, from whatever store it lies in, ready to sign."""
        path, file = self.path(name), self.folder / f"{name}.pem"
        if path != file and file.exists():
            raise Rejected("two keys of one name", f"{path}, {file}", "take the wrong one away")
        if path == file:
            signer = keyfile.read_key(path, self._passphrase)
            if public.path_of(self.folder, name).exists() and (
                signer.public_key.keyid != self.public(name).keyid
            ):
                raise Corrupt("the private key is not of its public file", str(path), "see both")
            return signer
        at = read_device(path)
        if isinstance(at, TokenKey):
            _need_pkcs11(str(path))
            from signing.keys.token import TokenSigner

            in_token = TokenSigner(at, self.public(name), self._pin)
            in_token.check()
            return in_token
        in_tpm = tpm.TpmSigner(at, self.public(name), self._pin, name)
        in_tpm.check()
        return in_tpm

    def public(self, name: str) -> Key:
        """The public half, which needs no passphrase, PIN or device."""
        return public.read_public(self.folder, name)[1]

    def kind(self, name: str) -> str:
        """`ed25519`, `composite`, `pkcs11` or `tpm`."""
        return public.read_public(self.folder, name)[0]

    def _need_free(self, name: str) -> None:
        if not re.fullmatch(public.NAME, name):
            raise Rejected(f"not a key's name: {name!r}", remedy="letters, digits, `.`, `_`, `-`")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for end in ("pem", "toml", "pub.json"):
            if (there := self.folder / f"{name}.{end}").exists():
                raise public.taken(there)

    def _in_token(self, name: str, kind: str) -> Signer:
        _need_pkcs11(kind)
        from signing.keys import token

        signer, at = token.make(token.parse(kind, name), self._pin)
        try:
            self._keep(name, "pkcs11", at, signer.public_key)
        except BaseException:
            signer.take_back()
            raise
        return signer

    def _keep(self, name: str, kind: str, at: DeviceKey, key: Key) -> None:
        with public.reserved(self.folder, name, kind, key):
            write_device(self.folder / f"{name}.toml", at)


def _need_pkcs11(where: str) -> None:
    """Not everybody has the library: before signing.keys.token is imported."""
    try:
        import pkcs11  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"no PKCS#11 library: {error}", where, "install the extra `signing-hsm`"
        ) from None
