"""The file-system calls that updates rest on, each one a step that the power may fail at.

In: paths and bytes. Out: durable files.
Always holds: what `write` returned from is durable in content; its name is durable once the
folder is synced.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol

from shared.errors import Corrupt
from shared.files import sync_folder


class Disk(Protocol):
    """What slots and trust need of a file system; tests put a failing one in its place."""

    def read(self, path: Path, bytes_max: int) -> bytes | None:
        """The content; None when there is no such file; Corrupt above `bytes_max`."""

    def write(self, path: Path, data: bytes) -> None:
        """Write and fsync the file, not its folder."""

    def rename(self, old: Path, new: Path) -> None: ...
    def sync_folder(self, path: Path) -> None: ...
    def make_folder(self, path: Path) -> None: ...
    def remove_tree(self, path: Path) -> None: ...


class PosixDisk:
    """The machine's own."""

    def read(self, path: Path, bytes_max: int) -> bytes | None:
        try:
            with path.open("rb") as file:
                data = file.read(bytes_max + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if len(data) > bytes_max:
            raise Corrupt(f"over {bytes_max} bytes", str(path), "restore it or provision again")
        return data

    def write(self, path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def rename(self, old: Path, new: Path) -> None:
        old.replace(new)

    def sync_folder(self, path: Path) -> None:
        sync_folder(path)

    def sync_file(self, path: Path) -> None:
        self._sync(path, os.O_RDONLY)

    def make_folder(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)

    def remove_tree(self, path: Path) -> None:
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            pass

    @staticmethod
    def _sync(path: Path, flags: int) -> None:
        descriptor = os.open(path, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_durably(disk: Disk, path: Path, data: bytes) -> None:
    """Write aside, fsync, rename, fsync the folder: old or new, never half."""
    aside = path.with_name(f".{path.name}.tmp")
    disk.write(aside, data)
    disk.rename(aside, path)
    disk.sync_folder(path.parent)
