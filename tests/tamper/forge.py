"""A thief at work: an honest repository folder, rewritten with whatever keys were stolen.

In: a copy of a repository's folder and the stolen signers. Out: the same folder with the best
forgery that these keys make. Nothing of `signing` is used to write it, so nothing of its manners
is kept: the only rule is that a signature needs its key.

Two manners of forging, since each is stopped elsewhere. *Careful*: only what the keys can sign is
changed, and where the role above cannot be signed the version stays, in the hope that nobody
pinned the bytes. *Blunt*: everything is changed, and signed by the thief's own key in the name of
the keys that are missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, Key, Signature, Signer
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

TOP = ("root", "targets", "snapshot", "timestamp")
ROGUE = CryptoSigner(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"rogue").digest()))
ROGUES = tuple(
    CryptoSigner(
        Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"rogue {n}".encode()).digest())
    )
    for n in range(12)
)
"""Keys of the thief's own, six for each repository: a policy asks that they differ."""


class Loot:
    """Stolen signers, by the key id that metadata knows them by; the thief's own are among them."""

    def __init__(self, stolen: Iterable[Signer] = ()) -> None:
        self._signers: dict[str, Signer] = {
            signer.public_key.keyid: signer for signer in (*stolen, *ROGUES, ROGUE)
        }

    def of(self, keyids: Iterable[str]) -> list[Signer]:
        return [self._signers[keyid] for keyid in keyids if keyid in self._signers]


