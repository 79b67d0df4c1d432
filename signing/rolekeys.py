"""Whose keys a ceremony changes, by the name that people have for the role.

In: a role's name (`image-root`, `director-tails`, `calibration`, `attestor`, a maker), and keys to
add or remove. Out: the changed root or targets role.
Always holds: a role keeps as many keys as its threshold asks for; a key is of one role.
"""

from __future__ import annotations

from dataclasses import dataclass

from securesystemslib.signer import Key
from tuf.api.metadata import Role, Root, Targets

from shared.errors import Rejected
from signing.chain import children
from signing.change import Change
from signing.delegations import drop_keys
from signing.director import TAILS
from signing.keyring import name_of
from signing.verify import ATTESTORS_FIELD

ATTESTOR = "attestor"
TOP_ROLES = ("root", "targets", "snapshot", "timestamp")
EACH_TAIL = "tail-"


def repository_of(role: str) -> str:
    """`image` or `director`: where a role's keys are named."""
    return "director" if role.startswith(("director-", EACH_TAIL)) else "image"


@dataclass(frozen=True)
class KeyChange:
    """role: as people name it. remove: a key's name, or how its keyid begins; empty: none.
    threshold: the new one; 0: as it was."""

    role: str
    add: Key | None = None
    remove: str = ""
    threshold: int = 0

    def apply(self, change: Change) -> None:
        """Change whoever names the keys; Rejected when the role or the key is not there."""
        top = self.role.partition("-")[2]
        if self.role == ATTESTOR:
            self._attestors(change.root())
        elif self.role == f"{repository_of(self.role)}-{top}" and top in TOP_ROLES:
            root = change.root()
            self._edit(root.roles[top], root.keys)
            used = {keyid for role in root.roles.values() for keyid in role.keyids}
            for keyid in set(root.keys) - used:
                del root.keys[keyid]
        else:
            self._delegated(change.targets())

    def _delegated(self, targets: Targets) -> None:
        """One delegation, or every tail's that has the key (with `director-tails`)."""
        found = targets.delegations
        names = [
            name for name in children(targets)
            if name == self.role or (self.role == TAILS and name.startswith(EACH_TAIL))
        ]  # fmt: skip
        if found is None or not names:
            raise self._rejected(f"no role {self.role!r}", "tailtwin-sign inspect names them")
        assert found.roles is not None
        if self.role == TAILS and self.remove:
            keyid = self._find(found.keys)
            names = [name for name in names if keyid in found.roles[name].keyids]
        keys = dict(found.keys)
        for name in names:
            self._edit(found.roles[name], keys)
        found.keys = keys
        drop_keys(targets)

    def _edit(self, role: Role, keys: dict[str, Key]) -> None:
        if self.add is not None:
            if self.add.keyid in role.keyids:
                raise self._rejected("it has that key already", "another key")
            role.keyids.append(self.add.keyid)
        if self.remove:
            role.keyids.remove(
                self._find({keyid: keys[keyid] for keyid in role.keyids if keyid in keys})
            )
        if self.add is not None:
            keys[self.add.keyid] = self.add
        role.threshold = self.threshold or role.threshold
        self._enough(len(role.keyids), role.threshold)

    def _attestors(self, root: Root) -> None:
        raw = root.unrecognized_fields.get(ATTESTORS_FIELD, {})
        keys = {k: Key.from_dict(k, dict(v)) for k, v in raw.get("keys", {}).items()}
        if self.add is not None:
            if self.add.keyid in keys:
                raise self._rejected("it has that key already", "another key")
            keys[self.add.keyid] = self.add
        if self.remove:
            del keys[self._find(keys)]
        threshold = self.threshold or raw.get("threshold", 1)
        self._enough(len(keys), threshold)
        root.unrecognized_fields[ATTESTORS_FIELD] = {
            "keys": {keyid: key.to_dict() for keyid, key in keys.items()}, "threshold": threshold,
        }  # fmt: skip

    def _find(self, keys: dict[str, Key]) -> str:
        """The one key of that name; the newest keyid is not guessed."""
        found = [
            keyid for keyid, key in keys.items()
            if name_of(key) == self.remove or (len(self.remove) >= 8 and keyid.startswith(self.remove))
        ]  # fmt: skip
        if len(found) != 1:
            names = ", ".join(sorted(f"{name_of(k)} ({i[:12]})" for i, k in keys.items())[:9])
            raise self._rejected(
                f"{len(found)} keys are {self.remove[:80]!r}", f"one of {names or 'none'}"
            )
        return found[0]

    def _enough(self, count: int, threshold: int) -> None:
        if count < threshold:
            raise self._rejected(
                f"{count} keys would be left; its threshold is {threshold}",
                "rotate the key, or add one first",
            )

    def _rejected(self, what: str, remedy: str) -> Rejected:
        return Rejected(what, self.role, remedy)
