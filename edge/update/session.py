"""One session: what both repositories say this aircraft should run, on disk and verified.

In: a `FetchRequest`, a clock. Out: a `VerifiedSet`, or why there is none.
Always holds: the director is asked first and chooses only; a file has its final name only after
TUF's metadata, both repositories, applicability, release and attestation let it through; nothing
is trusted for where it came from, so one bad source does not end a session that another serves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from msgspec.structs import replace
from tuf.api.exceptions import DownloadHTTPError, DownloadLengthMismatchError
from tuf.api.metadata import Root

from edge.update.choice import SET_BUNDLES, Wanted, chosen, directed
from edge.update.contents import check_contents
from edge.update.disk import PosixDisk
from edge.update.evidence import Evidence
from edge.update.failures import EXPECTED, Refused, failure_of, worst
from edge.update.fetch import BoundedFetcher
from edge.update.floor import FILE, TIME_NS_MAX, Anchor, TimeFloor
from edge.update.lock import Lock
from edge.update.room import SPARE_BYTES, free_bytes, is_memory
from edge.update.sources import Source, open_source
from edge.update.trusted import Guard, TrustedUpdater, newest_root
from edge.update.trustedtime import TrustedTime, proved_ns, trusted_time
from edge.update.verified import (
    FetchAnswer,
    FetchFailure,
    FetchRequest,
    VerifiedBundle,
    VerifiedSet,
)
from shared.clock import Clock
from shared.errors import Corrupt, Expired, Rejected, Unreachable
from signing.verify import (
    DIRECTOR_POLICY,
    IMAGE_POLICY,
    check_apart,
    check_target_path,
    set_id,
)
from signing.verify.attested import attestors_of
from signing.verify.resets import RESET_BYTES_MAX, check_reset, reset_path

METADATA_BYTES_MAX = 24_000_000
"""Of one source in one session. Assumption: a year of root rotations with composite keys and the
largest targets file together are below half of it."""
FETCHED_MAX = 64  # files kept between sessions; as many as two sets, with the parents of one
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

Contents = Callable[[Wanted, bytes, bytes, Root, FetchRequest], None]


def fetch_set(
    request: FetchRequest,
    clock: Clock,
    *,
    contents: Contents = check_contents,
    opened: Callable[[str], Source] = open_source,
) -> FetchAnswer:
    """Refresh both repositories from the first source that serves them, and bring the whole set."""
    folder = Path(request.folder)
    try:
        if request.target:
            check_target_path(request.target)
        for repository in ("director", "image"):
            if not (folder / repository / "root.json").exists():
                where = str(folder / repository)
                raise Refused(Corrupt, "no_root", "no trusted root", where)
        with Lock(folder / "lock"):
            return _Session(request, folder, clock, contents, opened).run()
    except (Refused, *EXPECTED) as error:
        return failure_of(error)


class _Session:
    """What one request needs, in the order in which it happens."""

    def __init__(
        self,
        request: FetchRequest,
        folder: Path,
        clock: Clock,
        contents: Contents,
        opened: Callable[[str], Source],
    ) -> None:
        self._request, self._folder, self._clock = request, folder, clock
        self._contents, self._opened, self._disk = contents, opened, PosixDisk()
        self._end_ns = clock.mono_ns() + round(request.deadline_s * 1e9)
        self._floor = TimeFloor(folder / FILE, self._disk)
        self._evidence = Evidence(folder, self._disk)
        self._withdrawn: tuple[str, ...] = ()
        self._remark, self._step = "", ""

    def run(self) -> FetchAnswer:
        self._check_place()
        failures: list[FetchFailure] = []
        for number, text in enumerate(self._request.sources):
            left_s = (self._end_ns - self._clock.mono_ns()) / 1e9
            is_last = number == len(self._request.sources) - 1
            try:
                with closing(self._opened(text)) as source:
                    return self._from(source, left_s if is_last else left_s / 2)
            except (Refused, *EXPECTED) as error:
                failures.append(failure_of(error, f"{self._step}{_named(text)}"))
        return replace(worst(failures), withdrawn=self._withdrawn)

    def _check_place(self) -> None:
        if not self._request.staging_may_be_memory and is_memory(self._folder):
            text = "this folder is memory: what is put there is gone with the power"
            raise Refused(Rejected, "memory_folder", text, str(self._folder))
        self._need_room(0)

    def _need_room(self, bytes_: int) -> None:
        """For the files themselves and their copies in a slot."""
        free, needed = free_bytes(self._folder), 2 * bytes_ + SPARE_BYTES
        if free < needed:
            text = f"{free} bytes are free, {needed} are needed"
            raise Refused(Unreachable, "no_room", text, str(self._folder))

    # -- one source

    def _from(self, source: Source, deadline_s: float) -> VerifiedSet:
        request, tail = self._request, self._request.aircraft.tail
        fetcher = BoundedFetcher(
            source, self._clock, deadline_s, request.step_s,
            METADATA_BYTES_MAX + SET_BUNDLES * request.bytes_max, self._folder / "partial",
        )  # fmt: skip
        self._step = ""
        time = self._time(fetcher)
        director = self._updater("director", fetcher, time, Guard(DIRECTOR_POLICY, tail))
        image = self._updater("image", fetcher, time, Guard(IMAGE_POLICY))
        try:
            try:
                self._step = "director repository, "
                director.refresh()
                entries, rollback_of = directed(director, tail)
            except (Refused, *EXPECTED):
                self._look_for_withdrawals(image)
                raise
            self._step = "image repository, "
            image.refresh()
            self._step = "both repositories, "
            check_apart(
                image.root, director.root, image.targets, director.targets,
                attestors_of(image.root).keys,
            )  # fmt: skip
            for updater in (director, image):
                if updater.is_of_medium and not source.name.startswith("file://"):
                    raise Refused(Expired, "expired", "metadata of a medium, over a network")
            self._withdrawn = self._no_longer_signed(image)
            wanted = chosen(entries, image, request)
            if rollback_of == set_id(wanted):
                raise Refused(Rejected, "metadata", f"set {rollback_of} is to be left for itself")
        finally:
            proofs = [p for u in (director, image) if (p := u.proof()) is not None]
            self._floor.raise_to(proved_ns(_bounded(request.ground_time_ns), proofs))
        bundles = tuple(self._bring(wanted, image))
        self._evidence.keep(bundles, image.roles_loaded(), request.held)
        return VerifiedSet(
            bundles=bundles, rollback_of=rollback_of, source=source.name, withdrawn=self._withdrawn
        )

    def _look_for_withdrawals(self, image: TrustedUpdater) -> None:
        """A director that fails, or was taken over, keeps no withdrawal from us."""
        with suppress(Refused, *EXPECTED):
            image.refresh()
            self._withdrawn = self._no_longer_signed(image)

    def _no_longer_signed(self, image: TrustedUpdater) -> tuple[str, ...]:
        """What is held and that this metadata, whole and in time, does not name any more."""
        known = self._evidence.known()
        return tuple(
            sha256
            for sha256 in self._request.held
            if sha256 in known and _is_withdrawn(image, known[sha256], sha256)
        )

    def _updater(
        self, repository: str, fetcher: BoundedFetcher, time: TrustedTime, guard: Guard
    ) -> TrustedUpdater:
        folder = self._folder / repository
        return TrustedUpdater(
            folder / "metadata", f"{repository}/metadata/", fetcher, time.at,
            target_url=f"{repository}/targets/", guard=guard,
            bootstrap=newest_root(folder, guard, time.at),
        )  # fmt: skip

    # -- time

    def _time(self, fetcher: BoundedFetcher) -> TrustedTime:
        request, floor, anchor = self._request, self._floor, self._floor.anchor
        reset_ns = anchor.now_ns(_boot(), self._clock.mono_ns()) if anchor is not None else None
        wall_ns = self._clock.wall_ns()
        bus_ns = _bounded(request.bus_utc_ns)
        time = (
            trusted_time(floor.ns, ground_ns=_bounded(request.ground_time_ns), reset_ns=reset_ns)
            or self._reset(fetcher)
            or trusted_time(floor.ns, wall_ns=wall_ns, bus_ns=bus_ns)
        )
        if time is None:
            what = (
                f"this clock says {_day(wall_ns)}, and it has been {_day(floor.ns)} already"
                f"{self._remark}; nonce for a reset: {floor.nonce()}"
            )
            raise Refused(Unreachable, "no_trusted_time", what)
        return time

    def _reset(self, fetcher: BoundedFetcher) -> TrustedTime | None:
        """A reset on this source, when it is this aircraft's and enough root keys signed it."""
        tail = self._request.aircraft.tail
        try:
            data = fetcher.download_bytes(reset_path(tail), RESET_BYTES_MAX)
        except (DownloadHTTPError, DownloadLengthMismatchError):
            return None  # there is none, or what is there is none
        before = TrustedTime(self._floor.ns, "reset")  # roots are stepped through at any time
        image = self._updater("image", fetcher, before, Guard(IMAGE_POLICY))
        try:
            image.step_roots()
            reset = check_reset(data, image.root, tail, self._floor.nonce())
        except Rejected as error:
            self._remark = f"; the reset here is no help: {error.what}"
            return None
        anchor = Anchor(
            boot=_boot(), mono_ns=self._clock.mono_ns(), time_ns=reset.time_ns,
            until_ns=reset.until_ns,
        )  # fmt: skip
        self._floor.reset(reset.time_ns, anchor)
        return trusted_time(self._floor.ns, reset_ns=reset.time_ns)

    # -- files

    def _bring(self, wanted: list[Wanted], image: TrustedUpdater) -> list[VerifiedBundle]:
        everything = [x for w in wanted for x in (w, w.parent) if x is not None]
        paths = {w.sha256: path for w in everything if (path := self._held(w)) is not None}
        missing = {w.sha256: w for w in everything if w.sha256 not in paths}
        new = {sha256: self._path(w) for sha256, w in missing.items()}
        self._need_room(sum(w.target.length for w in missing.values()))
        self._make_room(set(new.values()))
        for sha256, one in missing.items():
            image.fetch(one.target, new[sha256])
        paths |= new
        for one in wanted:
            parent = self._read(paths[one.parent.sha256], one.parent) if one.parent else b""
            data = self._read(paths[one.sha256], one)
            self._contents(one, data, parent, image.root, self._request)
        return [_bundle(w, paths) for w in wanted]

    def _held(self, wanted: Wanted) -> Path | None:
        """Where it lies already, if it still is what it was."""
        path = self._request.held.get(wanted.sha256)
        try:
            if path is not None:
                self._read(Path(path), wanted)
                return Path(path)
        except (Corrupt, OSError):
            pass
        return None

    def _read(self, path: Path, wanted: Wanted) -> bytes:
        data = self._disk.read(path, wanted.target.length)
        if data is None or hashlib.sha256(data).hexdigest() != wanted.sha256:
            raise Corrupt("not the bytes that were verified", str(path), "fetch it again")
        return data

    def _path(self, wanted: Wanted) -> Path:
        return self._folder / "targets" / f"{wanted.sha256}.{wanted.file}"

    def _make_room(self, needed: set[Path]) -> None:
        """The oldest fetches of other sessions go."""
        folder = self._folder / "targets"
        self._disk.make_folder(folder)
        others = [p for p in folder.iterdir() if p not in needed]
        others.sort(key=lambda p: p.stat().st_mtime_ns, reverse=True)
        for old in others[max(0, FETCHED_MAX - len(needed)) :]:
            old.unlink()


