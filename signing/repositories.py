"""Both repositories in one folder, and the keys that they begin with.

In: a folder, the time, a key folder. Out: `image/`, `director/` and `drafts/` below the folder.
Always holds: no key is named in both repositories; two of three sign each root.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, Delegations, Root, Targets

from shared.errors import Rejected
from signing.director import TAILS, DirectorRepository
from signing.image import CALIBRATION, CALIBRATION_PATHS, ImageRepository
from signing.keyring import Keyring
from signing.keys import KeyFolder
from signing.repository import EXPIRY_DAYS, Plan, Repository, unseen
from signing.verify import ATTESTORS_FIELD

ROOT_KEYS, ROOT_THRESHOLD = 3, 2
OFFLINE = (
    *(f"image-root-{n}" for n in range(1, ROOT_KEYS + 1)), "image-targets",
    *(f"director-root-{n}" for n in range(1, ROOT_KEYS + 1)), "director-targets",
)  # fmt: skip
ONLINE = (
    "image-snapshot", "image-timestamp", TAILS, "director-snapshot", "director-timestamp",
)  # fmt: skip


class Repositories:
    """What lies in REPO. review: shown each plan before a key is used; it may raise."""

    def __init__(
        self, folder: Path, now: datetime, days: Mapping[str, float] = EXPIRY_DAYS,
        review: Callable[[Plan], None] = unseen,
    ) -> None:  # fmt: skip
        self.folder, self.drafts = folder, folder / "drafts"
        self.image = ImageRepository(folder / "image", now, days, review)
        self.director = DirectorRepository(folder / "director", now, days, review)

    def named(self, name: str) -> Repository:
        """`image` or `director`."""
        found = {r.NAME: r for r in (self.image, self.director)}.get(name)
        if found is None:
            raise Rejected(f"no repository {name!r}", str(self.folder), "image or director")
        return found

    def create(
        self, keys: KeyFolder, kind: str = "ed25519", attestors: Sequence[str] = ("attestor-1",)
    ) -> None:
        """Make all keys in one folder, then both repositories, each at version 1."""
        for repository in (self.image, self.director):
            if repository.exists():
                raise Rejected(
                    "a repository is there already", str(repository.folder), "choose another DIR"
                )
        for name in (*OFFLINE, *attestors):
            keys.create(name, kind)
        for name in (*ONLINE, CALIBRATION):
            keys.create(name)
        self.begin(Keyring(keys), attestors)

    def begin(self, ring: Keyring, attestors: Sequence[str]) -> None:
        """Both repositories from keys that are there."""
        image, director = self.first_roots(ring, attestors)
        targets = Targets(delegations=Delegations({}, {}))
        assert targets.delegations is not None and targets.delegations.roles is not None
        desk = _public(ring, CALIBRATION)
        targets.delegations.keys[desk.keyid] = desk
        targets.delegations.roles[CALIBRATION] = DelegatedRole(
            CALIBRATION, [desk.keyid], 1, True, [CALIBRATION_PATHS]
        )
        self.drafts.mkdir(parents=True, exist_ok=True)
        self.image.begin(image, targets, ring)
        self.director.begin(director, Targets(), ring)

    def first_roots(self, ring: Keyring, attestors: Sequence[str]) -> tuple[Root, Root]:
        """The roots of both, from public keys that are at hand."""
        roots = []
        for name in ("image", "director"):
            root = Root(consistent_snapshot=True)
            for n in range(1, ROOT_KEYS + 1):
                root.add_key(_public(ring, f"{name}-root-{n}"), "root")
            root.roles["root"].threshold = ROOT_THRESHOLD
            for role in ("targets", "snapshot", "timestamp"):
                root.add_key(_public(ring, f"{name}-{role}"), role)
            roots.append(root)
        blessed = [_public(ring, name) for name in attestors]
        if blessed:
            roots[0].unrecognized_fields[ATTESTORS_FIELD] = {
                "keys": {key.keyid: key.to_dict() for key in blessed}, "threshold": 1,
            }  # fmt: skip
        return roots[0], roots[1]


def _public(ring: Keyring, name: str) -> Key:
    key = ring.public(name)
    if key is None:
        where = ", ".join(str(folder.folder) for folder in ring.folders)
        raise Rejected(f"no {name}.pub.json", where, "fetch it from whoever holds the key")
    return key
