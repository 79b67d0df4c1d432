"""What vouched for each set that came aboard, kept: the metadata that named its bundles then.

In: a set that verified, and the image repository that it verified in. Out: files, one folder a set.
Always holds: what a set that is aboard rests on is not thrown away; a session that is cut short,
or a new root without the metadata below it, takes nothing from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import msgspec

from edge.update.disk import PosixDisk, write_durably
from edge.update.trusted import METADATA_BYTES_MAX
from edge.update.verified import RecheckBundle, VerifiedBundle
from shared.errors import Corrupt
from signing.verify import set_id

SETS_MAX = 8
"""Kept at least; one that has a bundle aboard is kept beyond it."""
INDEX, INDEX_BYTES_MAX = "bundles.json", 64 * 1024


class Evidence:
    """`evidence/{set id}/` below the folder of trust."""

    def __init__(self, trust: Path, disk: PosixDisk | None = None) -> None:
        self._folder, self._disk = trust / "evidence", disk or PosixDisk()
        self._metadata = trust / "image" / "metadata"

    def folder(self, set_: str) -> Path:
        return self._folder / set_

    def keep(
        self, bundles: Sequence[VerifiedBundle], roles: Iterable[str], aboard: Collection[str]
    ) -> None:
        """Copy what names these bundles. roles: of the image repository, their files' names.
        aboard: sha-256 of what is held, whose evidence stays."""
        folder = self.folder(set_id(bundles))
        self._disk.make_folder(folder)
        for role in roles:
            data = self._disk.read(self._metadata / f"{role}.json", METADATA_BYTES_MAX)
            path = folder / f"{role}.json"
            if data is not None and data != self._disk.read(path, METADATA_BYTES_MAX):
                write_durably(self._disk, path, data)
        listed = [
            RecheckBundle(target=b.target, release=b.release, sha256=b.sha256) for b in bundles
        ]
        write_durably(self._disk, folder / INDEX, msgspec.json.encode(listed))
        self._forget(folder, set(aboard))

    def known(self) -> dict[str, str]:
        """sha-256 to image path of every bundle that there is evidence for."""
        return {b.sha256: b.target for folder in self._sets() for b in self._index(folder)}

    def _index(self, folder: Path) -> list[RecheckBundle]:
        try:
            data = self._disk.read(folder / INDEX, INDEX_BYTES_MAX)
            return [] if data is None else msgspec.json.decode(data, type=list[RecheckBundle])
        except (msgspec.DecodeError, UnicodeDecodeError, Corrupt):
            return []

    def _sets(self) -> list[Path]:
        return [p for p in self._folder.iterdir() if p.is_dir()] if self._folder.is_dir() else []

    def _forget(self, present: Path, aboard: set[str]) -> None:
        others = [
            p for p in self._sets()
            if p != present and not aboard & {b.sha256 for b in self._index(p)}
        ]  # fmt: skip
        others.sort(key=lambda p: (p / INDEX).stat().st_mtime_ns if (p / INDEX).exists() else 0)
        for old in others[: max(0, len(others) - SETS_MAX + 1)]:
            self._disk.remove_tree(old)
