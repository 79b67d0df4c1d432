"""Blobs: bytes by their sha-256.

In: bytes. Out: files `blobs/{first two digits}/{sha256}`, and the bytes again.
Always holds: a file appears by rename, complete and synced; what is read is what was named, or
Corrupt. Several processes may write the same blob at once.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from shared.errors import Corrupt, Rejected
from shared.files import sync_folder

_NAME = re.compile(r"[0-9a-f]{64}\Z")


class Blobs:
    """One folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, data: bytes) -> str:
        """Its name, once it is durable."""
        name = hashlib.sha256(data).hexdigest()
        path = self._path(name)
        if path.exists():
            return name
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(aside).replace(path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
        return name

    def get(self, name: str) -> bytes:
        """Corrupt when it is not there or not what its name says."""
        path = self._path(name)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise Corrupt(f"cannot read: {error.strerror}", str(path), "reconcile again") from None
        if hashlib.sha256(data).hexdigest() != name:
            raise Corrupt("not what its name says", str(path), "remove it, and reconcile again")
        return data

    def remove(self, name: str) -> None:
        """Nobody names it any more."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        if not _NAME.match(name):
            raise Rejected("not a sha-256 in hex", name[:80])
        return self._folder / name[:2] / name
