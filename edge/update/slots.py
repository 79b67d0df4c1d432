"""The two slots: where the set of bundles lives that this aircraft runs.

In: verified bundles, and somebody who can say whether the gate is still open. Out: the live
`BundleSet`, for the worker to load.
Always holds: `active`, one small file replaced by one rename, says which slot is live and which
is known good; a power cut at any step leaves the old set or the new one. What is live is never
written to, a set that was never live is never rolled back to, and every byte of a set is checked
against its hash before it is called live.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from edge.update.disk import Disk, PosixDisk, write_durably
from edge.update.verified import VerifiedBundle
from shared.errors import Corrupt, Rejected
from signing.verify import BUNDLE_BYTES_MAX

SlotName = Literal["a", "b"]
T = TypeVar("T")
SET_BYTES_MAX = 64 * 1024
BUNDLES_MAX = 32
WHY_CHARS_MAX = 200


class SlotBundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One bundle of a set. file: its name inside the slot."""

    name: str
    release: int
    sha256: str
    file: str


class _Set(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bundles: tuple[SlotBundle, ...]


class _Active(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `active`. releases: the highest that was ever live, per name."""

    live: SlotName
    last_good: SlotName | None = None
    muted: dict[str, str] = {}
    releases: dict[str, int] = {}


class BundleSet(msgspec.Struct, frozen=True, kw_only=True):
    """The bundles of a slot, verified. muted: why nothing of it may predict, or empty."""

    slot: SlotName
    bundles: tuple[SlotBundle, ...]
    folder: Path
    muted: str = ""

    def path(self, bundle: SlotBundle) -> Path:
        return self.folder / bundle.file

    def labels(self) -> list[str]:
        """`{name}-{version}-{sha}` of each bundle, for state and manifest."""
        return [b.file.removesuffix(".tar.zst") for b in self.bundles]


class Slots:
    """`slots/a`, `slots/b` and `active` below the state folder. One user at a time."""

    def __init__(self, state_dir: Path, disk: Disk | None = None) -> None:
        self._state_dir = state_dir
        self._disk = disk or PosixDisk()

    def live(self) -> BundleSet | None:
        """The live set; None on an aircraft that has none yet; Corrupt when it is damaged."""
        active = self._active()
        return None if active is None else self._load(active.live, active)

    def last_good(self) -> BundleSet | None:
        """The set that a rollback would go to; None when there is none."""
        active = self._active()
        if active is None or active.last_good is None:
            return None
        return self._load(active.last_good, active)

    def releases(self) -> dict[str, int]:
        """Per name, the release that no update may fall behind; a rollback does not lower it."""
        active = self._active()
        if active is None:
            return {}
        return dict(active.releases)

    def install_first(self, bundles: Sequence[VerifiedBundle]) -> BundleSet:
        """The first set of an aircraft that never had one, at the shop: no gate is asked."""
        if self._active() is not None:
            raise Rejected("this aircraft has a set already", str(self._path), "use an update")
        self._fill("a", _replaced((), bundles), bundles)
        releases = {b.name: b.release for b in bundles}
        write_durably(self._disk, self._path, _encode(_Active("a", releases=releases)))
        live = self.live()
        assert live is not None
        return live

    def stage(self, bundles: Sequence[VerifiedBundle]) -> SlotName:
        """Fill the slot that is not live with the live set, `bundles` replacing their namesakes.

        The last known good set is given up here, after `active` says so: until the new one is
        live the live one is the good one.
        """
        active = self._active()
        live = self.live()
        if active is None or live is None:
            raise Rejected("no set is live yet", str(self._path), "install the first one")
        for bundle in bundles:
            least = active.releases.get(bundle.name, 0)
            if bundle.release < least:
                raise Rejected(
                    f"release {bundle.release} is behind {least}", bundle.target, "publish it anew"
                )
        other = _other(active.live)
        muted = {slot: why for slot, why in active.muted.items() if slot != other}
        self._write(msgspec.structs.replace(active, last_good=None, muted=muted))
        self._fill(other, _replaced(live.bundles, bundles), bundles, live)
        return other

    def activate(self, slot: SlotName, still_open: Callable[[], bool]) -> bool:
        """Make a staged slot live by one rename. False when the gate shut: nothing changed."""
        active = self._active()
        if active is None or active.live == slot:
            raise Rejected(f"slot {slot} is not staged", str(self._path), "stage first")
        staged = self._load(slot, active)
        releases = dict(active.releases)
        for bundle in staged.bundles:
            releases[bundle.name] = max(bundle.release, releases.get(bundle.name, 0))
        good = None if active.live in active.muted else active.live
        return self._swap(_Active(slot, good, active.muted, releases), still_open)

    def rollback(self, still_open: Callable[[], bool]) -> bool:
        """Go back to the last known good set. False when the gate shut: nothing changed."""
        active = self._active()
        if active is None or active.last_good is None:
            raise Rejected("no set is known to be good", str(self._path), "wait for an update")
        self._load(active.last_good, active)
        back = _Active(active.last_good, None, active.muted, active.releases)
        return self._swap(back, still_open)

    def mute(self, slot: SlotName, why: str) -> None:
        """Nothing of this slot predicts from now on. No gate: muting swaps nothing."""
        active = self._active()
        assert active is not None, "a slot is muted only after it was live"
        muted = {**active.muted, slot: why[:WHY_CHARS_MAX] or "muted"}
        self._write(msgspec.structs.replace(active, muted=muted))

    # -- inside

    @property
    def _path(self) -> Path:
        return self._state_dir / "active"

    def _folder(self, slot: SlotName) -> Path:
        return self._state_dir / "slots" / slot

    def _swap(self, to: _Active, still_open: Callable[[], bool]) -> bool:
        """Everything slow happens before the question; between its answer and the rename is
        nothing."""
        aside = self._path.with_name(".active.next")
        self._disk.write(aside, _encode(to))
        if not still_open():
            return False
        self._disk.rename(aside, self._path)
        self._disk.sync_folder(self._state_dir)
        return True

    def _fill(
        self,
        slot: SlotName,
        content: tuple[SlotBundle, ...],
        new: Sequence[VerifiedBundle],
        live: BundleSet | None = None,
    ) -> None:
        """Write a slot from nothing; `set.json` comes last and calls it whole."""
        if not 0 < len(content) <= BUNDLES_MAX:
            what = f"{len(content)} bundles in a set"
            raise Rejected(what, str(self._path), f"1 to {BUNDLES_MAX}")
        if len({b.file for b in content}) != len(content):
            raise Rejected("two bundles have one file name", str(self._path), "rename one")
        sources = {b.sha256: b.file for b in new}
        if live is not None:
            sources |= {b.sha256: live.path(b) for b in live.bundles if b.sha256 not in sources}
        folder = self._folder(slot)
        self._disk.remove_tree(folder)
        self._disk.make_folder(folder)
        for bundle in content:
            self._disk.write(folder / bundle.file, self._read(sources[bundle.sha256], bundle))
        write_durably(self._disk, folder / "set.json", _encode(_Set(content)))
        self._disk.sync_folder(folder.parent)
        self._disk.sync_folder(self._state_dir)

    def _load(self, slot: SlotName, active: _Active) -> BundleSet:
        folder = self._folder(slot)
        content = _decode(self._must(folder / "set.json", SET_BYTES_MAX), _Set, folder / "set.json")
        for bundle in content.bundles:
            self._read(folder / bundle.file, bundle)
        return BundleSet(
            slot=slot, bundles=content.bundles, folder=folder, muted=active.muted.get(slot, "")
        )

    def _read(self, path: Path, bundle: SlotBundle) -> bytes:
        data = self._must(path, BUNDLE_BYTES_MAX)
        if hashlib.sha256(data).hexdigest() != bundle.sha256:
            raise Corrupt("not the bytes that were verified", str(path), "take a new update")
        return data

    def _must(self, path: Path, bytes_max: int) -> bytes:
        data = self._disk.read(path, bytes_max)
        if data is None:
            raise Corrupt("is missing", str(path), "take a new update, or provision again")
        return data

    def _active(self) -> _Active | None:
        data = self._disk.read(self._path, SET_BYTES_MAX)
        return None if data is None else _decode(data, _Active, self._path)

    def _write(self, active: _Active) -> None:
        write_durably(self._disk, self._path, _encode(active))


def _replaced(live: Iterable[SlotBundle], new: Sequence[VerifiedBundle]) -> tuple[SlotBundle, ...]:
    """The live set with new bundles in the place of their namesakes, by name."""
    by_name = {b.name: b for b in live}
    for bundle in new:
        by_name[bundle.name] = SlotBundle(
            name=bundle.name, release=bundle.release, sha256=bundle.sha256,
            file=bundle.target.rpartition("/")[2],
        )  # fmt: skip
    return tuple(by_name[name] for name in sorted(by_name))


def _other(slot: SlotName) -> SlotName:
    return "b" if slot == "a" else "a"


def _encode(value: msgspec.Struct) -> bytes:
    return msgspec.json.encode(value)


def _decode(data: bytes, kind: type[T], path: Path) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise Corrupt(f"unreadable: {error}", str(path), "provision again") from None
