"""How large the metadata of a fleet is, and what one aircraft fetches of it.

    python -m bench.tuf_sizes [--tails 1000] [--bundles 20] [--releases 12] [--kind composite]

Signs two real repositories with the real code: every bundle in every release under the offline key;
for each tail a role of the director with its whole set, and a calibration role. `--full-tails` of
the tails have every release of every bundle in their calibration role; the others have one bundle
each, because what they add to the files that all aircraft read is the same. Prints JSON: bytes of
each kind of file beside the limit of python-tuf's client (UpdaterConfig), and bytes of sessions.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import zlib
from datetime import UTC, datetime
from pathlib import Path

from tuf.ngclient import UpdaterConfig

from bench.machine import machine
from signing.declare import Declared
from signing.keys import KeyFolder
from signing.repositories import Repositories
from signing.verify import Applicability

TYPES = ("B737-800",)
SHA_CHARS = 12  # of a bundle's file name, as shared/bundlefile.py makes it


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tails", type=int, default=1000)
    parser.add_argument("--bundles", type=int, default=20)
    parser.add_argument("--releases", type=int, default=12)
    parser.add_argument("--full-tails", type=int, default=3)
    parser.add_argument("--kind", default="ed25519", help="of the offline keys")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(_measure(args, Path(folder)), indent=2))
    return 0


def _measure(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    start = time.monotonic()
    made = Repositories(folder / "repo", datetime.now(UTC))
    keys = KeyFolder(folder / "keys")
    made.create(keys, args.kind)
    names = [f"egt_rom_{n:02}" for n in range(args.bundles)]
    tails = [f"B737-{28001 + n}" for n in range(args.tails)]
    releases = range(1, args.releases + 1)
    types = [_declared(name, release) for name in names for release in releases]
    made.image.publish(keys, types)
    parents = {bundle.sha256: bundle for bundle in made.image.inspect().bundles}
    parent = {b.name: sha for sha, b in parents.items() if b.release == args.releases}
    calibrations = [
        _declared(name, release, tail, parent[name])
        for n, tail in enumerate(tails)
        for name in (names if n < args.full_tails else names[:1])
        for release in (releases if n < args.full_tails else [1])
    ]
    made.image.publish(keys, calibrations, "calibration")
    made.director.add_tails(keys, tails)
    last = {b.name: b.target for b in parents.values() if b.release == args.releases}
    own = {c.name: f"{c.name}/{c.file.name}" for c in calibrations if c.tail == tails[0]}
    sets = {tail: list(last.values()) for tail in tails}
    sets[tails[0]] = [f"cal/{tails[0]}/{path}" for path in own.values()]
    made.director.assign_all(keys, sets, made.image)
    files = {
        f"{r.NAME}/{role}": _file(r.metadata, name)
        for r in (made.image, made.director)
        for role, name in _newest(r.metadata, tails[0]).items()
    }
    assert all(one["bytes"] < one["limit_bytes"] for one in files.values())
    return {
        "what": vars(args), "machine": machine(), "signing_s": round(time.monotonic() - start, 1),
        "files": files, "sessions": _sessions(files, tails[0]),
    }  # fmt: skip


def _declared(name: str, release: int, tail: str = "", parent: str = "") -> Declared:
    who = Applicability(types=TYPES, esns=("802001", "802002") if tail else ())
    digest = f"{zlib.crc32(f'{name} {release} {tail}'.encode()):0{SHA_CHARS}x}"
    return Declared(
        file=Path(f"{name}-{release}.0.0-{digest}.tar.zst"), data=f"{name}{release}{tail}".encode(),
        name=name, release=release, applicability=who, parent=parent, tail=tail,
    )  # fmt: skip


def _newest(metadata: Path, tail: str) -> dict[str, str]:
    """The newest file of each kind; of roles per tail, those of one tail that has everything."""
    newest: dict[str, tuple[int, str]] = {}
    for path in metadata.glob("*.json"):
        version, _, role = path.name.partition(".")
        if path.name == "timestamp.json":
            newest["timestamp"] = (0, path.name)
        elif not role.startswith(("tail-", "calibration-")) or tail in role:
            role = role.removesuffix(".json")
            newest[role] = max(newest.get(role, (0, "")), (int(version), path.name))
    return {role: name for role, (_, name) in newest.items()}


def _file(metadata: Path, name: str) -> dict[str, int]:
    data = (metadata / name).read_bytes()
    limits = UpdaterConfig()
    kind = name.removesuffix(".json").rpartition(".")[2]
    limit = getattr(limits, f"{kind}_max_length", limits.targets_max_length)
    return {"bytes": len(data), "deflated_bytes": len(zlib.compress(data)), "limit_bytes": limit}


def _sessions(files: dict[str, dict[str, int]], tail: str) -> dict[str, int]:
    """Metadata that one aircraft fetches, over both repositories. first: after it left the shop with
    both roots. nothing_new: only the timestamps. others_changed: other tails were directed and
    calibrated. own_set: so was this one. new_releases: and the offline key signed bundles.
    fleet_grew: and tails were added."""
    of = {name: file["bytes"] for name, file in files.items()}
    first = sum(of.values()) - of["image/root"] - of["director/root"]
    nothing = of["image/timestamp"] + of["director/timestamp"]
    others = nothing + of["image/snapshot"] + of["director/snapshot"]
    own = others + of[f"image/calibration-{tail}"] + of[f"director/tail-{tail}"]
    new = own + of["image/targets"]
    grew = new + of["image/calibration"] + of["director/targets"]
    assert grew == first
    return {
        "first": first, "nothing_new": nothing, "others_changed": others, "own_set": own,
        "new_releases": new, "fleet_grew": grew,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