def _is_withdrawn(image: TrustedUpdater, path: str, sha256: str) -> bool:
    """Metadata that cannot be had, and a delegation that is over, withdraw nothing."""
    try:
        found = image.find(path)
    except EXPECTED:
        return False
    if found is None:
        return not image.ended
    return found.target.hashes.get("sha256") != sha256


def _bundle(wanted: Wanted, paths: dict[str, Path]) -> VerifiedBundle:
    custom, target = wanted.custom, wanted.target
    return VerifiedBundle(
        target=target.path, name=custom.name, release=custom.release, sha256=wanted.sha256,
        length=target.length, path=str(paths[wanted.sha256]),
        parent=str(paths[wanted.parent.sha256]) if wanted.parent is not None else "",
        parent_sha256=custom.parent,
        parent_release=wanted.parent.release if wanted.parent is not None else 0,
    )  # fmt: skip


def _bounded(ns: int | None) -> int | None:
    return None if ns is None else min(max(0, ns), TIME_NS_MAX)


def _boot() -> str:
    """Which boot this is: a monotonic clock means nothing in another one."""
    return BOOT_ID.read_text("ascii").strip()


def _day(ns: int) -> str:
    return TrustedTime(min(max(0, ns), TIME_NS_MAX), "wall").at.strftime("%Y-%m-%dT%H:%MZ")


def _named(text: str) -> str:
    """A source as configured, without its password."""
    scheme, _, rest = text.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"[:120]
