"""What one TUF repository says, as far as this aircraft may believe it: python-tuf, wrapped.

In: a fetcher of unverified bytes, a time to judge expiry by, our policy. Out: trusted target
entries with the delegations that vouch for them, and verified files.
Always holds: what python-tuf verified is held against the policy before it is trusted, and is
durable before anything rests on it; another tail's metadata is never kept; every root between the
provisioned one and the newest is stepped through, never jumped over.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from tuf.api import exceptions
from tuf.api.metadata import (
    DelegatedRole,
    Metadata,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from edge.update.disk import PosixDisk, write_durably
from shared.errors import Corrupt, Rejected, TailTwinError
from signing.verify import MEDIA_FIELD, SINCE_FIELD, TAIL_FIELD, RootPolicy, issued_at, until
from signing.verify.composite import register
from signing.verify.delegations import check_below, check_bound

ROOT_BYTES_MAX = 512_000  # python-tuf's own bound
ROOT_ROTATIONS_MAX = 256  # of one session, python-tuf's own; the next one goes on from there
ROOTS_MAX = 4096  # kept in all; assumption: a root changes less than weekly for 50 years
MEDIA_PROVES = timedelta(days=1)
METADATA_BYTES_MAX = 5_000_000  # of one file, python-tuf's own

register()


class AgainstPolicy(exceptions.RepositoryError):
    """TUF would take it; we do not. code: as of a `FetchFailure`."""

    def __init__(self, error: Rejected, code: str = "rejected") -> None:
        super().__init__(str(error))
        self.error, self.code = error, code


@dataclass(frozen=True)
class Guard:
    """What we ask of metadata beyond TUF. policy: None asks nothing. tail: whose director this
    is, so that its delegated roles have to be this tail's; empty for another repository."""

    policy: RootPolicy | None = None
    tail: str = ""

    def check(self, role: str, signed: Signed, root: Root | None) -> None:
        """AgainstPolicy when it is not to be trusted, however well it is signed."""
        try:
            if self.tail and isinstance(signed, Targets) and role != Targets.type:
                self._check_tail(role, signed)
            if self.policy is not None:
                self._check_policy(self.policy, role, signed, root)
        except Rejected as error:
            raise AgainstPolicy(error) from None

    def _check_policy(
        self, policy: RootPolicy, role: str, signed: Signed, root: Root | None
    ) -> None:
        where = f"{role} version {signed.version}"
        if isinstance(signed, Root):
            policy.check_root(signed, where)
        elif isinstance(signed, Timestamp | Snapshot):
            check_bound(signed, where)
        elif isinstance(signed, Targets) and role == Targets.type:
            assert root is not None
            policy.check_targets(root, signed, where)
        elif isinstance(signed, Targets):
            check_below(role, signed, where)

    def _check_tail(self, role: str, signed: Targets) -> None:
        says = signed.unrecognized_fields.get(TAIL_FIELD)
        if role != tail_role(self.tail) or says != self.tail:
            error = Rejected(
                f"metadata of tail {str(says)[:40]!r}, this is {self.tail}", role,
                "assign this tail a set at the director; look into who served this",
            )  # fmt: skip
            raise AgainstPolicy(error, "wrong_tail")


def tail_role(tail: str) -> str:
    return f"tail-{tail}"


@dataclass(frozen=True)
class Found:
    """A target entry, and the delegations that lead to it, top one first."""

    target: TargetFile
    delegations: tuple[DelegatedRole, ...] = ()


@dataclass(frozen=True)
class Proof:
    """What a repository's kept metadata proves of the time. issued: as offline keys say.
    ends: expiries, of online roles and of offline ones."""

    issued: tuple[datetime, ...]
    online_ends: tuple[datetime, ...]
    offline_ends: tuple[datetime, ...]


class TrustedSet(TrustedMetadataSet):
    """python-tuf's trust decisions, at our reference time and under our guard."""

    def __init__(self, root: bytes, reference: datetime, guard: Guard) -> None:
        self._guard = guard
        super().__init__(root, EnvelopeType.METADATA)
        self.reference_time = reference

    def _add(self, role: str, signed: Signed, delegator: str) -> None:
        root = self._trusted_set.get(Root.type)
        self._guard.check(role, signed, root if isinstance(root, Root) else None)
        super()._add(role, signed, delegator)


