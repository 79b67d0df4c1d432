"""The two slots: where the set of bundles lives that this aircraft runs.

In: verified sets, and somebody who can say whether the gate is still open. Out: the live
`BundleSet`, for the worker to load.
Always holds: `active`, one small file replaced by one rename, says which slot is live; a power cut
at any step leaves the old set or the new one. What is live is never written to; a set that passed
its probation, the shop's first one included, is always in one of the slots; a set that was never
live, or was left, is never gone back to; every byte of a set is checked against its hash before it
is called live.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from edge.update import active as states
from edge.update.active import Active, SlotName, decode
from edge.update.disk import Disk, PosixDisk, write_durably
from edge.update.verified import VerifiedBundle
from shared.errors import Corrupt, Rejected
from signing.verify import BUNDLE_BYTES_MAX, counters, set_id

SET_BYTES_MAX = 64 * 1024
BUNDLES_MAX = 32


class SlotBundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One bundle of a set. file: its name inside the slot. target: its path in the image
    repository; empty in slots that were filled before there were others than `name/file`."""

    name: str
    release: int
    sha256: str
    file: str
    target: str = ""
    parent: str = ""
    parent_release: int = 0

    @property
    def counters(self) -> dict[str, int]:
        """What of it nothing newer may fall behind."""
        return counters(self.name, self.release, self.parent, self.parent_release)

    @property
    def path(self) -> str:
        """Target path in the image repository."""
        return self.target or f"{self.name}/{self.file}"


