"""Metadata that waits for people's signatures, a file each, as TUF metadata is.

In: what an offline role is to become. Out: `{repository}-{version}.{role}.json`, signed by one
person after another on machines without a network, and at last taken over by the repository.
Always holds: a signature is added only by a key of the role, once; copies that different people
signed are one draft when what they signed is the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Metadata, Role, Root, Targets
from tuf.api.serialization import DeserializationError, SerializationError

from shared.errors import Rejected, Unreachable
from shared.files import read_bounded, write_durably
from signing.chain import METADATA_BYTES_MAX
from signing.change import Change, Plan, Step, is_offline
from signing.verify import ATTESTORS_FIELD
from signing.verify.attested import attestors_of

_NAME = re.compile(
    r"(image|director)-([1-9][0-9]{0,8})\.([A-Za-z0-9][A-Za-z0-9._-]{0,120})\.json\Z"
)
AnyMetadata = Metadata[Any]


class Draft(msgspec.Struct, frozen=True):
    """One draft. metadata: a Root or Targets, whatever has been signed of it."""

    path: Path
    repository: str
    role: str
    metadata: AnyMetadata

    @property
    def signed(self) -> Root | Targets:
        signed = self.metadata.signed
        assert isinstance(signed, Root | Targets)
        return signed


def propose(plan: Plan, folder: Path) -> tuple[Draft, ...]:
    """Write what a plan's offline roles are to become, unsigned; nothing else is written."""
    steps = [*((plan.root,) if plan.root else ()), *(s for s in plan.roles if is_offline(s.role))]
    drafts = []
    for step in steps:
        path = folder / f"{plan.repository}-{step.signed.version}.{step.role}.json"
        if path.exists() and read_draft(path).metadata.signatures:
            raise Rejected(
                "somebody has signed this draft already", str(path),
                "publish it first, or remove it and begin again",
            )  # fmt: skip
        metadata: AnyMetadata = Metadata(step.signed)
        _check_signed(metadata.signed, path)  # one that nobody can read bars every later ceremony
        drafts.append(Draft(path, plan.repository, step.role, metadata))
    for draft in drafts:
        write_draft(draft)
    return tuple(drafts)


def resume(change: Change, repository: str, folder: Path) -> None:
    """Go on from unsigned drafts of the next versions, so that one ceremony can change more."""
    for path in sorted(folder.glob(f"{repository}-*.json")):
        draft = read_draft(path)
        now = _version_now(change, draft.role)
        if draft.signed.version == now + 1:
            if draft.metadata.signatures:
                raise Rejected(
                    "somebody has signed this draft already", str(path),
                    "publish it first, or remove it and begin again",
                )  # fmt: skip
            change.signed[draft.role] = draft.signed


def take_over(change: Change, repository: str, drafts: Sequence[Draft]) -> None:
    """Hand signed drafts to a change; Rejected when they are of another repository or version."""
    for draft in drafts:
        where = str(draft.path)
        if draft.repository != repository:
            raise Rejected(f"a draft of the {draft.repository} repository", where, "one at a time")
        now = _version_now(change, draft.role)
        if draft.signed.version != now + 1:
            raise Rejected(
                f"it is version {draft.signed.version} of {draft.role}; the repository has {now}",
                where, "draft it anew",
            )  # fmt: skip
        change.given[draft.role] = draft.metadata


def read_draft(path: Path) -> Draft:
    """A draft, as yet unverified; Rejected when the file is none, or not named as one."""
    match = _NAME.match(path.name)
    if match is None:
        raise Rejected(
            "not the name of a draft", str(path), "{image|director}-{version}.{role}.json"
        )
    metadata = read_metadata(path)
    repository, version, role = match[1], int(match[2]), match[3]
    signed = metadata.signed
    kind = Root if role == "root" else Targets
    if not isinstance(signed, kind) or signed.version != version:
        raise Rejected(
            f"its name says {role} {version}; it is {signed.type} {signed.version}", str(path),
            "fetch it again",
        )  # fmt: skip
    return Draft(path, repository, role, metadata)


def read_metadata(path: Path) -> AnyMetadata:
    """Any metadata file, unverified; Rejected when it is damaged."""
    data = read_bounded(path, METADATA_BYTES_MAX, "this is no metadata of ours")
    try:
        metadata: AnyMetadata = Metadata.from_bytes(data)
        _ = metadata.signed_bytes  # of numbers that canonical JSON does not have, for one
    except (DeserializationError, SerializationError, RecursionError) as error:
        raise Rejected(f"not TUF metadata: {error}", str(path), "fetch it again") from None
    _check_signed(metadata.signed, path)
    return metadata


