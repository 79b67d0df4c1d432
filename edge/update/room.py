"""Where an update may be put: a disk, with room for it.

In: a folder. Out: whether it is memory, how much is free.
Always holds: a folder whose file system nobody can name counts as memory.
"""

from __future__ import annotations

import os
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
MEMORY_KINDS = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})
SPARE_BYTES = 16 << 20
"""Assumption: what must stay free for records while an update comes in."""


def free_bytes(folder: Path) -> int:
    """What this process may still write there."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def is_memory(folder: Path, mounts: Path = MOUNTS) -> bool:
    """Whether what is written there is gone with the power, by the kernel's table of mounts."""
    kind = file_system(folder.resolve(), mounts.read_text("utf-8", "surrogateescape"))
    return kind == "" or kind in MEMORY_KINDS


def file_system(folder: Path, mountinfo: str) -> str:
    """The kind of file system that an absolute folder is on; empty when the table has none."""
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        fields, _, after = line.partition(" - ")
        point = _unescaped(fields.split()[4]) if len(fields.split()) > 4 else ""
        depth = len(Path(point).parts)
        if point and after and depth >= best and folder.is_relative_to(point):  # the last one wins
            best, kind = depth, after.split()[0]
    return kind


def _unescaped(text: str) -> str:
    """proc(5): space, tab, newline and backslash are octal."""
    for escape, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escape, character)
    return text
