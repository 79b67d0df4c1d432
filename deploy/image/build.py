"""The image: all that a flight computer needs of this project, and nothing else of it.

In: a profile, the wheels of requirements/edge.txt, this checkout. Out: one `.tar.zst`, its bill of
materials and its hash. Always holds: of our own code only `edge`, `shared` and `signing.verify`;
no tests, no pip; the same inputs give the same bytes, whoever builds them where.

In it: `bin/` (launcher, and a link to the computer's own Python), `lib/` (a virtual environment's
site-packages), `profile/`, `systemd/`, `sbom.cdx.json`, `SHA256SUMS`.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import zstandard

from deploy.image import wheels
from deploy.image.sbom import sbom
from edge.config import Profile, load_profile
from shared.errors import ConfigError

ROOT = Path(__file__).parents[2]
NAME = "tailtwin-edge"
OWN = ("edge", "shared", "signing/verify")
OWN_FILES = ("signing/__init__.py",)
SITE = f"lib/python{wheels.PYTHON[0]}.{wheels.PYTHON[1]}/site-packages"
TEST_FOLDERS = frozenset({"test", "tests", "testdata", "test_data"})
NOT_ABOARD = (".pyi", ".pxd", ".pyx", ".h", ".hpp", ".a", ".lib", ".proto", ".c", ".cc", ".sh")
TOOLS = (
    "bin", "numpy/distutils", "numpy/f2py", "numpy/testing", "onnx/backend", "onnx/bin",
    "onnx/reference", "onnx/tools", "onnxruntime/backend", "onnxruntime/datasets",
    "onnxruntime/quantization", "onnxruntime/tools", "onnxruntime/transformers",
)  # fmt: skip
"""What libraries bring along for developers. Nothing of ours imports it: a test runs the rest."""
UNSTABLE = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})
ZSTD_LEVEL = 12
LAUNCHER = """#!/bin/sh
exec "$(dirname "$(readlink -f "$0")")/python" -I -m edge "$@"
"""


@dataclass(frozen=True, slots=True)
class Image:
    """path: the `.tar.zst`. unpacked_bytes: of its files."""

    path: Path
    sha256: str
    packed_bytes: int
    unpacked_bytes: int
    files: int


def build(
    profile_path: Path, out: Path, *, epoch_s: int, version: str, cache: Path,
    python: str = "/usr/bin/python3.11",
) -> Image:  # fmt: skip
    """python: the interpreter's path on the flight computer. ConfigError, or Unreachable."""
    profile, _ = load_profile(profile_path)
    if sys.version_info[:2] != wheels.PYTHON:
        raise ConfigError(
            f"bytecode of Python {platform.python_version()} is of no use to {SITE}", "python",
            "build with Python 3.11",
        )  # fmt: skip
    arch = platform.machine() if profile.compute.arch == "any" else profile.compute.arch
    requirements = ROOT / "requirements/edge.txt"
    held = wheels.fetch(requirements, arch, cache)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / NAME
        site = root / SITE
        wheels.install(requirements, arch, held, site)
        prune(site)
        own = place_own_code(ROOT, site)
        _compile(site)
        place_launcher(root, python)
        place_profile(profile_path, profile, root / "profile")
        place_unit(profile, root / "systemd")
        bill = sbom(site, held, NAME, version, epoch_s, own)
        (root / "sbom.cdx.json").write_text(bill)
        (root / "SHA256SUMS").write_text(sums(root))
        path = out / f"{NAME}-{version}-{profile.name}-{arch}.tar.zst"
        return pack(root, path, epoch_s)


def prune(site: Path) -> None:
    """Take out what no flight computer needs, and what differs from build to build."""
    for tool in TOOLS:
        shutil.rmtree(site / tool, ignore_errors=True)
    for second_backend in site.glob("zstandard/_cffi.*"):  # the first one, in C, is taken always
        second_backend.unlink()
    for path in sorted(site.rglob("*"), reverse=True):
        if path.is_dir() and path.name in TEST_FOLDERS:
            shutil.rmtree(path)
        elif path.is_file() and (
            path.suffix in NOT_ABOARD
            or path.name in UNSTABLE
            or path.name.startswith(("test_", "conftest."))
        ):
            path.unlink()


def place_own_code(root: Path, site: Path) -> str:
    """Our own code that goes aboard; the sha-256 of all of it."""
    names = [p.relative_to(root) for part in OWN for p in (root / part).rglob("*")]
    names = [p for p in names if p.suffix in (".py", ".sql") and "__pycache__" not in p.parts]
    digest = hashlib.sha256()
    for name in sorted([*names, *map(Path, OWN_FILES)]):
        data = (root / name).read_bytes()
        digest.update(name.as_posix().encode() + b"\0" + hashlib.sha256(data).digest())
        target = site / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return digest.hexdigest()


def place_launcher(root: Path, python: str) -> None:
    """A virtual environment by its two marks: pyvenv.cfg, and bin/python beside it."""
    (root / "bin").mkdir()
    (root / "bin/python").symlink_to(python)
    launcher = root / "bin" / NAME
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    home = Path(python).parent
    (root / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n")


def place_profile(path: Path, profile: Profile, folder: Path) -> None:
    """The profile as `profile.toml`, and its signal set where it says."""
    relative = Path(profile.signal_set)
    if relative.is_absolute() or ".." in relative.parts:
        raise ConfigError("the signal set is not below the profile's folder", str(path),
                          "put it there, so that it goes aboard with it")  # fmt: skip
    target = folder / relative
    target.parent.mkdir(parents=True)
    shutil.copyfile(path.parent / relative, target)
    shutil.copyfile(path, folder / "profile.toml")


def place_unit(profile: Profile, folder: Path) -> None:
    """The unit, and the wall behind this profile's budgets: twice the memory, at least one core."""
    shutil.copytree(ROOT / "deploy/systemd", folder)
    compute = profile.compute
    (folder / f"{NAME}.service.d/profile.conf").write_text(
        f"# Of the profile {profile.name}: twice its budgets, CPU at least one core for the start.\n"
        f"[Service]\nMemoryMax={2 * compute.memory_mb_max}M\n"
        f"CPUQuota={max(100, round(2 * compute.cpu_percent_max))}%\n"
    )


def sums(root: Path) -> str:
    """`sha256sum -c` reads it."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(root).as_posix()}\n"
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink()
    ]
    return "".join(lines)


def pack(root: Path, path: Path, epoch_s: int) -> Image:
    """Sorted, owned by root, of one time; modes by kind."""
    plain, count, total = io.BytesIO(), 0, 0
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for item in [root, *sorted(root.rglob("*"))]:
            entry = tar.gettarinfo(str(item), item.relative_to(root.parent).as_posix())
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime = epoch_s
            executable = entry.isdir() or bool(entry.mode & 0o100)
            entry.mode = 0o777 if entry.issym() else 0o755 if executable else 0o644
            if entry.isreg():
                count, total = count + 1, total + entry.size
                with item.open("rb") as file:
                    tar.addfile(entry, file)
            else:
                tar.addfile(entry)
    data = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(plain.getvalue())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    path.with_name(path.name + ".sha256").write_text(f"{digest}  {path.name}\n")
    return Image(path, digest, len(data), total, count)


def _compile(site: Path) -> None:
    """In a fresh process of its own, whose hashes are not salted."""
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-m", "deploy.image.bytecode", str(site)], check=True, env=environment,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