class _Set(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bundles: tuple[SlotBundle, ...]


class BundleSet(msgspec.Struct, frozen=True, kw_only=True):
    """The bundles of a slot, verified. muted: why nothing of it may predict, or empty.
    muted_bundles: name to why that one may not."""

    slot: SlotName
    bundles: tuple[SlotBundle, ...]
    folder: Path
    muted: str = ""
    muted_bundles: dict[str, str] = {}
    probation: bool = False

    @property
    def id(self) -> str:
        return set_id(self.bundles)

    def path(self, bundle: SlotBundle) -> Path:
        return self.folder / bundle.file

    def labels(self) -> list[str]:
        """`{name}-{version}-{sha}` of each bundle, for state and manifest."""
        return [b.file.removesuffix(".tar.zst") for b in self.bundles]


class SlotsView(msgspec.Struct, frozen=True, kw_only=True):
    """What a fetch has to know of the slots. Read without hashing anything.

    live, last_good: ids of sets. behind: of the one that a swap back makes live. bundles: of the
    live one. releases: per name, what nothing new may fall behind; where the live set was gone back
    to, its own release. held: sha-256 to path of what need not be fetched again. left: see `Active`.
    """

    live: str = ""
    bundles: tuple[SlotBundle, ...] = ()
    last_good: str = ""
    behind: str = ""
    releases: dict[str, int] = {}
    held: dict[str, str] = {}
    left: tuple[str, ...] = ()


class Slots:
    """`slots/a`, `slots/b` and `active` below the state folder. Of one process."""

    def __init__(self, state_dir: Path, disk: Disk | None = None) -> None:
        self._state_dir = state_dir
        self._disk = disk or PosixDisk()
        self._lock = threading.RLock()

    # -- reading

    def live(self) -> BundleSet | None:
        """The live set; None on an aircraft that has none yet; Corrupt when it is damaged."""
        active = self._active()
        return None if active is None else self._load(active.live, active)

    def fallback(self) -> BundleSet | None:
        """The set that `rollback` would go to; None when there is none; Corrupt when damaged."""
        active = self._active()
        if active is None or active.last_good is None:
            return None
        return self._load(active.last_good, active)

    def last_good(self) -> BundleSet | None:
        """The newest set that passed: the live one, or the one behind it."""
        active = self._active()
        return self.fallback() if active is not None and active.probation else self.live()

    def releases(self) -> dict[str, int]:
        """Per name, the release that no update may fall behind; going back does not lower it."""
        active = self._active()
        return {} if active is None else dict(active.releases)

    def left(self) -> tuple[str, ...]:
        """Ids of sets that failed or were taken back; they are not activated again."""
        active = self._active()
        return () if active is None else active.left

    def view(self) -> SlotsView:
        """For a fetch. A slot that cannot be read holds nothing."""
        active = self._active()
        if active is None:
            return SlotsView()
        sets = {slot: self._peek(slot) for slot in (active.live, active.last_good) if slot}
        live = sets[active.live]
        behind = sets[active.last_good] if active.last_good else ()
        good = behind if active.probation else live
        releases = dict(active.releases)
        for bundle in live:
            for counter, release in bundle.counters.items():
                releases[counter] = min(release, releases.get(counter, 0))
        return SlotsView(
            live=set_id(live) if live else "", bundles=live, last_good=set_id(good) if good else "",
            behind=set_id(behind) if behind else "", releases=releases, left=active.left,
            held={b.sha256: str(self._folder(slot) / b.file) for slot in sets for b in sets[slot]},
        )  # fmt: skip

    # -- changing

    def install_first(self, bundles: Sequence[VerifiedBundle]) -> BundleSet:
        """The first set of an aircraft that never had one, at the shop: no gate is asked."""
        with self._lock:
            if self._active() is not None:
                raise Rejected("this aircraft has a set already", str(self._path), "use an update")
            self._put(self._fill("a", bundles, {}), "a")
            self._write(states.first(bundles))
            live = self.live()
            assert live is not None
            return live

    def stage(self, bundles: Sequence[VerifiedBundle]) -> SlotName:
        """Fill the slot that is not live with this set, the whole of it.

        The live set has to have passed: one on probation is left first, so that the slot that is
        emptied here is not the last known good one's. What the live slot has is taken from there;
        a live set that is damaged lends nothing, and is not gone back to.
        """
        with self._lock:
            active = self._active()
            if active is None:
                raise Rejected("no set is live yet", str(self._path), "install the first one")
            running, held = self._peek(active.live), dict[str, Path]()
            if self._is_whole(active.live, active):
                held = {b.sha256: self._folder(active.live) / b.file for b in running}
            else:
                active = states.muted(active, active.live, "damaged")
            if set_id(bundles) in active.left:
                raise Rejected("set_left: it was taken back", str(self._path), "direct another set")
            if active.probation and self._is_whole(active.last_good, active):
                what = "the live set is on probation"
                raise Rejected(what, str(self._path), "go back to the last known good set first")
            self._check_releases(bundles, active, running)
            slot = states.other(active.live)
            aside = self._fill(slot, bundles, held)  # a disk that is full takes nothing away
            self._write(states.staging(active))
            self._put(aside, slot)
            return slot

    def activate(self, slot: SlotName, still_open: Callable[[], bool]) -> bool:
        """Make a staged slot live by one rename, on probation. False when the gate shut: nothing
        changed."""
        with self._lock:
            active = self._active()
            if active is None or active.live == slot or active.last_good is not None:
                raise Rejected(f"slot {slot} is not staged", str(self._path), "stage first")
            staged = self._load(slot, active)
            return self._swap(states.activated(active, slot, staged.bundles), still_open)

    def rollback(self, still_open: Callable[[], bool], *, leave: bool = True) -> bool:
        """Make the last known good set live again. False when the gate shut: nothing changed.

        leave: the set that was live is not to come back, as one that was only overtaken may; one
        with anything muted may not either way.
        """
        with self._lock:
            active = self._active()
            if active is None or active.last_good is None:
                what = "there is no set to go back to"
                raise Rejected(what, str(self._path), "wait for an update")
            self._load(active.last_good, active)
            live = self._peek(active.live)
            is_left = live and (leave or active.is_faulty)
            to = states.went_back(active, set_id(live) if is_left else "")
            return self._swap(to, still_open)

    def disown(self, withdrawn: Collection[str]) -> bool:
        """Forget the set behind the live one if it has any of these, by sha-256: what its signers
        took back is not gone back to. Whether there was one."""
        with self._lock:
            active = self._active()
            if active is None or active.last_good is None:
                return False
            if not {b.sha256 for b in self._peek(active.last_good)} & set(withdrawn):
                return False
            self._write(states.disowned(active))
            return True

    def prove(self, of: str = "") -> bool:
        """The live set passed its probation. No gate: nothing is swapped.

        of: id of the set that did; False, and nothing changes, when another one is live by now.
        """
        return self._change(states.passed, of)

    def mute(self, slot: SlotName, why: str) -> None:
        """Nothing of this slot predicts from now on. No gate: muting swaps nothing."""
        self._change(lambda active: states.muted(active, slot, why))

    def mute_bundle(self, name: str, why: str, of: str = "") -> bool:
        """One bundle of the live set predicts no more. of: as of `prove`."""
        return self._change(lambda active: states.bundle_muted(active, name, why), of)

    # -- inside

    @property
    def _path(self) -> Path:
        return self._state_dir / "active"

    def _folder(self, slot: SlotName) -> Path:
        return self._state_dir / "slots" / slot

    def _change(self, how: Callable[[Active], Active], of: str = "") -> bool:
        """of: set that has to be live still; a swap in another thread is waited for first."""
        with self._lock:
            active = self._active()
            assert active is not None, "a set is judged only after it was live"
            if of and of != set_id(self._peek(active.live)):
                return False
            self._write(how(active))
            return True

    def _swap(self, to: Active, still_open: Callable[[], bool]) -> bool:
        """Everything slow happens before the question; between its answer and the rename is
        nothing."""
        aside = self._path.with_name(".active.next")
        self._disk.write(aside, self._encoded(to))
        if not still_open():
            return False
        self._disk.rename(aside, self._path)
        self._disk.sync_folder(self._state_dir)
        return True

    def _check_releases(
        self, bundles: Sequence[VerifiedBundle], active: Active, running: Sequence[SlotBundle]
    ) -> None:
        """What is live may stay, even where something newer was live once and failed."""
        live = {b.sha256 for b in running}
        for bundle in bundles:
            for counter, release in bundle.counters.items():
                least = active.releases.get(counter, 0)
                if release < least and bundle.sha256 not in live:
                    what = f"release {release} of {counter} is behind {least}"
                    raise Rejected(what, bundle.target, "publish it anew")

    def _fill(
        self, slot: SlotName, bundles: Sequence[VerifiedBundle], held: dict[str, Path]
    ) -> Path:
        """Write a slot aside from nothing. `_put` puts it in its place."""
        content = _content(bundles, str(self._path))
        sources = {b.sha256: b.file for b in bundles} | held
        aside = self._folder(slot).with_name(f"{slot}.next")
        self._disk.remove_tree(aside)
        self._disk.make_folder(aside)
        for bundle in content:
            self._disk.write(aside / bundle.file, self._read(sources[bundle.sha256], bundle))
        write_durably(self._disk, aside / "set.json", msgspec.json.encode(_Set(content)))
        return aside

    def _put(self, aside: Path, slot: SlotName) -> None:
        folder = self._folder(slot)
        self._disk.remove_tree(folder)
        self._disk.rename(aside, folder)
        self._disk.sync_folder(folder.parent)
        self._disk.sync_folder(self._state_dir)

    def _is_whole(self, slot: SlotName | None, active: Active) -> bool:
        try:
            return slot is not None and bool(self._load(slot, active).bundles)
        except Corrupt:
            return False

    def _peek(self, slot: SlotName) -> tuple[SlotBundle, ...]:
        """What a slot says it has, unread; nothing when it says nothing."""
        path = self._folder(slot) / "set.json"
        try:
            return decode(self._must(path, SET_BYTES_MAX), _Set, path).bundles
        except Corrupt:
            return ()

    def _load(self, slot: SlotName, active: Active) -> BundleSet:
        folder = self._folder(slot)
        path = folder / "set.json"
        content = decode(self._must(path, SET_BYTES_MAX), _Set, path)
        for bundle in content.bundles:
            self._read(folder / bundle.file, bundle)
        is_live = slot == active.live
        return BundleSet(
            slot=slot, bundles=content.bundles, folder=folder, muted=active.muted.get(slot, ""),
            muted_bundles=active.muted_bundles if is_live else {},
            probation=is_live and active.probation,
        )  # fmt: skip

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

    def _active(self) -> Active | None:
        data = self._disk.read(self._path, SET_BYTES_MAX)
        return None if data is None else decode(data, Active, self._path)

    def _write(self, active: Active) -> None:
        write_durably(self._disk, self._path, self._encoded(active))

    def _encoded(self, active: Active) -> bytes:
        """What is written can be read again."""
        data = msgspec.json.encode(active)
        if len(data) > SET_BYTES_MAX:
            what = f"{len(active.releases)} counters do not fit"
            raise Rejected(what, str(self._path), "provision again")
        return data


def _content(bundles: Sequence[VerifiedBundle], where: str) -> tuple[SlotBundle, ...]:
    """A set as its slot lists it, by name."""
    if not 0 < len(bundles) <= BUNDLES_MAX:
        raise Rejected(f"{len(bundles)} bundles in a set", where, f"1 to {BUNDLES_MAX}")
    content = tuple(
        SlotBundle(
            name=b.name, release=b.release, sha256=b.sha256, target=b.target,
            file=b.target.rpartition("/")[2], parent=b.parent_sha256,
            parent_release=b.parent_release,
        )
        for b in sorted(bundles, key=lambda b: b.name)
    )  # fmt: skip
    for what, count in (
        ("two bundles have one name", len({b.name for b in content})),
        ("two bundles have one file name", len({b.file for b in content})),
    ):
        if count != len(content):
            raise Rejected(what, where, "name each once")
    return content
