"""Runs one request in a child process with limits, and turns each way it can end into a value.

In: the bytes of an FMU, a request, rows. Out: the child's answer, and its columns.
Always holds: the child's whole process group is gone and its folder removed when this returns or
raises; the ground's own process never loads a byte of an FMU, and reads of what it left plain files
only, each up to a bound: no link, no pipe, no device.
"""

from __future__ import annotations

import io
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

from ground.models.fmu.faults import FmuCrashed, FmuFailed, FmuRefused, FmuTimedOut, FmuTooLarge
from ground.models.fmu.messages import Answer, Limits, Request
from ground.models.model import Float64

POLL_S = 0.02
ANSWER_BYTES_MAX = 16 << 20
HEADER_BYTES_MAX = 4096  # of outputs.npy
LOG_TAIL = 400
PASSED_ON = ("PATH", "LANG", "TZ", "SYSTEMROOT")  # of the environment; nothing else is its business


def run_child(
    fmu: bytes, request: Request, rows: Float64, where: str
) -> tuple[Answer, Float64 | None]:
    """The answer, and outputs [n, outputs] after a run.

    where: the FMU's name in errors. Raises FmuRefused, FmuFailed and its kinds.
    """
    with tempfile.TemporaryDirectory(prefix="tailtwin-fmu-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "model.fmu").write_bytes(fmu)
        (folder / "request.json").write_bytes(msgspec.json.encode(request))
        np.save(folder / "inputs.npy", np.ascontiguousarray(rows, np.float64), allow_pickle=False)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-m", "ground.models.fmu.child", name, str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=name,
                env=_environment(name),
                start_new_session=True,
            )
        try:
            _watch(process, folder, request.limits, where)
        finally:
            _end(process)
        _check_end(process.returncode, folder, request.limits, where)
        answer = _answer(folder, where)
        if answer.refused:
            raise FmuRefused(answer.refused, where, "use an FMU that this ground can run")
        if answer.failed:
            raise FmuFailed(answer.failed, where, "look at the FMU's inputs, or at the FMU")
        if request.task == "describe":
            return answer, None
        return answer, _outputs(folder, (len(rows), len(request.outputs)), where)


def _environment(folder: str) -> dict[str, str]:
    passed = {k: os.environ[k] for k in PASSED_ON if k in os.environ}
    # One thread: each of numpy's would take addresses, which are counted.
    return passed | {"TMPDIR": folder, "HOME": folder, "OPENBLAS_NUM_THREADS": "1"}


def _watch(process: subprocess.Popen[bytes], folder: Path, limits: Limits, where: str) -> None:
    """Until it ends; FmuTimedOut or FmuTooLarge where it must be ended."""
    deadline = time.monotonic() + limits.wall_s
    while True:
        try:
            process.wait(POLL_S)
            return
        except subprocess.TimeoutExpired:
            pass
        if time.monotonic() > deadline:
            what = f"has not ended after {limits.wall_s:g} s and was"
            raise FmuTimedOut(what, where, "give it more time (wall_s), or look for a hang")
        _check_size(folder, limits, where)


def _check_size(folder: Path, limits: Limits, where: str) -> None:
    total = 0
    for at, _, names in os.walk(folder):
        if at != str(folder) and Path(at).is_relative_to(folder / "unpacked"):
            continue
        for name in names:
            try:
                total += (Path(at) / name).lstat().st_size
            except FileNotFoundError:
                continue
    ours = sum((folder / x).lstat().st_size for x in ("model.fmu", "inputs.npy", "request.json"))
    if total - ours >= limits.file_mb << 20:
        what = f"wrote more than {limits.file_mb} MiB and was ended"
        raise FmuTooLarge(what, where, "switch its logging off, or raise file_mb")


def _end(process: subprocess.Popen[bytes]) -> None:
    """The whole group, the FMU's own children included."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _check_end(code: int, folder: Path, limits: Limits, where: str) -> None:
    _check_size(folder, limits, where)
    if code in (-signal.SIGXCPU, -signal.SIGKILL) and not (folder / "answer.json").exists():
        what = f"used {limits.cpu_s} s of processor time and was ended"
        raise FmuTimedOut(what, where, "give it more (cpu_s), or look for a hang")
    if code < 0:
        raise FmuCrashed(f"died of {_signal(-code)}{_tail(folder)}", where,
                         "look at the FMU's inputs, or at the FMU")  # fmt: skip
    if code or not (folder / "answer.json").exists():
        raise FmuCrashed(f"exited with {code} and no answer{_tail(folder)}", where,
                         "look at the FMU's inputs, or at the FMU")  # fmt: skip


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name
        return f"signal {number}"


def _left(folder: Path, name: str, bytes_max: int, end: int = 0) -> bytes:
    """What the child left there, or its last `end` bytes. ValueError: no plain file, or too long."""
    handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_size > bytes_max:
            raise ValueError("no plain file of a sensible size")
        file.seek(max(0, found.st_size - end) if end else 0)
        return file.read(end or found.st_size)


def _tail(folder: Path) -> str:
    """The end of what it said, without anything a terminal would obey."""
    try:
        said = _left(folder, "log", 1 << 40, LOG_TAIL)
    except (OSError, ValueError):
        return ""
    text = said.decode("utf-8", "replace").strip()
    plain = "".join(x if x.isprintable() else " " for x in text)
    return f"; it said: {plain}" if plain else ""


def _answer(folder: Path, where: str) -> Answer:
    try:
        data = _left(folder, "answer.json", ANSWER_BYTES_MAX)
    except (OSError, ValueError):
        raise FmuTooLarge(
            "gave an answer of no sensible size", where, "do not use this FMU"
        ) from None
    try:
        return msgspec.json.decode(data, type=Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise FmuFailed("gave an answer that cannot be read", where, "do not use it") from None


def _outputs(folder: Path, shape: tuple[int, int], where: str) -> Float64:
    wanted = 8 * shape[0] * shape[1]
    try:
        file = io.BytesIO(_left(folder, "outputs.npy", wanted + HEADER_BYTES_MAX))
        np.lib.format.read_magic(file)
        has, is_fortran, kind = np.lib.format.read_array_header_1_0(file)
        data = file.read()
        if has != shape or is_fortran or kind != np.float64 or len(data) != wanted:
            raise ValueError("of another shape")
    except (OSError, ValueError, EOFError):
        raise FmuFailed("left no outputs that can be read", where, "do not use it") from None
    return np.frombuffer(data, np.float64).reshape(shape).copy()
