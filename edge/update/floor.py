"""The time floor: a wall time that this aircraft has proved to be past, and how to set it anew.

In: proved times (metadata that offline keys signed, the ground's signed answer, both cut by the
caller), root-signed resets. Out: the floor, the nonce that the next reset has to name.
Always holds: it only grows, over restarts too, but for a reset, and each reset counts once; a
floor that cannot be read judges nothing.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edge.update.disk import Disk, write_durably
from shared.errors import Corrupt

FILE = "time_floor.json"
BUILT_NS = 1_767_225_600_000_000_000  # 2026-01-01: no build of this code is older
TIME_NS_MAX = 1 << 62  # the year 2116
NONCE_BYTES = 16
BYTES_MAX = 1024

TimeNs = Annotated[int, Meta(ge=0, le=TIME_NS_MAX)]


class Anchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a reset said, at what monotonic time of which boot; it counts until `until_ns`."""

    boot: str
    mono_ns: int
    time_ns: TimeNs
    until_ns: TimeNs

    def now_ns(self, boot: str, mono_ns: int) -> int | None:
        """The time by this anchor; None in another boot or when the reset is over."""
        if boot != self.boot or mono_ns < self.mono_ns:
            return None
        now_ns = self.time_ns + mono_ns - self.mono_ns
        return now_ns if now_ns <= self.until_ns else None


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """nonce and anchor came later: older files go without them."""

    floor_ns: TimeNs
    nonce: str = ""
    anchor: Anchor | None = None


class TimeFloor:
    """Persisted at `path`, floor and nonce in one file: a reset counts once, whenever power goes."""

    def __init__(self, path: Path, disk: Disk, built_ns: int = BUILT_NS) -> None:
        self._path, self._disk, self._built_ns = path, disk, built_ns
        self._stored = self._load()

    @property
    def ns(self) -> int:
        return max(self._built_ns, self._stored.floor_ns)

    @property
    def anchor(self) -> Anchor | None:
        return self._stored.anchor

    def nonce(self) -> str:
        """What the next reset has to name; made, and remembered, when there is none yet."""
        if not self._stored.nonce:
            self._write(msgspec.structs.replace(self._stored, nonce=_new_nonce()))
        return self._stored.nonce

    def reference(self, wall_ns: int) -> datetime:
        """The wall clock where it is past the floor, else the floor."""
        return datetime.fromtimestamp(max(wall_ns, self.ns) // 1_000_000_000, UTC)

    def raise_to(self, proved_ns: int) -> None:
        """Remember a proved time; an earlier one changes nothing."""
        if proved_ns > self.ns:
            self._write(msgspec.structs.replace(self._stored, floor_ns=proved_ns))

    def reset(self, time_ns: int, anchor: Anchor) -> None:
        """What enough root keys said holds, be it earlier; the nonce they named is used up."""
        self._write(_Stored(max(0, min(time_ns, TIME_NS_MAX)), _new_nonce(), anchor))

    def _write(self, stored: _Stored) -> None:
        write_durably(self._disk, self._path, msgspec.json.encode(stored))
        self._stored = stored

    def _load(self) -> _Stored:
        data = self._disk.read(self._path, BYTES_MAX)
        if data is None:
            return _Stored(0)
        try:
            return msgspec.json.decode(data, type=_Stored)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Corrupt(
                "the time floor is unreadable",
                str(self._path),
                "provision again: tailtwin-edge init",
            ) from None


def _new_nonce() -> str:
    return secrets.token_hex(NONCE_BYTES)
