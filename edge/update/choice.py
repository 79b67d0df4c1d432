"""What this aircraft should run, where both repositories agree and nothing stands against it.

In: two repositories' trusted metadata, and who asks. Out: what is wanted, entry by entry, or
Refused with the code that says why.
Always holds: nothing is wanted that the image's offline keys did not declare for this aircraft,
or that falls behind what was live before; not a byte of a bundle has been fetched yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from tuf.api.metadata import DelegatedRole, TargetFile

from edge.update.failures import Refused
from edge.update.trusted import Found, TrustedUpdater, tail_role
from edge.update.verified import BUNDLES_MAX, FetchRequest
from shared.errors import Rejected
from signing.verify import (
    ROLLBACK_FIELD,
    SET_ID,
    WITHIN_FIELD,
    Applicability,
    TargetCustom,
    agree,
    counters,
    image_path,
    inapplicable,
    narrower,
    parse_custom,
    tail_of_path,
)
from signing.verify.delegations import check_lineage

SET_BUNDLES = 4
"""Assumption: the bundles of a set together weigh at most as much as this many of the largest."""


@dataclass(frozen=True)
class Wanted:
    """One bundle to have. parent: what a calibration is made from."""

    target: TargetFile
    custom: TargetCustom
    parent: Wanted | None = None

    @property
    def name(self) -> str:
        return self.custom.name

    @property
    def release(self) -> int:
        return self.custom.release

    @property
    def sha256(self) -> str:
        return self.target.hashes["sha256"]

    @property
    def counters(self) -> dict[str, int]:
        parent = self.parent.release if self.parent is not None else 0
        return counters(self.name, self.release, self.custom.parent, parent)

    @property
    def file(self) -> str:
        return self.target.path.rpartition("/")[2]


def directed(director: TrustedUpdater, tail: str) -> tuple[list[TargetFile], str]:
    """The director's entries for this tail, and the set that it is to leave."""
    found = director.delegated(tail_role(tail))
    if found is None:
        raise Refused(Rejected, "not_directed", f"the director has no role for {tail}")
    targets, role = found
    entries = list(targets.targets.values())
    if not entries:
        raise Refused(Rejected, "not_directed", f"the director assigns nothing to {tail}")
    if len(entries) > BUNDLES_MAX:
        raise Refused(Rejected, "metadata", f"{len(entries)} bundles, at most {BUNDLES_MAX}")
    for entry in entries:
        if not role.is_delegated_path(entry.path) or _image(entry.path)[0] != tail:
            raise Refused(
                Rejected, "wrong_tail", f"{entry.path[:160]!r} is assigned, this is {tail}"
            )
    rollback_of = targets.unrecognized_fields.get(ROLLBACK_FIELD, "")
    if not isinstance(rollback_of, str) or not (rollback_of == "" or SET_ID.match(rollback_of)):
        raise Refused(Rejected, "metadata", f"{ROLLBACK_FIELD} is no set id")
    return entries, rollback_of


def chosen(
    entries: Sequence[TargetFile], image: TrustedUpdater, request: FetchRequest
) -> list[Wanted]:
    """Each entry as the image repository has it; Refused at the first that does not stand."""
    paths = [_image(entry.path)[1] for entry in entries]
    if request.target and request.target not in paths:
        raise Refused(Rejected, "not_directed", f"{request.target} is not in the assigned set")
    wanted = [_wanted(e, p, image, request) for e, p in zip(entries, paths, strict=True)]
    for what, names in (
        ("name", [w.custom.name for w in wanted]), ("file name", [w.file for w in wanted])
    ):  # fmt: skip
        if len(set(names)) != len(names):
            raise Refused(Rejected, "metadata", f"two bundles of the set have one {what}")
    total = sum(w.target.length for w in wanted)
    if total > SET_BUNDLES * request.bytes_max:
        text = f"the set has {total} bytes, at most {SET_BUNDLES * request.bytes_max}"
        raise Refused(Rejected, "too_large", text)
    return sorted(wanted, key=lambda w: w.custom.name)


