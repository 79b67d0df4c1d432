"""One aircraft before one source of updates, for one attack.

In: a `Fleet` and a folder. Out: `Scene`: a copy of the fleet's repositories to lie with, an
aircraft whose first set is live, and what its session answers.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Generator, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from edge.update.provision import provision
from edge.update.recheck import recheck
from edge.update.session import fetch_set
from edge.update.slots import BundleSet, Slots
from edge.update.sources import Source, open_source
from edge.update.verified import (
    FetchAnswer,
    FetchFailure,
    FetchRequest,
    RecheckBundle,
    RecheckRequest,
    VerifiedSet,
)
from signing.verify import Aircraft
from tests.tamper.fleet import AIRCRAFT, NOW, POLICY, Fleet
from tests.tamper.forge import ROGUES, Forger, Loot, put

REPOSITORIES = ("image", "director")
DRIP_S = 0.01


def linked(folder: Path, to: Path) -> None:
    """A copy of hard links: a file is written anew (`put`), never in place."""
    shutil.copytree(folder, to, symlinks=True, copy_function=os.link)


class Wall:
    """A wall clock that an attack sets, beside the machine's own monotonic one."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def mono_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return int(self.now.timestamp()) * 1_000_000_000


class Dripping:
    """Opens sources that give some of their files a byte at a time. only: of one folder."""

    def __init__(self, drips: str, only: str = "") -> None:
        self._drips, self._only = drips, only

    def __call__(self, text: str) -> Source:
        source = open_source(text)
        if self._only in text:
            read = source.read
            source.read = lambda path, offset=0: (  # type: ignore[method-assign]  # a peer that lies
                self._slow(read(path, offset)) if self._drips in path else read(path, offset)
            )
        return source

    @staticmethod
    def _slow(pieces: Iterable[bytes]) -> Generator[bytes, None, None]:
        for piece in pieces:
            for byte in piece:
                time.sleep(DRIP_S)
                yield bytes([byte])


class Named:
    """Opens a folder as if it were another kind of source."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, text: str) -> Source:
        source = open_source(text)
        source.name = self._name  # type: ignore[misc]  # ours is a plain attribute
        return source


class Scene:
    """`repo` is what the source serves; `state` is the aircraft's, its set of day 0 live."""

    def __init__(self, fleet: Fleet, folder: Path, template: Path | None = None) -> None:
        self.fleet, self.folder = fleet, folder
        self.repo, self.state = folder / "repo", folder / "state"
        self.clock, self.aircraft = Wall(), AIRCRAFT
        self.opened: Callable[[str], Source] = open_source
        self.serve(fleet.day0)
        self.slots = Slots(self.state)
        if template is not None:
            linked(template, self.state)
        else:
            self._deliver()
        live = self.slots.live()
        assert live is not None
        self.live: BundleSet = live

    def _deliver(self) -> None:
        """As the shop does: both roots, then the first set."""
        provision(
            self.state / "tuf",
            *((self.repo / name / "metadata/1.root.json").read_bytes() for name in REPOSITORIES),
        )
        first = self.look()
        assert isinstance(first, VerifiedSet), first
        self.slots.install_first(first.bundles)

    def saved(self, to: Path) -> Path:
        """A copy of the aircraft's state, to begin again from."""
        linked(self.state, to)
        return to

    # -- the source

    def serve(self, repo: Path) -> None:
        """A copy of one of the fleet's repositories; what was served before is gone."""
        shutil.rmtree(self.repo, ignore_errors=True)
        linked(repo, self.repo)

    def copy(self, to: Path) -> None:
        """What the source serves now, for another source."""
        linked(self.repo, to)

    def put(self, path: str, data: bytes) -> None:
        """Let the source have other bytes: `image/metadata/timestamp.json`."""
        put(self.repo / path, data)

    def read(self, path: str) -> bytes:
        return (self.repo / path).read_bytes()

    def bundle(self, label: str) -> str:
        """Where the source has a bundle of the fleet."""
        folder, _, name = self.fleet.targets[label].rpartition("/")
        (found,) = (self.repo / "image/targets" / folder).glob(f"*.{name}")
        return found.relative_to(self.repo).as_posix()

    def loot(self, stolen: Iterable[str]) -> Loot:
        return Loot(self.fleet.keys.load(name) for name in stolen)

    def thief(self, name: str, *stolen: str) -> Forger:
        """Somebody who has these keys, at work on the image or the director repository."""
        own = ROGUES[:6] if name == "image" else ROGUES[6:]
        return Forger(self.repo / name, self.loot(stolen), own)

    # -- the aircraft

    def with_engines(self, *esns: str) -> Aircraft:
        return msgspec.structs.replace(self.aircraft, esns=esns)

    def look(self, **changes: Any) -> FetchAnswer:
        """One session, as the aircraft's child would have it."""
        view = self.slots.view()
        request = FetchRequest(
            folder=str(self.state / "tuf"), sources=(f"file://{self.repo}",),
            aircraft=self.aircraft, releases=view.releases, held=view.held, attestation=POLICY,
            deadline_s=20.0, step_s=10.0, staging_may_be_memory=True,
        )  # fmt: skip
        return fetch_set(
            msgspec.structs.replace(request, **changes), self.clock, opened=self.opened
        )

    def against_live(self) -> list[str]:
        """What stands against the live set at the next start."""
        live = self.slots.live()
        assert live is not None
        bundles = tuple(
            RecheckBundle(target=b.path, release=b.release, sha256=b.sha256, path=str(live.path(b)))
            for b in live.bundles
        )
        return recheck(
            RecheckRequest(folder=str(self.state / "tuf"), bundles=bundles, attestation=POLICY)
        )

    def assert_unharmed(self) -> None:
        """Last known good still runs, and is trusted at the next start."""
        live = self.slots.live()
        assert live is not None and live.id == self.live.id and not live.muted
        assert self.against_live() == []

    def refused(self, **changes: Any) -> FetchFailure:
        """A session that has to fail, and to leave everything as it was."""
        answer = self.look(**changes)
        assert isinstance(answer, FetchFailure), answer
        self.assert_unharmed()
        return answer
