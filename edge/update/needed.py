"""What an aircraft that was away needs before it takes updates again, in words.

In: the folder of trust, the time by the machine's clock. Out: a text for each thing, nothing when
nothing is needed.
Always holds: nothing is verified here and nothing decided, so that tuf is not carried; what runs
goes on running whatever this says.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from edge.update.disk import PosixDisk
from edge.update.floor import FILE, TimeFloor
from edge.update.trustedtime import trusted_time
from shared.errors import Corrupt

BYTES_MAX = 5_000_000  # python-tuf's own bound of one metadata file
ONLINE = (
    "a link (tailtwin-edge updates --look) or a newer medium; where that is expired too, the "
    "online keys sign again first (tailtwin-sign refresh)"
)
OFFLINE = (
    "its holders sign again, offline (docs/runbooks/signing.md), then a link or a newer medium"
)


class _Signed(msgspec.Struct):
    expires: str


class _File(msgspec.Struct):
    signed: _Signed


def what_is_needed(trust: Path, wall_ns: int) -> tuple[str, ...]:
    """trust: `state/tuf`."""
    disk = PosixDisk()
    if not (trust / "image" / "root.json").exists():
        return ("no roots: tailtwin-edge init --image-root FILE --director-root FILE",)
    try:
        floor = TimeFloor(trust / FILE, disk)
    except Corrupt as error:
        return (f"{error.what}: {error.remedy}",)
    time = trusted_time(floor.ns, wall_ns=wall_ns)
    needed = []
    if time is None:
        needed.append(
            f"no trusted time: the clock says {_day(wall_ns)}, it has been {_day(floor.ns)} already; "
            f"the ground, the bus or a time reset for nonce {floor.nonce()}"
        )
    now = _at(max(wall_ns, floor.ns))
    for repository in ("image", "director"):
        for path in sorted((trust / repository / "metadata").glob("*.json")):
            expires = _expires(disk, path)
            if expires is not None and expires <= now:
                role = path.stem
                remedy = ONLINE if _is_online(repository, role) else OFFLINE
                needed.append(
                    f"{role} of the {repository} repository expired {expires:%F}: {remedy}"
                )
    return tuple(needed)


def _is_online(repository: str, role: str) -> bool:
    return role in ("timestamp", "snapshot") or (repository == "director" and "tail-" in role)


def _expires(disk: PosixDisk, path: Path) -> datetime | None:
    """When kept metadata ends; None when it cannot be read: a session asks for it again."""
    try:
        data = disk.read(path, BYTES_MAX)
        if data is None:
            return None
        text = msgspec.json.decode(data, type=_File).signed.expires
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (msgspec.DecodeError, ValueError, RecursionError, Corrupt, OSError):
        return None


def _at(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // 10**9, UTC)


def _day(ns: int) -> str:
    return f"{_at(ns):%FT%RZ}"
