"""The keys at hand: one or more folders, asked by keyid.

In: key folders. Out: signers for a role, as many as its threshold asks for.
Always holds: a private key is loaded only when it is about to sign, and once.
"""

from __future__ import annotations

from collections.abc import Sequence

from securesystemslib.signer import Key, Signer

from shared.errors import Rejected, TailTwinError
from signing.keys import KeyFolder

KEY_NAME_FIELD = "x-tailtwin-name"
"""Beside a key in signed metadata: the name that people know it by. No part of its keyid."""


class Keyring:
    """Folders of keys; a person may bring more than one."""

    def __init__(self, *folders: KeyFolder) -> None:
        self.folders = folders
        self._names: dict[str, tuple[KeyFolder, str]] = {}
        self._signers: dict[str, Signer] = {}
        for folder in folders:
            for file in sorted(folder.folder.glob("*.pub.json")):
                name = file.name.removesuffix(".pub.json")
                self._names.setdefault(folder.public(name).keyid, (folder, name))

    def has(self, keyid: str) -> bool:
        return keyid in self._names

    def name(self, keyid: str) -> str:
        return self._names[keyid][1] if keyid in self._names else ""

    def public(self, name: str) -> Key | None:
        """The public half of the key of that name, with its name; None when it is not here."""
        for folder in self.folders:
            if (folder.folder / f"{name}.pub.json").is_file():
                return named(folder.public(name), name)
        return None

    def signer(self, keyid: str) -> Signer:
        if keyid not in self._signers:
            folder, name = self._names[keyid]
            signer = folder.load(name)
            if signer.public_key.keyid != keyid:
                raise Rejected("the private key is not of its public one", name, "fetch both again")
            self._signers[keyid] = signer
        return self._signers[keyid]

    def signers(
        self, keys: Sequence[Key], threshold: int, role: str, instead: str = ""
    ) -> list[Signer]:
        """As many of these keys as are at hand, `threshold` or more; Rejected otherwise.
        instead: what else somebody without them can do."""
        found: list[Signer] = []
        failed: TailTwinError | None = None
        for key in keys:
            if not self.has(key.keyid):
                continue
            try:
                found.append(self.signer(key.keyid))
            except TailTwinError as error:  # its public half is here; perhaps others are enough
                failed = failed or error
        if len(found) >= threshold:
            return found
        if failed is not None:
            raise failed
        where = ", ".join(str(folder.folder) for folder in self.folders) or "no key folder"
        asked = [f"{name_of(key)} ({key.keyid[:12]})" for key in keys[:4]]
        raise Rejected(
            f"{len(found)} of {threshold} keys of {role} are at hand", where,
            f"bring {' or '.join(asked)}{instead}",
        )  # fmt: skip


def named(key: Key, name: str) -> Key:
    """The same key with its name beside it, as metadata carries it."""
    key.unrecognized_fields[KEY_NAME_FIELD] = name
    return key


def name_of(key: Key) -> str:
    """What signed metadata calls a key; its keyid's first half where it does not."""
    name = key.unrecognized_fields.get(KEY_NAME_FIELD)
    return name if isinstance(name, str) and name.isprintable() else key.keyid[:12]


def keyring(keys: KeyFolder | Keyring) -> Keyring:
    return keys if isinstance(keys, Keyring) else Keyring(keys)
