"""Whether bundles that are live are still what the offline keys signed, without a network.

In: a `RecheckRequest` (on stdin of `python -m edge.update.recheck`, which is how the recorder runs
it: see `edge.update.child.still_trusted`). Out: what stands against them, a JSON list of texts,
empty when nothing does. Always holds: the chain from the provisioned root to the targets role
verifies, and names each bundle with its hash and release; expiry is not looked at, since an
aircraft may be away from the ground for long.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization import DeserializationError

from edge.models.confine import confine
from edge.update.client import (
    CPU_S_MAX,
    MEMORY_BYTES_MAX,
    METADATA_BYTES_MAX,
    ROOT_BYTES_MAX,
    ROOT_ROTATIONS_MAX,
)
from edge.update.disk import PosixDisk
from edge.update.verified import MESSAGE_BYTES_MAX, RecheckRequest
from shared.errors import Corrupt, Rejected, TailTwinError
from signing.verify import check_root, parse_custom


def recheck(request: RecheckRequest) -> list[str]:
    """What stands against the bundles; empty when all are as they were signed."""
    folder = Path(request.folder)
    try:
        targets = _targets(folder, _root(folder))
        return [
            text
            for target, release, sha256 in request.bundles
            if (text := _against(targets, target, release, sha256))
        ]
    except (exceptions.RepositoryError, DeserializationError, TailTwinError, OSError) as error:
        return [f"no trusted targets: {str(error) or type(error).__name__}"[:400]]


def _root(folder: Path) -> Root:
    """The provisioned root, and on to the newest one that it and its successors signed."""
    metadata = Metadata[Root].from_bytes(_read(folder / "root.json", ROOT_BYTES_MAX))
    root = check_root(metadata.signed, "root metadata")
    root.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
    for version in range(root.version + 1, root.version + 1 + ROOT_ROTATIONS_MAX):
        path = folder / "metadata" / "root_history" / f"{version}.root.json"
        if not path.exists():
            break
        metadata = Metadata[Root].from_bytes(_read(path, ROOT_BYTES_MAX))
        for signer in (root, metadata.signed):
            signer.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
        if metadata.signed.version != version:
            raise Rejected(f"root version {metadata.signed.version}", str(path))
        root = check_root(metadata.signed, f"root metadata version {version}")
    return root


def _targets(folder: Path, root: Root) -> Targets:
    path = folder / "metadata" / "targets.json"
    metadata = Metadata[Targets].from_bytes(_read(path, METADATA_BYTES_MAX))
    root.verify_delegate("targets", metadata.signed_bytes, metadata.signatures)
    return metadata.signed


def _against(targets: Targets, target: str, release: int, sha256: str) -> str:
    signed = targets.targets.get(target)
    if signed is None:
        return f"{target} is not among the signed targets"
    if signed.hashes.get("sha256") != sha256:
        return f"{target} is not the file that was signed"
    signed_release = parse_custom(signed.custom, target).release
    if signed_release != release:
        return f"{target} is said to be release {release}, signed as {signed_release}"
    return ""


def _read(path: Path, bytes_max: int) -> bytes:
    data = PosixDisk().read(path, bytes_max)
    if data is None:
        raise Corrupt("is missing", str(path), "fetch an update, or provision again")
    return data


def main(arguments: list[str]) -> int:
    """Answer one request from stdin. arguments: the parent's process id."""
    data = sys.stdin.buffer.read(MESSAGE_BYTES_MAX + 1)
    request = msgspec.json.decode(data[:MESSAGE_BYTES_MAX], type=RecheckRequest)
    parent_pid = int(arguments[0]) if arguments else os.getppid()
    confine(parent_pid, MEMORY_BYTES_MAX, CPU_S_MAX, 0)
    sys.stdout.buffer.write(msgspec.json.encode(recheck(request)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
