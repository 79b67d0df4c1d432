"""The metadata of one repository folder, verified from its root down.

In: the folder. Out: root, timestamp, snapshot and every targets role, or Corrupt.
Always holds: nothing is read that the role above it does not vouch for; expiry apart, since a
signer may be late. A root that was published without its timestamp is met with the one that was
signed for it beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from shared.errors import Corrupt, Rejected
from shared.files import read_bounded
from signing.verify import SINCE_FIELD
from signing.verify.delegations import CALIBRATION

BEGIN = "check --repo; one begins with `init`, or with `publish` of its first drafts"
METADATA_BYTES_MAX = 5_000_000  # what python-tuf's client takes of a targets role
NEXT_TIMESTAMP = ".timestamp.next.json"
TOP = "targets"
DELEGATING = (TOP, CALIBRATION)
"""Who delegates, in our shape of a repository; whatever makers and tails delegate is not followed."""

S = TypeVar("S", Root, Targets, Snapshot, Timestamp)


class Chain:
    """What one folder says. `targets(role)` is read when it is asked for, and kept."""

    def __init__(self, metadata: Path) -> None:
        self._folder = metadata
        self._targets: dict[str, Metadata[Targets]] = {}
        self._parents: dict[str, str] = {}
        self.root = self._newest_root()
        try:
            self._read_times()
        except (RepositoryError, DeserializationError, KeyError, ValueError) as error:
            raise _corrupt(error, metadata) from None

    def targets(self, role: str = TOP) -> Targets:
        """A targets role, verified by its delegator; Rejected when no role delegates it."""
        return self.metadata(role).signed

    def metadata(self, role: str) -> Metadata[Targets]:
        if role not in self._targets:
            try:
                self._targets[role] = self._read_targets(role)
            except (RepositoryError, DeserializationError, KeyError, ValueError) as error:
                raise _corrupt(error, self._folder) from None
        return self._targets[role]

    def delegator(self, role: str) -> Root | Targets:
        """Who vouches for a role; Rejected when nobody does."""
        if role == TOP:
            return self.root.signed
        parent = self._parent(role)
        if parent is None:
            raise Rejected(f"no role {role!r}", str(self._folder), "see tailtwin-sign inspect")
        return self.targets(parent)

    def parent(self, role: str) -> str | None:
        """The role that delegates this one; None for the topmost, and when nobody does."""
        return None if role == TOP else self._parent(role)

    def version_listed(self, role: str) -> int:
        """Its version in the snapshot, which also remembers roles that were revoked; 0: never."""
        meta = self.snapshot.meta.get(f"{role}.json")
        return meta.version if meta is not None else 0

    def is_there(self, role: str) -> bool:
        """Whether the role is delegated and has signed something since."""
        return (role == TOP or self._parent(role) is not None) and self._is_current(role)

    def roles(self) -> Iterator[str]:
        """Every targets role that has metadata, each after the one that delegates it."""
        waiting = [TOP]
        while waiting:
            role = waiting.pop(0)
            if not self._is_current(role):
                continue
            yield role
            waiting += children(self.targets(role)) if role in DELEGATING else []

    def _is_current(self, role: str) -> bool:
        """False for a role delegated anew under a name that the snapshot remembers."""
        listed = self.version_listed(role)
        return listed > 0 and (role == TOP or listed >= since(self.delegator(role), role))

    def _parent(self, role: str) -> str | None:
        if role not in self._parents:
            for name in (name for name in DELEGATING if self._is_current(name)):
                self._parents.update(dict.fromkeys(children(self.targets(name)), name))
                if role in self._parents:
                    break
        return self._parents.get(role)

    # -- files

    def _newest_root(self) -> Metadata[Root]:
        versions = sorted(
            int(p.name.partition(".")[0])
            for p in self._folder.glob("*.root.json")
            if p.name.partition(".")[0].isdigit()
        )
        if not versions:
            raise Rejected("no TUF repository here", str(self._folder), BEGIN)
        before: Metadata[Root] | None = None
        for version in versions:
            try:
                root: Metadata[Root] = self._read(Root, f"{version}.root.json")
                if root.signed.version != version:
                    raise RepositoryError(f"{version}.root.json is version {root.signed.version}")
                by = [before.signed] if before and before.signed.version == version - 1 else []
                for signed in (*by, root.signed):
                    signed.verify_delegate("root", root.signed_bytes, root.signatures)
            except (RepositoryError, DeserializationError, KeyError, ValueError) as error:
                raise _corrupt(error, self._folder) from None
            before = root
        assert before is not None
        return before

    def _read_times(self) -> None:
        try:
            timestamp = self._verified(Timestamp, "timestamp.json", self.root.signed)
        except (RepositoryError, DeserializationError):
            if not (self._folder / NEXT_TIMESTAMP).exists():
                raise
            timestamp = self._verified(Timestamp, NEXT_TIMESTAMP, self.root.signed)
        self.timestamp = timestamp.signed
        meta = self.timestamp.snapshot_meta
        name = f"{meta.version}.snapshot.json"
        self.snapshot = self._verified(Snapshot, name, self.root.signed, meta=meta).signed

    def _read_targets(self, role: str) -> Metadata[Targets]:
        delegator = self.delegator(role)
        meta = self.snapshot.meta[f"{role}.json"]
        name = f"{meta.version}.{role}.json"
        return self._verified(Targets, name, delegator, role, meta)

    def _verified(
        self, kind: type[S], name: str, by: Root | Targets, role: str = "",
        meta: MetaFile | None = None,
    ) -> Metadata[S]:  # fmt: skip
        metadata = self._read(kind, name, meta)
        by.verify_delegate(role or kind.type, metadata.signed_bytes, metadata.signatures)
        if meta is not None and metadata.signed.version != meta.version:
            raise RepositoryError(f"{name} is version {metadata.signed.version}")
        return metadata

    def _read(self, kind: type[S], name: str, meta: MetaFile | None = None) -> Metadata[S]:
        data = read_bounded(self._folder / name, METADATA_BYTES_MAX, "make it smaller")
        if meta is not None:
            meta.verify_length_and_hashes(data)
        return parse(kind, data, name)


def parse(kind: type[S], data: bytes, name: str) -> Metadata[S]:
    """Metadata of that kind; nothing about it is verified. DeserializationError otherwise."""
    try:
        metadata: Metadata[S] = Metadata.from_bytes(data)
    except RecursionError:
        raise DeserializationError(f"{name} is nested too deeply") from None
    if not isinstance(metadata.signed, kind):
        raise DeserializationError(f"{name} is a {metadata.signed.type}")
    return metadata


def since(delegator: Root | Targets, role: str) -> int:
    """The first version that counts for a role that was revoked once and delegated again."""
    value = delegator.get_delegated_role(role).unrecognized_fields.get(SINCE_FIELD, 0)
    return value if isinstance(value, int) else 0


def children(targets: Targets) -> list[str]:
    """The names of the roles it delegates to, in order."""
    delegations = targets.delegations
    return list(delegations.roles) if delegations and delegations.roles else []


def _corrupt(error: Exception, folder: Path) -> Corrupt:
    text = "".join(c if c.isprintable() else "?" for c in str(error))[:200]
    return Corrupt(f"the metadata does not verify: {text}", str(folder), "restore a good copy")
