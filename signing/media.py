"""A media folder: both repositories as a source serves them, good for a month without a network.

In: the repositories, the online keys, the tails that it is for. Out: files below a new folder.
Always holds: no two timestamps, nor snapshots, share a version: the medium gets the next one and
what is online the one after it; what is the medium's says so, so that it is not taken over a
network; the folder is there whole or not at all.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Timestamp

from shared.errors import Expired, Rejected, Unreachable
from shared.files import need_room, read_bounded, sync_folder, write_durably
from signing.chain import TOP, Chain
from signing.change import Change, Plan, role_keys
from signing.director import DirectorRepository
from signing.keyring import Keyring
from signing.repositories import Repositories
from signing.repository import Repository
from signing.verify import BUNDLE_BYTES_MAX, MEDIA_FIELD, parse_custom, tail_of_path
from signing.verify.delegations import CALIBRATION

DAYS_MIN, DAYS_MAX = 30, 180  # the shortest is the issue's; the longest is how long a freeze hides
ASIDE = ".new"


def export(
    found: Repositories, ring: Keyring, out: Path, tails: Sequence[str], days: float
) -> tuple[int, int]:
    """(files, bytes) written to `out`, which has to be empty. tails: whom it is for; none: all."""
    until = _until(found, out, days)
    files: dict[str, bytes | Path] = {}
    wanted = _assigned(found, tails)
    for repository in (found.image, found.director):
        for name, data in _repository(repository, ring, tails, until):
            files[f"{repository.NAME}/{name}"] = data
    for name, path in _bundles(found, wanted):
        files[f"image/targets/{name}"] = path
    return len(files), _write(out, files)


def plans(
    found: Repositories, out: Path, tails: Sequence[str], days: float
) -> Iterator[tuple[Plan, Plan]]:
    """Of each repository what would be signed for the medium, and what online; nothing is."""
    until = _until(found, out, days)
    _assigned(found, tails)
    for repository in (found.image, found.director):
        with repository.changing() as change:
            _prepare(repository, change, tails, until)
            online = repository.plan(change)
        own = [copy.copy(step.signed) for step in (online.snapshot, online.timestamp)]
        for signed in own:
            signed.version, signed.expires = signed.version - 1, until
        steps = [
            replace(step, signed=signed)
            for step, signed in zip((online.snapshot, online.timestamp), own, strict=True)
        ]
        medium = Plan(f"medium's {repository.NAME}", change, None, (), *steps)
        yield medium, online


def _until(found: Repositories, out: Path, days: float) -> datetime:
    if not DAYS_MIN <= days <= DAYS_MAX:
        raise Rejected(f"{days:g} days", "--days", f"{DAYS_MIN} to {DAYS_MAX}")
    _empty(out)
    return found.image.now + timedelta(days=days)


def _repository(
    repository: Repository, ring: Keyring, tails: Sequence[str], until: datetime
) -> Iterator[tuple[str, bytes | Path]]:
    """The metadata of one repository, with a snapshot and a timestamp of the medium's own."""
    with repository.changing() as change:
        _prepare(repository, change, tails, until)
        repository.commit(change, ring)
        chain = repository.chain()
        timestamp, snapshot = _own(chain, ring, until)
    folder = repository.metadata
    for path in sorted(folder.glob("*.root.json")):
        yield f"metadata/{path.name}", path
    for role in _roles(chain, tails):
        name = f"{chain.version_listed(role)}.{role}.json"
        yield f"metadata/{name}", folder / name
    yield f"metadata/{chain.snapshot.version - 1}.snapshot.json", snapshot
    yield "metadata/timestamp.json", timestamp


def _prepare(repository: Repository, change: Change, tails: Sequence[str], until: datetime) -> None:
    """What is online leaves a version to the medium, and its tails live as long."""
    change.skip = 1
    _all_live(repository, change.chain, tails, until)
    if isinstance(repository, DirectorRepository):
        for role in _roles(change.chain, tails):
            if role != TOP and change.chain.targets(role).expires < until:
                change.targets(role).expires = until


