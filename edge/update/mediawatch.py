"""Media at the stand: notices when a configured media folder appears.

In: the profile's sources. Out: whether one of them came since the last look. Always holds: a folder
is news once each time it appears; looking blocks, so it is done in a thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

TIMESTAMP = Path("image", "metadata", "timestamp.json")
"""What every source has, if it has anything."""


class MediaWatch:
    """sources: as in `[update] sources`; only `file:` ones are folders."""

    def __init__(self, sources: Iterable[str]) -> None:
        parts = [urlsplit(source) for source in sources]
        self._there = {Path(unquote(p.path)): False for p in parts if p.scheme == "file"}

    def appeared(self) -> list[str]:
        """Folders that came since the last call."""
        came = []
        for folder, was_there in self._there.items():
            try:
                is_there = (folder / TIMESTAMP).is_file()
            except OSError:  # a stick that is being pulled out
                is_there = False
            if is_there and not was_there:
                came.append(str(folder))
            self._there[folder] = is_there
        return came

    def __bool__(self) -> bool:
        return bool(self._there)
