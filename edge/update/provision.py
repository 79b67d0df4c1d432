"""The one moment of trust: the roots of both repositories, laid down at the shop.

In: two root metadata files from somebody who knows where they got them. Out: a folder of trust.
Always holds: a root that breaks our policy is not laid down; one that is there is never replaced.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tuf.api import exceptions
from tuf.api.metadata import Root

from edge.update.disk import PosixDisk, write_durably
from edge.update.floor import FILE, TimeFloor
from edge.update.trusted import ROOT_BYTES_MAX, AgainstPolicy, Guard, TrustedSet
from shared.errors import Corrupt, Rejected
from signing.verify import DIRECTOR_POLICY, IMAGE_POLICY, RootPolicy, check_apart
from signing.verify.attested import attestors_of


def provision(folder: Path, image_root: bytes, director_root: bytes) -> str:
    """Trust these. folder: `state/tuf`. Returns the nonce that a time reset has to name.

    Running it again with the same roots is harmless, and makes a time floor that nobody can read
    anew.
    """
    roots = {
        folder / "image" / "root.json": (image_root, IMAGE_POLICY),
        folder / "director" / "root.json": (director_root, DIRECTOR_POLICY),
    }
    image, director = (_check(path, root, policy) for path, (root, policy) in roots.items())
    check_apart(image, director, attestors=attestors_of(image).keys)
    disk = PosixDisk()
    for path, (root, _) in roots.items():
        if not path.exists():
            disk.make_folder(path.parent)
            write_durably(disk, path, root)
            disk.sync_folder(folder)
    return _floor(folder / FILE, disk).nonce()


def _floor(path: Path, disk: PosixDisk) -> TimeFloor:
    try:
        return TimeFloor(path, disk)
    except Corrupt:
        path.unlink()
        return TimeFloor(path, disk)


def _check(path: Path, root: bytes, policy: RootPolicy) -> Root:
    """The root, if it is one of this kind of repository, and no other is trusted here."""
    where, remedy = str(path), f"take 1.root.json of the {policy.repository} repository"
    if len(root) > ROOT_BYTES_MAX:
        raise Rejected("root metadata is too large", where, remedy)
    try:
        trusted = TrustedSet(root, datetime.now(UTC), Guard(policy))
    except AgainstPolicy as error:
        raise Rejected(error.error.what, where, error.error.remedy) from None
    except exceptions.RepositoryError as error:
        raise Rejected(f"not a trustworthy root: {error}", where, remedy) from None
    if path.exists() and path.read_bytes() != root:
        raise Rejected("another root is trusted already", where, "use a new state folder")
    return trusted.root
