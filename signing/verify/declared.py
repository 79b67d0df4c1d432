"""What a target of ours declares, checked: for whom, which release, made from what.

In: target paths, the `custom` of a target, and who this aircraft is. Out: frozen values, or
Rejected; whether a bundle fits is a tuple of reasons, empty when it does.
Always holds: a `custom` that says nothing about its types applies to nobody; a calibration names
the tail it is for in its path and its parent in its custom, and nothing else does either.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from shared.errors import Rejected

CUSTOM_LIST_MAX = 1024
RELEASE_MAX = 2**53 - 1  # what every JSON reader holds exactly
BUNDLE_BYTES_MAX = 64 << 20  # assumption: a bundle of ROMs is far below 1 MB
SET_ID_CHARS = 16
SET_ID = re.compile(rf"[0-9a-f]{{{SET_ID_CHARS}}}\Z")
ATTESTORS_MAX = 8
PARENT_CHARS = 16
CALIBRATIONS = "cal"

ISSUED_FIELD = "x-tailtwin-issued"
"""Signed beside `expires`: when the metadata was made, so that a time floor can learn from it."""
TAIL_FIELD = "x-tailtwin-tail"
"""In `tail-{tail}`: whose it is. Another tail's metadata is refused before it is kept."""
ROLLBACK_FIELD = "x-tailtwin-rollback-of"
"""In `tail-{tail}`: a set id; the set is to be left for the last known good one."""
ATTESTORS_FIELD = "x-tailtwin-attestors"
"""In the image root: {"keys": {keyid: key}, "threshold": n}, who may say how bundles were built."""
UNTIL_FIELD = "x-tailtwin-until"
"""In a delegated role of the image targets: RFC 3339; not followed after it."""
WITHIN_FIELD = "x-tailtwin-within"
"""In a delegated role of the image targets: the applicability that its targets must lie within."""
WITHDRAWN_FIELD = "x-tailtwin-withdrawn"
"""In a targets role: {name: the highest release that was withdrawn}; its counter stays above."""
MEDIA_FIELD = "x-tailtwin-media"
"""In a timestamp: true when it was made for a medium, to live long; no network may serve it."""
SINCE_FIELD = "x-tailtwin-since"
"""In a delegated role: its first version that counts, when it was revoked and delegated again."""

