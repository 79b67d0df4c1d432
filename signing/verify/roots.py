"""Our policy on roots, beyond what TUF asks of one.

In: a root that verifies, and the targets metadata below it. Out: the same, or Rejected.
Always holds: a root that fewer than two keys can replace is no root of ours, one key is counted
once however often it is listed, and no key that lies online signs for an offline role.
Signatures are TUF's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from shared.errors import Rejected
from signing.verify.declared import ISSUED_FIELD, UNTIL_FIELD
from signing.verify.delegations import (
    CALIBRATION,
    check_director_top,
    check_image_top,
    check_root_fields,
)

if TYPE_CHECKING:  # the recorder imports this package and must not carry tuf's memory
    from securesystemslib.signer import Key
    from tuf.api.metadata import DelegatedRole, Root, Signed, Targets

ROOT_THRESHOLD_MIN = 2
KEY_TYPES = frozenset({
    "ed25519", "composite", "ecdsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384",
})  # fmt: skip
Repository = Literal["image", "director"]


class RootPolicy(msgspec.Struct, frozen=True):
    """What we ask of the root of a repository, and of who it and its targets delegate to."""

    repository: Repository = "image"

    def check_root(self, root: Root, where: str) -> Root:
        """Return `root` if it keeps to this policy; Rejected otherwise."""
        check_root_fields(root, where)
        role = root.roles["root"]
        if role.threshold < ROOT_THRESHOLD_MIN:
            raise Rejected(
                f"root threshold is {role.threshold}", where, f"{ROOT_THRESHOLD_MIN} or more keys"
            )
        if not root.consistent_snapshot:
            raise Rejected("consistent_snapshot is off", where, "make it with tailtwin-sign")
        for name, listed in root.roles.items():
            counted_once(name, _keys(root.keys, listed.keyids), listed.threshold, where)
        online = public_values(self._of(root, "snapshot", "timestamp"))
        if online & public_values(self._of(root, "root", "targets")):
            raise Rejected(
                "an online key is an offline key too", where, "a key of its own for each"
            )
        return root

    def check_targets(self, root: Root, targets: Targets, where: str) -> Targets:
        """Return the top-level `targets` if its delegations have our shape, and keep offline and
        online keys apart.

        The image's delegates sign offline: none of their keys may be an online one. The
        director's sign online: none may be one of its offline keys.
        """
        if self.repository == "director":
            check_director_top(targets, where)
        else:
            check_image_top(targets, where)
        delegations = targets.delegations
        if delegations is None or not delegations.roles:
            return targets
        apart = ("root", "targets") if self.repository == "director" else ("snapshot", "timestamp")
        forbidden = public_values(self._of(root, *apart))
        for name, role in delegations.roles.items():
            keys = _keys(delegations.keys, role.keyids)
            counted_once(name, keys, role.threshold, where)
            if public_values(keys) & forbidden:
                raise Rejected(
                    f"{name} has a key of {' or '.join(apart)}", where, "a key of its own for each"
                )
        return targets

    def online(self, root: Root, targets: Targets | None = None) -> set[str]:
        """The public values of every key that lies online."""
        tails = _delegates(targets, lambda name: self.repository == "director")
        return public_values([*self._of(root, "snapshot", "timestamp"), *tails])

    def offline(self, root: Root, targets: Targets | None = None) -> set[str]:
        """The public values of every key that does not; the calibration desk's apart."""
        makers = _delegates(
            targets, lambda name: self.repository == "image" and name != CALIBRATION
        )
        return public_values([*self._of(root, "root", "targets"), *makers])

    @staticmethod
    def _of(root: Root, *names: str) -> list[Key]:
        return [key for name in names for key in _keys(root.keys, root.roles[name].keyids)]


IMAGE_POLICY, DIRECTOR_POLICY = RootPolicy("image"), RootPolicy("director")


def check_root(root: Root, where: str) -> Root:
    """The image repository's policy on a root."""
    return IMAGE_POLICY.check_root(root, where)


def issued_at(signed: Signed) -> datetime | None:
    """When this metadata says it was made; None when it does not, or says it badly."""
    return _time(signed.unrecognized_fields.get(ISSUED_FIELD))


def until(role: DelegatedRole) -> datetime | None:
    """When a delegation ends; None when it says nothing. Rejected when it says it badly."""
    text = role.unrecognized_fields.get(UNTIL_FIELD)
    if text is None:
        return None
    at = _time(text)
    if at is None:
        raise Rejected(f"{UNTIL_FIELD} is no time", f"delegation {role.name}", "delegate it anew")
    return at


def _time(text: Any) -> datetime | None:
    if not isinstance(text, str) or len(text) > 32:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def counted_once(name: str, keys: list[Key], threshold: int, where: str) -> None:
    """TUF counts key ids; one key under two ids would be two people."""
    seen: set[str] = set()
    for key in keys:
        values = public_values([key])
        if not values or values & seen:
            raise Rejected(f"{name} lists one key twice", where, "a key of its own for each")
        seen |= values
    if len(keys) < threshold:
        raise Rejected(
            f"{name} has {len(keys)} different keys", where, f"{threshold}, as its threshold"
        )


def _keys(keys: dict[str, Key], keyids: Iterable[str]) -> list[Key]:
    return [keys[keyid] for keyid in keyids if keyid in keys]


def public_values(keys: Iterable[Key]) -> set[str]:
    """Every part of every public key, so that a key is recognised however it is written down, and
    half of a composite key as well. Rejected for a kind of key that we do not take."""
    from signing.verify.composite import components  # brings cryptography: not in the recorder

    values: set[str] = set()
    for key in keys:
        try:
            if key.keytype not in KEY_TYPES:
                raise ValueError(f"of kind {key.keytype[:40]!r}")
            values |= {part.hex() for part in components(key)}
        except ValueError as error:
            raise Rejected(
                f"key {key.keyid[:12]} cannot be used: {error}",
                "keys",
                "ed25519, ECDSA or composite",
            ) from None
    return values


def check_apart(
    image: Root,
    director: Root,
    image_top: Targets | None = None,
    director_top: Targets | None = None,
    attestors: Iterable[Key] = (),
) -> None:
    """Rejected when one key has two places: in both repositories, online and offline, at the
    calibration desk or among the attestors and elsewhere. One theft would be two."""
    groups = {
        "image, offline": IMAGE_POLICY.offline(image, image_top),
        "image, online": IMAGE_POLICY.online(image),
        "director, offline": DIRECTOR_POLICY.offline(director, director_top),
        "director, online": DIRECTOR_POLICY.online(director, director_top),
        "calibrations": public_values(_delegates(image_top, lambda name: name == CALIBRATION)),
        "attestors": public_values(attestors),
    }
    for (one, keys), (other, others) in combinations(groups.items(), 2):
        if keys & others:
            raise Rejected(f"one key for {one} and {other}", "roots", "a key of its own for each")


def _delegates(targets: Targets | None, which: Callable[[str], bool]) -> list[Key]:
    """The keys of those roles that are delegated to by such names."""
    found = targets.delegations if targets is not None else None
    if found is None or not found.roles:
        return []
    keyids = [keyid for name, role in found.roles.items() if which(name) for keyid in role.keyids]
    return _keys(found.keys, keyids)
