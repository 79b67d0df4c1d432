"""The time floor: a wall time that this aircraft has proved to be past.

In: proved times (metadata that offline keys signed, the ground's signed answer, both cut by the
caller). Out: the time to judge expiry by.
Always holds: it only grows, over restarts too; a floor that cannot be read judges nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from edge.update.disk import Disk, write_durably
from shared.errors import Corrupt

BUILT_NS = 1_767_225_600_000_000_000  # 2026-01-01: no build of this code is older
BYTES_MAX = 1024


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    floor_ns: Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


class TimeFloor:
    """Persisted at `path`."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path, self._disk = path, disk
        self._floor_ns = max(BUILT_NS, self._load())

    @property
    def ns(self) -> int:
        return self._floor_ns

    def reference(self, wall_ns: int) -> datetime:
        """The wall clock where it is past the floor, else the floor."""
        return datetime.fromtimestamp(max(wall_ns, self._floor_ns) // 1_000_000_000, UTC)

    def raise_to(self, proved_ns: int) -> None:
        """Remember a proved time; an earlier one changes nothing."""
        if proved_ns <= self._floor_ns:
            return
        write_durably(self._disk, self._path, msgspec.json.encode(_Stored(proved_ns)))
        self._floor_ns = proved_ns

    def _load(self) -> int:
        data = self._disk.read(self._path, BYTES_MAX)
        if data is None:
            return 0
        try:
            return msgspec.json.decode(data, type=_Stored).floor_ns
        except msgspec.DecodeError:
            raise Corrupt(
                "the time floor is unreadable", str(self._path), "provision again"
            ) from None
