"""The file `active`: which slot is live, and what is known of the sets in both.

In: its bytes, and what happened to a set. Out: the next content, as a frozen value; no I/O.
Always holds: a set on probation has a proven one behind it in the other slot, unless that one was
damaged; a set that failed or was taken back is on the list of those left, and a floor of releases
never sinks.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import msgspec

from shared.errors import Corrupt

SlotName = Literal["a", "b"]
T = TypeVar("T")
WHY_CHARS_MAX = 200
LEFT_MAX = 64
"""Set ids that are remembered as left; assumption: far more than fail between two that pass."""


class Counting(Protocol):
    """A bundle, by what of it may not go back."""

    @property
    def counters(self) -> dict[str, int]: ...


class Active(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `active`. Fields after `releases` came later: older files go without them."""

    live: SlotName
    last_good: SlotName | None = None
    """The other slot, when a set that passed is in it: where a swap back goes."""
    muted: dict[str, str] = {}
    """Slot to why nothing of it may predict."""
    releases: dict[str, int] = {}
    """The highest that was ever live, by counter: see `signing.verify.counters`."""
    probation: bool = False
    """The live set has not passed yet."""
    muted_bundles: dict[str, str] = {}
    """Name of a bundle of the live set to why it may not predict."""
    left: tuple[str, ...] = ()
    """Ids of sets that failed or were taken back, oldest first."""

    @property
    def is_faulty(self) -> bool:
        """Something of the live set may not predict."""
        return self.live in self.muted or bool(self.muted_bundles)


def first(bundles: Iterable[Counting]) -> Active:
    """The shop's set: it counts as good."""
    return Active("a", releases=_counted({}, bundles))


def staging(active: Active) -> Active:
    """The other slot is about to be emptied: nothing is said of it any more."""
    muted = {slot: why for slot, why in active.muted.items() if slot == active.live}
    return msgspec.structs.replace(active, last_good=None, muted=muted)


def activated(active: Active, slot: SlotName, bundles: Iterable[Counting]) -> Active:
    """`slot` is live, on probation; the set before it is behind it if that one passed."""
    releases = _counted(active.releases, bundles)
    is_good = not active.probation and not active.is_faulty
    return Active(
        slot, active.live if is_good else None, {}, releases, probation=True, left=active.left
    )


def went_back(active: Active, left: str) -> Active:
    """The last known good set is live again. left: id of the set that is not to come back, or ""."""
    assert active.last_good is not None
    ids = tuple(i for i in active.left if i != left) + ((left,) if left else ())
    return Active(active.last_good, None, {}, active.releases, left=ids[-LEFT_MAX:])


def disowned(active: Active) -> Active:
    """What is behind the live set is no good any more: nothing goes back there."""
    return msgspec.structs.replace(active, last_good=None)


def passed(active: Active) -> Active:
    """The live set is the last known good one; the one before it stays to go back to."""
    return msgspec.structs.replace(active, probation=False)


def muted(active: Active, slot: SlotName, why: str) -> Active:
    """Nothing of this slot predicts from now on."""
    return msgspec.structs.replace(active, muted={**active.muted, slot: _short(why)})


def bundle_muted(active: Active, name: str, why: str) -> Active:
    """One bundle of the live set predicts no more."""
    return msgspec.structs.replace(
        active, muted_bundles={**active.muted_bundles, name: _short(why)}
    )


def other(slot: SlotName) -> SlotName:
    return "b" if slot == "a" else "a"


def decode(data: bytes, kind: type[T], path: Path) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupt(f"unreadable: {error}", str(path), "provision again") from None


def _counted(before: dict[str, int], bundles: Iterable[Counting]) -> dict[str, int]:
    """Counters only grow. Those of calibrations of another parent go: it cannot come back."""
    counters = [dict(b.counters) for b in bundles]
    parents = {name.partition("@")[0] for one in counters for name in one if "@" in name}
    present = {name for one in counters for name in one}
    kept = {
        name: n for name, n in before.items()
        if "@" not in name or name in present or name.partition("@")[0] not in parents
    }  # fmt: skip
    for one in counters:
        kept |= {name: max(n, kept.get(name, 0)) for name, n in one.items()}
    return kept


def _short(why: str) -> str:
    return why[:WHY_CHARS_MAX] or "muted"