def _wanted(entry: TargetFile, path: str, image: TrustedUpdater, request: FetchRequest) -> Wanted:
    found = image.find(path)
    if found is None:
        if image.ended:
            text = f"the delegation to {', '.join(image.ended)} is over"
            raise Refused(Rejected, "delegation", text, path)
        raise Refused(Rejected, "no_target", "the image repository does not have it", path)
    if reasons := agree(entry, found.target):
        raise Refused(Rejected, "disagree", "; ".join(reasons), path)
    custom = _vouched(found, path)
    if (tail := tail_of_path(path)) not in ("", request.aircraft.tail):
        raise Refused(Rejected, "wrong_tail", f"a calibration of {tail}", path)
    _fits(found.target, custom, request)
    parent = _parent(custom, path, image, request) if custom.parent else None
    wanted = Wanted(found.target, custom, parent)
    for counter, release in wanted.counters.items():
        least = request.releases.get(counter, 0)
        if release < least and wanted.sha256 not in request.held:
            of = counter if counter == custom.name and parent is None else f"the counter {counter}"
            text = f"release {release} of {of} is behind {least}"
            raise Refused(Rejected, "release_back", text, path)
    return wanted


def _parent(
    custom: TargetCustom, path: str, image: TrustedUpdater, request: FetchRequest
) -> Wanted:
    """What a calibration is made from: still signed, by whoever signs bundles of a type."""
    found = image.find_hash(custom.name, custom.parent)
    if found is None:
        text = f"its parent {custom.parent[:12]} is not among the signed targets"
        raise Refused(Rejected, "calibration", text, path)
    parent = _vouched(found, found.target.path)
    _fits(found.target, parent, request)
    if reasons := narrower(custom.applicability, parent.applicability):
        raise Refused(Rejected, "calibration", f"beyond its parent: {'; '.join(reasons)}", path)
    return Wanted(found.target, parent)


def _vouched(found: Found, path: str) -> TargetCustom:
    """The custom, if everybody on the way to it may say so."""
    try:
        custom = parse_custom(found.target.custom, path)
    except Rejected as error:
        raise Refused(Rejected, "custom", error.what, path) from None
    try:
        check_lineage(tail_of_path(path), [role.name for role in found.delegations], path)
    except Rejected as error:
        raise Refused(Rejected, "delegation", error.what, path) from None
    for role in found.delegations:
        within = _within(role, path)
        if within is not None and (reasons := narrower(custom.applicability, within)):
            text = f"{role.name} may not sign it: {'; '.join(reasons)}"
            raise Refused(Rejected, "delegation", text, path)
    return custom


def _within(role: DelegatedRole, path: str) -> Applicability | None:
    raw = role.unrecognized_fields.get(WITHIN_FIELD)
    try:
        return None if raw is None else msgspec.convert(raw, Applicability)
    except msgspec.ValidationError as error:
        text = f"{WITHIN_FIELD} of {role.name}: {error}"
        raise Refused(Rejected, "delegation", text, path) from None


def _fits(target: TargetFile, custom: TargetCustom, request: FetchRequest) -> None:
    if reasons := inapplicable(custom.applicability, request.aircraft):
        raise Refused(Rejected, "inapplicable", "; ".join(reasons), target.path)
    if target.length > request.bytes_max:
        text = f"{target.length} bytes, at most {request.bytes_max}"
        raise Refused(Rejected, "too_large", text, target.path)
    if set(target.hashes) != {"sha256"}:
        raise Refused(Rejected, "length_or_hash", "it has to have a sha-256, alone", target.path)


def _image(path: str) -> tuple[str, str]:
    try:
        return image_path(path)
    except Rejected as error:
        raise Refused(Rejected, "metadata", error.what) from None
