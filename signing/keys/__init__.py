"""Signing keys: a folder of them, whatever store each lies in. See docs/runbooks/key-stores.md."""

from signing.keys.folder import KeyFolder
from signing.keys.passphrase import read_passphrase
from signing.keys.pin import Pin, pin_of

__all__ = ["KeyFolder", "Pin", "pin_of", "read_passphrase"]
