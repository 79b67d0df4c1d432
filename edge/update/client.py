"""The TUF client: python-tuf's updater with a time floor, a lock, a deadline and durable writes.

In: a `FetchRequest` (on stdin when run as `python -m edge.update.client`, which is how the
recorder runs it). Out: a `FetchAnswer` (on stdout): a `VerifiedBundle`, or why there is none.
Always holds: a target is on disk under its final name only after TUF's metadata, its
applicability and its release let it through; what was verified once is not forgotten by a power
cut; the time that expiry is judged by never goes back.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, Signed, TargetFile
from tuf.api.serialization import DeserializationError
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from edge.models.confine import confine
from edge.update.disk import PosixDisk, write_durably
from edge.update.fetch import DeadlineFetcher
from edge.update.floor import TimeFloor
from edge.update.lock import Lock
from edge.update.verified import (
    MESSAGE_BYTES_MAX,
    FetchAnswer,
    FetchFailure,
    FetchRequest,
    Kind,
    VerifiedBundle,
)
from shared.clock import Clock, SystemClock
from shared.errors import Corrupt, Expired, Rejected, TailTwinError, Unreachable
from signing.verify import check_root, check_target_path, inapplicable, issued_at, parse_custom

ROOT_BYTES_MAX = 512_000  # python-tuf's own bound
METADATA_BYTES_MAX = 8_000_000  # of one session: what python-tuf takes of all top-level roles
ROOT_ROTATIONS_MAX = 64
MEMORY_BYTES_MAX = 512 << 20  # address space of the child; it needs about half of it
CPU_S_MAX = 30
FILES_MAX = 64
FETCHED_MAX = 32  # as many as a set holds; whoever installs them removes them
GRACE_S = 2.0
TIME_NS_MAX = 1 << 62  # the year 2116
FLOOR_SPARE = timedelta(days=1)


class Refused(Exception):
    """Inside this module: an answer that is not a bundle, on its way out."""

    def __init__(self, kind: type[TailTwinError], code: str, text: str) -> None:
        super().__init__(text)
        self.failure = FetchFailure(kind=_KINDS[kind], code=code, text=text)


_KINDS: dict[type[TailTwinError], Kind] = {
    Rejected: "rejected",
    Unreachable: "unreachable",
    Corrupt: "corrupt",
    Expired: "expired",
}

# By order: the first class that fits says the code.
_CODES: tuple[tuple[type[Exception], type[TailTwinError], str], ...] = (
    (exceptions.ExpiredMetadataError, Expired, "expired"),
    (exceptions.UnsignedMetadataError, Rejected, "signature"),
    (exceptions.BadVersionNumberError, Rejected, "rollback"),
    (exceptions.LengthOrHashMismatchError, Rejected, "length_or_hash"),
    (exceptions.RepositoryError, Rejected, "metadata"),
    (exceptions.DownloadLengthMismatchError, Rejected, "length_or_hash"),
    (exceptions.SlowRetrievalError, Unreachable, "deadline"),
    (exceptions.DownloadHTTPError, Unreachable, "http"),
    (exceptions.DownloadError, Unreachable, "network"),
    (Rejected, Rejected, "rejected"),
    (Corrupt, Corrupt, "corrupt"),
    (Unreachable, Unreachable, "busy"),
    (OSError, Unreachable, "disk"),
)


def provision(folder: Path, root: bytes) -> None:
    """Lay down the trusted root of a new aircraft; Rejected when it breaks our policy.

    This is the one moment of trust: `root` comes from a shop that knows where it got it.
    """
    where = str(folder / "root.json")
    if len(root) > ROOT_BYTES_MAX:
        raise Rejected("root metadata is too large", where, "take 1.root.json of the repository")
    try:
        _TrustedSet(root, datetime.now(UTC))
    except exceptions.RepositoryError as error:
        raise Rejected(f"not a trustworthy root: {error}", where, "take 1.root.json") from None
    path = folder / "root.json"
    if path.exists():
        if path.read_bytes() == root:
            return
        raise Rejected("another root is trusted already", where, "use a new state folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(PosixDisk(), path, root)


def fetch_bundle(request: FetchRequest, clock: Clock) -> FetchAnswer:
    """One session: refresh the metadata, check the target, fetch and verify it."""
    try:
        check_target_path(request.target)
        folder = Path(request.folder)
        with Lock(folder / "lock"):
            return _Session(request, folder, clock).run()
    except Refused as refused:
        return refused.failure
    except (exceptions.RepositoryError, exceptions.DownloadError, TailTwinError, OSError) as error:
        for kind, fault, code in _CODES:
            if isinstance(error, kind):
                return FetchFailure(kind=_KINDS[fault], code=code, text=_say(error))
        raise


class _Session:
    """What one request needs, in the order in which it happens."""

    def __init__(self, request: FetchRequest, folder: Path, clock: Clock) -> None:
        self._request, self._folder, self._clock = request, folder, clock
        self._disk = PosixDisk()
        self._floor = TimeFloor(folder / "time_floor.json", self._disk)

    def run(self) -> FetchAnswer:
        request = self._request
        ground_ns = min(max(0, request.ground_time_ns or 0), TIME_NS_MAX)
        reference = self._floor.reference(max(self._clock.wall_ns(), ground_ns))
        fetcher = DeadlineFetcher(
            self._clock, request.deadline_s, request.bytes_max + METADATA_BYTES_MAX
        )
        updater = _Updater(self._folder, request.url, fetcher, reference)
        try:
            updater.refresh()
        finally:
            self._floor.raise_to(updater.proved_ns(ground_ns))
        target = updater.get_targetinfo(request.target)
        if target is None:
            raise Refused(Rejected, "no_target", f"{request.target} is not in the repository")
        bundle = self._check(target)
        self._download(updater, target, bundle.file)
        return bundle

    def _check(self, target: TargetFile) -> VerifiedBundle:
        """Everything the signed metadata can refuse before a byte of the bundle is fetched."""
        request = self._request
        custom = parse_custom(target.custom, target.path)
        reasons = inapplicable(custom.applicability, request.aircraft)
        if reasons:
            raise Refused(Rejected, "inapplicable", "; ".join(reasons))
        least = request.releases.get(custom.name, 0)
        if custom.release < least:
            text = f"release {custom.release} of {custom.name} is behind {least}"
            raise Refused(Rejected, "release_back", text)
        if target.length > request.bytes_max:
            text = f"{target.length} bytes, at most {request.bytes_max}"
            raise Refused(Rejected, "too_large", text)
        sha256 = target.hashes.get("sha256")
        if sha256 is None:
            raise Refused(Rejected, "length_or_hash", f"{target.path} has no sha-256")
        path = self._folder / "targets" / f"{sha256}.{target.path.rpartition('/')[2]}"
        return VerifiedBundle(
            target=target.path, name=custom.name, release=custom.release, sha256=sha256,
            length=target.length, path=str(path), applicability=custom.applicability,
        )  # fmt: skip

    def _download(self, updater: _Updater, target: TargetFile, path: Path) -> None:
        """Verified under a name aside, durable, then renamed; the oldest fetches make room."""
        path.parent.mkdir(exist_ok=True)
        others = [p for p in path.parent.iterdir() if p != path]
        others.sort(key=lambda p: p.stat().st_mtime_ns, reverse=True)
        for old in others[FETCHED_MAX - 1 :]:
            old.unlink()
        if updater.find_cached_target(target, str(path)) is not None:
            return
        aside = path.with_name(".incoming")
        updater.download_target(target, str(aside))
        self._disk.sync_file(aside)
        self._disk.rename(aside, path)
        self._disk.sync_folder(path.parent)


class _TrustedSet(TrustedMetadataSet):
    """python-tuf's trust decisions, at our reference time and with our policy on roots."""

    def __init__(self, root: bytes, reference_time: datetime) -> None:
        super().__init__(root, EnvelopeType.METADATA)
        self.reference_time = reference_time
        check_root(self.root, "root metadata")

    def update_root(self, data: bytes) -> Root:
        root = super().update_root(data)
        return check_root(root, f"root metadata version {root.version}")


