"""`tailtwin-edge verify`: whether an outbox, or an export of one, is what was recorded."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edge.commands import Commands, command, printable

if TYPE_CHECKING:
    from edge.outbox.check import Judge, Verdict
    from edge.outbox.copy import StoreCopy
    from edge.outbox.keyring import Keyring
    from shared.export import ExportManifest

PROGRESS_S = 2.0
FAULTS_PRINTED = 20


def add(commands: Commands) -> None:
    parser = command(
        commands, "verify", "check an outbox, or an export, record by record",
        """tailtwin-edge verify --state /var/lib/tailtwin
        tailtwin-edge verify /mnt/stick/T-1.ttx --device-pub device.pub
        tailtwin-edge verify dead-board/outbox.db --recovery-key fleet-recovery.key --json""",
    )  # fmt: skip
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE",
                        help="an export (.ttx), or the outbox.db of another board")  # fmt: skip
    add_store(parser)
    parser.add_argument("--device-pub", type=Path, metavar="FILE",
                        help="the key that an export must be signed with, 64 hex digits")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(act=_run)


def add_store(parser: argparse.ArgumentParser) -> None:
    """What says which outbox is read, and how."""
    parser.add_argument("--state", type=Path, metavar="DIR",
                        help="state folder; the edge may run meanwhile")  # fmt: skip
    parser.add_argument("--recovery-key", type=Path, metavar="FILE",
                        help="open with the offline key, not with that of the state folder")  # fmt: skip
    parser.add_argument("--scratch", type=Path, metavar="DIR",
                        help="folder with room for a copy of the outbox, which is what is read")  # fmt: skip


def _run(args: argparse.Namespace) -> int:
    from edge.outbox.check import Verdict
    from shared.errors import ConfigError

    if (args.file is None) == (args.state is None):
        raise ConfigError("name a FILE or --state", "verify", "see tailtwin-edge verify --help")
    verdict = Verdict()
    start_s = time.perf_counter()
    if args.file is not None and _is_export(args.file):
        what = _check_export(args.file, args.device_pub, verdict)
    else:
        path = args.file or args.state / "outbox.db"
        with scratch_folder(args.scratch) as folder:
            what = _check_store(path, folder, keyring(args.state, args.recovery_key), verdict)
    what["seconds"] = round(time.perf_counter() - start_s, 2)
    _print(what, verdict, as_json=args.json)
    return 0 if verdict.ok else 1


def scratch_folder(folder: Path | None) -> tempfile.TemporaryDirectory[str]:
    from shared.errors import Unreachable

    try:
        return tempfile.TemporaryDirectory(dir=folder, prefix="tailtwin-")
    except OSError as error:
        raise Unreachable(
            f"no folder for the copy: {error.strerror}", str(folder or tempfile.gettempdir()),
            "name one with --scratch",
        ) from None  # fmt: skip


def keyring(state: Path | None, recovery: Path | None) -> Keyring | None:
    """What is at hand to open records with; makes no key. None: plain records only."""
    from edge.outbox.devicekey import KEY_FILE, TPM_FILE, load_keyring
    from edge.outbox.keyring import KEY_BYTES, Keyring

    if recovery is not None:
        return Keyring.from_recovery(recovery)
    identity = None if state is None else state / "identity"
    if identity is not None and (identity / KEY_FILE).exists():
        try:
            key = bytes.fromhex((identity / KEY_FILE).read_text())
        except (OSError, ValueError):
            return None  # the records are then locked, and said to be
        return Keyring(key) if len(key) == KEY_BYTES else None
    if identity is not None and (identity / TPM_FILE).exists():
        return load_keyring(identity, "tpm", "device:/dev/tpmrm0")
    return None


def progress(verb: str) -> Callable[[int, int], None]:
    """Says how far it is, on stderr, when it takes long."""
    said_s = time.monotonic()

    def tell(done: int, count: int) -> None:
        nonlocal said_s
        if time.monotonic() - said_s >= PROGRESS_S:
            said_s = time.monotonic()
            print(f"{verb} {done:,} of {count:,} records", file=sys.stderr, flush=True)

    return tell


# -- a store


def _check_store(
    path: Path, folder: str, keys: Keyring | None, verdict: Verdict
) -> dict[str, object]:
    from edge.outbox.check import Judge, Stream
    from edge.outbox.copy import StoreCopy, take

    with StoreCopy(take(path, Path(folder)), keys) as copy:
        verdict.count("pages")
        for fault in copy.check_pages():
            verdict.fault("pages", fault)
        judge, tell = Judge(verdict), progress("checked")
        locked = 0
        for done, found in enumerate(copy.records()):
            tell(done, copy.record_count)
            held = found.held
            judge.take(held.epoch, held.stream, held.seq, found.sealed, found.fault)
            locked += found.is_locked
        streams = {name: Stream(s.next_seq, s.safe) for name, s in copy.streams.all.items()}
        judge.check_numbering(streams)
        end = copy.audit_end if copy.has_state_key else None
        judge.check_audit(copy.streams.epochs, streams, end)
        _check_journal(copy, verdict)
        return {
            "file": str(path), "kind": "outbox", "operator": copy.operator, "tail": copy.tail,
            "epoch": copy.streams.epochs[0] if copy.streams.epochs else "", "boot": copy.boot,
            "locked": locked + copy.journal_locked,
        }  # fmt: skip


def _check_journal(copy: StoreCopy, verdict: Verdict) -> None:
    for number, (group, data) in enumerate(copy.journal()):
        _check_entry(f"entry {number} of {group}", data, verdict)


def _check_entry(name: str, data: bytes | None, verdict: Verdict) -> None:
    from edge.recorder import readings_in

    verdict.count("journal")
    if data is None:
        verdict.fault("journal", f"{name}: it does not open")
    elif readings_in(data) is None:
        verdict.fault("journal", f"{name}: not what the recorder writes")


# -- an export


def _is_export(path: Path) -> bool:
    from shared.export import MARK, SUFFIX

    try:
        with path.open("rb") as file:
            return file.read(len(MARK)) == MARK or path.suffix == SUFFIX
    except OSError:
        return False  # the copy says what is wrong


def _check_export(path: Path, device_pub: Path | None, verdict: Verdict) -> dict[str, object]:
    from edge.outbox.check import Judge
    from shared import export
    from shared.errors import TailTwinError

    public = _public(device_pub)
    judge, books = Judge(verdict), dict[tuple[str, str], "hashlib._Hash"]()
    manifest: ExportManifest | None = None
    signed_by = ""
    entries = 0
    with path.open("rb") as file:
        reader = export.Reader(file)
        for part in reader:
            verdict.count("frames")
            if isinstance(part, export.Fault):
                verdict.fault("frames", str(part))
            elif part.kind == export.RECORD:
                _take(judge, part, books)
            elif part.kind == export.JOURNAL:
                _check_frame_entry(part, entries, verdict)
                entries += 1
            elif part.kind == export.MANIFEST:
                try:
                    manifest, signed_by = export.open_manifest(part.body, public, "manifest")
                except TailTwinError as error:
                    verdict.fault("manifest", error.what)
    verdict.count("manifest")
    if manifest is None:
        verdict.fault("manifest", "none that can be used: the export was not finished, or damaged")
        return {"file": str(path), "kind": "export"}
    _check_manifest(manifest, reader, judge, books, entries, verdict)
    return {
        "file": str(path), "kind": "export", "operator": manifest.operator, "tail": manifest.tail,
        "epoch": manifest.epochs[0] if manifest.epochs else "", "boot": manifest.boot,
        "selection": manifest.selection or "everything",
        "signed_by": signed_by + ("" if public else " (not checked: no --device-pub)")
        if signed_by else "nobody", "t_made_ns": manifest.t_made_ns,
    }  # fmt: skip


def _take(judge: Judge, part: object, books: dict[tuple[str, str], hashlib._Hash]) -> None:
    from shared.envelope import Envelope, open_envelope
    from shared.errors import Rejected
    from shared.export import Frame

    assert isinstance(part, Frame)
    try:
        envelope: Envelope = open_envelope(part.body, f"byte {part.offset}")
    except Rejected as error:  # its frame is whole, so it was written like this
        judge.verdict.fault("records", f"{error.where}: {error.what}")
        return
    name = (envelope.epoch, envelope.stream)
    judge.take(*name, envelope.seq, part.body)
    books.setdefault(name, hashlib.sha256()).update(part.body)


def _check_frame_entry(part: object, number: int, verdict: Verdict) -> None:
    from shared.errors import Rejected
    from shared.export import FRAME_BYTES_MAX, Frame, JournalEntry
    from shared.messages import decode

    assert isinstance(part, Frame)
    try:
        entry = decode(JournalEntry, part.body, f"byte {part.offset}", FRAME_BYTES_MAX)
    except Rejected as error:
        verdict.fault("journal", f"{error.where}: {error.what}")
        return
    _check_entry(f"entry {number} of {entry.group}", entry.data, verdict)


def _check_manifest(
    manifest: ExportManifest, reader: object, judge: Judge,
    books: dict[tuple[str, str], hashlib._Hash], entries: int, verdict: Verdict,
) -> None:  # fmt: skip
    from edge.outbox.check import Stream
    from shared.export import Reader
    from shared.sync.ranges import RangeSet

    assert isinstance(reader, Reader)
    if (manifest.bytes_before, manifest.sha256) != (reader.bytes_before, reader.sha256):
        verdict.fault("manifest", "the bytes before it are not those that were written")
    if manifest.journal_entries != entries:
        verdict.fault("journal", f"{entries} entries of {manifest.journal_entries}")
    for one in manifest.streams:
        digest = books.get((one.epoch, one.stream), hashlib.sha256()).digest()
        if digest != one.sha256:
            verdict.fault("manifest", f"{one.epoch} {one.stream}: not its {one.records} records")
    for epoch, stream, seq, why in manifest.unreadable:
        verdict.fault("records", f"{epoch} {stream} {seq}: not exported: {why}")
    streams = {
        (one.epoch, one.stream): Stream(one.next_seq, RangeSet(one.safe))
        for one in manifest.streams
    }
    if not manifest.selection:
        judge.check_numbering(streams)
        judge.check_audit(manifest.epochs, streams, manifest.audit_end or None)


def _public(path: Path | None) -> bytes | None:
    from shared.errors import ConfigError

    if path is None:
        return None
    try:
        public = bytes.fromhex(path.read_text()[:200].strip())
        if len(public) != 32:
            raise ValueError(f"{len(public)} bytes, not 32")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no public key: {error}", str(path), "take identity/device.pub of the tail"
        ) from None
    return public


# -- what it says


def _print(what: dict[str, object], verdict: Verdict, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**what, "ok": verdict.ok, "counts": verdict.counts,
                          "faults": verdict.faults, "unnamed": verdict.unnamed}, indent=1))  # fmt: skip
        return
    print(printable("  ".join(f"{key} {value}" for key, value in what.items() if value != "")))
    print(f"{'check':18}{'looked at':>12}{'faults':>9}")
    for check in sorted({*verdict.counts, *verdict.faults}):
        faults = verdict.faults.get(check, [])
        print(f"{check:18}{verdict.counts.get(check, 0):12,}{len(faults):9,}")
    lines = [f"  {check}: {text}" for check, texts in verdict.faults.items() for text in texts]
    print("\n".join(map(printable, lines[:FAULTS_PRINTED])))
    if len(lines) + verdict.unnamed > FAULTS_PRINTED:
        print(f"  and {len(lines) + verdict.unnamed - FAULTS_PRINTED} more; --json names more")
    if what.get("locked"):
        print(f"  {what['locked']} are sealed under a key that is not here: --recovery-key FILE")
    print("good" if verdict.ok else "NOT GOOD")