def _check_signed(signed: object, path: Path) -> None:
    """Rejected when a role lacks its keys, or attestors are not whom they may be."""
    if isinstance(signed, Root) and ATTESTORS_FIELD in signed.unrecognized_fields:
        attestors_of(signed)
    lacking = _keys_lacking(signed)
    if lacking:
        raise Rejected(f"a role without a name, or without its keys: {lacking}", str(path),
                       "draft it anew")  # fmt: skip


def _keys_lacking(signed: object) -> str:
    """The role whose keys are not all there, or whose name is none; empty when there is none."""
    roles: dict[str, Role] = {}
    keys: dict[str, Key] = {}
    if isinstance(signed, Root):
        roles, keys = dict(signed.roles), signed.keys
    elif isinstance(signed, Targets) and signed.delegations is not None:
        roles, keys = dict(signed.delegations.roles or {}), signed.delegations.keys
    return next(
        (
            repr(name) for name, role in roles.items()
            if not isinstance(name, str) or set(role.keyids) - set(keys)
        ),
        "",
    )  # fmt: skip


def write_draft(draft: Draft) -> None:
    try:
        draft.path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(draft.path, draft.metadata.to_bytes())
    except OSError as error:
        raise Unreachable(
            f"cannot write: {error.strerror}", str(draft.path), "make room, then run it again"
        ) from None


def merged(drafts: Iterable[Draft]) -> tuple[Draft, ...]:
    """Copies that different people signed, made one; Rejected when two differ in what they say."""
    found: dict[tuple[str, str], Draft] = {}
    for draft in drafts:
        one = found.setdefault((draft.repository, draft.role), draft)
        if one is draft:
            continue
        if one.metadata.signed_bytes != draft.metadata.signed_bytes:
            raise Rejected(
                f"it says something else than {one.path}", str(draft.path), "copies of one draft"
            )
        one.metadata.signatures.update(draft.metadata.signatures)
    return tuple(found.values())


def may_sign(draft: Draft, by: Sequence[Root | Targets]) -> Step:
    """Whose signatures a draft wants: of a root, the keys before it and its own; otherwise those
    that the given delegator names. Rejected when no delegator names the role."""
    signed = draft.signed
    names = [*by, signed] if isinstance(signed, Root) else list(by)
    keys = {}
    threshold = 0
    for delegator in names:
        try:
            role = delegator.get_delegated_role(draft.role)
            keys.update({keyid: delegator.get_key(keyid) for keyid in role.keyids})
        except ValueError:
            continue
        threshold = role.threshold
    if not keys:
        raise Rejected(
            f"nobody is named who may sign {draft.role}", str(draft.path),
            "give the metadata that names its keys with --root",
        )  # fmt: skip
    return Step(draft.role, signed, tuple(keys.values()), threshold)


def add_signature(draft: Draft, step: Step, signer: Signer) -> None:
    """One person's signature; Rejected when the key is not of the role, or has signed."""
    keyid = signer.public_key.keyid
    if keyid not in {key.keyid for key in step.keys}:
        raise Rejected(f"the key {keyid[:12]} does not sign {draft.role}", str(draft.path),
                       "the key of somebody who is named")  # fmt: skip
    if keyid in draft.metadata.signatures:
        raise Rejected("this key has signed it already", str(draft.path), "another person's key")
    draft.metadata.sign(signer, append=True)
    write_draft(draft)


def counted(draft: Draft, step: Step, before: Root | None) -> str:
    """How many of the keys that are asked for have signed, in words."""
    signed = draft.signed
    said = []
    for whose, by in (("the keys before it", before), ("its own keys", signed)):
        if isinstance(by, Root) and isinstance(signed, Root):
            result = by.get_verification_result(
                "root", draft.metadata.signed_bytes, draft.metadata.signatures
            )
            said.append(f"{len(result.signed)} of {result.threshold} of {whose}")
    signed_by = [key for key in step.keys if key.keyid in draft.metadata.signatures]
    return ", ".join(said) or f"{len(signed_by)} of {step.threshold}"


def _version_now(change: Change, role: str) -> int:
    return change.chain.root.signed.version if role == "root" else change.chain.version_listed(role)