_FILE = r"[A-Za-z0-9][A-Za-z0-9._-]{0,111}\.tar\.zst"
_NAME = r"[A-Za-z0-9_-]{1,32}"
_IMAGE_PATH = re.compile(rf"(?:{CALIBRATIONS}/(?P<tail>{_NAME})/)?(?P<name>{_NAME})/{_FILE}\Z")
_DIRECTOR_PATH = re.compile(rf"(?P<tail>{_NAME})/(?P<image>.+)\Z")
_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/-]{0,63}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class Applicability(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """Whom the offline keys made a bundle for. An empty list, `types` apart, asks for nothing."""

    types: tuple[str, ...]
    part_numbers: tuple[str, ...] = ()
    esns: tuple[str, ...] = ()
    tails: tuple[str, ...] = ()


class TargetCustom(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """The `custom` of a target. release: a counter per name that only grows. parent: sha-256 of
    the bundle that a calibration is made from; empty for everything else."""

    name: str
    release: int
    applicability: Applicability
    parent: str = ""


class Aircraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who is asking: this tail, its type, the engines on it and the parts that matter."""

    tail: str
    type: str
    esns: tuple[str, ...] = ()
    part_numbers: tuple[str, ...] = ()


class AttestationPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of the profile. threshold: how many attestors at least; the root may ask for more. builders:
    whose builds are taken; none, when it is empty."""

    threshold: Annotated[int, Meta(ge=1, le=ATTESTORS_MAX)] = 1
    builders: tuple[str, ...] = ()


class Counted(Protocol):
    """What a set id is made of: any bundle that says its name, release and hash."""

    @property
    def name(self) -> str: ...
    @property
    def release(self) -> int: ...
    @property
    def sha256(self) -> str: ...


def counters(name: str, release: int, parent: str = "", parent_release: int = 0) -> dict[str, int]:
    """What of a bundle may not go back, by counter. A calibration counts among those of its parent
    alone, and its parent's release counts as the name's: a calibration desk outruns no offline key,
    and brings no old graph back."""
    if not parent:
        return {name: release}
    return {name: parent_release, f"{name}@{parent[:PARENT_CHARS]}": release}


def check_target_path(path: str) -> str:
    """Return `{name}/{file}.tar.zst` or `cal/{tail}/{name}/{file}.tar.zst`; Rejected otherwise."""
    _image(path)
    return path


def tail_of_path(path: str) -> str:
    """The tail that a calibration is for, by its path; empty for a bundle of a type."""
    return _image(path)["tail"] or ""


def name_of_path(path: str) -> str:
    """The bundle's name in an image path."""
    return _image(path)["name"]


def director_path(tail: str, path: str) -> str:
    """Where the director has the entry of an image path for a tail."""
    return f"{tail}/{path}"


def image_path(path: str) -> tuple[str, str]:
    """(tail, image path) of a director's target path; Rejected when it is none."""
    match = _DIRECTOR_PATH.match(path) if isinstance(path, str) else None
    if match is None:
        raise Rejected(
            f"{str(path)[:80]!r} is not a target path of a director", "director", "{tail}/{path}"
        )
    return match["tail"], check_target_path(match["image"])


def set_id(bundles: Iterable[Counted]) -> str:
    """The short name of a set: the same bundles, whatever their order, have the same one."""
    lines = sorted(f"{b.name} {b.release} {b.sha256}" for b in bundles)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:SET_ID_CHARS]


def parse_custom(custom: object, target_path: str) -> TargetCustom:
    """The checked `custom` of a target; Rejected when it says less, or more, than it must."""
    try:
        parsed = msgspec.convert(custom, TargetCustom)
    except msgspec.ValidationError as error:
        raise Rejected(f"custom: {error}", target_path, "publish it with tailtwin-sign") from None
    if parsed.name != name_of_path(target_path):
        raise Rejected(f"custom names {parsed.name[:40]!r}", target_path, "publish it again")
    if not 0 < parsed.release <= RELEASE_MAX:
        raise Rejected(f"release {parsed.release} is out of range", target_path, "start at 1")
    if parsed.parent and not _SHA256.match(parsed.parent):
        raise Rejected("custom: parent is no sha-256", target_path, "publish it again")
    if bool(parsed.parent) != bool(tail_of_path(target_path)):
        what = (
            "a calibration without a parent" if not parsed.parent else "a parent of no calibration"
        )
        raise Rejected(what, target_path, "a parent is for cal/{tail}/… and only there")
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


def narrower(who: Applicability, within: Applicability) -> tuple[str, ...]:
    """Why `who` reaches beyond `within`, in words; empty when it lies within it."""
    return tuple(
        f"{field} {_few(has) if has else 'not limited'}; allowed are {_few(allowed)}"
        for field in who.__struct_fields__
        if (allowed := getattr(within, field))
        and not ((has := getattr(who, field)) and set(has) <= set(allowed))
    )


def _image(path: object) -> re.Match[str]:
    match = _IMAGE_PATH.match(path) if isinstance(path, str) else None
    if match is None or (not match["tail"] and match["name"] == CALIBRATIONS):
        raise Rejected(
            f"{str(path)[:80]!r} is not a target path",
            "target",
            "{name}/{file}.tar.zst or cal/{tail}/{name}/{file}.tar.zst, plain ASCII",
        )
    return match


def _few(values: Sequence[str]) -> str:
    shown = ", ".join(values[:4]) or "none"
    return f"{shown}, …" if len(values) > 4 else shown
