"""Update bytes from a folder: a maintenance laptop's share or a USB stick.

In: a folder and paths below it. Out: the files' bytes.
Always holds: only regular files, no link below the folder is followed, nothing on it blocks by
being a FIFO or a device; a stick pulled while it is read is a source that is gone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError

from edge.update.sources import CHUNK_BYTES, NoRange
from shared.below import open_below
from shared.errors import ConfigError


class MediaSource:
    """One folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_cut = threading.Event()
        self.name = f"file://{folder}"

    @classmethod
    def at(cls, text: str) -> MediaSource:
        """text: `file:///media/stick`."""
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise ConfigError("not a folder", "update.sources", "file:///folder, an absolute path")
        return cls(Path(unquote(parts.path)))

    def read(self, path: str, offset: int = 0) -> Generator[bytes, None, None]:
        self._is_cut.clear()
        if not self._folder.is_dir():
            raise DownloadError(f"there is no folder {self._folder}")
        try:
            descriptor = open_below(self._folder, path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DownloadHTTPError(f"no {path} in {self._folder}", 404) from error
        except OSError as error:
            raise DownloadError(f"{path} in {self._folder}: {error.strerror}") from error
        try:
            yield from self._pieces(descriptor, path, offset)
        except OSError as error:
            raise DownloadError(f"cannot go on reading {path}: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def _pieces(self, descriptor: int, path: str, offset: int) -> Generator[bytes, None, None]:
        length = os.fstat(descriptor).st_size
        if offset > length:
            raise NoRange(f"{path} has {length} bytes, not {offset}")
        while offset < length:
            piece = os.pread(descriptor, min(CHUNK_BYTES, length - offset), offset)
            if self._is_cut.is_set():
                raise SlowRetrievalError(f"not read in time: {path}")
            if not piece:
                raise DownloadError(f"{path} ended after {offset} of {length} bytes")
            offset += len(piece)
            yield piece

    def cut(self) -> None:
        self._is_cut.set()

    def close(self) -> None:
        pass
