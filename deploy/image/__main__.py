"""`python -m deploy.image --profile FILE`: build the image of a profile; with --twice, prove it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from deploy.image.build import ROOT, build
from deploy.image.wheels import fetch
from edge.config import load_profile
from edge.wiring import libraries
from shared.errors import TailTwinError

EPOCH_S = 1_767_225_600  # 2026-01-01, where there is neither SOURCE_DATE_EPOCH nor a commit


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.image", description=__doc__)
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "var/image")
    parser.add_argument("--cache", type=Path, default=ROOT / "var/cache/wheels")
    parser.add_argument("--python", default="/usr/bin/python3.11", help="Python's path aboard")
    parser.add_argument("--twice", action="store_true", help="build again elsewhere and compare")
    parser.add_argument("--resolves", nargs="*", default=[], metavar="ARCH",
                        help="also see that every pin has a wheel for these machines")  # fmt: skip
    args = parser.parse_args()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    common = {"epoch_s": _epoch_s(), "version": version, "cache": args.cache, "python": args.python}
    try:
        image = build(args.profile, args.out, **common)
        if args.twice:
            with tempfile.TemporaryDirectory() as other:
                again = build(args.profile, Path(other), **common)
            if again.sha256 != image.sha256:
                print("two builds differ", file=sys.stderr)
                return 1
        for arch in args.resolves:
            count = len(list(fetch(ROOT / "requirements/edge.txt", arch, args.cache).glob("*.whl")))
            print(f"requirements/edge.txt resolves for {arch}: {count} wheels")
        for name in libraries(load_profile(args.profile)[0]):
            print(
                f"the profile also needs {name}, which is no part of the edge's set: add it aboard"
            )
    except TailTwinError as error:
        print(f"edge-image: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{image.path}\n  {image.packed_bytes / 1e6:.1f} MB, {image.unpacked_bytes / 1e6:.1f} MB in "
          f"{image.files} files unpacked{'; two builds gave the same bytes' if args.twice else ''}\n"
          f"  sha-256 {image.sha256}")  # fmt: skip
    return 0


def _epoch_s() -> int:
    """SOURCE_DATE_EPOCH, else the time of the commit."""
    said = os.environ.get("SOURCE_DATE_EPOCH")
    if said:
        return int(said)
    done = subprocess.run(
        ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else EPOCH_S


if __name__ == "__main__":
    sys.exit(main())
