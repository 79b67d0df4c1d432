"""Both repositories and all their keys in one folder, and aircraft that read them with python-tuf.

Times are of the machine's own day, because python-tuf goes by it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater

from signing.declare import Declared
from signing.director import DirectorRepository
from signing.image import ImageRepository
from signing.keys import KeyFolder
from signing.repositories import Repositories
from signing.rolekeys import KeyChange
from signing.verify import Applicability

NOW = datetime.now(UTC).replace(microsecond=0)
FITS = Applicability(types=("B737-800",))


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


@cache
def _made(at: datetime) -> Path:
    """Keys and both repositories, once a process; each desk is a copy."""
    made = tempfile.TemporaryDirectory(prefix="tailtwin-desk-")
    _KEPT.append(made)
    folder = Path(made.name)
    Repositories(folder / "repo", at).create(KeyFolder(folder / "keys"))
    return folder


class FolderFetcher(FetcherInterface):
    """A source that is a folder."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            data = Path(url).read_bytes()
        except FileNotFoundError:
            raise DownloadHTTPError(url, 404) from None
        return iter([data])


class Desk:
    """Whoever has every key. at: the time of the next ceremony."""

    def __init__(self, folder: Path, at: datetime = NOW) -> None:
        self.folder, self.at = folder, at
        self.keys = KeyFolder(folder / "keys")
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("repo", "keys"):
            shutil.copytree(_made(at) / name, folder / name)

    @property
    def repositories(self) -> Repositories:
        return Repositories(self.folder / "repo", self.at)

    @property
    def image(self) -> ImageRepository:
        return self.repositories.image

    @property
    def director(self) -> DirectorRepository:
        return self.repositories.director

    def publish(
        self, release: int, name: str = "egt", role: str = "targets", **more: object
    ) -> str:
        one = declared(release, name, **more)  # type: ignore[arg-type]  # parent and tail
        self.image.publish(self.keys, [one], role)
        folder = f"cal/{one.tail}/" if one.tail else ""
        return f"{folder}{name}/{one.file.name}"

    def direct(self, tail: str, *targets: str) -> None:
        """A tail's set; its role when it has none yet."""
        if f"tail-{tail}" not in {r.role for r in self.director.inspect().roles}:
            delegated = self.director.chain().targets().delegations
            if not delegated or f"tail-{tail}" not in (delegated.roles or {}):
                self.director.add_tail(self.keys, tail)
        self.director.assign(self.keys, tail, targets, self.image)

    def rotate(self, role: str, old: str, new: str) -> None:
        key = self.keys.create(new).public_key
        key.unrecognized_fields["x-tailtwin-name"] = new
        self.repositories.change_keys(self.keys, KeyChange(role, add=key, remove=old))

    def refresh(self) -> None:
        self.image.refresh(self.keys)
        self.director.refresh(self.keys)

    def later(self, days: float) -> None:
        self.at += timedelta(days=days)

    def metadata(self, repository: str, name: str) -> Path:
        return self.folder / "repo" / repository / "metadata" / name


class Reader:
    """An aircraft's two TUF clients, provisioned with the roots of the day it was built."""

    def __init__(self, folder: Path, desk: Desk) -> None:
        self._folder, self._desk = folder, desk
        self._roots = {
            name: desk.metadata(name, "1.root.json").read_bytes() for name in ("image", "director")
        }

    def client(self, repository: str) -> Updater:
        folder = self._folder / repository
        folder.mkdir(parents=True, exist_ok=True)
        bootstrap = self._roots[repository] if not (folder / "root.json").exists() else None
        base = self._desk.folder / "repo" / repository
        return Updater(
            str(folder), str(base / "metadata"), str(folder), str(base / "targets"),
            fetcher=FolderFetcher(), bootstrap=bootstrap,
        )  # fmt: skip

    def image(self, path: str) -> TargetFile | None:
        return self.client("image").get_targetinfo(path)

    def directed(self, tail: str, path: str) -> TargetFile | None:
        return self.client("director").get_targetinfo(f"{tail}/{path}")


def declared(
    release: int, name: str = "egt", applicability: Applicability = FITS, parent: str = "",
    tail: str = "",
) -> Declared:  # fmt: skip
    return Declared(
        file=Path(f"{name}-{release}.tar.zst"), data=f"{name} {release} {tail}".encode(), name=name,
        release=release, applicability=applicability, parent=parent, tail=tail,
    )  # fmt: skip
