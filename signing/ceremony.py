"""What people do with offline keys: draft a change, let each other sign it, take it over.

In: the parsed arguments of a command, the repositories, an edit. Out: drafts, or what they became.
Always holds: a draft is shown before it is written; a repository takes over drafts only when the
old and the new thresholds are met, and then all that follows from them at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import Metadata, Root, Signed, Targets

from shared.errors import Rejected
from signing.chain import TOP, Chain
from signing.change import Change, is_offline
from signing.commands import DryRun, done, show
from signing.drafts import (
    Draft,
    merged,
    propose,
    read_draft,
    read_metadata,
    resume,
    take_over,
)
from signing.keyring import Keyring
from signing.repositories import Repositories
from signing.repository import Repository
from signing.rolekeys import TOP_ROLES, KeyChange, repository_of
from signing.summary import first_summaries, summaries
from signing.verify.delegations import CALIBRATION


@dataclass(frozen=True)
class Known:
    """What is at hand beside a draft. before: the version that it replaces."""

    delegators: tuple[Root | Targets, ...]
    before: Signed | None


def draft(
    args: argparse.Namespace, found: Repositories, repository: Repository,
    edit: Callable[[Change], None],
) -> int:  # fmt: skip
    """Write drafts of an edit. Edits that nobody has signed yet are one ceremony."""
    with repository.changing() as change:
        resume(change, repository.NAME, found.drafts)
        edit(change)
        plan = repository.plan(change)
        show(args, tuple(one for one in summaries(plan) if is_offline(one.role)))
        repository.write_bundles(change)
        drafts = propose(plan, found.drafts)
    names = "\n".join(f"  {one.path}" for one in drafts)
    return done(args, f"to be signed, then `publish --draft`:\n{names}")


def draft_key_change(args: argparse.Namespace, found: Repositories, wanted: KeyChange) -> int:
    return draft(args, found, found.named(repository_of(wanted.role)), wanted.apply)


def draft_revocation(args: argparse.Namespace, found: Repositories, role: str) -> int:
    """Of a whole delegation: a maker's or a tail's."""
    name = repository_of(role)
    if role in (CALIBRATION, "attestor", "director-tails") or (
        role.partition("-")[2] in TOP_ROLES and role.startswith(name)
    ):
        raise Rejected(f"{role} cannot be without a key", "--role", "give --key, or rotate it")
    if name == "director":
        return draft(args, found, found.director, lambda c: found.director.dismiss(c, role))
    return draft(args, found, found.image, lambda c: found.image.distrust(c, role))


def refresh_role(args: argparse.Namespace, found: Repositories, role: str) -> int:
    """A new version of one role with a later expiry, and nothing else changed."""
    from signing.commands import key_ring

    repository = found.named(repository_of(role))
    top = role.removeprefix(f"{repository.NAME}-")
    if role == CALIBRATION:
        with repository.changing() as change:
            for name in [n for n in change.chain.roles() if n.startswith(CALIBRATION)]:
                change.targets(name)
            repository.commit(change, key_ring(args))
        return done(args, "the calibrations are fresh")
    if top in ("snapshot", "timestamp") or role.startswith(("tail-", "director-tails")):
        raise Rejected(f"{role} is online", "--role", "`refresh` without --role signs it")
    return draft(args, found, repository, lambda change: _touch(change, top))


def publish_drafts(
    args: argparse.Namespace, found: Repositories, ring: Keyring, paths: Sequence[Path]
) -> int:
    """Take over drafts, and sign what follows from them with the keys at hand."""
    drafts = merged(read_draft(path) for path in paths)
    taken: list[Draft] = []
    for name in sorted({one.repository for one in drafts}):
        repository = found.named(name)
        own = [one for one in drafts if one.repository == name]
        new = [one for one in own if not _is_published(repository, one)]
        try:
            if new and repository.exists():
                with repository.changing() as change:
                    take_over(change, name, new)
                    repository.commit(change, ring)
            elif new:
                _begin(args, repository, new, ring)
        except DryRun:
            continue
        taken += new
        _remove(found.drafts, [*paths, *(one.path for one in own)], own)
    if args.dry_run:
        return 0
    said = [
        f"{verb} {', '.join(f'{d.repository} {d.role} {d.signed.version}' for d in which)}"
        for verb, which in (
            ("published", taken), ("already published:", [d for d in drafts if d not in taken])
        )
        if which
    ]  # fmt: skip
    return done(args, "; ".join(said))


def _is_published(repository: Repository, draft_: Draft) -> bool:
    """Whether the repository says this already: the command was cut short, or is run again."""
    if not repository.exists():
        return False
    chain = repository.chain()
    if draft_.role != "root" and not chain.is_there(draft_.role):
        return False
    there = chain.root if draft_.role == "root" else chain.metadata(draft_.role)
    return there.signed_bytes == draft_.metadata.signed_bytes


def beside(draft_: Draft, given: Sequence[Path], before: Path | None) -> Known:
    """What names the keys of a draft: files given, or else the repository and the other drafts
    of the folder that it lies in."""
    folder = draft_.path.parent.parent / draft_.repository / "metadata"
    chain = Chain(folder) if any(folder.glob("*.root.json")) else None
    was: Signed | None = _signed(before) if before else None
    if given:
        known = tuple(_delegator(path) for path in given)
        if was is None and draft_.role == "root":
            was = next((one for one in known if isinstance(one, Root)), None)
        return Known(known, was)
    delegators: list[Root | Targets] = []
    if chain is not None:
        delegators.append(chain.root.signed)
        if draft_.role not in TOP_ROLES:
            delegators.append(chain.targets())
        if was is None and draft_.role == "root":
            was = chain.root.signed
        elif was is None and chain.is_there(draft_.role):
            was = chain.targets(draft_.role)
    for path in sorted(draft_.path.parent.glob(f"{draft_.repository}-*.json")):
        if path != draft_.path and (other := read_draft(path)).role in ("root", TOP):
            delegators.append(other.signed)
    if draft_.role != "root":  # of a root and its draft the draft: it names who signs from then on
        newest = {type(one): one for one in sorted(delegators, key=lambda one: one.version)}
        delegators = list(newest.values())
    return Known(tuple(delegators), was)


def _touch(change: Change, role: str) -> None:
    if role == "root":
        change.root()
    elif is_offline(role):
        change.chain.delegator(role)  # Rejected when there is no such role
        change.targets(role)


def _begin(
    args: argparse.Namespace, repository: Repository, drafts: Sequence[Draft], ring: Keyring
) -> None:
    """The first version of a repository."""
    given: dict[str, Metadata[Root] | Metadata[Targets]] = {d.role: d.metadata for d in drafts}
    if set(given) != {"root", TOP}:
        raise Rejected(
            f"no repository yet, and drafts of {', '.join(given)} only", str(repository.folder),
            "give the drafts of its root and of its targets",
        )  # fmt: skip
    root, targets = given["root"].signed, given[TOP].signed
    assert isinstance(root, Root) and isinstance(targets, Targets)
    show(args, first_summaries([(repository, root, targets)]))
    repository.begin(root, targets, ring, given)


def _remove(folder: Path, paths: Sequence[Path], drafts: Sequence[Draft]) -> None:
    """Drafts that were taken over are over; copies on other people's sticks stay theirs."""
    names = {one.path.name for one in drafts}
    for path in {folder / path.name for path in paths if path.name in names}:
        path.unlink(missing_ok=True)


def _delegator(path: Path) -> Root | Targets:
    signed = _signed(path)
    if not isinstance(signed, Root | Targets):
        raise Rejected(f"a {signed.type} names no keys", str(path), "a root or targets file")
    return signed


def _signed(path: Path) -> Signed:
    signed: Signed = read_metadata(path).signed
    return signed
