"""Whether bundles that are live are still what offline keys signed, without a network.

In: a `RecheckRequest` (on stdin of `python -m edge.update.recheck`, which is how the recorder runs
it: see `edge.update.child.still_trusted`). Out: what stands against them, a JSON list of texts,
empty when nothing does.
Always holds: a chain from the provisioned root names each bundle with its hash and release, and an
attestor of that chain vouches for it. Metadata that expired, a delegation that ended, a session
that was cut short take nothing from what runs: only newer metadata that verifies whole and no
longer names a bundle does. The director is not asked.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import msgspec
from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, TargetFile, Targets
from tuf.api.serialization import DeserializationError

from edge.models.confine import confine
from edge.update.disk import PosixDisk
from edge.update.evidence import Evidence
from edge.update.trusted import METADATA_BYTES_MAX, Guard, roots
from edge.update.verified import (
    MESSAGE_BYTES_MAX,
    RecheckBundle,
    RecheckRequest,
)
from shared.bundle import unpack
from shared.errors import Corrupt, Rejected, TailTwinError
from shared.profile import ModelBounds
from signing.verify import BUNDLE_BYTES_MAX, IMAGE_POLICY, AttestationPolicy, parse_custom, set_id
from signing.verify.attested import attestors_of, check_attestation

MEMORY_BYTES_MAX = 512 << 20  # address space of the child; it needs about half of it
CPU_S_MAX = 30
ROLES_MAX = 33  # python-tuf's own bound of delegations, and the top
BEYOND_BYTES_MAX = 8  # what a bundle unpacks to, over its packed size; see edge.update.contents


class _Unclear(Exception):
    """This metadata does not say: it is missing, damaged, or does not fit together."""


def recheck(request: RecheckRequest, judge_contents: bool = True) -> list[str]:
    """What stands against the bundles; empty when all are as they were signed."""
    trust = Path(request.folder)
    try:
        chain = [r for r, _ in roots(trust / "image", Guard(IMAGE_POLICY), datetime.now(UTC))]
    except (exceptions.RepositoryError, TailTwinError, OSError) as error:
        return [_say("no trusted root", error)]
    chain.reverse()
    named = [_named(b) for b in request.bundles]
    now = _Kept(trust / "image" / "metadata", chain[:1])
    then = _Kept(Evidence(trust).folder(set_id(named)), chain)
    running = [b for b in request.bundles if not b.is_muted]
    against = [text for b in running if (text := _against(b, now, then))]
    if judge_contents and not against:
        against = [t for b in running if (t := _contents(b, chain, request.attestation))]
    return against


def _against(bundle: RecheckBundle, now: _Kept, then: _Kept) -> str:
    """Today's metadata decides if it can; else that of the day when the set came aboard."""
    try:
        return now.against(bundle)
    except _Unclear as unclear:
        try:
            return then.against(bundle)
        except _Unclear as error:
            return f"no trusted targets: {unclear}; nor when it came aboard: {error}"[:400]


class _Kept:
    """A folder of targets metadata, below one of these roots, newest first."""

    def __init__(self, folder: Path, chain: Sequence[Root]) -> None:
        self._folder, self._chain = folder, chain
        self._roles: dict[str, Targets] = {}

    def against(self, bundle: RecheckBundle) -> str:
        """What it says against a bundle. _Unclear when it does not say."""
        try:
            target = self._find(bundle.target)
            if target is None:
                return f"{bundle.target} is not among the signed targets"
            if target.hashes.get("sha256") != bundle.sha256:
                return f"{bundle.target} is not the file that was signed"
            signed = parse_custom(target.custom, bundle.target)
        except (exceptions.RepositoryError, DeserializationError, ValueError, OSError) as error:
            raise _Unclear(_say("", error)) from None
        except TailTwinError as error:
            raise _Unclear(error.what) from None
        if signed.release != bundle.release:
            return f"{bundle.target} is said to be release {bundle.release}, signed as {signed.release}"
        return ""

    def _find(self, path: str) -> TargetFile | None:
        """As python-tuf walks: the first role in order that has it."""
        waiting, seen = [(Targets.type, "")], set[str]()
        while waiting and len(seen) < ROLES_MAX:
            role, parent = waiting.pop()
            if role in seen:
                continue
            seen.add(role)
            targets = self._role(role, parent)
            if path in targets.targets:
                return targets.targets[path]
            children = []
            if targets.delegations is not None:
                for child, is_last in targets.delegations.get_roles_for_target(path):
                    children.append((child, role))
                    if is_last:
                        waiting = []
                        break
            waiting += reversed(children)
        return None

    def _role(self, role: str, parent: str) -> Targets:
        key = f"{parent}/{role}"
        if key not in self._roles:
            path = self._folder / f"{quote(role, '')}.json"
            data = PosixDisk().read(path, METADATA_BYTES_MAX)
            if data is None:
                raise Corrupt("is missing", str(path), "fetch an update, or provision again")
            metadata = Metadata[Targets].from_bytes(data)
            if metadata.signed.type != Targets.type:
                raise exceptions.RepositoryError(f"{role} is a {metadata.signed.type}")
            self._verify(metadata, role, parent)
            self._roles[key] = metadata.signed
        return self._roles[key]

    def _verify(self, metadata: Metadata[Targets], role: str, parent: str) -> None:
        by = [self._role_of(parent)] if parent else list(self._chain)
        failed: exceptions.RepositoryError | None = None
        for delegator in by:
            try:
                delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
                return
            except exceptions.RepositoryError as error:
                failed = failed or error
        raise failed or exceptions.RepositoryError(f"nobody vouches for {role}")

    def _role_of(self, parent: str) -> Targets:
        return next(t for key, t in self._roles.items() if key.endswith(f"/{parent}"))


def _contents(bundle: RecheckBundle, chain: Sequence[Root], policy: AttestationPolicy) -> str:
    """Whether an attestor of any root of the chain vouches for it: the roots have changed since it
    came aboard, perhaps. Of a calibration the parent was judged, which is not here."""
    if not bundle.path or bundle.target.startswith("cal/"):
        return ""
    try:
        data = PosixDisk().read(Path(bundle.path), BUNDLE_BYTES_MAX)
        if data is None:
            return f"{bundle.path} is missing"
        bounds = ModelBounds(
            bundle_bytes_max=BUNDLE_BYTES_MAX,
            unpacked_bytes_max=BEYOND_BYTES_MAX * BUNDLE_BYTES_MAX,
        )
        files = unpack(data, bounds, bundle.target)
    except (TailTwinError, OSError) as error:
        return _say(bundle.target, error)
    text = "no attestors"
    for root in chain:
        try:
            check_attestation(files, attestors_of(root), policy)
            return ""
        except Rejected as error:
            text = f"{bundle.target}: attestation: {error.what}"
    return text[:400]


class _Named(msgspec.Struct, frozen=True):
    """What a set id is made of."""

    name: str
    release: int
    sha256: str


def _named(bundle: RecheckBundle) -> _Named:
    return _Named(bundle.target.split("/")[-2:][0], bundle.release, bundle.sha256)


def _say(what: str, error: Exception) -> str:
    text = error.what if isinstance(error, TailTwinError) else str(error)
    return " ".join(f"{what}: {text or type(error).__name__}".split())[:400]


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
