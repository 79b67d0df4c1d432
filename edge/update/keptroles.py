"""Metadata that this aircraft trusts, as it lies on disk: versions, and when it expires.

In: the folder of both repositories' trust. Out: one `KeptRole` a file. For people and reports only:
nothing is verified here, and nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from edge.update.disk import PosixDisk
from shared.errors import Corrupt

ROLES_MAX = 16
METADATA_BYTES_MAX = 4 << 20
REPOSITORIES = ("image", "director")


class KeptRole(msgspec.Struct, frozen=True, kw_only=True):
    """expires: RFC 3339, as it says itself."""

    repository: str
    role: str
    version: int
    expires: str


class _Signed(msgspec.Struct):
    version: int
    expires: str = ""


class _Metadata(msgspec.Struct):
    signed: _Signed


def kept_roles(folder: Path) -> list[KeptRole]:
    """folder: `state/tuf`. A file that says nothing readable is left out."""
    found = []
    for repository in REPOSITORIES:
        for path in sorted((folder / repository / "metadata").glob("*.json"))[:ROLES_MAX]:
            try:
                data = PosixDisk().read(path, METADATA_BYTES_MAX) or b""
                signed = msgspec.json.decode(data, type=_Metadata).signed
            except (Corrupt, OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            if 0 < signed.version < 2**53:
                found.append(
                    KeptRole(repository=repository, role=path.stem, version=signed.version,
                             expires=signed.expires)
                )  # fmt: skip
    return found


def versions(roles: Iterable[KeptRole]) -> dict[str, dict[str, int]]:
    """Repository, then role."""
    found: dict[str, dict[str, int]] = {}
    for one in roles:
        found.setdefault(one.repository, {})[one.role] = one.version
    return found