class TrustedUpdater(Updater):
    """python-tuf's updater, with the seams it does not offer: time, policy, durable files, and who
    vouched for a target. tests/unit/edge/update/test_trusted.py fails when an upgrade moves them.

    metadata_dir: holds `root.json` and whatever is trusted, by unversioned names. bootstrap: the
    newest trusted root, see `newest_root`; None takes metadata_dir's own.
    """

    def __init__(
        self,
        metadata_dir: Path,
        metadata_url: str,
        fetcher: FetcherInterface,
        reference: datetime,
        *,
        target_url: str = "",
        guard: Guard = Guard(),
        bootstrap: bytes | None = None,
        config: UpdaterConfig | None = None,
    ) -> None:
        self._disk, self._guard = PosixDisk(), guard
        self._walked: list[tuple[str, str]] = []
        self.ended: list[str] = []
        root = bootstrap
        if root is None:
            root = self._must_read(metadata_dir / "root.json")
        metadata_dir.mkdir(parents=True, exist_ok=True)
        super().__init__(
            str(metadata_dir), metadata_url, None, target_url or None, fetcher,
            config or UpdaterConfig(
                root_max_length=ROOT_BYTES_MAX, max_root_rotations=ROOT_ROTATIONS_MAX
            ),
            bootstrap=root,
        )  # fmt: skip
        self._trusted_set = TrustedSet(root, reference, guard)

    @property
    def root(self) -> Root:
        return self._trusted_set.root

    @property
    def targets(self) -> Targets:
        return self._trusted_set.targets

    @property
    def reference(self) -> datetime:
        return self._trusted_set.reference_time

    def step_roots(self) -> None:
        """To the newest root, and no further: what `refresh` does first."""
        self._load_root()

    # -- finding

    def find(self, path: str) -> Found | None:
        """The entry of an image path, after `refresh`; None when nobody who may signs one.

        `ended` then names the delegations that were not followed because they are over.
        """
        self._walked, self.ended = [], []
        target = self.get_targetinfo(path)
        return None if target is None else Found(target, self._lineage())

    def find_hash(self, folder: str, sha256: str) -> Found | None:
        """The entry of `{folder}/…` with that hash, of whoever is trusted for such paths."""
        self._walked, self.ended = [], []
        waiting, seen = [(Targets.type, Root.type)], set[str]()
        while waiting and len(seen) <= self.config.max_delegations:
            role, parent = waiting.pop()
            if role in seen:
                continue
            seen.add(role)
            targets = self._load_targets(role, parent)
            for path, target in targets.targets.items():
                if path.rpartition("/")[0] == folder and target.hashes.get("sha256") == sha256:
                    lineage = self._lineage()
                    if not lineage or lineage[-1].is_delegated_path(path):
                        return Found(target, lineage)
            waiting += [(child.name, role) for child in _children(targets) if _meets(child, folder)]
        return None

    def delegated(self, role: str) -> tuple[Targets, DelegatedRole] | None:
        """What the top-level targets delegate under that name, whole; None when nothing is."""
        targets = self._load_targets(Targets.type, Root.type)
        (entry,) = [d for d in _children(targets) if d.name == role] or (None,)
        if entry is None:
            return None
        self.ended = []
        found = self._load_targets(role, Targets.type)
        return None if self.ended else (found, entry)

    def roles_loaded(self) -> list[str]:
        """The names, as files have them, of every targets role that this session trusted."""
        return [
            quote(role, "")
            for role, signed in self._trusted_set._trusted_set.items()
            if isinstance(signed, Targets)
        ]

    def fetch(self, target: TargetFile, path: Path) -> None:
        """Verified under a name aside, durable, then renamed; nothing when it is there already."""
        if self.find_cached_target(target, str(path)) is not None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(".incoming")
        self.download_target(target, str(aside))
        self._disk.sync_file(aside)
        self._disk.rename(aside, path)
        self._disk.sync_folder(path.parent)

    # -- python-tuf's seams

    def _load_targets(self, role: str, parent_role: str) -> Targets:
        """A delegation that is over is followed by nobody; else as python-tuf does."""
        since = 0
        if parent_role != Root.type:
            entry = self._entry(role, parent_role)
            if entry is not None and self._is_over(entry):
                self.ended.append(role)
                return Targets()
            since = _since(entry)
        targets = super()._load_targets(role, parent_role)
        if targets.version < since:
            raise exceptions.BadVersionNumberError(
                f"{role} v{targets.version} is of before its delegation, which counts from v{since}"
            )
        self._walked.append((role, parent_role))
        return targets

    def _persist_file(self, filename: str, data: bytes) -> None:
        """In place of write-and-rename without fsync: a metadata file that a power cut empties
        would take its rollback protection with it."""
        path = Path(filename)
        kept = self._disk.read(path, METADATA_BYTES_MAX)
        if kept == data:
            return
        write_durably(self._disk, path, data)

    def _update_root_symlink(self) -> None:
        """As python-tuf does, but in one step: a power cut leaves the old link or the new one."""
        folder = Path(self._dir)
        link, aside = folder / "root.json", folder / ".root.json.tmp"
        current = f"root_history/{self._trusted_set.root.version}.root.json"
        if link.is_symlink() and str(link.readlink()) == current:
            return
        with suppress(FileNotFoundError):
            aside.unlink()
        aside.symlink_to(current)
        self._disk.rename(aside, link)
        self._disk.sync_folder(folder)

    # -- inside

    def _lineage(self) -> tuple[DelegatedRole, ...]:
        """From the role walked to last, up to the top."""
        parents = dict(self._walked)
        role, lineage = self._walked[-1][0], list[DelegatedRole]()
        while (parent := parents[role]) != Root.type:
            entry = self._entry(role, parent)
            if entry is not None:  # a bin has none
                lineage.append(entry)
            role = parent
        return tuple(reversed(lineage))

    def _entry(self, role: str, parent: str) -> DelegatedRole | None:
        delegator = self._trusted_set[parent]
        assert isinstance(delegator, Targets)
        found = delegator.delegations
        return found.roles.get(role) if found is not None and found.roles is not None else None

    def _is_over(self, entry: DelegatedRole) -> bool:
        try:
            end = until(entry)
        except Rejected:
            return True
        return end is not None and end <= self.reference

    def _must_read(self, path: Path) -> bytes:
        data = self._disk.read(path, ROOT_BYTES_MAX)
        if data is None:
            raise Corrupt("no trusted root", str(path), "provision it: tailtwin-edge init")
        return data

    @property
    def is_of_medium(self) -> bool:
        """Whether the timestamp that is trusted was made to live long on a medium."""
        kept = self._kept(Timestamp.type)
        return kept is not None and kept.unrecognized_fields.get(MEDIA_FIELD) is True

    def proof(self) -> Proof | None:
        """What the kept metadata of this repository proves of the time; None while it is not
        whole."""
        online = [s for s in map(self._kept, ("timestamp", "snapshot")) if s is not None]
        targets = self._kept(Targets.type)
        if targets is None or len(online) != 2:
            return None
        offline = [self.root, targets]
        return Proof(
            tuple(at for s in offline if (at := issued_at(s)) is not None),
            tuple(_end(s) for s in online),
            tuple(s.expires for s in offline),
        )

    def _kept(self, role: str) -> Signed | None:
        """What is trusted of a role: it verified in this session, or was kept in one before."""
        if role in self._trusted_set._trusted_set:
            return self._trusted_set[role]
        try:
            path = Path(self._dir) / f"{role}.json"
            signed: Signed = Metadata.from_file(str(path)).signed
        except (exceptions.StorageError, DeserializationError):
            return None
        return signed


