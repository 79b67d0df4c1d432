"""The keys below one folder, each under a name and in a store of its own kind.

In: a folder, a key's name, its kind, a passphrase or a PIN. Out: a signer, or the public half.
Always holds: a name is of one store, and its key is never written over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from securesystemslib.signer import Key, Signer

from shared.errors import Rejected
from signing.keys import keyfile, public
from signing.verify.composite import register

register()  # public halves of composite keys are read here

Pin = Callable[[str], str]  # asked for what (a token's name); gives the PIN, or raises Rejected
PRIVATE_ENDS = ("pem", "toml")


def no_pin(what: str) -> str:
    raise Rejected(f"{what} asks for a PIN", remedy="see --pin-file")


class KeyFolder:
    """The keys below one folder. Offline and online keys may lie in different folders."""

    def __init__(self, folder: Path, passphrase: bytes | None = None, pin: Pin = no_pin) -> None:
        self.folder, self._passphrase, self._pin = folder, passphrase, pin

    def path(self, name: str) -> Path:
        """Where the private half of a key in a file lies."""
        return self.folder / f"{name}.pem"

    def create(self, name: str, kind: str = "ed25519") -> Signer:
        """A new key; Rejected when one of that name is there, in whatever store."""
        if not re.fullmatch(public.NAME, name):
            raise Rejected(f"not a key's name: {name!r}", remedy="letters, digits, `.`, `_`, `-`")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for end in (*PRIVATE_ENDS, "pub.json"):
            if (there := self.folder / f"{name}.{end}").exists():
                raise public.taken(there)
        if kind not in keyfile.KINDS:
            raise Rejected(f"no such kind of key: {kind}", remedy=" | ".join(keyfile.KINDS))
        signer, private = keyfile.make_key(kind)
        public.reserve(self.folder, name, kind, signer.public_key)
        keyfile.write_key(self.path(name), private, self._passphrase)
        return signer

    def load(self, name: str) -> Signer:
        """The signer of that name, from whatever store it lies in."""
        return keyfile.read_key(self.path(name), self._passphrase)

    def public(self, name: str) -> Key:
        """The public half, which needs no passphrase, PIN or device."""
        return public.read_public(self.folder, name)[1]
