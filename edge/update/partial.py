"""Downloads that were cut, kept until a later session goes on with them.

In: the sha-256 that a file must have. Out: an open file, as long as what came so far.
Always holds: a partial is unverified bytes and has no other name than the hash it should have
one day; at most PARTIALS_MAX of them and `bytes_max` bytes in all, the oldest go first.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from io import FileIO
from pathlib import Path

PARTIALS_MAX = 4  # assumption: one cut download per session, and few sessions until one is whole
DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class Partials:
    """A folder of our own."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        self._folder, self._bytes_max = folder, bytes_max

    def open(self, digest: str, length: int) -> FileIO:
        """Unbuffered, so that whatever ends this process loses nothing of it; at its end.

        length: that the file is to have; a partial that is longer is not one of it.
        """
        assert DIGEST.match(digest)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / digest
        self._make_room(path, length)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = FileIO(os.open(path, flags, 0o600), "r+b")
        if file.seek(0, os.SEEK_END) > length:
            file.truncate(0)
            file.seek(0)
        return file

    def drop(self, digest: str) -> None:
        with suppress(FileNotFoundError):
            (self._folder / digest).unlink()

    def _make_room(self, wanted: Path, length: int) -> None:
        kept = []
        for path in self._folder.iterdir():
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode):
                path.unlink()  # nobody of ours put it there
            elif path != wanted:
                kept.append((found.st_mtime_ns, found.st_size, path))
        kept.sort(reverse=True)
        room = self._bytes_max - length
        for number, (_, size, path) in enumerate(kept):
            room -= size
            if number >= PARTIALS_MAX - 1 or room < 0:
                path.unlink()
