"""The image repository: TUF metadata and bundles in a folder, as the ground serves it.

In: a repository folder, keys, bundles with their declarations, and the time. Out: signed metadata
below `metadata/`, bundles below `targets/`, and a `RepositoryView` of what they say.
Always holds: `timestamp.json` is replaced last and is the one commit point, so that a publish cut
short is as if it had not begun; nothing is signed on top of metadata that does not verify; a
release counter only grows.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec
from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError

from shared.errors import Corrupt, Rejected, Unreachable
from shared.files import read_bounded, sync_folder, write_durably
from signing.declare import Declared
from signing.keys import KeyFolder
from signing.verify import (
    BUNDLE_BYTES_MAX,
    ISSUED_FIELD,
    Applicability,
    TargetCustom,
    check_root,
    check_target_path,
    issued_at,
    parse_custom,
)

METADATA_BYTES_MAX = 5_000_000  # what python-tuf's client takes of targets.json
EXPIRY_DAYS: Mapping[str, float] = {"root": 365, "targets": 90, "snapshot": 7, "timestamp": 1}
"""Assumption; an aircraft that is away longer than this waits for its next refresh."""

__all__ = ["EXPIRY_DAYS", "Declared", "Repository", "RepositoryView", "wall_now"]

S = TypeVar("S", Root, Targets, Snapshot, Timestamp)


class PublishedBundle(msgspec.Struct, frozen=True, kw_only=True):
    target: str
    name: str
    release: int
    length: int
    sha256: str
    applicability: Applicability


class RoleView(msgspec.Struct, frozen=True, kw_only=True):
    role: str
    version: int
    expires: str
    issued: str
    threshold: int
    keys: int
    is_expired: bool


class RepositoryView(msgspec.Struct, frozen=True, kw_only=True):
    """What a repository says, for people and for `--json`."""

    roles: tuple[RoleView, ...]
    bundles: tuple[PublishedBundle, ...]


class _Loaded(msgspec.Struct, frozen=True):
    root: Root
    targets: Targets
    snapshot: Snapshot
    timestamp: Timestamp


class Repository:
    """One TUF repository below `folder`.

    now: wall time of the signer; expiry and `issued` follow from it.
    """

    def __init__(
        self, folder: Path, now: datetime, days: Mapping[str, float] = EXPIRY_DAYS
    ) -> None:
        self.folder, self._now = folder, now.replace(microsecond=0)
        self._metadata, self._targets = folder / "metadata", folder / "targets"
        self._days = {**EXPIRY_DAYS, **days}

    def create(
        self, keys: KeyFolder, root_keys: int = 3, root_threshold: int = 2
    ) -> RepositoryView:
        """Make all keys, then root, targets, snapshot and timestamp, each at version 1."""
        if self._metadata.exists():
            raise Rejected("a repository is there already", str(self.folder), "choose another DIR")
        if not 2 <= root_threshold <= root_keys <= 9:
            raise Rejected("root needs 2 <= threshold <= keys <= 9", "--root-threshold", "2 of 3")
        roots = [keys.create(f"root-{n}") for n in range(1, root_keys + 1)]
        others = {role: keys.create(role) for role in ("targets", "snapshot", "timestamp")}
        root = Root(consistent_snapshot=True)
        for signer in roots:
            root.add_key(signer.public_key, "root")
        for role, signer in others.items():
            root.add_key(signer.public_key, role)
        root.roles["root"].threshold = root_threshold
        self._stamp(root)
        self._targets.mkdir(parents=True, exist_ok=True)
        self._metadata.mkdir(parents=True, exist_ok=True)
        with self._locked():
            # All root keys sign the first root: they are all at the ceremony, and a key that
            # cannot sign is found now.
            self._write("1.root.json", _signed(root, *roots))
            self._commit(
                root,
                self._stamp(Targets()),
                self._stamp(Snapshot()),
                self._stamp(Timestamp()),
                keys,
            )
        return self.inspect()

    def publish(self, keys: KeyFolder, bundles: Sequence[Declared]) -> RepositoryView:
        """Add bundles; Rejected before anything is written when one of them does not fit."""
        with self._locked():
            loaded = self._load()
            targets = loaded.targets
            contents = []
            for bundle in bundles:
                target, data = self._target(bundle, targets)
                targets.targets[target.path] = target
                contents.append((target, data))
            for target, data in contents:
                self._write_target(target, data)
            self._bump(targets)
            self._bump(loaded.snapshot)
            self._bump(loaded.timestamp)
            self._commit(loaded.root, targets, loaded.snapshot, loaded.timestamp, keys)
        return self.inspect()

    def refresh(self, keys: KeyFolder) -> RepositoryView:
        """Sign snapshot and timestamp again with new expiries; needs the online keys only."""
        with self._locked():
            loaded = self._load()
            self._bump(loaded.snapshot)
            self._bump(loaded.timestamp)
            self._commit(loaded.root, None, loaded.snapshot, loaded.timestamp, keys)
        return self.inspect()

    def inspect(self) -> RepositoryView:
        """What the repository says now; Corrupt when it does not verify."""
        loaded = self._load()
        bundles = []
        for path, target in sorted(loaded.targets.targets.items()):
            custom = parse_custom(target.custom, path)
            bundles.append(
                PublishedBundle(
                    target=path, name=custom.name, release=custom.release, length=target.length,
                    sha256=target.hashes["sha256"], applicability=custom.applicability,
                )
            )  # fmt: skip
        roles = tuple(
            self._role_view(role, signed, loaded.root)
            for role, signed in (
                ("root", loaded.root), ("targets", loaded.targets),
                ("snapshot", loaded.snapshot), ("timestamp", loaded.timestamp),
            )
        )  # fmt: skip
        return RepositoryView(roles=roles, bundles=tuple(bundles))

    # -- what a bundle becomes

    def _target(self, bundle: Declared, targets: Targets) -> tuple[TargetFile, bytes]:
        path = check_target_path(f"{bundle.name}/{bundle.file.name}")
        custom = TargetCustom(
            name=bundle.name, release=bundle.release, applicability=bundle.applicability
        )
        raw = msgspec.to_builtins(custom)
        parse_custom(raw, path)
        data = bundle.data
        if len(data) > BUNDLE_BYTES_MAX:
            raise Rejected(f"over {BUNDLE_BYTES_MAX} bytes", str(bundle.file), "make it smaller")
        latest = max(
            (parse_custom(t.custom, p).release for p, t in targets.targets.items()
             if p.startswith(f"{bundle.name}/")),
            default=0,
        )  # fmt: skip
        if bundle.release <= latest:
            raise Rejected(
                f"release {bundle.release} of {bundle.name!r} does not grow; {latest} is published",
                str(bundle.file), f"make it {latest + 1} or more",
            )  # fmt: skip
        target = TargetFile.from_data(path, data, ["sha256"])
        target.unrecognized_fields["custom"] = raw
        return target, data

    def _write_target(self, target: TargetFile, data: bytes) -> None:
        (prefixed,) = target.get_prefixed_paths()
        path = self._targets / prefixed
        path.parent.mkdir(exist_ok=True)
        write_durably(path, data)
        sync_folder(self._targets)

    # -- metadata

    def _stamp(self, signed: S) -> S:
        signed.expires = self._now + timedelta(days=self._days[signed.type])
        signed.unrecognized_fields[ISSUED_FIELD] = self._now.strftime("%Y-%m-%dT%H:%M:%SZ")
        return signed

    def _bump(self, signed: S) -> S:
        signed.version += 1
        return self._stamp(signed)

    def _commit(
        self, root: Root, targets: Targets | None, snapshot: Snapshot, timestamp: Timestamp,
        keys: KeyFolder,
    ) -> None:  # fmt: skip
        """Sign and write in the order in which each is needed by the next; timestamp last."""
        signers = {
            role: _signer(root, role, keys)
            for role in ("targets", "snapshot", "timestamp")
            if role != "targets" or targets is not None
        }
        if targets is not None:
            data = _signed(targets, signers["targets"])
            if len(data) > METADATA_BYTES_MAX:
                raise Rejected("too many bundles", str(self.folder), "retire some")
            self._write(f"{targets.version}.targets.json", data)
            snapshot.meta["targets.json"] = MetaFile.from_data(targets.version, data, ["sha256"])
        data = _signed(snapshot, signers["snapshot"])
        self._write(f"{snapshot.version}.snapshot.json", data)
        timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, data, ["sha256"])
        self._write("timestamp.json", _signed(timestamp, signers["timestamp"]))

    def _write(self, name: str, data: bytes) -> None:
        write_durably(self._metadata / name, data)

    def _load(self) -> _Loaded:
        """The whole chain, verified as a client would, expiry apart: a signer may be late."""
        where = str(self._metadata)
        versions = [
            int(p.name.partition(".")[0])
            for p in self._metadata.glob("*.root.json")
            if p.name.partition(".")[0].isdigit()
        ]
        if not versions:
            raise Rejected("no TUF repository here", str(self.folder), "tailtwin-sign init")
        try:
            root = self._read_role(Root, f"{max(versions)}.root.json", None)
            check_root(root, where)
            timestamp = self._read_role(Timestamp, "timestamp.json", root)
            snapshot_meta = timestamp.snapshot_meta
            name = f"{snapshot_meta.version}.snapshot.json"
            snapshot = self._read_role(Snapshot, name, root, snapshot_meta)
            targets_meta = snapshot.meta["targets.json"]
            name = f"{targets_meta.version}.targets.json"
            targets = self._read_role(Targets, name, root, targets_meta)
        except (RepositoryError, DeserializationError, KeyError) as error:
            raise Corrupt(
                f"the metadata does not verify: {error}", where, "restore it from a good copy"
            ) from None
        return _Loaded(root, targets, snapshot, timestamp)

    def _read_role(
        self, kind: type[S], name: str, root: Root | None, meta: MetaFile | None = None
    ) -> S:
        data = read_bounded(self._metadata / name, METADATA_BYTES_MAX, "make it smaller")
        if meta is not None:
            meta.verify_length_and_hashes(data)
        metadata: Metadata[S] = Metadata.from_bytes(data)
        signed = metadata.signed
        if not isinstance(signed, kind):
            raise RepositoryError(f"{name} is a {signed.type}")
        by = root if root is not None else signed
        assert isinstance(by, Root)
        by.verify_delegate(kind.type, metadata.signed_bytes, metadata.signatures)
        return signed

    def _role_view(self, name: str, signed: Signed, root: Root) -> RoleView:
        role, issued = root.roles[name], issued_at(signed)
        return RoleView(
            role=name, version=signed.version, expires=signed.expires.isoformat(),
            issued=issued.isoformat() if issued else "", threshold=role.threshold,
            keys=len(role.keyids), is_expired=signed.is_expired(self._now),
        )  # fmt: skip

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One signer at a time; the second is told, not queued."""
        try:
            descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Rejected(
                f"no repository here: {error.strerror}", str(self.folder), "tailtwin-sign init"
            ) from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Unreachable("another signer is at work", str(self.folder), "wait") from None
            yield
        finally:
            os.close(descriptor)


def _signer(root: Root, role: str, keys: KeyFolder) -> Signer:
    signer = keys.load(role)
    if signer.public_key.keyid not in root.roles[role].keyids:
        raise Rejected(
            f"this is not the {role} key of that repository", str(keys.path(role)), "see --keys"
        )
    return signer


def _signed(signed: S, *signers: Signer) -> bytes:
    metadata = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def wall_now() -> datetime:
    """The signer's own wall clock."""
    return datetime.now(UTC)