class Forger:
    """One repository folder, `metadata/` and `targets/`, in the hands of a thief.

    own: keys that the thief names where a key that was stolen may name others.
    """

    def __init__(self, folder: Path, loot: Loot, own: Sequence[Signer] = ROGUES) -> None:
        self.folder, self._loot, self._own = folder, loot, own
        self._metadata = folder / "metadata"
        newest = max(int(p.name.split(".")[0]) for p in self._metadata.glob("*.root.json"))
        self.root: Metadata[Root] = self._read(f"{newest}.root.json")
        self.timestamp: Metadata[Timestamp] = self._read("timestamp.json")
        version = self.timestamp.signed.snapshot_meta.version
        self.snapshot: Metadata[Snapshot] = self._read(f"{version}.snapshot.json")
        self.roles: dict[str, Metadata[Targets]] = {
            name.removesuffix(".json"): self._read(f"{meta.version}.{name}")
            for name, meta in self.snapshot.signed.meta.items()
        }
        self._changed: set[str] = set()
        self._is_taken_over = False

    # -- what the keys are good for

    def can(self, role: str) -> bool:
        """Whether the stolen keys reach the threshold of a role."""
        by, keyids, threshold = self._asked(role)
        return by is not None and len(self._loot.of(keyids)) >= threshold

    def can_all(self, *roles: str) -> bool:
        return all(self.can(role) for role in roles)

    def delegator(self, role: str) -> str | None:
        """The role whose metadata delegates this one."""
        if role in TOP:
            return "root"
        for name, metadata in self.roles.items():
            delegations = metadata.signed.delegations
            if delegations and delegations.roles and role in delegations.roles:
                return name
        return None

    def _asked(self, role: str) -> tuple[str | None, list[str], int]:
        by = self.delegator(role)
        if by is None:
            return None, [], 1
        signed = self.root.signed if by == "root" else self.roles[by].signed
        found = signed.get_delegated_role(role)
        return by, found.keyids, found.threshold

    # -- forging

    def take_over(self) -> None:
        """With a threshold of root keys, name keys of one's own for everything below the root; with
        those of a targets role, for what it delegates. Everything is then signed anew."""
        if self.can("root"):
            self._new_root()
        waiting = ["targets"]
        while waiting:
            role = waiting.pop(0)
            if role in self.roles and self.can(role):
                waiting += self._name_own_keys(role)

    def edit(self, role: str, change: Callable[[Targets], object]) -> None:
        """Change a targets role; `seal` sees whether it can be signed."""
        if role not in self.roles:
            self.roles[role] = Metadata(Targets(expires=self.timestamp.signed.expires))
        change(self.roles[role].signed)
        self._changed.add(role)

    def prolong(self, until: datetime) -> None:
        """Let everything that can be signed live until then."""
        for role, metadata in self.roles.items():
            if self.can(role):
                metadata.signed.expires = until
                self._changed.add(role)
        for top in (self.snapshot, self.timestamp):
            if self.can(top.signed.type):
                top.signed.expires = until

    def seal(self, *, blunt: bool = False) -> None:
        """Sign what can be signed and write it, in the careful or the blunt manner."""
        is_whole = blunt or self.can_all("snapshot", "timestamp")
        for role in sorted(self._changed):
            metadata = self.roles[role]
            if not (blunt or self.can(role)):
                continue
            metadata.signed.version += is_whole
            data = self._sign(metadata, role)
            self._write(f"{metadata.signed.version}.{role}.json", data)
            self.snapshot.signed.meta[f"{role}.json"] = MetaFile.from_data(
                metadata.signed.version, data, ["sha256"]
            )
        if blunt or self.can("snapshot"):
            self.snapshot.signed.version += is_whole
            data = self._sign(self.snapshot, "snapshot")
            self._write(f"{self.snapshot.signed.version}.snapshot.json", data)
            self.timestamp.signed.snapshot_meta = MetaFile.from_data(
                self.snapshot.signed.version, data, ["sha256"]
            )
        if blunt or self.can("timestamp"):
            self.timestamp.signed.version += 1
            self._write("timestamp.json", self._sign(self.timestamp, "timestamp"))

    def put(self, path: str, data: bytes, custom: dict[str, Any]) -> TargetFile:
        """Lay down a file where a client asks for it, and make its entry."""
        target = TargetFile.from_data(path, data, ["sha256"])
        target.unrecognized_fields["custom"] = custom
        for prefixed in target.get_prefixed_paths():
            file = self.folder / "targets" / prefixed
            file.parent.mkdir(parents=True, exist_ok=True)
            put(file, data)
        return target

    # -- inside

    def _new_root(self) -> None:
        before = self.root
        root = self.root = Metadata(Root.from_dict(before.signed.to_dict()))
        root.signed.version += 1
        for role, key in zip(("targets", "snapshot", "timestamp"), self._own, strict=False):
            for keyid in list(root.signed.roles[role].keyids):
                root.signed.revoke_key(keyid, role)
            root.signed.add_key(key.public_key, role)
        attestors = root.signed.unrecognized_fields.get("x-tailtwin-attestors")
        if attestors is not None:
            own = self._own[3].public_key
            attestors["keys"][own.keyid], attestors["threshold"] = own.to_dict(), 1
        for signer in self._loot.of(before.signed.roles["root"].keyids):
            root.sign(signer, append=True)
        self._write(f"{root.signed.version}.root.json", root.to_bytes())
        self._changed.add("targets")
        self._is_taken_over = True

    def _name_own_keys(self, role: str) -> list[str]:
        """Own keys for everything that a role delegates; the roles' names."""
        delegations = self.roles[role].signed.delegations
        if delegations is None or not delegations.roles:
            return []
        for name, delegated in delegations.roles.items():
            own: Key = self._own[5 if name.startswith("cal") else 4].public_key
            delegated.keyids, delegated.threshold = [own.keyid], 1
            delegations.keys[own.keyid] = own
            if name in self.roles:
                self._changed.add(name)
        self._changed.add(role)
        return list(delegations.roles)

    def _sign(self, metadata: Metadata[Any], role: str) -> bytes:
        """By every key of the role that is at hand; in the name of the others by the thief."""
        _, keyids, _ = self._asked(role)
        metadata.signatures.clear()
        for signer in self._loot.of(keyids):
            metadata.sign(signer, append=True)
        if not metadata.signatures:
            own = ROGUE.sign(metadata.signed_bytes)
            for keyid in keyids:
                metadata.signatures[keyid] = Signature(keyid, own.signature)
        return metadata.to_bytes()

    def _read(self, name: str) -> Metadata[Any]:
        return Metadata.from_bytes((self._metadata / name).read_bytes())

    def _write(self, name: str, data: bytes) -> None:
        put(self._metadata / name, data)


def put(path: Path, data: bytes) -> None:
    """Write a file anew: others may link to what was there."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
