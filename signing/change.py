"""A change to a repository before anything is signed: what is edited, and what follows from it.

In: a verified chain. Out: edited roles, one version up, and the plan of files that they become.
Always holds: the chain stays as it was read; a role counts up once, however often it is edited.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Metadata, Root, Signed, TargetFile, Targets

from shared.errors import Rejected
from signing.chain import TOP, Chain
from signing.keyring import Keyring

S = TypeVar("S", Root, Targets)


@dataclass
class Change:
    """What one command changes. Roles that are edited count one version up, once.

    given: metadata that others have signed already, from drafts. skip: how many versions of
    snapshot and timestamp are left to somebody else.
    """

    chain: Chain
    stamp: Callable[[Any, str], None]
    signed: dict[str, Root | Targets] = field(default_factory=dict)
    given: dict[str, Metadata[Root] | Metadata[Targets]] = field(default_factory=dict)
    files: list[tuple[TargetFile, bytes]] = field(default_factory=list)
    skip: int = 0

    def root(self) -> Root:
        """The root to change."""
        if "root" not in self.signed:
            self.signed["root"] = self._next(_copy(self.chain.root), "root")
        found = self.signed["root"]
        assert isinstance(found, Root)
        return found

    def targets(self, role: str = TOP) -> Targets:
        """A targets role to change; an empty one when it has not signed anything yet."""
        if role not in self.signed:
            if self.chain.is_there(role):
                self.signed[role] = self._next(_copy(self.chain.metadata(role)), role)
            else:
                fresh = Targets(version=self.chain.version_listed(role) + 1)
                self.stamp(fresh, role)
                self.signed[role] = fresh
        found = self.signed[role]
        assert isinstance(found, Targets)
        return found

    def seen(self, role: str) -> Root | Targets:
        """A role as it will be, unchanged ones included."""
        if role in self.given:
            return self.given[role].signed
        if role in self.signed:
            return self.signed[role]
        return self.chain.root.signed if role == "root" else self.chain.targets(role)

    def _next(self, signed: S, role: str) -> S:
        signed.version += 1
        self.stamp(signed, role)
        return signed


@dataclass(frozen=True)
class Step:
    """One metadata file to be signed. by: whoever vouches for it. given: signed already."""

    role: str
    signed: Signed
    keys: tuple[Key, ...]
    threshold: int
    given: Metadata[Any] | None = None

    def signers(self, ring: Keyring) -> list[Signer]:
        """As many of its keys as are at hand; Rejected when they are too few."""
        instead = ", or --propose a draft" if is_offline(self.role) else ""
        return ring.signers(self.keys, self.threshold, self.role, instead)

    def sign(self, ring: Keyring) -> bytes:
        """The file; of what others have signed, theirs."""
        if self.given is not None:
            return self.given.to_bytes()
        metadata: Metadata[Any] = Metadata(self.signed)
        for signer in self.signers(ring):
            metadata.sign(signer, append=True)
        return metadata.to_bytes()

    def check_given(self) -> None:
        """Rejected unless enough of a role's keys have signed what others hand in."""
        assert self.given is not None
        signed = 0
        for key in self.keys:
            signature = self.given.signatures.get(key.keyid)
            if signature is None:
                continue
            try:
                key.verify_signature(signature, self.given.signed_bytes)
            except Exception:  # whatever a key finds wrong, it is not a signature
                continue
            signed += 1
        if signed < self.threshold:
            raise Rejected(
                f"{self.role} {self.signed.version} is signed by {signed} of {self.threshold} keys",
                self.role, "let more people sign it",
            )  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Everything that a change will sign and write, in order, before anything is."""

    repository: str
    change: Change
    root: Step | None
    roles: tuple[Step, ...]
    snapshot: Step
    timestamp: Step


def is_offline(role: str) -> bool:
    """Whether a role's file is signed by people; tails are online, calibrations at their desk."""
    return not role.startswith(("tail-", "calibration", "snapshot", "timestamp"))


def unseen(plan: Plan) -> None:
    """The review of somebody who asked for none."""


def role_keys(by: Root | Targets, role: str) -> tuple[Key, ...]:
    """The keys that a role has by whoever vouches for it."""
    return tuple(by.get_key(keyid) for keyid in by.get_delegated_role(role).keyids)


def _copy(metadata: Metadata[S]) -> S:
    copied: Metadata[S] = Metadata.from_bytes(metadata.to_bytes())
    return copied.signed