class _Updater(Updater):
    """python-tuf's updater, with the two seams it does not offer: time, and how files are
    written. tests/unit/edge/update/test_client.py fails when an upgrade moves them."""

    def __init__(
        self, folder: Path, url: str, fetcher: DeadlineFetcher, reference_time: datetime
    ) -> None:
        root = _trusted_root(folder / "root.json")
        self._disk = PosixDisk()
        base = url.rstrip("/")
        metadata = folder / "metadata"
        metadata.mkdir(exist_ok=True)
        super().__init__(
            str(metadata), f"{base}/metadata/", str(folder / "targets"), f"{base}/targets/",
            fetcher, UpdaterConfig(root_max_length=ROOT_BYTES_MAX, max_root_rotations=ROOT_ROTATIONS_MAX),
            bootstrap=root,
        )  # fmt: skip
        self._trusted_set = _TrustedSet(root, reference_time)

    def _persist_file(self, filename: str, data: bytes) -> None:
        """In place of write-and-rename without fsync: a metadata file that a power cut empties
        would take its rollback protection with it."""
        write_durably(self._disk, Path(filename), data)

    def proved_ns(self, ground_ns: int) -> int:
        """The time that may be remembered as past, ns; 0 when none is proved.

        ground_ns: what the ground said. It may be wrong, and online keys may be stolen, so beside
        it only what offline keys signed counts, and whatever anybody said must not keep out
        metadata that is made later: never past the expiry of the metadata that is trusted now,
        so that a frozen copy of it stays expired, and for offline roles not within a day of it.
        """
        online = [s for s in map(self._kept, ("timestamp", "snapshot")) if s is not None]
        targets = self._kept("targets")
        if targets is None or not online:
            return 0
        offline: list[Signed] = [self._trusted_set.root, targets]
        said = [round(at.timestamp()) for s in offline if (at := issued_at(s)) is not None]
        ends = [s.expires for s in online] + [s.expires - FLOOR_SPARE for s in offline]
        last_s = round(min(ends).timestamp())
        return min(max([ground_ns, *(at * 10**9 for at in said)]), last_s * 10**9)

    def _kept(self, role: str) -> Signed | None:
        """What is trusted of a role: it is on disk since it verified."""
        try:
            path = Path(self._dir) / f"{role}.json"
            signed: Signed = Metadata.from_file(str(path)).signed
        except (exceptions.StorageError, DeserializationError):
            return None
        return signed


