"""Requests of people aboard: accept a set, go back, look at the media. One small file each.

In: a command of `tailtwin-edge`. Out: files in `state/requests/`, which the recorder takes up.
Always holds: a request is whole or not there; one that is not what it should be, too large or one
too many is put away unread, and said to be; whoever can write the state folder is trusted, as with
everything else in it, but opens no gate by it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edge.update.disk import PosixDisk, write_durably
from shared.errors import Rejected
from shared.files import sync_folder

REQUEST_BYTES_MAX = 4096
WAITING_MAX = 16
FOLDER = "requests"
_SUFFIX = ".json"

By = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\A[^\x00-\x1f\x7f]+\Z")]
Reason = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\A[^\x00-\x1f\x7f]+\Z")]
SetId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z")]


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    by: By


class Accept(_Request, frozen=True, kw_only=True, tag="accept"):
    """A technician accepts a set that waits for it."""

    set_id: SetId


class Rollback(_Request, frozen=True, kw_only=True, tag="rollback"):
    """This set is to be left for the last known good one, once the gate is open: the one that
    was live when somebody asked, whatever went live since."""

    set_id: SetId
    reason: Reason


class Look(_Request, frozen=True, kw_only=True, tag="look"):
    """Look at whatever is directed, once the gate is open."""


Request = Accept | Rollback | Look


def leave(state_dir: Path, request: Request) -> Path:
    """Write a request for the recorder. Rejected when it says too much, or too many wait."""
    data = msgspec.json.encode(request)
    decode(data, "request")
    folder = state_dir / FOLDER
    if not state_dir.is_dir():
        raise Rejected("no such state folder", str(state_dir), "name the one of the recorder")
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:  # `sudo tailtwin-edge accept`: the recorder's account has to take it
        owner = state_dir.stat()
        os.chown(folder, owner.st_uid, owner.st_gid, follow_symlinks=False)
    if len(_waiting(folder)) >= WAITING_MAX:
        raise Rejected(f"{WAITING_MAX} requests wait already", str(folder), "is the edge running?")
    path = folder / f"{os.getpid()}-{os.urandom(4).hex()}{_SUFFIX}"
    write_durably(PosixDisk(), path, data)
    return path


def take(state_dir: Path) -> tuple[list[Request], list[str]]:
    """What waits, oldest first, and what was wrong with the others. Each is there once: it is gone
    from the folder before anybody acts on it."""
    found: list[Request] = []
    faults: list[str] = []
    try:
        waiting = _waiting(state_dir / FOLDER)
    except OSError as error:
        return [], [f"{FOLDER}: {error.strerror}"]
    for path in waiting[:WAITING_MAX]:
        try:
            data = _read(path)
            path.unlink()
            sync_folder(path.parent)
            found.append(decode(data, path.name))
        except (Rejected, OSError) as error:
            faults.append(str(error).partition("\n")[0][:200])
    return found, faults


def decode(data: bytes, where: str) -> Request:
    """A request, or Rejected."""
    if len(data) > REQUEST_BYTES_MAX:
        raise Rejected(f"over {REQUEST_BYTES_MAX} bytes", where)
    try:
        request: Request = msgspec.json.decode(data, type=Request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(f"no request: {error}", where, "see docs/runbooks/updates.md") from None
    return request


def _read(path: Path) -> bytes:
    """No link is followed, and nothing is waited for that is not a file after all."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(REQUEST_BYTES_MAX + 1)


def _waiting(folder: Path) -> list[Path]:
    """Request files, oldest first. A link or a folder is none."""
    try:
        files = [
            (entry.stat(follow_symlinks=False).st_mtime_ns, entry.path)
            for entry in os.scandir(folder)
            if entry.name.endswith(_SUFFIX) and not entry.name.startswith(".")
            and entry.is_file(follow_symlinks=False)
        ]  # fmt: skip
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [Path(path) for _, path in sorted(files)]
