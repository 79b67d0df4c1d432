"""The wheels of the edge's pinned set, for one architecture.

In: requirements/edge.txt and a folder to keep them in. Out: wheels whose hashes the file names.
Always holds: nothing is built from source, nothing without a hash is taken; a set that does not
resolve for the architecture ends the build.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from shared.errors import Unreachable

PYTHON = (3, 11)
GLIBC = ("2_28", "2_27", "2_26", "2_24", "2_17")
"""manylinux tags of a system with glibc 2.28 (2018) or newer; pip does not derive the older ones."""


def platform_arguments(arch: str) -> list[str]:
    """What pip needs to choose wheels for another machine than this one."""
    tags = [f"manylinux_{version}_{arch}" for version in GLIBC] + [f"manylinux2014_{arch}"]
    chosen = [argument for tag in tags for argument in ("--platform", tag)]
    return [*chosen, "--implementation", "cp", "--python-version", ".".join(map(str, PYTHON))]


def fetch(requirements: Path, arch: str, cache: Path) -> Path:
    """The folder with every wheel; from the registry once, then from `cache`."""
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = cache / f"{arch}-{digest}"
    if (folder / "complete").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    _pip("download", *platform_arguments(arch), "-d", str(folder), "-r", str(requirements))
    (folder / "complete").touch()
    return folder


def install(requirements: Path, arch: str, wheels: Path, target: Path) -> None:
    """Unpack the wheels into `target`, without a network."""
    _pip("install", *platform_arguments(arch), "--no-index", "--find-links", str(wheels),
         "--no-compile", "--target", str(target), "-r", str(requirements))  # fmt: skip


def _pip(command: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check",
         "--require-hashes", "--no-deps", "--only-binary", ":all:", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise Unreachable(
            "; ".join(errors)[:500] or f"pip {command} ended with {done.returncode}",
            str(arguments[-1]), "is the registry reachable, and is there a wheel for this machine?",
        )  # fmt: skip
