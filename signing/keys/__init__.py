"""Signing keys: a folder of them, whatever store each lies in. See docs/runbooks/key-stores.md."""

from signing.keys.folder import KeyFolder
from signing.keys.passphrase import read_passphrase

__all__ = ["KeyFolder", "read_passphrase"]
