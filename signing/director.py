"""The director repository: what each tail should run now, chosen among what the image offers.

In: a tail, image target paths, keys. Out: one signed role per tail with its whole set.
Always holds: entries are copied from the image repository, never made; a set is whole, is never
empty and has one bundle of a name; a role carries its tail inside the signed part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import ClassVar

from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, TargetFile, Targets

from shared.errors import Rejected
from signing.chain import TOP, Chain, children
from signing.change import Change
from signing.delegations import delegations, drop_keys, put
from signing.image import ImageRepository
from signing.keyring import Keyring, keyring, name_of
from signing.repository import Keys, Repository
from signing.verify import (
    DIRECTOR_POLICY,
    ROLLBACK_FIELD,
    TAIL_FIELD,
    RootPolicy,
    director_path,
    image_path,
    parse_custom,
    tail_of_path,
)
from signing.view import RepositoryView, view

TAILS = "director-tails"


class DirectorRepository(Repository):
    """`REPO/director`."""

    NAME: ClassVar[str] = "director"
    POLICY: ClassVar[RootPolicy] = DIRECTOR_POLICY

    def add_tail(self, keys: Keys, tail: str) -> None:
        """A role for a tail, signed by the offline targets key; its online key is `tail-{tail}`
        where there is one, and that of the other tails otherwise."""
        self.add_tails(keys, [tail])

    def add_tails(self, keys: Keys, tails: Sequence[str]) -> None:
        with self.changing() as change:
            self.enrol(change, tails, keyring(keys))
            self.commit(change, keys)

    def assign(
        self, keys: Keys, tail: str, targets: Sequence[str], image: ImageRepository,
        rollback_of: str = "",
    ) -> None:  # fmt: skip
        """Say the whole set of a tail. rollback_of: the set that it is to leave for this one."""
        with self.changing() as change:
            self.direct(change, tail, targets, image, image.chain(), rollback_of)
            self.commit(change, keys)

    def assign_all(
        self, keys: Keys, sets: Mapping[str, Sequence[str]], image: ImageRepository
    ) -> None:
        """Say the sets of several tails at once; all of them or none."""
        with self.changing() as change:
            chain = image.chain()
            for tail, targets in sets.items():
                self.direct(change, tail, targets, image, chain)
            self.commit(change, keys)

    def refresh(self, keys: Keys) -> None:
        """Sign again what the online keys sign: tails past half of their life, snapshot,
        timestamp."""
        with self.changing() as change:
            half = timedelta(days=self._days["tails"] / 2)
            for role in list(change.chain.roles()):
                if role != TOP and change.chain.targets(role).expires < self.now + half:
                    change.targets(role)
            self.commit(change, keys)

    def inspect(self) -> RepositoryView:
        """What the repository says now; Corrupt when it does not verify."""
        chain = self.chain()
        entries = [
            (role, path, parse_custom(target.custom, image_path(path)[1]))
            for role in chain.roles()
            for path, target in sorted(chain.targets(role).targets.items())
        ]
        return view(self.NAME, chain, self.now, entries)

    def assigned(self, chain: Chain, tail: str) -> tuple[str, ...]:
        """The image paths of a tail's set; empty when it has none yet."""
        role = f"tail-{tail}"
        if not chain.is_there(role):
            return ()
        return tuple(sorted(image_path(path)[1] for path in chain.targets(role).targets))

    # -- what a command changes

    def enrol(self, change: Change, tails: Sequence[str], ring: Keyring) -> None:
        """Delegations to tails, each to its own key where there is one, else to the common one."""
        targets = change.targets()
        common = self._common_key(targets, ring)
        for tail in tails:
            role = f"tail-{tail}"
            image_path(director_path(tail, "name/file.tar.zst"))  # Rejected: no name of a tail
            if role in children(targets):
                raise Rejected("that tail has a role already", tail, "assign it a set")
            key = ring.public(role) or common
            if key is None:
                raise Rejected(
                    f"neither {role}.pub.json nor {TAILS}.pub.json is at hand", tail, "see --keys"
                )
            paths = [f"{tail}/*/*", f"{tail}/cal/{tail}/*/*"]
            put(change, targets, DelegatedRole(role, [key.keyid], 1, True, paths), [key])

    def dismiss(self, change: Change, role: str) -> None:
        """End a tail's role; what its aircraft runs it goes on running."""
        targets = change.targets()
        found = delegations(targets)
        if not found.roles or role not in found.roles:
            raise Rejected(f"no role {role!r}", str(self.folder), "tailtwin-sign inspect")
        del found.roles[role]
        drop_keys(targets)

    @staticmethod
    def _common_key(targets: Targets, ring: Keyring) -> Key | None:
        """What tails have in common: the key that some have already, or else the one at hand."""
        for key in delegations(targets).keys.values():
            if name_of(key).startswith(TAILS):
                return key
        return ring.public(TAILS)

    def direct(
        self, change: Change, tail: str, targets: Sequence[str], image: ImageRepository,
        chain: Chain, rollback_of: str = "",
    ) -> None:  # fmt: skip
        """The set of a tail; Rejected when the image does not have it, or made it for others."""
        role = f"tail-{tail}"
        if role not in children(change.chain.targets()):
            raise Rejected(f"no role for {tail!r}", str(self.folder), "add the tail first")
        if not targets:
            raise Rejected("a set has one bundle or more", tail, "name its targets")
        entries: dict[str, TargetFile] = {}
        names: set[str] = set()
        for path in targets:
            entry, name = self._entry(chain, image, tail, path)
            if name in names:
                raise Rejected(f"two bundles are named {name!r}", tail, "one of them")
            names.add(name)
            entries[entry.path] = entry
        signed = change.targets(role)
        signed.targets = entries
        signed.unrecognized_fields[TAIL_FIELD] = tail
        signed.unrecognized_fields.pop(ROLLBACK_FIELD, None)
        if rollback_of:
            signed.unrecognized_fields[ROLLBACK_FIELD] = rollback_of

    def lifetime_of(self, role: str) -> str:
        return "tails" if role.startswith("tail-") else super().lifetime_of(role)

    def _entry(
        self, chain: Chain, image: ImageRepository, tail: str, path: str
    ) -> tuple[TargetFile, str]:
        found = image.find(chain, path)
        if found is None:
            raise Rejected(f"the image repository has no {path!r}", tail, "publish it first")
        made_for = found.custom.applicability.tails
        if (tail_of_path(path) or tail) != tail or (made_for and tail not in made_for):
            raise Rejected(f"{path} was not made for this tail", tail, "one that was")
        image.delegation_holds(chain, found, tail)
        copied = TargetFile.from_dict(found.target.to_dict(), director_path(tail, path))
        return copied, found.custom.name
