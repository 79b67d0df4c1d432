"""What a repository says now, for people and for `--json`.

In: a verified chain. Out: frozen values. Always holds: what is shown was verified first.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from tuf.api.metadata import Signed

from signing.chain import Chain
from signing.keyring import name_of
from signing.verify import Applicability, TargetCustom, issued_at


class PublishedBundle(msgspec.Struct, frozen=True, kw_only=True):
    """One entry. target: its path; role: who signed it."""

    target: str
    name: str
    release: int
    length: int
    sha256: str
    applicability: Applicability
    parent: str
    role: str


class RoleView(msgspec.Struct, frozen=True, kw_only=True):
    """One role. key_names: as signed metadata calls its keys."""

    role: str
    version: int
    expires: str
    issued: str
    threshold: int
    keys: int
    key_names: tuple[str, ...]
    is_expired: bool


class RepositoryView(msgspec.Struct, frozen=True, kw_only=True):
    """A whole repository. repository: image or director."""

    repository: str
    roles: tuple[RoleView, ...]
    bundles: tuple[PublishedBundle, ...]


def view(
    repository: str, chain: Chain, now: datetime, entries: list[tuple[str, str, TargetCustom]]
) -> RepositoryView:
    """entries: (role, target path, its checked custom)."""
    bundles = []
    for role, path, custom in entries:
        target = chain.targets(role).targets[path]
        bundles.append(
            PublishedBundle(
                target=path, name=custom.name, release=custom.release, length=target.length,
                sha256=target.hashes["sha256"], applicability=custom.applicability,
                parent=custom.parent, role=role,
            )
        )  # fmt: skip
    root = chain.root.signed
    roles = [_role(chain, "root", root, now)]
    roles += [_role(chain, role, chain.targets(role), now) for role in chain.roles()]
    roles += [_role(chain, s.type, s, now) for s in (chain.snapshot, chain.timestamp)]
    return RepositoryView(repository=repository, roles=tuple(roles), bundles=tuple(bundles))


def _role(chain: Chain, name: str, signed: Signed, now: datetime) -> RoleView:
    by = chain.root.signed
    delegator = by if name in by.roles else chain.delegator(name)
    role, issued = delegator.get_delegated_role(name), issued_at(signed)
    return RoleView(
        role=name, version=signed.version, expires=signed.expires.isoformat(),
        issued=issued.isoformat() if issued else "", threshold=role.threshold,
        keys=len(role.keyids),
        key_names=tuple(name_of(delegator.get_key(keyid)) for keyid in role.keyids),
        is_expired=signed.is_expired(now),
    )  # fmt: skip
