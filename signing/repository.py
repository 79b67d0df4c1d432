"""One TUF repository in a folder: what a change to it becomes, and how it is written.

In: changed metadata, keys, and the time. Out: signed files below `metadata/` and `targets/`.
Always holds: nothing is signed on top of metadata that does not verify, nor before every key that
the change needs has been found; `timestamp.json` is replaced last and is the one commit point, so
that a change cut short is as if it had not begun.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

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

from shared.errors import Rejected, Unreachable
from shared.files import sync_folder, write_durably
from signing.chain import BEGIN, METADATA_BYTES_MAX, NEXT_TIMESTAMP, TOP, Chain, children
from signing.change import Change, Plan, Step, role_keys, unseen
from signing.keyring import Keyring, keyring
from signing.keys import KeyFolder
from signing.verify import ISSUED_FIELD, RootPolicy

EXPIRY_DAYS: Mapping[str, float] = {
    "root": 365, "targets": 365, "calibration": 180, "tails": 60, "snapshot": 7, "timestamp": 1,
}  # fmt: skip
"""Assumption. Offline roles live as long as the yearly ceremony's interval, and a month is left for
it when `expire-soon` begins to speak; online ones a week or a day, as long as a frozen mirror is to
go unseen. Tails outlive the 30 days of a medium."""
ROOT_BYTES_MAX = 512_000  # what python-tuf's client takes of a root
SNAPSHOT_BYTES_MAX = 2_000_000  # and of a snapshot

Keys = KeyFolder | Keyring


class Repository:
    """A repository below `folder`. review: is shown each plan before a key is used; it may raise."""

    NAME: ClassVar[str]
    POLICY: ClassVar[RootPolicy]

    def __init__(
        self, folder: Path, now: datetime, days: Mapping[str, float] = EXPIRY_DAYS,
        review: Callable[[Plan], None] = unseen,
    ) -> None:  # fmt: skip
        self.folder, self.now = folder, now.replace(microsecond=0)
        self.metadata, self.bundles = folder / "metadata", folder / "targets"
        self.review = review
        self._days = {**EXPIRY_DAYS, **days}

    def exists(self) -> bool:
        return any(self.metadata.glob("*.root.json"))

    def chain(self) -> Chain:
        """What the folder says now, verified; Corrupt when it does not verify."""
        chain = Chain(self.metadata)
        self.POLICY.check_root(chain.root.signed, str(self.metadata))
        return chain

    def refresh(self, keys: Keys) -> None:
        """Sign snapshot and timestamp again with new expiries; needs the online keys only."""
        with self.changing() as change:
            self.commit(change, keys)

    @contextmanager
    def changing(self) -> Iterator[Change]:
        """A change under the lock; nothing is written unless it is committed."""
        with self.locked():
            yield Change(self.chain(), self.stamp)

    def stamp(self, signed: Signed, role: str) -> None:
        """New expiry and time of making."""
        signed.expires = self.now + timedelta(days=self._days[self.lifetime_of(role)])
        signed.unrecognized_fields[ISSUED_FIELD] = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def lifetime_of(self, role: str) -> str:
        """Under which name of EXPIRY_DAYS a role's lifetime stands."""
        return role if role in ("root", "snapshot", "timestamp") else "targets"

    def conform(self, change: Change, role: str) -> None:
        """Bring a role's content in line with the role above it; called when its keys changed."""

    def judge(self, change: Change, step: Step, by: Root | Targets) -> None:
        """Rejected unless a targets role that is about to be signed says what it may."""

    # -- a change, from plan to files

    def plan(self, change: Change) -> Plan:
        """What has to be signed: the change, and every role below it whose keys it replaces."""
        where = str(self.folder)
        root = change.seen("root")
        assert isinstance(root, Root)
        self.POLICY.check_root(root, where)
        old = change.chain.root.signed
        root_step = None
        if root is not old:
            role = root.roles["root"]
            root_step = Step(
                "root", root, role_keys(root, "root"), role.threshold, change.given.get("root")
            )
        roles: list[Step] = []
        for role_name, by in self._below(change, root):
            signed = change.seen(role_name)
            step = Step(
                role_name, signed, role_keys(by, role_name),
                by.get_delegated_role(role_name).threshold, change.given.get(role_name),
            )  # fmt: skip
            roles.append(step)
            self.judge(change, step, by)
            if role_name == TOP:
                assert isinstance(signed, Targets)
                self.POLICY.check_targets(root, signed, where)
        left = set(change.signed) - {"root"} - {step.role for step in roles}
        if left:
            raise Rejected(f"no role {min(left)!r}", where, "delegate to it first")
        times = [
            self._again(change, kind, root) for kind in (change.chain.snapshot, change.chain.timestamp)
        ]  # fmt: skip
        return Plan(self.NAME, change, root_step, tuple(roles), times[0], times[1])

    def commit(self, change: Change, keys: Keys) -> None:
        """Show the plan, sign all of it, then write it in the order in which readers need it."""
        ring = keyring(keys)
        plan = self.plan(change)
        self._check_drafts(plan)
        self.review(plan)
        self._find_keys(plan, ring)
        snapshot, timestamp = plan.snapshot.signed, plan.timestamp.signed
        assert isinstance(snapshot, Snapshot) and isinstance(timestamp, Timestamp)
        written: list[tuple[str, bytes]] = []
        for step in plan.roles:
            data = self._bounded(step.sign(ring), step.role, METADATA_BYTES_MAX)
            snapshot.meta[f"{step.role}.json"] = MetaFile.from_data(
                step.signed.version, data, ["sha256"]
            )
            written.append((f"{step.signed.version}.{step.role}.json", data))
        data = self._bounded(plan.snapshot.sign(ring), "snapshot", SNAPSHOT_BYTES_MAX)
        written.append((f"{snapshot.version}.snapshot.json", data))
        timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, data, ["sha256"])
        last = plan.timestamp.sign(ring)
        root = self._root_bytes(plan, ring)
        self._write_all(plan, written, root, last)

    def _below(self, change: Change, root: Root) -> Iterator[tuple[str, Root | Targets]]:
        """(role, its delegator) of everything to sign, each after whoever vouches for it."""
        waiting: list[tuple[str, Root | Targets, bool]] = [
            (TOP, root, root is not change.chain.root.signed)
        ]
        while waiting:
            role, by, is_changed = waiting.pop(0)
            if is_changed and role not in change.given and self._is_cut_off(change, role, by):
                change.targets(role)
                self.conform(change, role)
            if role in change.given or role in change.signed:
                yield role, by
            elif not change.chain.is_there(role):
                continue
            targets = change.seen(role)
            assert isinstance(targets, Targets)
            is_changed = role in change.given or role in change.signed
            waiting += [(child, targets, is_changed) for child in children(targets)]

    @staticmethod
    def _is_cut_off(change: Change, role: str, by: Root | Targets) -> bool:
        """Whether a role's present file does not verify under the keys that it will have."""
        if role in change.signed or not change.chain.is_there(role):
            return False
        before, after = change.chain.delegator(role), by.get_delegated_role(role)
        was = before.get_delegated_role(role)
        if set(was.keyids) == set(after.keyids) and was.threshold >= after.threshold:
            return False
        metadata = change.chain.metadata(role)
        return not by.get_verification_result(role, metadata.signed_bytes, metadata.signatures)

    def _again(self, change: Change, signed: Snapshot | Timestamp, root: Root) -> Step:
        signed.version += 1 + change.skip
        self.stamp(signed, signed.type)
        return Step(
            signed.type, signed, role_keys(root, signed.type), root.roles[signed.type].threshold
        )

    def _find_keys(self, plan: Plan, ring: Keyring) -> None:
        """Every key that the plan needs, before any is used; Rejected names what is missing."""
        for step in (*plan.roles, plan.snapshot, plan.timestamp):
            if step.given is None:
                step.signers(ring)
        if plan.root is not None and plan.root.given is None:
            old = plan.change.chain.root.signed
            ring.signers(
                role_keys(old, "root"), old.roles["root"].threshold, "the present root",
                ", or --propose a draft",
            )  # fmt: skip
            plan.root.signers(ring)

    def _check_drafts(self, plan: Plan) -> None:
        """Rejected unless enough people have signed what others hand in."""
        if plan.root is not None and plan.root.given is not None:
            self._check_root(plan, plan.root.given)
        for step in plan.roles:
            if step.given is not None:
                step.check_given()

    def _root_bytes(self, plan: Plan, ring: Keyring) -> bytes | None:
        if plan.root is None:
            return None
        old, new = plan.change.chain.root.signed, plan.root.signed
        assert isinstance(new, Root)
        metadata = plan.root.given
        if metadata is None:
            metadata = Metadata(new)
            both = [*role_keys(new, "root"), *role_keys(old, "root")]
            for signer in ring.signers(list({k.keyid: k for k in both}.values()), 0, "root"):
                metadata.sign(signer, append=True)
        self._check_root(plan, metadata)
        return self._bounded(metadata.to_bytes(), "root", ROOT_BYTES_MAX)

    def _check_root(self, plan: Plan, metadata: Metadata[Root]) -> None:
        """Rejected unless as many keys of the root before it, and of its own, have signed."""
        old, new = plan.change.chain.root.signed, metadata.signed
        result = new.get_root_verification_result(old, metadata.signed_bytes, metadata.signatures)
        if not result:
            raise Rejected(
                f"root {new.version} is signed by {_counted(result.first)} of the keys before it "
                f"and {_counted(result.second)} of its own", str(self.folder),
                "let more people sign it",
            )  # fmt: skip

    def _bounded(self, data: bytes, role: str, bytes_max: int) -> bytes:
        if len(data) > bytes_max:
            raise Rejected(
                f"{role} would have {len(data)} bytes; readers take {bytes_max}", str(self.folder),
                "withdraw what nobody runs",
            )  # fmt: skip
        return data

    def _write_all(
        self, plan: Plan, written: Sequence[tuple[str, bytes]], root: bytes | None, last: bytes
    ) -> None:
        """A new root is seen at once, so the timestamp for it lies beside it beforehand."""
        try:
            self.write_bundles(plan.change)
            for name, data in written:
                write_durably(self.metadata / name, data)
            if root is not None and plan.root is not None:
                write_durably(self.metadata / NEXT_TIMESTAMP, last)
                write_durably(self.metadata / f"{plan.root.signed.version}.root.json", root)
            write_durably(self.metadata / "timestamp.json", last)
            (self.metadata / NEXT_TIMESTAMP).unlink(missing_ok=True)
        except OSError as error:
            raise _unwritten(error, self.folder) from None

    def write_bundles(self, change: Change) -> None:
        """The bundles that a change adds; nobody asks for them before its metadata is there."""
        for target, content in change.files:
            self._write_target(target, content)

    def _write_target(self, target: TargetFile, data: bytes) -> None:
        (prefixed,) = target.get_prefixed_paths()
        path = self.bundles / prefixed
        for parent in reversed(path.relative_to(self.folder).parents):
            folder = self.folder / parent
            if not folder.exists():
                folder.mkdir()
                sync_folder(folder.parent)
        write_durably(path, data)

    def begin(
        self, root: Root, targets: Targets, keys: Keys,
        given: Mapping[str, Metadata[Root] | Metadata[Targets]] | None = None,
    ) -> None:  # fmt: skip
        """The first version of everything. Whoever is at the ceremony signs the first root, so
        that a key that cannot sign is found now. given: what was signed already, from drafts."""
        if self.exists():
            raise Rejected("a repository is there already", str(self.folder), "choose another DIR")
        given = given or {}
        snapshot, timestamp = Snapshot(), Timestamp()
        steps = []
        for role, signed in (
            ("root", root), (TOP, targets), ("snapshot", snapshot), ("timestamp", timestamp)
        ):  # fmt: skip
            if role not in given:
                self.stamp(signed, role)
            threshold = root.roles[role].threshold
            steps.append(Step(role, signed, role_keys(root, role), threshold, given.get(role)))
        self.POLICY.check_root(root, str(self.folder))
        self.POLICY.check_targets(root, targets, str(self.folder))
        ring = keyring(keys)
        for step in steps:
            step.signers(ring) if step.given is None else step.check_given()
        data = steps[1].sign(ring)
        snapshot.meta["targets.json"] = MetaFile.from_data(1, data, ["sha256"])
        files = {"1.targets.json": data, "1.snapshot.json": steps[2].sign(ring)}
        timestamp.snapshot_meta = MetaFile.from_data(1, files["1.snapshot.json"], ["sha256"])
        files |= {"timestamp.json": steps[3].sign(ring), "1.root.json": steps[0].sign(ring)}
        try:
            self.bundles.mkdir(parents=True, exist_ok=True)
            self.metadata.mkdir(parents=True, exist_ok=True)
            for name, data in files.items():  # the root last: with it the repository is there
                write_durably(self.metadata / name, data)
        except OSError as error:
            raise _unwritten(error, self.folder) from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One signer at a time; the second is told, not queued."""
        try:
            descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            raise Rejected("no TUF repository here", str(self.folder), BEGIN) from None
        except OSError as error:
            raise _unwritten(error, self.folder) from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Unreachable("another signer is at work", str(self.folder), "wait") from None
            yield
        finally:
            os.close(descriptor)


def wall_now() -> datetime:
    """The signer's own wall clock."""
    return datetime.now(UTC)


def _unwritten(error: OSError, folder: Path) -> Unreachable:
    return Unreachable(
        f"cannot write: {error.strerror}; what was there before counts", str(folder),
        "make room, then run it again",
    )  # fmt: skip


def _counted(result: Any) -> str:
    return f"{len(result.signed)} of {result.threshold}"