def _trusted_root(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(ROOT_BYTES_MAX + 1)
    except FileNotFoundError:
        raise Refused(Corrupt, "no_root", f"no trusted root at {path}; provision it") from None


def _say(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return " ".join(text.split())[:400]


def main(arguments: list[str]) -> int:
    """Answer one request from stdin. Exit code 0 means that there is an answer.

    arguments: the parent's process id, so that this one does not outlive it.
    """
    data = sys.stdin.buffer.read(MESSAGE_BYTES_MAX + 1)
    try:
        request = msgspec.json.decode(data[:MESSAGE_BYTES_MAX], type=FetchRequest)
    except msgspec.DecodeError as error:
        answer: FetchAnswer = FetchFailure(kind="rejected", code="request", text=str(error))
    else:
        _limit(request, int(arguments[0]) if arguments else os.getppid())
        scratch = Path(request.folder) / "targets"
        scratch.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(scratch)  # /tmp may be memory
        answer = fetch_bundle(request, SystemClock())
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    return 0


def _limit(request: FetchRequest, parent_pid: int) -> None:
    """What this process may cost the aircraft. The alarm ends it even if nobody else does."""
    file_bytes = max(request.bytes_max, METADATA_BYTES_MAX)
    confine(parent_pid, MEMORY_BYTES_MAX, CPU_S_MAX, file_bytes)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))
    os.nice(10)
    signal.setitimer(signal.ITIMER_REAL, request.deadline_s + GRACE_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
