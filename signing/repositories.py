"""Both repositories in one folder, and the keys that they begin with.

In: a folder, the time, a key folder. Out: `image/`, `director/` and `drafts/` below the folder.
Always holds: no key is named in both repositories; two of three sign each root.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Targets

from shared.errors import Rejected
from signing.chain import TOP
from signing.change import Plan, unseen
from signing.director import TAILS, DirectorRepository
from signing.drafts import Draft, write_draft
from signing.image import CALIBRATION_PATHS, ImageRepository
from signing.keyring import Keyring
from signing.keys import KeyFolder
from signing.repository import EXPIRY_DAYS, Keys, Repository
from signing.rolekeys import KeyChange, repository_of
from signing.verify import ATTESTORS_FIELD
from signing.verify.delegations import CALIBRATION

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

    def change_keys(self, keys: Keys, wanted: KeyChange) -> None:
        """Add, rotate or revoke a key with every key of the ceremony at hand."""
        repository = self.named(repository_of(wanted.role))
        with repository.changing() as change:
            wanted.apply(change)
            repository.commit(change, keys)

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
        self.none_there()
        ring = Keyring(keys)
        for name in missing(ring, attestors):
            keys.create(name, kind if name in OFFLINE or name in attestors else "ed25519")
        self.drafts.mkdir(parents=True, exist_ok=True)
        self.begin(Keyring(keys), attestors)

    def begin(self, ring: Keyring, attestors: Sequence[str], threshold: int = 1) -> None:
        """Both repositories from keys that are at hand. threshold: of the attestors."""
        for repository, root, targets in self.first(ring, attestors, threshold):
            repository.begin(root, targets, ring)

    def propose_first(
        self, ring: Keyring, attestors: Sequence[str], threshold: int = 1
    ) -> tuple[Path, ...]:
        """Drafts of the first roots and targets, from public keys; people sign them elsewhere."""
        paths = []
        self.drafts.mkdir(parents=True, exist_ok=True)
        for repository, root, targets in self.first(ring, attestors, threshold):
            for role, signed in (("root", root), (TOP, targets)):
                path = self.drafts / f"{repository.NAME}-1.{role}.json"
                write_draft(Draft(path, repository.NAME, role, Metadata(signed)))
                paths.append(path)
        return tuple(paths)

    def none_there(self) -> None:
        """Rejected when there is a repository, or the draft of one."""
        for repository in (self.image, self.director):
            if repository.exists():
                raise Rejected(
                    "a repository is there already", str(repository.folder), "choose another DIR"
                )
        if names := self.draft_names():
            raise Rejected(f"{names[0]} is there already", str(self.drafts), "publish or remove it")

    def draft_names(self) -> list[str]:
        return sorted(path.name for path in self.drafts.glob("*.json"))

    def tails_with(self, target: str) -> list[str]:
        """The tails whose set has an image target."""
        if not self.director.exists():
            return []
        chain = self.director.chain()
        tails = [r.removeprefix("tail-") for r in chain.roles() if r.startswith("tail-")]
        return [tail for tail in tails if target in self.director.assigned(chain, tail)]

    def first(
        self, ring: Keyring, attestors: Sequence[str], threshold: int = 1
    ) -> list[tuple[Repository, Root, Targets]]:
        """Root and targets of both, from public keys; nothing is signed or written."""
        if not 1 <= threshold <= len(attestors):
            raise Rejected(
                f"{threshold} of {len(attestors)} attestors", "attestors", "as many as there are"
            )
        roots = [_root(ring, name) for name in ("image", "director")]
        blessed = [_public(ring, name) for name in attestors]
        roots[0].unrecognized_fields[ATTESTORS_FIELD] = {
            "keys": {key.keyid: key.to_dict() for key in blessed}, "threshold": threshold,
        }  # fmt: skip
        desk = _public(ring, CALIBRATION)
        role = DelegatedRole(CALIBRATION, [desk.keyid], 1, True, [CALIBRATION_PATHS])
        targets = Targets(delegations=Delegations({desk.keyid: desk}, {CALIBRATION: role}))
        made = [(self.image, roots[0], targets), (self.director, roots[1], Targets())]
        for repository, root, first in made:
            repository.stamp(root, "root")
            repository.stamp(first, TOP)
        return made


def names(attestors: Sequence[str]) -> tuple[str, ...]:
    """Every key that a beginning needs."""
    return (*OFFLINE, *attestors, *ONLINE, CALIBRATION)


def missing(ring: Keyring, attestors: Sequence[str]) -> tuple[str, ...]:
    """Those of them that are not at hand, not even their public halves."""
    return tuple(name for name in names(attestors) if ring.public(name) is None)


def _root(ring: Keyring, name: str) -> Root:
    root = Root(consistent_snapshot=True)
    for n in range(1, ROOT_KEYS + 1):
        root.add_key(_public(ring, f"{name}-root-{n}"), "root")
    root.roles["root"].threshold = ROOT_THRESHOLD
    for role in ("targets", "snapshot", "timestamp"):
        root.add_key(_public(ring, f"{name}-{role}"), role)
    return root


def _public(ring: Keyring, name: str) -> Key:
    key = ring.public(name)
    if key is None:
        where = ", ".join(str(folder.folder) for folder in ring.folders)
        raise Rejected(f"no {name}.pub.json", where, "fetch it from whoever holds the key")
    return key
