"""What a TUF repository of ours says, checked: the only part of `signing` the aircraft carries.

In: target paths, the `custom` of a target, root metadata, and who this aircraft is. Out: frozen
values, or Rejected; whether a bundle fits is a tuple of reasons, empty when it does.
Always holds: a `custom` that says nothing about its types applies to nobody, and a root that
fewer than two keys can replace is no root of ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from shared.errors import Rejected

if TYPE_CHECKING:  # the recorder imports this module and must not carry tuf's memory
    from tuf.api.metadata import Root, Signed

CUSTOM_LIST_MAX = 1024
RELEASE_MAX = 2**53 - 1  # what every JSON reader holds exactly
BUNDLE_BYTES_MAX = 64 << 20  # assumption: a bundle of ROMs is far below 1 MB
ROOT_THRESHOLD_MIN = 2
ISSUED_FIELD = "x-tailtwin-issued"
"""Signed beside `expires`: when the metadata was made, so that a time floor can learn from it."""

_TARGET_PATH = re.compile(r"[A-Za-z0-9_-]{1,32}/[A-Za-z0-9][A-Za-z0-9._-]{0,111}\.tar\.zst\Z")
_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/-]{0,63}\Z")


class Applicability(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whom the offline keys made a bundle for. An empty list, `types` apart, asks for nothing."""

    types: tuple[str, ...]
    part_numbers: tuple[str, ...] = ()
    esns: tuple[str, ...] = ()
    tails: tuple[str, ...] = ()


class TargetCustom(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `custom` of a target. release: a counter per name that only grows."""

    name: str
    release: int
    applicability: Applicability


class Aircraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who is asking: this tail, its type, the engines on it and the parts that matter."""

    tail: str
    type: str
    esns: tuple[str, ...] = ()
    part_numbers: tuple[str, ...] = ()


def check_target_path(path: str) -> str:
    """Return `{name}/{file}.tar.zst` if it is one; Rejected otherwise."""
    if not isinstance(path, str) or not _TARGET_PATH.match(path):
        raise Rejected(
            f"{str(path)[:80]!r} is not a target path",
            "target",
            "{name}/{file}.tar.zst, plain ASCII",
        )
    return path


def parse_custom(custom: object, target_path: str) -> TargetCustom:
    """The checked `custom` of a target; Rejected when it says less, or more, than it must."""
    try:
        parsed = msgspec.convert(custom, TargetCustom)
    except msgspec.ValidationError as error:
        raise Rejected(f"custom: {error}", target_path, "publish it with tailtwin-sign") from None
    if parsed.name != target_path.partition("/")[0]:
        raise Rejected(f"custom names {parsed.name[:40]!r}", target_path, "publish it again")
    if not 0 < parsed.release <= RELEASE_MAX:
        raise Rejected(f"release {parsed.release} is out of range", target_path, "start at 1")
    check_applicability(parsed.applicability, target_path)
    return parsed


def check_applicability(who: Applicability, where: str) -> Applicability:
    """Return it if its lists are bounded, plain, and name a type; Rejected otherwise."""
    if not who.types:
        raise Rejected("applicability names no type", where, "name the types it was made for")
    for field in who.__struct_fields__:
        values = getattr(who, field)
        if len(values) > CUSTOM_LIST_MAX:
            raise Rejected(f"applicability.{field} is too long", where, f"{CUSTOM_LIST_MAX} names")
        for value in values:
            if not _TEXT.match(value):
                raise Rejected(
                    f"applicability.{field} holds {value[:40]!r}", where, "1 to 64 plain characters"
                )
    return who


def inapplicable(who: Applicability, aircraft: Aircraft) -> tuple[str, ...]:
    """Why a bundle does not fit this aircraft, in words; empty when it fits.

    Of part numbers and ESNs one match is enough: an engine that a bundle was not made for gets
    no prediction from it.
    """
    return tuple(
        f"made for {field} {_few(wanted)}; this aircraft has {_few(has)}"
        for field, wanted, has in (
            ("types", who.types, (aircraft.type,)),
            ("tails", who.tails, (aircraft.tail,)),
            ("part_numbers", who.part_numbers, aircraft.part_numbers),
            ("esns", who.esns, aircraft.esns),
        )
        if wanted and not set(wanted) & set(has)
    )


def check_root(root: Root, where: str) -> Root:
    """Return `root` if it keeps to our policy; Rejected otherwise. Signatures are TUF's affair."""
    role = root.roles["root"]
    public = {root.keys[keyid].keyval.get("public") for keyid in role.keyids if keyid in root.keys}
    if role.threshold < ROOT_THRESHOLD_MIN:
        raise Rejected(
            f"root threshold is {role.threshold}", where, f"{ROOT_THRESHOLD_MIN} or more keys"
        )
    if len(public) < role.threshold:
        raise Rejected(f"root has {len(public)} different keys", where, "as many as its threshold")
    if not root.consistent_snapshot:
        raise Rejected("consistent_snapshot is off", where, "make it with tailtwin-sign")
    online = set(root.roles["timestamp"].keyids) | set(root.roles["snapshot"].keyids)
    offline = set(role.keyids) | set(root.roles["targets"].keyids)
    if online & offline:
        raise Rejected("an online key is an offline key too", where, "a key of its own for each")
    return root


def issued_at(signed: Signed) -> datetime | None:
    """When this metadata says it was made; None when it does not, or says it badly."""
    text: Any = signed.unrecognized_fields.get(ISSUED_FIELD)
    if not isinstance(text, str) or len(text) > 32:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _few(values: Sequence[str]) -> str:
    shown = ", ".join(values[:4]) or "none"
    return f"{shown}, …" if len(values) > 4 else shown
