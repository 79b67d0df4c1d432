"""The image repository: every bundle, under keys that lie offline, and for whom each was made.

In: bundles with their declarations, delegations, keys. Out: signed targets roles.
Always holds: a release counter only grows, per name, and per name and tail for calibrations, what
was withdrawn included; a delegate's bundles lie within what was delegated; a calibration names a
parent that is published here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar

import msgspec
from securesystemslib.signer import Key
from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import DelegatedRole, Root, TargetFile, Targets

from shared.errors import Expired, Rejected, Unreachable
from shared.files import read_bounded
from signing.chain import TOP, Chain, children
from signing.change import Change, Step
from signing.declare import Declared
from signing.delegations import delegations, drop_keys, put
from signing.repository import Keys, Repository
from signing.verify import (
    BUNDLE_BYTES_MAX,
    IMAGE_POLICY,
    UNTIL_FIELD,
    WITHDRAWN_FIELD,
    WITHIN_FIELD,
    Applicability,
    RootPolicy,
    TargetCustom,
    check_target_path,
    narrower,
    parse_custom,
    tail_of_path,
    until,
)
from signing.verify.delegations import CALIBRATION, check_below
from signing.view import RepositoryView, view

CALIBRATION_PATHS = "cal/*/*/*"


class Delegation(msgspec.Struct, frozen=True, kw_only=True):
    """A maker's or operator's own role. paths: patterns like `egt_*/*`. until: not followed after
    it. within: what its bundles may be made for; None: whatever they say."""

    name: str
    keys: tuple[Key, ...]
    paths: tuple[str, ...]
    until: datetime
    within: Applicability | None = None
    threshold: int = 1


class Found(msgspec.Struct, frozen=True):
    """An entry as a client finds it. role: who signed it."""

    target: TargetFile
    custom: TargetCustom
    role: str


class ImageRepository(Repository):
    """`REPO/image`."""

    NAME: ClassVar[str] = "image"
    POLICY: ClassVar[RootPolicy] = IMAGE_POLICY

    def publish(self, keys: Keys, bundles: Sequence[Declared], role: str = TOP) -> None:
        """Add bundles; Rejected before anything is written when one of them does not fit."""
        with self.changing() as change:
            self.add(change, bundles, role)
            self.commit(change, keys)

    def withdraw(self, keys: Keys, target: str) -> None:
        """Take an entry out; its release counter stays where it was."""
        with self.changing() as change:
            self.remove(change, target)
            self.commit(change, keys)

    def delegate(self, keys: Keys, delegation: Delegation) -> None:
        """Let somebody else sign bundles of some names, or change what they may."""
        with self.changing() as change:
            self.entrust(change, delegation)
            self.commit(change, keys)

    def revoke_delegate(self, keys: Keys, name: str) -> None:
        """End a delegation; everything its keys signed is gone with it."""
        with self.changing() as change:
            self.distrust(change, name)
            self.commit(change, keys)

    def inspect(self) -> RepositoryView:
        """What the repository says now; Corrupt when it does not verify."""
        chain = self.chain()
        entries = [
            (role, path, parse_custom(target.custom, path))
            for role in chain.roles()
            for path, target in sorted(chain.targets(role).targets.items())
        ]
        return view(self.NAME, chain, self.now, entries)

    def find(self, chain: Chain, path: str) -> Found | None:
        """An entry where a client would find it; None when it would find none."""
        check_target_path(path)
        waiting = [TOP]
        while waiting:
            role = waiting.pop(0)
            if not chain.is_there(role):
                return None
            targets = chain.targets(role)
            if path in targets.targets:
                target = targets.targets[path]
                return Found(target, parse_custom(target.custom, path), role)
            waiting = [
                name for name in children(targets) if _role(targets, name).is_delegated_path(path)
            ][:1]
        return None

    # -- what a command changes

    def add(self, change: Change, bundles: Sequence[Declared], role: str = TOP) -> None:
        """Bundles into a role; for `calibration` into the role of the tail that each is for."""
        for bundle in bundles:
            folder = f"cal/{bundle.tail}/" if role == CALIBRATION else ""
            path = check_target_path(f"{folder}{bundle.name}/{bundle.file.name}")
            target = self._entry(bundle, path)
            if role not in (TOP, CALIBRATION):
                self._lies_within(change, bundle, path, role)
            self._release_grows(change, bundle, path)
            if role == CALIBRATION:
                self._parent_is_published(change, bundle)
                self._calibration_role(change, bundle.tail).targets[path] = target
            else:
                change.targets(role).targets[path] = target
            change.files.append((target, bundle.data))

    def remove(self, change: Change, path: str) -> None:
        found = self.find(change.chain, path)
        if found is None:
            raise Rejected(f"no target {path[:120]!r}", str(self.folder), "tailtwin-sign inspect")
        targets = change.targets(found.role)
        del targets.targets[path]
        _remember(targets, [found.custom])

    def entrust(self, change: Change, delegation: Delegation) -> None:
        """A delegation, checked against those that are there."""
        targets = change.targets()
        where = f"delegation {delegation.name}"
        if delegation.until <= self.now:
            raise Expired("it would be over already", where, "--until a later day")
        if not delegation.paths:
            raise Rejected("it names no bundles", where, "--paths 'NAME/*'")
        extra: dict[str, object] = {
            UNTIL_FIELD: delegation.until.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        if delegation.within is not None:
            extra[WITHIN_FIELD] = msgspec.to_builtins(delegation.within)
        put(change, targets, DelegatedRole(
            delegation.name, [key.keyid for key in delegation.keys], delegation.threshold, True,
            list(delegation.paths), unrecognized_fields=extra,
        ), delegation.keys)  # fmt: skip

    def distrust(self, change: Change, name: str) -> None:
        targets = change.targets()
        found = delegations(targets)
        if not found.roles or name not in found.roles:
            raise Rejected(f"no delegation {name!r}", str(self.folder), "tailtwin-sign inspect")
        if change.chain.is_there(name):
            signed = change.chain.targets(name).targets
            _remember(targets, [parse_custom(t.custom, path) for path, t in signed.items()])
        del found.roles[name]
        drop_keys(targets)

    def conform(self, change: Change, role: str) -> None:
        """The calibration desk's key is that of every tail below it, the next one included."""
        if role != CALIBRATION:
            return
        by = change.seen(TOP)
        assert isinstance(by, Targets)
        own = by.get_delegated_role(CALIBRATION)
        desk = change.targets(CALIBRATION)
        for name in children(desk):
            delegated = _role(desk, name)
            delegated.keyids, delegated.threshold = list(own.keyids), own.threshold
        delegations(desk).keys.update({keyid: by.get_key(keyid) for keyid in own.keyids})
        drop_keys(desk)

    def judge(self, change: Change, step: Step, by: Root | Targets) -> None:
        """Entries are of the role and its delegation; bundles that a draft adds are here."""
        signed = step.signed
        assert isinstance(signed, Targets)
        if step.role != TOP:
            check_below(step.role, signed, str(self.folder))
        there = _targets(change, step.role, before=True).targets
        role = by.get_delegated_role(step.role)
        for path, target in signed.targets.items():
            custom = parse_custom(target.custom, path)
            if isinstance(role, DelegatedRole):
                self._of_role(role, path)
                self._holds(role, custom.applicability, path)
            elif tail_of_path(path):
                raise Rejected("a calibration is the calibration desk's", path, "draft it anew")
            if step.given is not None and there.get(path) != target:
                self._bundle_is_here(target)

    def lifetime_of(self, role: str) -> str:
        return CALIBRATION if role.startswith(CALIBRATION) else super().lifetime_of(role)

    # -- what a bundle must be

    def _entry(self, bundle: Declared, path: str) -> TargetFile:
        custom = msgspec.to_builtins(
            TargetCustom(
                name=bundle.name, release=bundle.release, applicability=bundle.applicability,
                parent=bundle.parent,
            )
        )  # fmt: skip
        parse_custom(custom, path)
        if len(bundle.data) > BUNDLE_BYTES_MAX:
            raise Rejected(f"over {BUNDLE_BYTES_MAX} bytes", str(bundle.file), "make it smaller")
        target = TargetFile.from_data(path, bundle.data, ["sha256"])
        target.unrecognized_fields["custom"] = custom
        return target

    def _release_grows(self, change: Change, bundle: Declared, path: str) -> None:
        tail = tail_of_path(path)
        roles = [f"{CALIBRATION}-{tail}"] if tail else list(_type_roles(change))
        latest = max((_latest(change, role, bundle.name) for role in roles), default=0)
        if bundle.release <= latest:
            raise Rejected(
                f"release {bundle.release} of {bundle.name!r} does not grow; {latest} was "
                "published" + (f" for {tail}" if tail else ""),
                str(bundle.file), f"make it {latest + 1} or more",
            )  # fmt: skip

    @staticmethod
    def _parent_is_published(change: Change, bundle: Declared) -> None:
        for role in _type_roles(change):
            for target in _targets(change, role).targets.values():
                if target.hashes.get("sha256") == bundle.parent:
                    return
        raise Rejected(
            f"its parent {bundle.parent[:12]} is not published here", str(bundle.file),
            "publish the parent first, under offline keys",
        )  # fmt: skip

    def _lies_within(self, change: Change, bundle: Declared, path: str, role: str) -> None:
        delegated = change.chain.delegator(role).get_delegated_role(role)
        assert isinstance(delegated, DelegatedRole)
        self._of_role(delegated, path)
        self._holds(delegated, bundle.applicability, str(bundle.file))

    def delegation_holds(self, chain: Chain, found: Found, where: str) -> None:
        """Rejected or Expired unless the delegate that signed an entry may still sign it."""
        if found.role != TOP:
            role = chain.delegator(found.role).get_delegated_role(found.role)
            assert isinstance(role, DelegatedRole)
            self._holds(role, found.custom.applicability, where)

    @staticmethod
    def _of_role(role: DelegatedRole, path: str) -> None:
        if not role.is_delegated_path(path):
            raise Rejected(f"it is not {role.name}'s to sign", path, "tailtwin-sign inspect")

    def _bundle_is_here(self, target: TargetFile) -> None:
        (prefixed,) = target.get_prefixed_paths()
        file = self.bundles / prefixed
        try:
            target.verify_length_and_hashes(
                read_bounded(file, BUNDLE_BYTES_MAX, "this is no bundle")
            )
        except (LengthOrHashMismatchError, Unreachable):
            raise Rejected(
                "a bundle of that hash is not here", str(file),
                "copy it from where the draft was proposed",
            ) from None  # fmt: skip

    def _holds(self, role: DelegatedRole, who: Applicability, where: str) -> None:
        ends = until(role)
        if ends is not None and ends <= self.now:
            raise Expired(
                f"the delegation to {role.name} ended on {ends:%Y-%m-%d}", where, "delegate it anew"
            )
        within = role.unrecognized_fields.get(WITHIN_FIELD)
        if within is not None:
            reasons = narrower(who, msgspec.convert(within, Applicability))
            if reasons:
                raise Rejected(f"beyond what {role.name} may: {reasons[0]}", where, "narrow it")

    def _calibration_role(self, change: Change, tail: str) -> Targets:
        name = f"{CALIBRATION}-{tail}"
        if not change.chain.is_there(name) and name not in change.signed:
            by = change.chain.delegator(CALIBRATION)
            own = by.get_delegated_role(CALIBRATION)
            role = DelegatedRole(name, list(own.keyids), own.threshold, True, [f"cal/{tail}/*/*"])
            put(change, change.targets(CALIBRATION), role, [by.get_key(k) for k in own.keyids])
        return change.targets(name)


