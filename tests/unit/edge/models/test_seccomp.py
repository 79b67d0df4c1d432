"""The system call filter, tried from inside a process that put it on."""

from __future__ import annotations

import errno
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from edge.models import confine as confining
from edge.models import seccomp
from shared.errors import Unreachable

SEALED = """
import ctypes, errno, json, mmap, os, resource, socket, sys, threading
from edge.models.confine import seal
libc = ctypes.CDLL(None, use_errno=True)
seal(True)
def call():
    {act}
try:
    call()
    code = ctypes.get_errno()
except OSError as error:
    code = error.errno
except RuntimeError:
    code = -1
os.write(1, str(code).encode())
"""


def sealed(act: str) -> tuple[int, int | None]:
    """(exit status, errno that `act` got) of a filtered process."""
    code = SEALED.replace("{act}", act)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, timeout=30
    )
    return done.returncode, int(done.stdout) if done.stdout else None


@pytest.mark.parametrize(
    "act",
    [
        "socket.socket(socket.AF_INET)",
        "socket.socket(socket.AF_UNIX)",
        "os.execv('/bin/true', ['true'])",
        "libc.ptrace(0, 0, 0, 0)",
        "libc.mount(b'a', b'/', b'tmpfs', 0, None)",
        "libc.unshare(0x10000000)",
    ],
)
def test_what_no_library_has_a_reason_to_try_ends_the_process(act: str) -> None:
    assert sealed(act) == (-signal.SIGSYS, None)


@pytest.mark.parametrize(
    "act",
    [
        "os.open('/etc/hostname', os.O_RDONLY)",
        "os.open('/tmp/sealed', os.O_WRONLY | os.O_CREAT, 0o600)",
        "os.fork()",
        "os.kill(os.getppid(), 0)",
        "os.unlink('/tmp/sealed')",
        "os.rename('/tmp/a', '/tmp/b')",
        "os.listdir('/')",
        "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
        "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (9, 9))",
        "resource.prlimit(0, resource.RLIMIT_AS, (1 << 40, 1 << 40))",  # root may lift a hard one
        "libc.keyctl(0, 0, 0, 0, 0) if hasattr(libc, 'keyctl') else libc.syscall(250, 0, 0, 0, 0, 0)",
    ],
)
def test_what_is_not_listed_is_not_permitted(act: str) -> None:
    assert sealed(act) == (0, errno.EPERM)


@pytest.mark.parametrize(
    "act",
    [
        "bytearray(30_000_000)",
        "threading.Thread(target=len, args=('',)).start()",
        "os.fstat(0); os.getpid(); os.urandom(8)",
        "resource.getrlimit(resource.RLIMIT_AS)",
    ],
)
def test_computing_memory_and_threads_go_on(act: str) -> None:
    assert sealed(act) == (0, 0)


def test_abort_still_ends_the_process_as_an_abort() -> None:
    assert sealed("os.abort()") == (-signal.SIGABRT, None)


def test_the_filter_cannot_be_taken_off_or_reached_from_another_interface() -> None:
    for name, machine in seccomp.MACHINES.items():
        lines = seccomp.program(machine, 77)
        assert len(lines) < 4096, name  # BPF_MAXINSNS
        for i, line in enumerate(lines):
            jump = max(line.jump_true, line.jump_false)
            assert not jump or i + 1 + jump < len(lines)
            struct.pack("=HBBI", *line)
        assert lines[0].k == 4 and lines[1].k == machine.audit  # the architecture first
        numbers = machine.numbers.values()
        assert len(set(numbers)) == len(numbers)
        assert {"seccomp", "prctl", "openat", "open"}.isdisjoint(machine.numbers)
        missing = set(seccomp.ALLOWED + seccomp.FATAL) - set(machine.numbers)
        assert missing <= {"poll"}


def test_numbers_are_those_of_the_kernel_headers() -> None:
    """The headers of this machine, where it has them (linux-libc-dev)."""
    files = {
        "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        "aarch64": Path("/usr/include/asm-generic/unistd.h"),
    }
    seen = 0
    for name, file in files.items():
        if not file.exists():
            continue
        text = file.read_text()
        found = dict(re.findall(r"#define __NR(?:3264)?_(\w+)[ \t]+(\d+)", text))
        found.setdefault("newfstatat", found.get("fstatat", ""))
        wrong = {k: v for k, v in seccomp.MACHINES[name].numbers.items() if found.get(k) != str(v)}
        assert wrong == {}, name
        seen += 1
    if not seen:
        pytest.skip("no kernel headers here")


def test_without_a_filter_the_child_ends_unless_the_profile_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(Unreachable, match="no filter is known for riscv64"):
        seccomp.install("riscv64")

    def refuse() -> None:
        raise Unreachable("the kernel refuses the filter", "seccomp", "set it")

    monkeypatch.setattr(confining, "install", refuse)
    with pytest.raises(SystemExit, match="the kernel refuses the filter"):
        confining.seal(True)
    confining.seal(False)
