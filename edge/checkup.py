"""The checkup: can this machine carry this profile?

In: a profile, its signal set, a state folder or none. Out: one `Finding` a question.
Always holds: nothing is changed but a probe file in the state folder, which is removed; no
question waits longer than its bound; what is not as it must be says what to do about it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import shutil
import stat
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path
from typing import Literal

import msgspec

from shared.profile import ComputeProfile

Level = Literal["ok", "warn", "fail"]

SQLITE_MIN = (3, 51, 3)  # the first without the WAL-reset bug
PYTHON_MIN = (3, 11)
BUILT_NS = 1_767_225_600_000_000_000  # 2026-01-01: no build of this code is older
FILES_MIN = 256  # links, sources, children and their pipes need about 40; assumption
SYNCS, SYNC_BYTES = 16, 4096
SYNC_WARN_MS, SYNC_TOO_FAST_MS = 50.0, 0.005
"""Half of what an alert may take; and faster than any disk that was ever measured here."""
IMPORT_S_MAX = 60.0
IMPORTS = ("numpy", "msgspec", "apsw", "pcodec", "zstandard", "cryptography", "paho.mqtt.client",
           "aiomqtt", "nats", "tuf", "securesystemslib", "onnx", "onnxruntime")  # fmt: skip
VOLATILE = frozenset({"tmpfs", "ramfs", "devtmpfs", "squashfs"})
DOUBTFUL = frozenset({"nfs", "nfs4", "cifs", "smb3", "fuse", "9p", "overlay", "vfat", "exfat"})
ARCHES = {"amd64": "x86_64", "arm64": "aarch64"}
PRIVATE = ("device.key", "enrolment.toml")
_PR_GET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 39, 22, 2


class Finding(msgspec.Struct, frozen=True):
    """One answer. remedy: what to do, when it is not ok."""

    name: str
    level: Level
    said: str
    remedy: str = ""


def machine(compute: ComputeProfile) -> Iterator[Finding]:
    """The hardware and the kernel, against what the profile counts on."""
    yield _arch(compute)
    yield _cores(compute)
    yield _memory(compute)
    yield from _kernel()
    yield _clock()
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = files == resource.RLIM_INFINITY or files >= FILES_MIN
    yield Finding("open files", "ok" if enough else "fail", f"{files}, at least {FILES_MIN}",
                  "raise LimitNOFILE of the service")  # fmt: skip


def program(more: tuple[str, ...] = ()) -> Iterator[Finding]:
    """Python, the libraries, and whether they have their bytecode. more: libraries of extras that
    a profile asks for."""
    version = ".".join(map(str, sys.version_info[:3]))
    fits = sys.version_info[:2] >= PYTHON_MIN and struct.calcsize("P") == 8
    yield Finding("python", "ok" if fits else "fail", f"{version} {sys.implementation.name}",
                  "use a 64-bit CPython 3.11 or newer")  # fmt: skip
    yield _sqlite()
    yield _imports((*IMPORTS, *more))
    yield _bytecode()


def state_folder(folder: Path, compute: ComputeProfile, outbox_bytes_max: int) -> Iterator[Finding]:
    """The folder that survives reboots: its disk, its file system, what syncing costs."""
    yield _sizes(compute, outbox_bytes_max)
    if not folder.is_dir():
        yield Finding("state folder", "fail", f"{folder} is not there",
                      "make it with `tailtwin-edge init`")  # fmt: skip
        return
    yield _disk(folder, compute)
    yield _file_system(folder)
    yield _sync(folder)
    yield from _identity(folder / "identity")


def _arch(compute: ComputeProfile) -> Finding:
    here = platform.machine()
    wanted = ARCHES.get(compute.arch, compute.arch)
    fits = wanted in ("any", ARCHES.get(here, here))
    return Finding("arch", "ok" if fits else "fail", f"{here}, the profile says {compute.arch}",
                   "take the profile and the image of this computer")  # fmt: skip


def _cores(compute: ComputeProfile) -> Finding:
    cores = len(os.sched_getaffinity(0))
    said = f"{cores}; budget {compute.cpu_percent_max:g} % of one"
    if compute.cpu_percent_max > 100 * cores:
        return Finding("cores", "fail", said, "lower compute.cpu_percent_max")
    level: Level = "ok" if cores > 1 else "warn"
    return Finding("cores", level, said, "with one core the models run in the recorder's time")


def _memory(compute: ComputeProfile) -> Finding:
    known = _meminfo()
    total, free = known.get("MemTotal", 0.0), known.get("MemAvailable", 0.0)
    said = f"{total:.0f} MB, {free:.0f} free; budget {compute.memory_mb_max} MB"
    if total < compute.memory_mb_max:
        return Finding("memory", "fail", said, "lower compute.memory_mb_max, or take another board")
    level: Level = "ok" if free >= compute.memory_mb_max else "warn"
    return Finding("memory", level, said, "see what else runs here")


def _meminfo() -> dict[str, float]:
    """MB by name."""
    found = {}
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            found[name] = int(rest.split()[0]) * 1024 / 1e6
    except (OSError, ValueError, IndexError):
        pass
    return found


def _kernel() -> Iterator[Finding]:
    """What the children's confinement and the governor need."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, 0, 0, 0)  # a null program: EFAULT if known
    seccomp = ctypes.get_errno() == errno.EFAULT
    yield Finding("seccomp", "ok" if seccomp else "fail", _has(seccomp, "filters"),
                  "use a kernel with CONFIG_SECCOMP_FILTER")  # fmt: skip
    privileges = libc.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) >= 0
    yield Finding(
        "no_new_privs", "ok" if privileges else "fail", _has(privileges), "use Linux ≥ 3.5"
    )
    try:
        os.close(os.pidfd_open(os.getpid()))
        pidfd = True
    except OSError:
        pidfd = False
    yield Finding("pidfd", "ok" if pidfd else "fail", _has(pidfd), "use Linux ≥ 5.3")
    shares = Path("/proc/self/smaps_rollup").exists()
    yield Finding("memory shares", "ok" if shares else "warn", _has(shares, "/proc smaps_rollup"),
                  "the governor counts shared pages twice here")  # fmt: skip


