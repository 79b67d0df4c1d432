"""`tailtwin-edge export`: all that an outbox holds, as one file that can be carried away."""

from __future__ import annotations

import argparse
import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edge.commands import Commands, command, printable
from edge.commands.verify import add_store, keyring, progress, scratch_folder

if TYPE_CHECKING:
    from edge.outbox.copy import StoreCopy
    from shared.export import ExportManifest

_AGO = re.compile(r"([0-9]{1,6})(h|d)\Z")


def add(commands: Commands) -> None:
    parser = command(
        commands, "export", "write what the outbox holds to one file, on a stick for example",
        """tailtwin-edge export --state /var/lib/tailtwin /mnt/stick/
        tailtwin-edge export --state /var/lib/tailtwin --unsafe-only /mnt/stick/T-1.ttx
        tailtwin-edge export --state /var/lib/tailtwin --since 48h --json /mnt/stick/""",
    )  # fmt: skip
    add_store(parser)
    parser.add_argument("--store", type=Path, metavar="FILE",
                        help="an outbox.db without its state folder; the export is not signed")  # fmt: skip
    parser.add_argument("out", type=Path, metavar="OUT",
                        help="the file to write, or a folder for TAIL-TIME.ttx")  # fmt: skip
    parser.add_argument("--since", default="", metavar="TIME",
                        help="event time, RFC 3339, or as 48h or 7d before the newest record")  # fmt: skip
    parser.add_argument("--flight", default="", metavar="ID", help="records of one period only")
    parser.add_argument("--unsafe-only", action="store_true",
                        help="what the ground does not provably hold")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(act=_run)


def _run(args: argparse.Namespace) -> int:
    from edge.outbox.copy import StoreCopy, take
    from edge.outbox.export import Selection, write_export
    from shared.errors import ConfigError
    from shared.identity import Signer

    if (args.store is None) == (args.state is None):
        raise ConfigError("name --state or --store", "export", "see tailtwin-edge export --help")
    since = _since(args.since)
    device = None if args.state is None else args.state / "identity" / "device.key"
    signer = Signer.load(device) if device is not None and device.exists() else None
    start_s = time.perf_counter()
    folder = args.out if args.out.is_dir() else args.out.parent
    with scratch_folder(args.scratch or folder) as scratch:
        copied = take(args.store or args.state / "outbox.db", Path(scratch))
        with StoreCopy(copied, keyring(args.state, args.recovery_key)) as copy:
            selection = Selection(since(copy), args.flight, args.unsafe_only)
            now_ns = time.time_ns()
            out = args.out / _name(copy, now_ns) if args.out.is_dir() else args.out
            manifest = write_export(copy, out, selection, signer, now_ns, progress("exported"))
    _print(out, manifest, time.perf_counter() - start_s, signed=signer is not None,
           as_json=args.json)  # fmt: skip
    return 1 if manifest.unreadable else 0


class _Since:
    """--since, once the copy says which record is the newest."""

    def __init__(self, at_ns: int | None, ago_ns: int | None) -> None:
        self._at_ns, self._ago_ns = at_ns, ago_ns

    def __call__(self, copy: StoreCopy) -> int | None:
        return self._at_ns if self._ago_ns is None else copy.newest_ns() - self._ago_ns


def _since(text: str) -> _Since:
    from shared.errors import ConfigError

    if not text:
        return _Since(None, None)
    ago = _AGO.match(text)
    if ago:
        hours = int(ago[1]) * (24 if ago[2] == "d" else 1)
        return _Since(None, hours * 3_600_000_000_000)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{text[:40]!r} is no time", "--since", "as 2026-11-21T06:00:00Z, 48h or 7d"
        ) from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return _Since(int(at.timestamp()) * 1_000_000_000, None)


def _name(copy: StoreCopy, now_ns: int) -> str:
    from shared.export import SUFFIX
    from shared.topics import IDENTIFIER

    made = datetime.fromtimestamp(now_ns / 1e9, UTC)
    # the file says what its tail is, and may be anybody's
    tail = copy.tail if IDENTIFIER.match(copy.tail) else "outbox"
    return f"{tail}-{made:%Y%m%dT%H%M%SZ}{SUFFIX}"


def _print(
    out: Path, manifest: ExportManifest, seconds: float, *, signed: bool, as_json: bool
) -> None:
    records = sum(stream.records for stream in manifest.streams)
    said = {
        "file": str(out), "tail": manifest.tail, "records": records,
        "journal_entries": manifest.journal_entries, "bytes": out.stat().st_size,
        "sha256": manifest.sha256.hex(), "selection": manifest.selection or "everything",
        "signed": signed, "unreadable": [list(one) for one in manifest.unreadable],
        "seconds": round(seconds, 2),
    }  # fmt: skip
    if as_json:
        print(json.dumps(said, indent=1))
        return
    print(f"{records:,} records and {manifest.journal_entries:,} journal entries of "
          f"{printable(manifest.tail)} ({said['selection']}): {out.stat().st_size:,} bytes in {out}, "
          f"{seconds:.1f} s")  # fmt: skip
    if not signed:
        print("  not signed: without the key of the state folder the ground does not take it")
    for epoch, stream, seq, why in manifest.unreadable[:20]:
        print(printable(f"  NOT in it: {epoch} {stream} {seq}: {why}"))
    print(f"  check it where it arrives: tailtwin-edge verify {out.name}")