def _own(chain: Chain, ring: Keyring, until: datetime) -> tuple[bytes, bytes]:
    """(timestamp, snapshot) of the version that what is online has left out."""
    snapshot, timestamp = copy.copy(chain.snapshot), copy.copy(chain.timestamp)
    for signed in (snapshot, timestamp):
        signed.version -= 1
        signed.expires = until
        signed.unrecognized_fields = {**signed.unrecognized_fields, MEDIA_FIELD: True}
    data = _signed(chain, ring, snapshot)
    timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, data, ["sha256"])
    return _signed(chain, ring, timestamp), data


def _signed(chain: Chain, ring: Keyring, signed: Snapshot | Timestamp) -> bytes:
    metadata: Metadata[Any] = Metadata(signed)
    role = chain.root.signed.roles[signed.type]
    keys = role_keys(chain.root.signed, signed.type)
    for signer in ring.signers(keys, role.threshold, signed.type):
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def _roles(chain: Chain, tails: Sequence[str]) -> Iterator[str]:
    """The roles that a medium has: all, or those of its tails and those that concern every one."""
    for role in chain.roles():
        of_a_tail = role.startswith(("tail-", f"{CALIBRATION}-"))
        if not tails or not of_a_tail or role.partition("-")[2] in tails:
            yield role


def _all_live(repository: Repository, chain: Chain, tails: Sequence[str], until: datetime) -> None:
    """Expired unless everything that people sign outlives the medium."""
    named = [("root", chain.root.signed.expires)]
    named += [
        (role, chain.targets(role).expires)
        for role in _roles(chain, tails)
        if not role.startswith("tail-")
    ]
    for role, expires in named:
        if expires < until:
            raise Expired(
                f"{repository.NAME} {role} ends on {expires:%Y-%m-%d}, before the medium",
                str(repository.folder), "refresh it first, or ask for fewer days",
            )  # fmt: skip


def _assigned(found: Repositories, tails: Sequence[str]) -> set[str] | None:
    """The image paths that these tails run; None: all there are."""
    if not tails:
        return None
    chain = found.director.chain()
    wanted: set[str] = set()
    for tail in tails:
        paths = found.director.assigned(chain, tail)
        if not paths:
            raise Rejected(f"{tail} has no set", "--tail", "assign it one first")
        wanted.update(paths)
    return wanted


def _bundles(found: Repositories, wanted: set[str] | None) -> Iterator[tuple[str, Path]]:
    """(name below targets/, file) of bundles, and of the parents of calibrations."""
    chain = found.image.chain()
    entries: dict[str, TargetFile] = {}
    for role in chain.roles():
        entries.update(chain.targets(role).targets)
    taken = set(entries if wanted is None else wanted & set(entries))
    parents = {parse_custom(entries[p].custom, p).parent for p in taken if tail_of_path(p)}
    taken |= {p for p, entry in entries.items() if entry.hashes["sha256"] in parents}
    for path in sorted(taken):
        (prefixed,) = entries[path].get_prefixed_paths()
        yield prefixed, found.image.bundles / prefixed


def _empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(_visible(out))):
        raise Rejected("not an empty folder", str(out), "choose another, or empty it")


def _visible(folder: Path) -> Iterable[Path]:
    """What is in a folder, apart from what file systems and desktops put there themselves."""
    return (path for path in folder.iterdir() if path.name not in ("lost+found", ASIDE))


def _write(out: Path, files: dict[str, bytes | Path]) -> int:
    """Everything aside, then in place; bytes written."""
    size = sum(len(f) if isinstance(f, bytes) else f.stat().st_size for f in files.values())
    aside = out / ASIDE
    try:
        aside.mkdir(parents=True, exist_ok=True)
        need_room(out, size, "needed for the medium", "a larger medium, or fewer tails")
        for name, content in files.items():
            path = aside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            data = (
                content if isinstance(content, bytes)
                else read_bounded(content, BUNDLE_BYTES_MAX, "this is no bundle")
            )  # fmt: skip
            write_durably(path, data)
        for folder in sorted(aside.iterdir()):
            folder.rename(out / folder.name)
        aside.rmdir()
        sync_folder(out)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise Unreachable(
            f"cannot write: {error.strerror}", str(out), "make room, then export again"
        ) from None
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return size
