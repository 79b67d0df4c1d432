"""Our client behind the command line of theupdateframework/tuf-conformance.

In: its arguments (CLIENT-CLI.md there). Out: 0, or 1 and why on stderr.
Always holds: it is what flies: the bounded fetch, the time floor, the lock and the durable
writes of edge.update, with no policy beyond TUF, for the suite's repositories know none of ours.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

from tuf.api.exceptions import DownloadError, RepositoryError

from edge.update.disk import PosixDisk, write_durably
from edge.update.fetch import BoundedFetcher
from edge.update.floor import FILE, TimeFloor
from edge.update.lock import Lock
from edge.update.sources import open_source
from edge.update.trusted import ROOT_BYTES_MAX, TrustedUpdater
from edge.update.trustedtime import proved_ns, trusted_time
from shared.clock import SystemClock
from shared.errors import Expired, Rejected, TailTwinError
from shared.files import read_bounded

DEADLINE_S, STEP_S = 30.0, 10.0
BYTES_MAX = 64 << 20
BUILT_NS = (
    0  # the suite has repositories that were valid in 2025 only, before this code was written
)


class Client:
    """One trust folder. Beside the metadata, a hidden folder holds what the suite does not look
    at: the floor of the time, the lock, cut downloads."""

    def __init__(self, metadata_dir: Path) -> None:
        self._folder, self._own = metadata_dir, metadata_dir / ".own"
        self._disk = PosixDisk()

    def init(self, trusted_root: Path) -> None:
        data = read_bounded(trusted_root, ROOT_BYTES_MAX, "give a root.json")
        self._folder.mkdir(parents=True, exist_ok=True)
        write_durably(self._disk, self._folder / "root.json", data)

    def run(self, metadata_url: str, target_url: str, names: list[str], target_dir: Path) -> None:
        """Refresh, then fetch each target that is not there already."""
        clock = SystemClock()
        floor = TimeFloor(self._own / FILE, self._disk, BUILT_NS)
        now = trusted_time(floor.ns, wall_ns=clock.wall_ns())
        if now is None:
            raise Expired("the clock is behind the floor", str(self._own), "set the clock")
        at, metadata = _split(metadata_url)
        elsewhere, targets = _split(target_url or metadata_url)
        if at != elsewhere:
            raise Rejected("two servers", target_url, "serve targets where the metadata is")
        self._own.mkdir(exist_ok=True)
        with Lock(self._own / "lock"), closing(open_source(at)) as source:
            fetcher = BoundedFetcher(
                source, clock, DEADLINE_S, STEP_S, BYTES_MAX, self._own / "partial"
            )
            updater = TrustedUpdater(
                self._folder,
                metadata,
                fetcher,
                floor.reference(clock.wall_ns()),
                target_url=targets,
            )
            try:
                updater.refresh()
            finally:
                proof = updater.proof()
                floor.raise_to(proved_ns(None, [proof] if proof is not None else []))
            for name in names:
                found = updater.find(name)
                if found is None:
                    raise Rejected("not in the repository", name, "publish it")
                updater.fetch(found.target, target_dir / quote(name, ""))


def _split(url: str) -> tuple[str, str]:
    """(the server, the path there)."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}", parts.path.strip("/")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tuf-client", description=__doc__)
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url", default="")
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-dir", type=Path, default=Path())
    parser.add_argument("--target-base-url", default="")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("trusted_root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    args = parser.parse_args(arguments)
    client = Client(args.metadata_dir)
    try:
        if args.command == "init":
            client.init(args.trusted_root)
        else:
            names = args.target_name if args.command == "download" else []
            client.run(args.metadata_url, args.target_base_url, names, args.target_dir)
    except (TailTwinError, RepositoryError, DownloadError, OSError) as error:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        print(f"{now} {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