def _type_roles(change: Change) -> Iterable[str]:
    """The roles that sign bundles of a type: the topmost, and makers' and operators'."""
    yield TOP
    for name in children(_targets(change, TOP)):
        if name != CALIBRATION and (name in change.signed or change.chain.is_there(name)):
            yield name


def _targets(change: Change, role: str, *, before: bool = False) -> Targets:
    if before:
        return change.chain.targets(role) if change.chain.is_there(role) else Targets()
    if role not in change.signed and role not in change.given and not change.chain.is_there(role):
        return Targets()
    seen = change.seen(role)
    assert isinstance(seen, Targets)
    return seen


def _latest(change: Change, role: str, name: str) -> int:
    """The highest release of a name that a role has, or has had."""
    targets = _targets(change, role)
    there = [parse_custom(t.custom, path) for path, t in targets.targets.items()]
    withdrawn: int = targets.unrecognized_fields.get(WITHDRAWN_FIELD, {}).get(name, 0)
    return max([withdrawn, *(custom.release for custom in there if custom.name == name)])


def _remember(targets: Targets, customs: Iterable[TargetCustom]) -> None:
    kept = dict(targets.unrecognized_fields.get(WITHDRAWN_FIELD, {}))
    for custom in customs:
        kept[custom.name] = max(kept.get(custom.name, 0), custom.release)
    targets.unrecognized_fields[WITHDRAWN_FIELD] = kept


def _role(targets: Targets, name: str) -> DelegatedRole:
    role = targets.get_delegated_role(name)
    assert isinstance(role, DelegatedRole)
    return role