def newest_root(folder: Path, guard: Guard, reference: datetime) -> bytes:
    """The newest root that leads, step by step, from the provisioned `folder`/root.json through
    those that were kept. Corrupt without a provisioned one; RepositoryError when it is none."""
    *_, last = roots(folder, guard, reference)
    return last[1]


def roots(folder: Path, guard: Guard, reference: datetime) -> Iterator[tuple[Root, bytes]]:
    """The provisioned root, then each kept one that the one before it and it itself signed."""
    disk = PosixDisk()
    data = disk.read(folder / "root.json", ROOT_BYTES_MAX)
    if data is None:
        raise Corrupt(
            "no trusted root", str(folder / "root.json"), "provision it: tailtwin-edge init"
        )
    trusted = TrustedSet(data, reference, guard)
    yield trusted.root, data
    for _ in range(ROOTS_MAX):
        version = trusted.root.version + 1
        path = folder / "metadata" / "root_history" / f"{version}.root.json"
        try:
            found = disk.read(path, ROOT_BYTES_MAX)
            if found is None:
                return
            trusted.update_root(found)
        except (exceptions.RepositoryError, TailTwinError, OSError):
            return  # the updater asks for this version again
        yield trusted.root, found


def _end(online: Signed) -> datetime:
    """When it is over; what was made for a medium proves no more than any other day's would."""
    made = issued_at(online)
    if made is None or online.unrecognized_fields.get(MEDIA_FIELD) is not True:
        return online.expires
    return min(online.expires, made + MEDIA_PROVES)


def _children(targets: Targets) -> list[DelegatedRole]:
    found = targets.delegations
    return list(found.roles.values()) if found is not None and found.roles is not None else []


def _meets(role: DelegatedRole, folder: str) -> bool:
    """Whether a role is trusted for something in that folder."""
    return any(
        pattern.count("/") == folder.count("/") + 1
        and all(
            fnmatch.fnmatchcase(part, wanted)
            for part, wanted in zip(folder.split("/"), pattern.split("/"), strict=False)
        )
        for pattern in role.paths or ()
    )


def _since(entry: DelegatedRole | None) -> int:
    value = entry.unrecognized_fields.get(SINCE_FIELD, 0) if entry is not None else 0
    return value if isinstance(value, int) else 0