def _has(there: bool, what: str = "") -> str:
    return f"{what} {'there' if there else 'missing'}".strip()


def _clock() -> Finding:
    now_ns = time.time_ns()
    said = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_ns // 10**9))
    sane = BUILT_NS <= now_ns <= BUILT_NS + 20 * 366 * 86_400 * 10**9
    return Finding("clock", "ok" if sane else "warn", said,
                   "set it; updates judge expiry by a floor until the ground was heard")  # fmt: skip


def _sqlite() -> Finding:
    try:
        import apsw
    except ImportError as error:
        return Finding("sqlite", "fail", str(error), "install apsw")
    version: str = apsw.sqlite_lib_version()
    fits = tuple(int(x) for x in version.split(".")) >= SQLITE_MIN
    least = ".".join(map(str, SQLITE_MIN))
    return Finding("sqlite", "ok" if fits else "fail", f"{version}, at least {least}",
                   "install a newer apsw")  # fmt: skip


def _imports(names: tuple[str, ...]) -> Finding:
    """In a child: this process must not hold what only children may."""
    code = (f"import importlib\nfor name in {names!r}:\n try: importlib.import_module(name)\n"
            " except Exception as error: print(name, repr(error)[:200])")  # fmt: skip
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", code], capture_output=True, text=True,
            timeout=IMPORT_S_MAX, env={"ORT_DISABLE_TELEMETRY": "1"}, check=False,
        )  # fmt: skip
        bad = done.stdout.splitlines() or ([] if done.returncode == 0 else [done.stderr[-200:]])
    except subprocess.TimeoutExpired:
        bad = [f"not done in {IMPORT_S_MAX:g} s"]
    said = "; ".join(bad) or ", ".join(
        f"{n} {_version(n)}" for n in ("numpy", "onnxruntime", "tuf")
    )
    return Finding("libraries", "fail" if bad else "ok", said, "install the image again")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "?"


def _bytecode() -> Finding:
    roots = [Path(__file__).parents[1] / "edge", Path(__file__).parents[1] / "shared"]
    roots += [Path(spec.origin).parent for name in ("numpy", "tuf", "nats")
              if (spec := util.find_spec(name)) and spec.origin]  # fmt: skip
    sources = [p for root in roots for p in root.rglob("*.py") if "tests" not in p.parts]
    missing = [p for p in sources if not Path(util.cache_from_source(p)).exists()]
    level: Level = "warn" if len(missing) > len(sources) // 20 else "ok"
    return Finding("bytecode", level, f"{len(sources) - len(missing)} of {len(sources)} modules",
                   "run `python -m compileall`: without it the edge takes 40 % more memory")  # fmt: skip


