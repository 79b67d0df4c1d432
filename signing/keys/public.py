"""The public half of a key, `{name}.pub.json`: what others are given.

In: a key and its kind, or the file. Out: the file, or the key. Always holds: the file is written
before the private half and never over another, so it reserves the name for one store; a keyid is
the SHA-256 of what it names, so one key has one keyid and one person one signature.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from securesystemslib.exceptions import FormatError
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Key

from shared.errors import Rejected
from shared.files import read_bounded, sync_folder
from shared.settings import ERROR_CHARS_MAX

PUBLIC_BYTES_MAX = 16 * 1024  # a composite key's takes 4.2 kB
NO_KEY = (msgspec.DecodeError, FormatError, ValueError, KeyError, TypeError, RecursionError)
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


class PublicFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """keyid, kind: of the store, without what follows its colon. key: as TUF metadata has it."""

    kind: str
    keyid: str
    key: dict[str, object]


def keyid_of(key: dict[str, object]) -> str:
    """The keyid that securesystemslib gives a key: of its canonical JSON."""
    named = {field: key[field] for field in ("keytype", "scheme", "keyval")}
    canonical = encode_canonical(named)
    assert isinstance(canonical, str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def path_of(folder: Path, name: str) -> Path:
    return folder / f"{name}.pub.json"


@contextmanager
def reserved(folder: Path, name: str, kind: str, key: Key) -> Iterator[None]:
    """Write the public half, before the private one in here; Rejected when one is there."""
    path = path_of(folder, name)
    data = msgspec.json.encode(PublicFile(kind, key.keyid, key.to_dict()))
    try:
        write_new(path, msgspec.json.format(data) + b"\n", 0o644)
    except FileExistsError:
        raise taken(path) from None
    try:
        yield
    except BaseException:
        path.unlink()
        raise


def read_public(folder: Path, name: str) -> tuple[str, Key]:
    """The kind and the key; Rejected where the file is not one, or names itself wrongly."""
    path = path_of(folder, name)
    if not path.exists():
        raise Rejected("no such public key", str(path), "fetch it from whoever holds the key")
    data = read_bounded(path, PUBLIC_BYTES_MAX, "this is no public key file")
    try:
        file = msgspec.json.decode(data, type=PublicFile)
        if keyid_of(file.key) != file.keyid:
            raise ValueError("the keyid is not of this key")
        return file.kind, Key.from_dict(file.keyid, dict(file.key))
    except NO_KEY as error:
        raise Rejected(
            f"not a public key: {str(error)[:ERROR_CHARS_MAX]}", str(path), "fetch it again"
        ) from None


def taken(path: Path) -> Rejected:
    return Rejected("a key is there already", str(path), "use another name, or an empty folder")


def write_new(path: Path, data: bytes, mode: int) -> None:
    """A file that was not there; durable when this returns. FileExistsError otherwise."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except BaseException:
        path.unlink()  # half of it would keep the name
        raise
