"""Who may sign what below the top: the shape that our delegations have, and no other.

In: targets metadata that verifies. Out: nothing, or Rejected.
Always holds: a name belongs to one maker; calibrations and tails have roles of their own that hand
nothing on; a delegation of a maker ends some day; a signed restriction of ours that this version
does not know is not passed over.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any

import msgspec

from shared.errors import Rejected
from signing.verify.declared import (
    ATTESTORS_FIELD,
    CALIBRATIONS,
    ISSUED_FIELD,
    MEDIA_FIELD,
    ROLLBACK_FIELD,
    SINCE_FIELD,
    TAIL_FIELD,
    UNTIL_FIELD,
    WITHDRAWN_FIELD,
    WITHIN_FIELD,
    Applicability,
    check_applicability,
)

if TYPE_CHECKING:  # the recorder imports this package and must not carry tuf's memory
    from tuf.api.metadata import DelegatedRole, Root, Snapshot, Targets, Timestamp

CALIBRATION = "calibration"
OURS = "x-tailtwin-"
REMEDY = "make it with tailtwin-sign; an aircraft with older software may need a newer one"
_NAME = r"[A-Za-z0-9_-]{1,32}"
_MAKER = re.compile(r"(?P<prefix>[A-Za-z0-9_-]{1,32})(?P<star>\*?)/\*\Z")
_MAKER_ROLE = re.compile(r"(?!calibration|tail-|targets\Z)[A-Za-z0-9_-]{1,48}\Z")
_TAIL_ROLE = re.compile(rf"tail-(?P<tail>{_NAME})\Z")
_DESK_ROLE = re.compile(rf"{CALIBRATION}-(?P<tail>{_NAME})\Z")

KNOWN = {
    "root": {ISSUED_FIELD, ATTESTORS_FIELD},
    "timestamp": {ISSUED_FIELD, MEDIA_FIELD},
    "snapshot": {ISSUED_FIELD, MEDIA_FIELD},
    "targets": {ISSUED_FIELD, WITHDRAWN_FIELD, TAIL_FIELD, ROLLBACK_FIELD},
    "delegation": {UNTIL_FIELD, WITHIN_FIELD, SINCE_FIELD},
}


def check_known(fields: Mapping[str, Any], kind: str, where: str) -> None:
    """Rejected when something of ours is signed there that this version does not know."""
    unknown = [name for name in fields if name.startswith(OURS) and name not in KNOWN[kind]]
    if unknown:
        raise Rejected(f"{unknown[0][:60]} is not known here", where, REMEDY)


def check_bound(metadata: Snapshot | Timestamp, where: str) -> None:
    """Rejected unless it says length and hash of all that it vouches for: with a version alone,
    whoever has one key could sign that version again with other content."""
    check_known(metadata.unrecognized_fields, metadata.type, where)
    entries = metadata.meta if hasattr(metadata, "meta") else {"snapshot": metadata.snapshot_meta}
    for name, entry in entries.items():
        if not entry.length or "sha256" not in (entry.hashes or {}):
            raise Rejected(f"{name} has no length or no sha-256", where, REMEDY)


def check_root_fields(root: Root, where: str) -> None:
    check_known(root.unrecognized_fields, "root", where)


def check_image_top(targets: Targets, where: str) -> None:
    """The image's top: makers with names of their own, and the calibration desk."""
    roles = _roles(targets, where)
    patterns: list[tuple[str, str, bool]] = []
    for name, role in roles.items():
        if name == CALIBRATION:
            _paths(role, [f"{CALIBRATIONS}/*/*/*"], where)
            continue
        _need(_MAKER_ROLE.match(name) is not None, f"no role is named {name[:60]!r}", where)
        _need(UNTIL_FIELD in role.unrecognized_fields, f"{name} has no end", where)
        _check_within(role, where)
        for path in role.paths or ():
            match = _MAKER.match(path)
            if match is None or (match["prefix"] == CALIBRATIONS and not match["star"]):
                raise Rejected(f"{path[:80]!r} is no pattern of names", where, "NAME/* or NA*/*")
            patterns.append((name, match["prefix"], bool(match["star"])))
    for (one, *a), (other, *b) in combinations(patterns, 2):
        meets = _meet((str(a[0]), bool(a[1])), (str(b[0]), bool(b[1])))
        _need(one == other or not meets, f"{one} and {other} share names", where)


def check_director_top(targets: Targets, where: str) -> None:
    """The director's top: one role per tail, for that tail's paths, and no targets of its own."""
    _need(not targets.targets, "the director's top has targets", where)
    for name, role in _roles(targets, where).items():
        match = _TAIL_ROLE.match(name)
        if match is None:
            raise Rejected(f"{name[:60]!r} is no role of a tail", where, REMEDY)
        tail = match["tail"]
        _paths(role, [f"{tail}/*/*", f"{tail}/{CALIBRATIONS}/{tail}/*/*"], where)


def check_below(role: str, targets: Targets, where: str) -> None:
    """A delegated role: the calibration desk hands on to one role a tail, nobody else to anybody."""
    roles = _roles(targets, where)
    if role != CALIBRATION:
        _need(not roles, f"{role} delegates on", where)
        return
    for name, child in roles.items():
        match = _DESK_ROLE.match(name)
        if match is None:
            raise Rejected(f"{name[:60]!r} is no role of a calibration desk", where, REMEDY)
        _paths(child, [f"{CALIBRATIONS}/{match['tail']}/*/*"], where)


def check_lineage(path_tail: str, roles: Collection[str], where: str) -> None:
    """A calibration comes from its tail's role of the desk, and nothing else from the desk."""
    expected = [CALIBRATION, f"{CALIBRATION}-{path_tail}"] if path_tail else None
    if expected is not None and list(roles) != expected:
        raise Rejected(
            "a calibration that the desk's role of that tail did not sign", where, REMEDY
        )
    if expected is None and any(name.startswith(CALIBRATION) for name in roles):
        raise Rejected("the calibration desk signed what is no calibration", where, REMEDY)


def _roles(targets: Targets, where: str) -> dict[str, DelegatedRole]:
    check_known(targets.unrecognized_fields, "targets", where)
    found = targets.delegations
    if found is None:
        return {}
    _need(found.succinct_roles is None, "bins are not delegated to", where)
    roles = dict(found.roles or {})
    for name, role in roles.items():
        _need(isinstance(name, str), "a role's name is no text", where)
        check_known(role.unrecognized_fields, "delegation", where)
        _need(role.paths is not None, f"{name} is trusted by hash, not by name", where)
        _need(role.terminating, f"the search does not end at {name}", where)
    return roles


def _paths(role: DelegatedRole, expected: list[str], where: str) -> None:
    _need(list(role.paths or ()) == expected, f"{role.name} is trusted for other paths", where)


def _check_within(role: DelegatedRole, where: str) -> None:
    raw = role.unrecognized_fields.get(WITHIN_FIELD)
    if raw is None:
        return
    try:
        check_applicability(msgspec.convert(raw, Applicability), where)
    except msgspec.ValidationError as error:
        raise Rejected(f"{WITHIN_FIELD} of {role.name}: {error}", where, REMEDY) from None


def _meet(one: tuple[str, bool], other: tuple[str, bool]) -> bool:
    """Whether two patterns share a name. Each: what it begins with, and whether it goes on."""
    (a, a_goes_on), (b, b_goes_on) = one, other
    return a == b or (a_goes_on and b.startswith(a)) or (b_goes_on and a.startswith(b))


def _need(holds: bool, what: str, where: str) -> None:
    if not holds:
        raise Rejected(what, where, REMEDY)