def _sizes(compute: ComputeProfile, outbox_bytes_max: int) -> Finding:
    """The outbox and two slots of bundles have to fit what the profile allows."""
    need_mb = (outbox_bytes_max + 2 * 8 * compute.models.bundle_bytes_max) / 1e6
    said = (
        f"outbox {outbox_bytes_max / 1e6:.0f} MB and 16 bundles, budget {compute.storage_mb_max} MB"
    )
    return Finding("sizes", "ok" if need_mb <= compute.storage_mb_max else "fail", said,
                   "lower recording.outbox_bytes_max")  # fmt: skip


def _disk(folder: Path, compute: ComputeProfile) -> Finding:
    from edge.usage import storage_mb

    free_mb, held_mb = shutil.disk_usage(folder).free / 1e6, storage_mb(folder)
    said = f"{free_mb:,.0f} MB free, {held_mb:.0f} in use; budget {compute.storage_mb_max} MB"
    fits = free_mb + held_mb >= compute.storage_mb_max
    return Finding("disk", "ok" if fits else "fail", said, "make room, or lower the budget")


def _file_system(folder: Path) -> Finding:
    kind = file_system_of(folder, Path("/proc/self/mountinfo"))
    if kind in VOLATILE:
        return Finding("file system", "fail", f"{kind} does not survive a power cut",
                       "put the state folder on a disk")  # fmt: skip
    if kind in DOUBTFUL or kind.startswith("fuse"):
        return Finding("file system", "warn", f"{kind}: locks and syncs may not hold",
                       "use ext4, xfs or f2fs on a local disk")  # fmt: skip
    return Finding("file system", "ok" if kind else "warn", kind or "unknown", "look at `mount`")


def file_system_of(folder: Path, mountinfo: Path) -> str:
    """Type of the mount that holds `folder`; empty when that cannot be told."""
    best, kind = -1, ""
    try:
        text = mountinfo.read_text()
    except OSError:
        return ""
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        point = Path(head.split()[4].replace("\\040", " "))
        if folder.resolve().is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), tail.split()[0]
    return kind


def _sync(folder: Path) -> Finding:
    probe = folder / ".doctor.tmp"
    times_ms = []
    try:
        with probe.open("wb") as file:
            for _ in range(SYNCS):
                start_s = time.perf_counter()
                file.write(os.urandom(SYNC_BYTES))
                file.flush()
                os.fdatasync(file.fileno())
                times_ms.append((time.perf_counter() - start_s) * 1e3)
    except OSError as error:
        return Finding("sync", "fail", f"{probe}: {error.strerror}", "the edge cannot record here")
    finally:
        probe.unlink(missing_ok=True)
    middle, worst = statistics.median(times_ms), max(times_ms)
    said = f"fdatasync of 4 kB: median {middle:.2f} ms, worst {worst:.1f} of {SYNCS}"
    if worst > SYNC_WARN_MS:
        return Finding("sync", "warn", said, "alerts wait for it: use a faster disk")
    if middle < SYNC_TOO_FAST_MS:
        return Finding("sync", "warn", said, "too fast to be true: does the disk really sync?")
    return Finding("sync", "ok", said)


def _identity(folder: Path) -> Iterator[Finding]:
    missing = [
        n for n in ("device.key", "tail.toml", "enrolment.toml") if not (folder / n).exists()
    ]
    if missing:
        yield Finding("identity", "fail", f"missing: {', '.join(missing)}",
                      "run `tailtwin-edge init`, then `tailtwin-edge enroll`")  # fmt: skip
        return
    open_to = [
        name for name in PRIVATE
        if stat.S_IMODE((folder / name).stat().st_mode) & 0o077
    ]  # fmt: skip
    yield Finding("identity", "fail" if open_to else "ok",
                  f"others may read {', '.join(open_to)}" if open_to else "there, and private",
                  f"chmod 600 in {folder}; were they read, enrol this tail again")  # fmt: skip
